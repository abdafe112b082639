//! A range of an `ImagePolicy` without one version.
//!
//! Groups divided by `||` are alternatives, so each of them is told; within one, what a comma divides must
//! all hold. A comma, not a space, since a range `1.2 - 1.4` swallows the spaces behind it. A version that has
//! a pre-release is told only to groups that name one: the others let none in, and would begin to.
//!
//! Source: the range grammar of Masterminds/semver v3, which Flux reads ranges with.
//!
//! Not here: where the policy is written (`daemon::remedy`).

/// `range` with the version of `tag` left out; the same if it is already.
///
/// # Errors
/// Why it cannot be left out.
pub fn without(range: &str, tag: &str) -> Result<String, String> {
    let (version, before_release) =
        version(tag).ok_or_else(|| format!("{tag} is no semantic version"))?;
    let left_out = format!("!={version}");
    let groups: Vec<&str> = range.split("||").map(str::trim).collect();
    if groups.iter().any(|group| group.is_empty()) {
        return Err(format!("the range {range:?} has an empty part"));
    }
    let mut told = 0;
    let groups = groups.into_iter().map(|group| {
        if before_release && !names_pre_release(group) {
            return group.to_owned();
        }
        told += 1;
        if says(group, &left_out) {
            group.to_owned()
        } else {
            format!("{group}, {left_out}")
        }
    });
    let groups: Vec<String> = groups.collect();
    if told == 0 {
        return Err(format!("the range {range:?} lets no pre-release in"));
    }
    Ok(groups.join(" || "))
}

/// With all three numbers, since `!=1.2` would be all of 1.2; and whether it is a pre-release.
fn version(tag: &str) -> Option<(String, bool)> {
    let tag = tag.strip_prefix('v').unwrap_or(tag);
    let (core, pre) = match tag.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (tag, None),
    };
    let mut numbers = Vec::new();
    for part in core.split('.') {
        numbers.push(part.parse::<u64>().ok().filter(|_| digits(part))?);
    }
    let named = |pre: &str| {
        !pre.is_empty()
            && pre
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
    };
    if numbers.len() > 3 || !pre.is_none_or(named) {
        return None;
    }
    numbers.resize(3, 0);
    let pre = pre.map_or_else(String::new, |pre| format!("-{pre}"));
    let version = format!("{}.{}.{}{pre}", numbers[0], numbers[1], numbers[2]);
    Some((version, !pre.is_empty()))
}

fn digits(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

fn names_pre_release(group: &str) -> bool {
    let bytes = group.as_bytes();
    let within = |three: &[u8]| {
        (three[0].is_ascii_alphanumeric() || three[0] == b'*')
            && three[1] == b'-'
            && three[2].is_ascii_alphanumeric()
    };
    bytes.windows(3).any(within)
}

fn says(group: &str, left_out: &str) -> bool {
    let close = group.replace("!= ", "!=");
    close
        .split([' ', ','])
        .any(|part| part == left_out || part.replace("!=v", "!=") == left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_left_out_of_each_alternative_once() {
        let cases = [
            (">=1.0.0 <2.0.0", "1.2.3", ">=1.0.0 <2.0.0, !=1.2.3"),
            ("1.x || 3.x", "v3.1", "1.x, !=3.1.0 || 3.x, !=3.1.0"),
            ("1.2 - 1.4.5", "1.3.0", "1.2 - 1.4.5, !=1.3.0"),
            ("*", "3", "*, !=3.0.0"),
            ("^1.0, !=1.2.0", "1.2.3", "^1.0, !=1.2.0, !=1.2.3"),
            ("^1.0, != 1.2.3", "1.2.3", "^1.0, != 1.2.3"),
            ("^1.0 !=v1.2.3", "v1.2.3", "^1.0 !=v1.2.3"),
            ("1.x-0 || 2.x", "1.2.0-rc.1", "1.x-0, !=1.2.0-rc.1 || 2.x"),
            (">=1.0.0-0", "1.2.3", ">=1.0.0-0, !=1.2.3"),
            ("^1.0", "01.02.3", "^1.0, !=1.2.3"),
        ];
        for (range, tag, wanted) in cases {
            let found = without(range, tag);
            assert_eq!(found.as_deref(), Ok(wanted), "{range} {tag}");
            assert_eq!(without(wanted, tag).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn what_is_no_version_and_what_lets_none_in_is_refused() {
        assert!(without("1.x", "main-12").unwrap_err().contains("main-12"));
        assert!(without("1.x || ", "1.2.3").unwrap_err().contains("empty"));
        let refused = without("1.x", "1.2.3-rc.1").unwrap_err();
        assert!(refused.contains("no pre-release"), "{refused}");
    }
}
