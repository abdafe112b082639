//! Fields that stand twice in a JSON body: the last one counts, and clients are told.
//!
//! `serde_json` keeps the last one silently, so the body is read once more for the names.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Paths of the fields that occur more than once in one object.
pub fn duplicates(body: &[u8]) -> Vec<String> {
    let found = RefCell::new(Vec::new());
    let place = Place {
        path: String::new(),
        found: &found,
    };
    let mut reader = serde_json::Deserializer::from_slice(body);
    // A body that is no JSON has been refused before.
    place.deserialize(&mut reader).ok();
    found.into_inner()
}

/// A place in the body, and where to write what is found there.
struct Place<'a> {
    path: String,
    found: &'a RefCell<Vec<String>>,
}

impl Place<'_> {
    fn below(&self, path: String) -> Place<'_> {
        Place {
            path,
            found: self.found,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = match self.path.as_str() {
                "" => name.clone(),
                above => format!("{above}.{name}"),
            };
            if !names.insert(name) {
                self.found.borrow_mut().push(path.clone());
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            map.next_value_seed(self.below(path))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut at = 0;
        let mut path = format!("{}[{at}]", self.path);
        while items.next_element_seed(self.below(path))?.is_some() {
            at += 1;
            path = format!("{}[{at}]", self.path);
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_stand_twice_are_found_with_their_place() {
        let body = br#"{"a": 1, "b": {"c": 1, "c": {"c": 2, "c": 3}}, "a": null, "l": [{"x": 1, "x": true}]}"#;
        assert_eq!(duplicates(body), ["b.c", "a", "l[0].x"]);
        assert_eq!(
            duplicates(br#"{"a": [1, "x", 2.5, null]}"#),
            Vec::<String>::new()
        );
    }
}
