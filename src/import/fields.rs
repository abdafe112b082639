//! Fields that nothing converts: each is said with its value, those too of which this version never heard.
//!
//! A resource's fields are known by a list, each with what is to be said where it is set, or with nothing
//! where it is converted. What is on no list has no counterpart. Not here: the lists.

use serde_json::Value;

use super::Converted;

/// A field that is known, by its path (`[]` for each item of a list), and what is said of it: nothing where it
/// is converted. `{}` stands for its value.
pub type Field = (&'static str, &'static str);

/// Says each field of `value`, which stands at `place` of a resource, that is set and not converted.
pub fn told(value: &Value, place: &str, known: &[Field], about: &str, all: &mut Converted) {
    let mut walk = Walk { known, about, all };
    walk.one(value, place, "");
}

struct Walk<'a> {
    known: &'a [Field],
    about: &'a str,
    all: &'a mut Converted,
}

impl Walk<'_> {
    /// `place` is the path as people read it, `shape` the same as the list has it.
    fn one(&mut self, value: &Value, place: &str, shape: &str) {
        if is_unset(value) {
            return;
        }
        if let Some((_, words)) = self.known.iter().find(|(path, _)| *path == shape) {
            if !words.is_empty() {
                let words = words.replace("{}", &short(value));
                self.all.note(self.about, &format!("{place}: {words}"));
            }
            return;
        }
        let within = |path: &str| {
            path.strip_prefix(shape)
                .is_some_and(|rest| shape.is_empty() || rest.starts_with(['.', '[']))
        };
        match value {
            Value::Object(fields) if self.known.iter().any(|(path, _)| within(path)) => {
                for (key, value) in fields {
                    self.one(value, &joined(place, key), &joined(shape, key));
                }
            }
            Value::Array(items) if self.known.iter().any(|(path, _)| within(path)) => {
                for (at, item) in items.iter().enumerate() {
                    self.one(item, &format!("{place}[{at}]"), &format!("{shape}[]"));
                }
            }
            _ => {
                let text = format!("{place}: {} has no counterpart", short(value));
                self.all.note(self.about, &text);
            }
        }
    }
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A value in one line, without the end of a long one.
fn short(value: &Value) -> String {
    const MOST: usize = 80;
    let whole = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    if whole.chars().count() <= MOST {
        return whole;
    }
    let cut: String = whole.chars().take(MOST).collect();
    format!("{cut}...")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_is_read_or_said() {
        let value = json!({
            "read": {"whole": 1}, "said": "x", "unset": {}, "off": false, "new": 0,
            "steps": [{"weight": 1}, {"weight": 2, "other": {"a": [1]}}],
        });
        let known = [("read", ""), ("said", "is {} now"), ("steps[].weight", "")];
        let mut all = Converted::default();
        told(&value, "spec", &known, "A b", &mut all);
        all.notes.sort();
        let wanted = [
            "A b: spec.new: 0 has no counterpart",
            "A b: spec.said: is x now",
            "A b: spec.steps[1].other: {\"a\":[1]} has no counterpart",
        ];
        assert_eq!(all.notes, wanted);
    }
}
