//! The form of an answer: the object itself, its metadata only, or a table for people.
//!
//! The client chooses by its Accept header. Whole lists in JSON are joined from the objects'
//! rendered bytes, so a list costs one copy. Protobuf is never given; clients that prefer it
//! take JSON.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::kinds::Kind;
use super::refusal::Refusal;
use super::store::Stored;
use super::table;

/// What a client wants to see of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The objects.
    Plain,
    /// `PartialObjectMetadata`.
    Metadata,
    /// A `Table`, with what its rows contain.
    Table(Rows),
}

/// What a table row has besides its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Nothing.
    Bare,
    /// The object's metadata.
    Metadata,
    /// The whole object.
    Object,
}

impl View {
    /// The first form in the Accept header that can be given.
    pub fn of(call: &Call) -> Self {
        for entry in call.accept.split(',') {
            if entry.contains("as=Table") {
                return Self::Table(match call.param("includeObject") {
                    Some("None") => Rows::Bare,
                    Some("Object") => Rows::Object,
                    _ => Rows::Metadata,
                });
            }
            if entry.contains("as=PartialObjectMetadata") {
                return Self::Metadata;
            }
            if entry.contains("json") || entry.contains("*/*") {
                return Self::Plain;
            }
        }
        Self::Plain
    }

    /// One object in this form.
    pub fn object(self, kind: &Kind, object: &Stored, now: jiff::Timestamp) -> Bytes {
        match self {
            Self::Plain => served(kind, object),
            Self::Metadata => Bytes::from(partial(&object.value).to_string()),
            Self::Table(rows) => {
                let mut table = table::of(kind, std::slice::from_ref(object), rows, now);
                table["metadata"]["resourceVersion"] =
                    object.value["metadata"]["resourceVersion"].clone();
                Bytes::from(table.to_string())
            }
        }
    }

    /// A list in this form. `meta` is the list's metadata.
    pub fn list(
        self,
        kind: &Kind,
        objects: &[Stored],
        meta: &Value,
        now: jiff::Timestamp,
    ) -> Bytes {
        match self {
            Self::Plain => joined(
                &format!("{}List", kind.kind),
                &kind.api_version(),
                meta,
                objects.iter().map(|o| item(kind, o)),
            ),
            Self::Metadata => {
                let items = objects
                    .iter()
                    .map(|o| Bytes::from(partial(&o.value).to_string()));
                let mut meta = meta.clone();
                if meta["continue"] == ""
                    && let Some(meta) = meta.as_object_mut()
                {
                    meta.remove("continue");
                }
                joined("PartialObjectMetadataList", "meta.k8s.io/v1", &meta, items)
            }
            Self::Table(rows) => {
                let mut table = table::of(kind, objects, rows, now);
                table["metadata"] = meta.clone();
                if table["metadata"]["continue"] == ""
                    && let Some(meta) = table["metadata"].as_object_mut()
                {
                    meta.remove("continue");
                }
                Bytes::from(table.to_string())
            }
        }
    }
}

/// An item of a list: of built-in kinds it does not say what it is.
fn item(kind: &Kind, object: &Stored) -> Bytes {
    let (Some(map), None) = (object.value.as_object(), &kind.custom) else {
        return served(kind, object);
    };
    if kind.group == "events.k8s.io" {
        let event = super::events::to_events_group(&object.value);
        return event.as_object().map_or_else(Bytes::new, unnamed);
    }
    unnamed(map)
}

fn unnamed(map: &Map<String, Value>) -> Bytes {
    let mut out = vec![b'{'];
    for (name, value) in map {
        if name == "kind" || name == "apiVersion" {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"{name}\":").as_bytes());
        // Writing JSON into memory does not fail.
        serde_json::to_writer(&mut out, value).ok();
    }
    out.push(b'}');
    Bytes::from(out)
}

/// The object's bytes in the version that is asked for.
fn served(kind: &Kind, object: &Stored) -> Bytes {
    if kind.group == "events.k8s.io" {
        return Bytes::from(super::events::to_events_group(&object.value).to_string());
    }
    let version = kind.api_version();
    if object.value["apiVersion"].as_str() == Some(&version) {
        return object.json();
    }
    let mut value = object.value.clone();
    value["apiVersion"] = Value::String(version);
    Bytes::from(value.to_string())
}

fn joined(kind: &str, version: &str, meta: &Value, items: impl Iterator<Item = Bytes>) -> Bytes {
    let mut out = format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{meta},\"items\":["
    )
    .into_bytes();
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&item);
    }
    out.extend_from_slice(b"]}");
    Bytes::from(out)
}

/// An object's metadata only.
pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// An answer before it is an HTTP response.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// The body.
    pub body: Body,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// Content type of the body.
    pub media: &'static str,
}

impl Answer {
    /// An answer in JSON.
    pub fn json(code: u16, body: impl Into<Body>) -> Self {
        Self {
            code,
            body: body.into(),
            warnings: Vec::new(),
            media: "application/json",
        }
    }

    /// A value with status 200.
    pub fn value(value: &Value) -> Self {
        Self::json(200, value.to_string())
    }

    /// Plain text with status 200.
    pub fn text(text: &'static str) -> Self {
        Self {
            code: 200,
            body: text.into(),
            warnings: Vec::new(),
            media: "text/plain; charset=utf-8",
        }
    }

    /// What the server says of a path that nobody serves.
    pub fn missing_page() -> Self {
        Self {
            code: 404,
            ..Self::text("404 page not found\n")
        }
    }

    /// The HTTP response.
    pub fn response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() =
            StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media));
        for warning in self.warnings {
            let text = format!(
                "299 - \"{}\"",
                warning
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', " ")
            );
            if let Ok(text) = HeaderValue::from_str(&text) {
                headers.append(header::WARNING, text);
            }
        }
        response
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self {
            warnings: refusal.warnings.clone(),
            ..Self::json(refusal.code, refusal.status().to_string())
        }
    }
}
