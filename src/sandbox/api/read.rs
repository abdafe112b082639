//! Get and list.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use super::answer::{Answer, View};
use super::call::{Call, Target};
use super::kinds::Kind;
use super::options;
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::{Key, Stored};

/// The key of the object that a URL names.
pub fn key(kind: &Kind, target: &Target) -> Key {
    Key {
        storage: kind.storage.clone(),
        namespace: target.namespace.clone().unwrap_or_default(),
        name: target.name.clone().unwrap_or_default(),
    }
}

/// The selector of a list or watch, including the name in a URL of a watch for one object.
pub fn selector(target: &Target, call: &Call) -> Result<Selector, Refusal> {
    let mut fields = call.param("fieldSelector").unwrap_or_default().to_owned();
    if let Some(name) = &target.name {
        fields = format!("metadata.name={name},{fields}");
    }
    Selector::parse(call.param("labelSelector"), Some(&fields))
}

/// The object that a URL names.
pub fn find(api: &Api, kind: &Kind, target: &Target) -> Result<Stored, Refusal> {
    let key = key(kind, target);
    api.store()
        .get(&key)
        .ok_or_else(|| Refusal::not_found(kind, &key.name))
}

/// Answers a get.
pub fn get(api: &Api, kind: &Kind, target: &Target, call: &Call) -> Result<Answer, Refusal> {
    let object = find(api, kind, target)?;
    let view = View::of(call);
    Ok(Answer::json(
        200,
        view.object(kind, &object, api.clock().now()),
    ))
}

/// How many objects a page may have. A list from the cache (version 0) comes whole.
fn limit(call: &Call) -> Result<Option<usize>, Refusal> {
    let Some(text) = call.param("limit") else {
        return Ok(None);
    };
    let limit: i64 = text.parse().map_err(|_| {
        Refusal::bad_request(format!(
            "strconv.ParseInt: parsing \"{text}\": invalid syntax"
        ))
    })?;
    let whole = call.param("resourceVersion") == Some("0");
    Ok(usize::try_from(limit).ok().filter(|n| *n > 0 && !whole))
}

/// Where the next page begins: after this object, in a list of this revision. What is watched from there on tells
/// all that came between two pages.
#[derive(Serialize, Deserialize)]
struct Token {
    revision: u64,
    after: (String, String),
}

impl Token {
    /// The token of a call for a further page.
    fn of(call: &Call) -> Result<Option<Self>, Refusal> {
        let Some(text) = call.param("continue").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let token = BASE64.decode(text).ok();
        let token = token.and_then(|json| serde_json::from_slice(&json).ok());
        let wrong = "invalid continue token: continue key is not valid";
        token.map(Some).ok_or_else(|| Refusal::bad_request(wrong))
    }

    fn text(&self) -> String {
        BASE64.encode(json!(self).to_string())
    }
}

/// Namespace and name of a stored object.
fn place(object: &Stored) -> (String, String) {
    let meta = &object.value["metadata"];
    let text = |field: &str| meta[field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// Answers a list, in pages where the client asks for a limit.
pub fn list(api: &Api, kind: &Arc<Kind>, target: &Target, call: &Call) -> Result<Answer, Refusal> {
    options::list(call, false)?;
    options::fields(kind, call)?;
    let selector = selector(target, call)?;
    let token = Token::of(call)?;
    let (mut objects, revision) = api.store().list(&kind.storage, target.namespace.as_deref());
    if !selector.is_empty() {
        objects.retain(|object| selector.matches(&object.value));
    }
    let revision = token.as_ref().map_or(revision, |token| token.revision);
    let mut meta = json!({"resourceVersion": revision.to_string()});
    if kind.custom.is_some() {
        meta["continue"] = json!("");
    }
    if let Some(limit) = limit(call)? {
        if let Some(token) = &token {
            objects.retain(|object| place(object) > token.after);
        }
        let left = objects.len().saturating_sub(limit);
        objects.truncate(limit);
        if let (true, Some(last)) = (left > 0, objects.last()) {
            let after = place(last);
            meta["continue"] = json!(Token { revision, after }.text());
            meta["remainingItemCount"] = json!(left);
        }
    }
    Ok(Answer::json(
        200,
        View::of(call).list(kind, &objects, &meta, api.clock().now()),
    ))
}
