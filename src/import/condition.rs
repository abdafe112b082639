//! Conditions on a query's result, as Argo Rollouts writes them, and templates in queries.
//!
//! Understood is one comparison of the result with a number, which is what a rule with bounds says;
//! everything else is left to people. Not here: the rules (`rules`).

use regex::Regex;
use serde_json::{Value, json};

/// A bound of a `value` rule: `("min", 0.95)`.
pub type Bound = (&'static str, f64);

/// The bound that must hold for `result[0] >= 0.95` and the like; for a failure condition (`fails`)
/// the one that must not be crossed. A bound includes its limit: a strict comparison gets the number next to its own,
/// which among numbers of this kind (and Prometheus has no others) says the same.
pub fn bound(condition: &str, fails: bool) -> Option<Bound> {
    let one = Regex::new(
        r"^\s*(?:default\()?result(?:\[0\])?(?:,\s*\d+\))?\s*(<=|>=|<|>)\s*(-?[0-9]*\.?[0-9]+)\s*$",
    );
    let found = one.ok()?.captures(condition)?;
    let number: f64 = found[2].parse().ok()?;
    let least = found[1].starts_with('>') != fails;
    let includes = found[1].ends_with('=') != fails;
    let limit = match (least, includes) {
        (_, true) => number,
        (true, false) => number.next_up(),
        (false, false) => number.next_down(),
    };
    Some((if least { "min" } else { "max" }, limit))
}

/// A query with its templates filled in; `Err` names the first that is not known.
pub fn filled(query: &str, known: &[(&str, String)]) -> Result<String, String> {
    let Ok(template) = Regex::new(r"\{\{-?\s*([^{}]*?)\s*-?\}\}") else {
        return Ok(query.to_owned());
    };
    let mut filled = String::new();
    let mut end = 0;
    for found in template.captures_iter(query) {
        let (whole, name) = (found.get(0), found[1].to_owned());
        let Some(whole) = whole else { continue };
        let value = known.iter().find(|(key, _)| *key == name);
        let value = value.map(|(_, value)| value).ok_or(name)?;
        filled.push_str(&query[end..whole.start()]);
        filled.push_str(value);
        end = whole.end();
    }
    filled.push_str(&query[end..]);
    Ok(filled.trim().to_owned())
}

/// A duration as a Rollout has it: seconds as a number, or text.
pub fn duration(value: &Value) -> Option<String> {
    match value {
        Value::Number(seconds) => Some(format!("{seconds}s")),
        Value::String(text) if text.chars().all(|c| c.is_ascii_digit()) && !text.is_empty() => {
            Some(format!("{text}s"))
        }
        Value::String(text) if humantime::parse_duration(text).is_ok() => Some(text.clone()),
        _ => None,
    }
}

/// A duration and one more; both are such as [`duration`] gives.
pub fn added(before: &Value, more: &str) -> Value {
    let parsed = |text: &str| humantime::parse_duration(text).ok();
    let Some(before) = before.as_str() else {
        return json!(more);
    };
    match parsed(before).zip(parsed(more)) {
        Some((one, other)) => {
            let whole = one.saturating_add(other);
            json!(humantime::format_duration(whole).to_string())
        }
        None => json!(format!("{before} {more}")),
    }
}

/// A number as YAML has it, without a fraction where it has none.
pub fn number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_comparison_is_a_bound_and_everything_else_is_none() {
        let cases = [
            ("result[0] >= 0.95", false, Some(("min", 0.95))),
            ("result < 5", false, Some(("max", 4.999_999_999_999_999))),
            ("result[0] > 0", false, Some(("min", f64::from_bits(1)))),
            ("result[0] > 5", true, Some(("max", 5.0))),
            ("result[0] < -1", true, Some(("min", -1.0))),
            (
                "result[0] >= 1",
                true,
                Some(("max", 0.999_999_999_999_999_9)),
            ),
            ("result[0] <= 0", true, Some(("min", f64::from_bits(1)))),
            ("default(result, 0) <= 100", false, Some(("max", 100.0))),
            ("result[0] >= 0.95 && result[0] < 2", false, None),
            ("all(result, # > 1)", false, None),
            ("len(result) == 0", false, None),
        ];
        for (condition, fails, wanted) in cases {
            assert_eq!(bound(condition, fails), wanted, "{condition}");
        }
    }

    #[test]
    fn a_template_that_is_not_known_is_named() {
        let known = [("args.service", "shop".to_owned())];
        assert_eq!(
            filled("a{s=\"{{args.service}}\"}", &known).as_deref(),
            Ok("a{s=\"shop\"}")
        );
        assert_eq!(
            filled("{{ args.service }} {{args.x}}", &known),
            Err("args.x".to_owned())
        );
    }
}
