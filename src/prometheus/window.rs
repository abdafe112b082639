//! How far back a query looks: `increase(x[2m])` tells of the two minutes before its time.
//!
//! A number is of all that its query looks back on: what a canary before this one did in it is no
//! fault of this one. Ranges, subqueries (which add to what they are of) and offsets are understood;
//! everything else is passed over, since the server says what is wrong with a query.
//!
//! Not here: when it is asked (`sampled`).

/// How far back the query looks, in milliseconds; 0 for an instant.
pub(super) fn looks_back(query: &str) -> i64 {
    let mut rest = query;
    level(&mut rest)
}

/// Reads to the end of a level of parentheses; the furthest that anything in it looks back.
fn level(rest: &mut &str) -> i64 {
    // `last` is that of the expression just before, to which a range or an offset adds.
    let (mut furthest, mut last) = (0, 0);
    while let Some(c) = rest.chars().next() {
        let word = rest.len() - rest.trim_start_matches(is_of_word).len();
        let (token, after) = rest.split_at(word.max(c.len_utf8()));
        *rest = after;
        last = match token {
            ")" => return furthest,
            "(" => level(rest),
            "[" => plus(last, milliseconds(until(rest, ']').split(':').next())),
            "{" => {
                skip_labels(rest);
                last
            }
            "\"" | "'" | "`" => {
                skip_text(rest, c);
                0
            }
            "#" => {
                until(rest, '\n');
                last
            }
            "offset" => {
                let from = rest.trim_start();
                let length = from.len() - from.trim_start_matches(is_of_word).len();
                *rest = &from[length..];
                plus(last, milliseconds(Some(&from[..length])))
            }
            space if space.trim().is_empty() => last,
            _ => 0,
        };
        furthest = furthest.max(last);
    }
    furthest
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | ':' | '.')
}

fn plus(last: i64, more: Option<i64>) -> i64 {
    last.saturating_add(more.unwrap_or(0))
}

/// What stands before `end`, which is passed.
fn until<'q>(rest: &mut &'q str, end: char) -> &'q str {
    let (before, after) = rest.split_once(end).unwrap_or((*rest, ""));
    *rest = after;
    before
}

/// Passes a text in quotes.
fn skip_text(rest: &mut &str, quote: char) {
    let mut escaped = false;
    let end = rest.find(|c: char| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped && quote != '`';
        ends
    });
    *rest = end.map_or("", |end| &rest[end + quote.len_utf8()..]);
}

/// Passes what is asked of labels.
fn skip_labels(rest: &mut &str) {
    while let Some(c) = rest.chars().next() {
        *rest = &rest[c.len_utf8()..];
        match c {
            '}' => return,
            '"' | '\'' | '`' => skip_text(rest, c),
            _ => {}
        }
    }
}

/// A duration as in `1h30m`, or a number of seconds.
fn milliseconds(text: Option<&str>) -> Option<i64> {
    let mut rest = text?.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        return Some((seconds * 1_000.0) as i64);
    }
    let mut sum = 0i64;
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = unit.split_at(
            unit.find(|c: char| c.is_ascii_digit())
                .unwrap_or(unit.len()),
        );
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        sum = sum.saturating_add(number.parse::<i64>().ok()?.saturating_mul(unit));
        rest = after;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_subqueries_and_offsets_are_looked_back_on() {
        let table = [
            ("up", 0),
            ("sum(increase(x{pod=~\"a-[0-9]{2,5}\"}[2m]))", 120),
            ("sum(rate(a[1m])) / sum(rate(b[90s]))", 90),
            ("max_over_time(rate(a[1m])[5m:30s]) + b", 360),
            ("max_over_time(sum(rate(a[1m]))[5m:] offset 1h)", 3_960),
            ("a offset 10m > b[1h30m]", 5_400),
            ("sum by (pod) (rate(a{x='}[9h]'}[1m]))", 60),
            (
                "label_replace(a, \"b[9h]\", `\\`, \"\\\"[9h]\", \"\") # [9h]\n + c[1d]",
                86_400,
            ),
            ("rate(a[300])", 300),
            ("rate(a[soon]", 0),
            ("a[5m", 300),
            ("((((", 0),
        ];
        for (query, seconds) in table {
            assert_eq!(looks_back(query), seconds * 1_000, "{query}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_query_makes_it_crash(query in "[a-z0-9\\[\\](){}'\"`\\\\ #é:.-]{0,40}") {
            let _ = looks_back(&query);
        }
    }
}
