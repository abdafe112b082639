//! What fuzzing calls of this module: a repository's address, and a forge's answer about it.
//!
//! Compiled for fuzzing and for tests only; `crate::fuzzing` says which inputs there are.

use std::path::PathBuf;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::{Account, Kind, Place, Token};
use crate::git::Address;

/// What a refusal may say, in bytes: a quotation and the names around it.
const WORDS: usize = 2_000;

/// An address in the first line, what the forge answers in the others.
pub(crate) fn forge(data: &[u8]) -> bool {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (address, answer) = data.split_at(end.unwrap_or(data.len()));
    let address = String::from_utf8_lossy(address);
    let Ok((address, _)) = Address::parse(&address) else {
        return false;
    };
    let places = Kind::ALL.map(|(_, kind)| Place::of(&address, &account(kind, &address)));
    let mut found = false;
    for place in places.into_iter().flatten() {
        refusals(&place, answer);
        let Ok(json) = serde_json::from_slice(answer) else {
            continue;
        };
        found |= place.pull(&json).is_ok();
        found |= place.found("sluice/revert", &json).is_ok();
    }
    found
}

fn account(kind: Kind, address: &Address) -> Account {
    Account {
        kind: Some(kind),
        api: Some(format!("https://{}/api", address.host())),
        host: None,
        token: Token::File(PathBuf::new()),
    }
}

fn refusals(place: &Place, body: &[u8]) {
    for status in [203, 401, 403, 404, 409, 422, 429, 503] {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        let error = place.refused(status, &HeaderMap::new(), body, Timestamp::UNIX_EPOCH);
        let words = error.to_string();
        let names = 3 * (place.api.len() + place.repository.len());
        assert!(words.len() <= WORDS + names, "{words}");
    }
}
