//! Label and field selectors, as the query of a list or watch and as objects.
//!
//! Both become a [`Selector`]: a list of requirements that all must hold. Field selectors
//! reach any path of the object, which is more than the real server allows.

use serde_json::Value;

use super::refusal::Refusal;

#[derive(Debug, Clone, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// Requirements on labels or fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector {
    labels: Vec<(String, Test)>,
    fields: Vec<(Vec<String>, bool, String)>,
}

impl Selector {
    /// Reads the `labelSelector` and `fieldSelector` of a query.
    pub fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Refusal> {
        let mut selector = Self::default();
        for part in split(labels.unwrap_or_default()) {
            selector.labels.push(requirement(part)?);
        }
        for part in fields
            .unwrap_or_default()
            .split(',')
            .filter(|part| !part.is_empty())
        {
            selector.fields.push(field(part)?);
        }
        Ok(selector)
    }

    /// Reads a `LabelSelector` object; an absent or empty one selects everything.
    pub fn from_object(object: &Value) -> Self {
        let mut selector = Self::default();
        for (key, value) in object["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            selector.labels.push((key.clone(), Test::In(vec![value])));
        }
        for expression in object["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            selector
                .labels
                .push((key, operator(expression["operator"].as_str(), values)));
        }
        selector
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object has what is asked for.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(&object["metadata"]["labels"])
            && self
                .fields
                .iter()
                .all(|(path, equal, want)| (text_at(object, path) == *want) == *equal)
    }

    /// Whether these labels are what is asked for.
    pub fn matches_labels(&self, labels: &Value) -> bool {
        self.labels.iter().all(|(key, test)| {
            let value = labels.get(key).and_then(Value::as_str);
            match test {
                Test::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
                Test::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
            }
        })
    }
}

fn operator(name: Option<&str>, values: Vec<String>) -> Test {
    match name {
        Some("NotIn") => Test::NotIn(values),
        Some("Exists") => Test::Exists,
        Some("DoesNotExist") => Test::Absent,
        _ => Test::In(values),
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn requirement(part: &str) -> Result<(String, Test), Refusal> {
    if let Some(open) = part.find('(') {
        return in_set(part, open);
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok((key.trim().into(), Test::NotIn(vec![value.trim().into()])));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        if value.contains('=') {
            return Err(Refusal::bad_request(
                "found '=', expected: ',' or 'end of string'",
            ));
        }
        return Ok((key.trim().into(), Test::In(vec![value.trim().into()])));
    }
    let words: Vec<&str> = part.split_whitespace().collect();
    let bad = |why: String| {
        Err(Refusal::bad_request(format!(
            "unable to parse requirement: {why}"
        )))
    };
    match words.as_slice() {
        [_, "in" | "notin", found, ..] => return bad(format!("found '{found}' expected: '('")),
        [_, found, ..] => {
            let known = "in, notin, =, ==, !=, gt, lt";
            return bad(format!("found '{found}', expected: {known}"));
        }
        _ => {}
    }
    Ok(match part.strip_prefix('!') {
        Some(key) => (key.trim().into(), Test::Absent),
        None => (part.into(), Test::Exists),
    })
}

fn in_set(part: &str, open: usize) -> Result<(String, Test), Refusal> {
    let bad = || Refusal::bad_request(format!("unable to parse requirement: {part}"));
    let values = part[open + 1..].strip_suffix(')').ok_or_else(bad)?;
    let values = values
        .split(',')
        .map(|value| value.trim().to_owned())
        .collect();
    let mut words = part[..open].split_whitespace();
    match (words.next(), words.next()) {
        (Some(key), Some("in")) => Ok((key.into(), Test::In(values))),
        (Some(key), Some("notin")) => Ok((key.into(), Test::NotIn(values))),
        _ => Err(bad()),
    }
}

fn field(part: &str) -> Result<(Vec<String>, bool, String), Refusal> {
    let (path, equal, want) = if let Some((path, want)) = part.split_once("!=") {
        (path, false, want)
    } else if let Some((path, want)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (path, true, want)
    } else {
        return Err(Refusal::bad_request(format!(
            "invalid selector: '{part}'; can't understand '{part}'"
        )));
    };
    Ok((
        path.trim().split('.').map(str::to_owned).collect(),
        equal,
        want.trim().into(),
    ))
}

fn text_at(object: &Value, path: &[String]) -> String {
    let found = path.iter().try_fold(object, |value, step| value.get(step));
    match found {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selectors_select_as_kubectl_means_them() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (text, want) in [
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, api),!gone", true),
            ("app notin (web)", false),
            ("tier", true),
            ("missing", false),
            ("app=", false),
        ] {
            let selector = Selector::parse(Some(text), None).unwrap();
            assert_eq!(selector.matches(&object), want, "{text}");
        }
    }

    #[test]
    fn field_selectors_reach_into_the_object() {
        let object = json!({"metadata": {"name": "x"}, "spec": {"nodeName": "n"}});
        let selector = |text| Selector::parse(None, Some(text)).unwrap();
        assert!(selector("metadata.name=x,spec.nodeName!=m").matches(&object));
        assert!(!selector("status.phase=Running").matches(&object));
        assert!(selector("status.phase!=Running").matches(&object));
    }
}
