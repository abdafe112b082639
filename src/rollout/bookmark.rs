//! Where the evidence of a run goes on reading: JSON that only the source of the samples understands.
//!
//! It is kept as text and shared, since each look at a state copies it and its parts would take many times as
//! much; in a checkpoint it is JSON as any other.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Where to go on reading; opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bookmark(Arc<str>);

impl Bookmark {
    /// The bookmark of this place; none where it cannot be written as JSON.
    pub fn of(place: &impl Serialize) -> Option<Self> {
        let text = serde_json::to_string(place).ok()?;
        Some(Self(text.into()))
    }

    /// The place; none where this bookmark is no such.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }
}

impl Serialize for Bookmark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bookmark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self(value.to_string().into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_json_in_a_checkpoint_and_its_reader_finds_what_it_wrote() {
        let place = json!({"errors": {"until": 7, "of": {"1f": {"at": 5, "sum": [0.1, 2.0]}}}});
        let bookmark = Bookmark::of(&place).unwrap();
        assert_eq!(serde_json::to_value(&bookmark).unwrap(), place);
        let again: Bookmark = serde_json::from_value(place.clone()).unwrap();
        assert_eq!(again, bookmark);
        assert_eq!(again.read::<Value>(), Some(place));
        assert_eq!(again.read::<Vec<u8>>(), None);
    }
}
