//! YAML with places: a document as a tree in which each value knows its line and column.
//!
//! Settings, rules and Rollouts are checked as a whole, and every mistake is reported with the
//! place where it stands. Typed decoding stops at the first one; so the text becomes this tree
//! first, and whoever knows what is wanted walks it.
//!
//! Not here: what a key means; how a text is changed (`scalar`).

pub mod scalar;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// A line and a column, both from 1; 0 where unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// Its value.
    pub value: Node,
}

/// Text that is not YAML.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}:{}: {message}", place.line, place.column)]
pub struct SyntaxError {
    /// Where reading stopped.
    pub place: Place,
    /// Why, in one line.
    pub message: String,
}

/// Reads all documents of a text; empty ones are left out.
pub fn documents(text: &str) -> Result<Vec<Node>, SyntaxError> {
    // Comments are of no use here, and only so many of them may follow each other where they are.
    let options = serde_saphyr::options! { emit_comments: false };
    let spanned = serde_saphyr::from_multiple_with_options(text, options);
    let spanned: Vec<Spanned<Kind>> = spanned.map_err(|error| syntax(&error))?;
    let nodes = spanned.into_iter().map(Node::from);
    Ok(nodes.filter(|node| node.kind != Kind::Null).collect())
}

fn syntax(error: &serde_saphyr::Error) -> SyntaxError {
    let plain = error.without_snippet();
    let text = plain.to_string();
    SyntaxError {
        place: plain.location().map(Place::from).unwrap_or_default(),
        message: text.lines().next().unwrap_or("not YAML").to_owned(),
    }
}

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            _ => None,
        }
    }

    /// The text, if this is text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Where a path such as `spec.steps[1].weight` stands, or as much of it as is there.
    pub fn place_of(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = self.place;
        for part in path.split(['.', '[']).map(|p| p.trim_end_matches(']')) {
            let Some((next, at)) = node.child(part) else {
                break;
            };
            (node, place) = (next, at);
        }
        place
    }

    fn child(&self, part: &str) -> Option<(&Node, Place)> {
        match &self.kind {
            Kind::Map(entries) => {
                let entry = entries.iter().find(|e| e.key == part)?;
                Some((&entry.value, entry.place))
            }
            Kind::List(items) => {
                let item = items.get(part.parse::<usize>().ok()?)?;
                Some((item, item.place))
            }
            _ => None,
        }
    }

    /// The same without places.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            Kind::Null => serde_json::Value::Null,
            Kind::Bool(value) => (*value).into(),
            Kind::Int(value) => (*value).into(),
            Kind::Float(value) => (*value).into(),
            Kind::Text(value) => value.as_str().into(),
            Kind::List(items) => items.iter().map(Node::to_json).collect(),
            Kind::Map(entries) => {
                let fields = entries.iter().map(|e| (e.key.clone(), e.value.to_json()));
                serde_json::Value::Object(fields.collect())
            }
        }
    }
}

impl From<Spanned<Kind>> for Node {
    fn from(spanned: Spanned<Kind>) -> Self {
        Self {
            place: spanned.referenced.into(),
            kind: spanned.value,
        }
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyKind)
    }
}

struct AnyKind;

impl<'de> Visitor<'de> for AnyKind {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(i64::try_from(value).map_or(Kind::Float(value as f64), Kind::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Kind>>()? {
            items.push(item.into());
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push(Entry {
                place: key.referenced.into(),
                key: key.value,
                value: map.next_value::<Spanned<Kind>>()?.into(),
            });
        }
        Ok(Kind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb:\n  c: [x, 2.5, null]\n  d: {e: true}\n---\n# nothing\n---\nf: g\n";

    #[test]
    fn every_value_knows_its_place() {
        let documents = documents(TEXT).unwrap();
        assert_eq!(documents.len(), 2);
        let cases = [
            ("a", (1, 1)),
            ("b.c", (3, 3)),
            ("b.c[1]", (3, 10)),
            ("b.d.e", (4, 7)),
            ("b.d.missing", (4, 3)),
        ];
        for (path, (line, column)) in cases {
            assert_eq!(
                documents[0].place_of(path),
                Place { line, column },
                "{path}"
            );
        }
        assert_eq!(documents[1].place_of("f").line, 8);
    }

    #[test]
    fn the_tree_is_the_same_as_the_json() {
        let json = documents(TEXT).unwrap()[0].to_json();
        let wanted = serde_json::json!({"a": 1, "b": {"c": ["x", 2.5, null], "d": {"e": true}}});
        assert_eq!(json, wanted);
    }

    /// As Go's library, libyaml and `PyYAML` read them: Flagger's own definitions are written so.
    #[test]
    fn a_quoted_text_may_go_on_at_any_column() {
        let folded = [
            "a:\n  b: 'one\n  two'\n  c: 3\n",
            "a:\n  b: \"one\n\n two\"\n  c: 3\n",
            "a:\n  b: \"one\n\ttwo\"\n  c: 3\n",
            "a:\n  b: \"one \\\n  two\"\n  c: 3\n",
        ];
        for (text, wanted) in folded
            .into_iter()
            .zip(["one two", "one\ntwo", "one two", "one two"])
        {
            let document = documents(text).map(|documents| documents[0].clone());
            let json = document.as_ref().map(Node::to_json);
            let wanted = serde_json::json!({"a": {"b": wanted, "c": 3}});
            assert_eq!(json, Ok(wanted), "{text:?}");
            let line = document.map(|document| document.place_of("a.c").line);
            assert_eq!(line, Ok(text.lines().count() as u64), "{text:?}");
        }
    }

    #[test]
    fn values_that_are_commented_out_may_be_many() {
        let comments = "  # b: 1\n".repeat(200);
        let json = documents(&format!("a:\n{comments}c: 1\n")).map(|all| all[0].to_json());
        assert_eq!(json, Ok(serde_json::json!({"a": null, "c": 1})));
    }

    #[test]
    fn text_that_is_not_yaml_says_where() {
        for (text, line) in [("a: 1\nb: [1, 2\nc: 3\n", 3), ("a: 1\na: 2\n", 2)] {
            let error = documents(text).unwrap_err();
            assert_eq!(error.place.line, line, "{error}");
        }
    }
}
