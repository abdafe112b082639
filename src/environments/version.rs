//! What is promoted: an image's tag, its digest, or both.
//!
//! A tag that is a semantic version, with or without `v`, can be held against a range. Not here:
//! where a version stands in a file (`places`).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// An image's version. At least one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Version {
    /// The tag.
    pub tag: Option<String>,
    /// The digest, `sha256:...`.
    pub digest: Option<String>,
}

impl Version {
    /// The tag as a semantic version; a `v` before it is left out.
    pub fn semantic(&self) -> Option<semver::Version> {
        let tag = self.tag.as_deref()?;
        semver::Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
    }

    /// Whether it is a semantic version in a range. Where the range names a pre-release (`>=1.0.0-0`), every
    /// pre-release between its bounds is in it, as Flux has it; else none is.
    pub fn is_within(&self, range: &semver::VersionReq) -> bool {
        let Some(version) = self.semantic() else {
            return false;
        };
        if range.matches(&version) || version.pre.is_empty() {
            return range.matches(&version);
        }
        let named = range.comparators.iter().any(|one| !one.pre.is_empty());
        named && range.comparators.iter().all(|one| bounds(one, &version))
    }

    /// Whether both are the same, as far as they say: by the digest where both name one, else by the tag.
    pub fn agrees(&self, other: &Self) -> bool {
        match (&self.digest, &other.digest) {
            (Some(one), Some(other)) => one == other,
            _ => self.tag.is_some() && self.tag == other.tag,
        }
    }

    /// As it is shown in a table: a digest by its beginning.
    pub fn short(&self) -> String {
        let digest = self
            .digest
            .as_deref()
            .map(|digest| digest.chars().take(19).collect::<String>());
        let (tag, digest) = (self.tag.clone(), digest);
        Self { tag, digest }.to_string()
    }

    /// Whether an image reference carries this version: the digest where both name one, else the tag.
    pub fn is_of(&self, image: &str) -> bool {
        let Ok(other) = Self::of_image(image) else {
            return false;
        };
        match (&self.digest, &other.digest) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.tag.is_some() && self.tag == other.tag,
        }
    }

    /// The version in an image reference.
    ///
    /// # Errors
    /// If it names none.
    pub fn of_image(image: &str) -> Result<Self, String> {
        crate::kustomize::image_version(image)
            .trim_start_matches(':')
            .parse()
    }
}

/// As it stands behind an image's name, without the first `:` or `@`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.tag, &self.digest) {
            (Some(tag), Some(digest)) => write!(f, "{tag}@{digest}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(one),
            (None, None) => f.write_str("none"),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tag, digest) = match text.split_once('@') {
            Some((tag, digest)) => (tag, Some(digest)),
            None if is_digest(text) => ("", Some(text)),
            None => (text, None),
        };
        let good = match (tag, digest) {
            ("", None) => false,
            ("", Some(digest)) => is_digest(digest),
            (tag, digest) => is_tag(tag) && digest.is_none_or(is_digest),
        };
        if !good {
            let wanted = "want a tag such as v1.2.3, TAG@sha256:..., or sha256:...";
            return Err(format!("{text:?} is no version of an image: {wanted}"));
        }
        Ok(Self {
            tag: Some(tag).filter(|tag| !tag.is_empty()).map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

/// Whether a pre-release is on the right side of one comparator.
fn bounds(one: &semver::Comparator, version: &semver::Version) -> bool {
    let bound = semver::Version {
        major: one.major,
        minor: one.minor.unwrap_or(0),
        patch: one.patch.unwrap_or(0),
        pre: one.pre.clone(),
        build: semver::BuildMetadata::EMPTY,
    };
    match one.op {
        semver::Op::Greater => *version > bound,
        semver::Op::GreaterEq => *version >= bound,
        semver::Op::Less => *version < bound,
        semver::Op::LessEq => *version <= bound,
        // The others span versions, each with its pre-releases.
        _ => {
            let released = semver::Version {
                pre: semver::Prerelease::EMPTY,
                ..version.clone()
            };
            let whole = semver::Comparator {
                pre: semver::Prerelease::EMPTY,
                ..one.clone()
            };
            *version >= bound && whole.matches(&released)
        }
    }
}

/// As the OCI distribution specification has tags.
fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_tag_a_digest_or_both() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for text in ["v1.2.3".to_owned(), digest.clone(), format!("v1@{digest}")] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "v1@",
            "-v1",
            "a b",
            "v1@sha256:00",
            "v1:2",
            "v1\"",
            "${TAG}",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_is_of_a_version_by_its_digest_where_both_name_one() {
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        let cases = [
            ("v1", "r.example:5000/shop:v1".to_owned(), true),
            ("v1", "shop:v2".to_owned(), false),
            ("v1", "shop".to_owned(), false),
            ("v1", format!("shop:v1@sha256:{a}"), true),
        ];
        for (version, image, is) in cases {
            assert_eq!(
                version.parse::<Version>().unwrap().is_of(&image),
                is,
                "{image}"
            );
        }
        let both: Version = format!("v1@sha256:{a}").parse().unwrap();
        assert!(both.is_of(&format!("shop:v9@sha256:{a}")));
        assert!(!both.is_of(&format!("shop:v1@sha256:{b}")));
    }

    #[test]
    fn a_range_that_names_a_pre_release_takes_all_between_its_bounds() {
        let is = |version: &str, range: &str| {
            let version: Version = version.parse().unwrap();
            version.is_within(&range.parse().unwrap())
        };
        for (version, range, within) in [
            ("v1.3.0-rc.1", ">=1.0.0", false),
            ("v1.3.0-rc.1", ">=1.0.0-0", true),
            ("v1.0.0-rc.1", ">=1.0.0-0", true),
            ("v0.9.0-rc.1", ">=1.0.0-0", false),
            ("v2.0.0-rc.1", ">=1.0.0-0, <2.0.0-0", false),
            ("v1.9.0-rc.1", ">=1.0.0-0, <2.0.0-0", true),
            ("v1.9.0-rc.1", "^1.2.0-0", true),
            ("v2.0.0-rc.1", "^1.2.0-0", false),
            ("v1.3.0", ">=1.0.0-0", true),
            ("latest", ">=0.0.0-0", false),
        ] {
            assert_eq!(is(version, range), within, "{version} in {range}");
        }
    }

    #[test]
    fn a_tag_with_or_without_v_is_semantic() {
        let semantic = |text: &str| text.parse::<Version>().unwrap().semantic();
        assert_eq!(semantic("v1.2.3"), semantic("1.2.3"));
        assert!(semantic("v1.2.3-rc.1") < semantic("v1.2.3"));
        assert_eq!(semantic("latest"), None);
    }
}
