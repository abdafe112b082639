//! One request, parsed: who asks, for what, in which form.
//!
//! The words of the URL become a [`Target`], the query a map. Bodies are read as YAML, of which
//! JSON is a part. Not here: what is done with it (`route` and the verbs).

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use serde_json::Value;

use super::kinds::Kind;
use super::refusal::Refusal;

/// The words of a resource URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, where the URL has one.
    pub namespace: Option<String>,
    /// The resource.
    pub plural: String,
    /// The object's name, where the URL has one.
    pub name: Option<String>,
    /// Like `status`; empty when there is none.
    pub subresource: String,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    /// HTTP method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// The query; of a key given twice the last value.
    pub query: BTreeMap<String, String>,
    /// Who asks, after impersonation.
    pub user: String,
    /// Content type of the body, without parameters.
    pub media: String,
    /// What the client accepts.
    pub accept: String,
    /// First word of the client's User-Agent.
    pub agent: String,
    /// The body.
    pub body: Bytes,
}

impl Call {
    /// Reads a request; `user` overrides its credentials.
    pub fn new(parts: &Parts, body: Bytes, user: Option<&str>) -> Self {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map(|q| q.0)
            .unwrap_or_default();
        let headers = &parts.headers;
        let media = text(headers, header::CONTENT_TYPE.as_str());
        let agent = text(headers, header::USER_AGENT.as_str());
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: pairs.into_iter().collect(),
            user: asking(headers, user),
            media: media
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
            accept: text(headers, header::ACCEPT.as_str()),
            agent: agent.split('/').next().unwrap_or_default().to_owned(),
            body,
        }
    }

    /// A query parameter that is there and not empty.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether a query parameter is switched on.
    pub fn flag(&self, name: &str) -> bool {
        self.param(name)
            .is_some_and(|value| value == "true" || value == "1")
    }

    /// Whether nothing may be stored.
    pub fn dry_run(&self) -> bool {
        self.param("dryRun").is_some()
    }

    /// The name under which field ownership is recorded.
    pub fn manager(&self) -> String {
        let fallback = if self.agent.is_empty() {
            "unknown"
        } else {
            &self.agent
        };
        self.param("fieldManager").unwrap_or(fallback).to_owned()
    }

    /// The body as a value.
    pub fn parse(&self) -> Result<Value, Refusal> {
        if self.media.contains("protobuf") {
            // The real server reads it too; the sandbox does not, and kubectl apply sends JSON.
            return Err(Refusal::unknown_format(&[
                "application/json",
                "application/yaml",
            ]));
        }
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).or_else(|first| self.parse_yaml(&first))
    }

    /// The body as an object of this kind.
    pub fn object(&self, kind: &Kind) -> Result<Value, Refusal> {
        let readable = ["", "application/json", "application/yaml"];
        if !readable.contains(&self.media.as_str()) && !self.media.contains("protobuf") {
            return Err(Refusal::unknown_format(&[
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
            ]));
        }
        let cannot = |why: &str| {
            let shown = if self.body.is_empty() {
                "<empty>".into()
            } else {
                hex(&self.body)
            };
            let kind = &kind.kind;
            Refusal::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why} ({shown})"
            ))
        };
        let body = self.parse().map_err(|refusal| match refusal.code {
            400 => cannot(&refusal.message),
            _ => refusal,
        })?;
        match &body {
            Value::Object(_) => Ok(body),
            Value::Null if self.body.is_empty() => Err(cannot("unexpected end of JSON input")),
            other => Err(cannot(&format!(
                "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                super::patch::word(other)
            ))),
        }
    }

    /// The body as a patch.
    pub fn patch(&self) -> Result<Value, Refusal> {
        self.parse().map_err(|refusal| match refusal.code {
            400 => Refusal::bad_request(format!("error decoding patch: {}", refusal.message)),
            _ => refusal,
        })
    }

    fn parse_yaml(&self, first: &serde_json::Error) -> Result<Value, Refusal> {
        if !self.media.contains("yaml") {
            // The sandbox's words, where the real server has those of Go.
            let told = if first.is_eof() {
                "unexpected end of JSON input".to_owned()
            } else {
                first.to_string()
            };
            return Err(Refusal::bad_request(told));
        }
        let text = std::str::from_utf8(&self.body)
            .map_err(|error| Refusal::bad_request(error.to_string()))?;
        serde_saphyr::from_str(text)
            .map_err(|error| Refusal::bad_request(format!("error decoding YAML: {error}")))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a String does not fail.
        write!(out, "{byte:02x}").ok();
        out
    })
}

fn asking(headers: &HeaderMap, user: Option<&str>) -> String {
    let impersonated = text(headers, "impersonate-user");
    if !impersonated.is_empty() {
        return impersonated;
    }
    if let Some(user) = user {
        return user.to_owned();
    }
    let token = text(headers, header::AUTHORIZATION.as_str());
    token
        .strip_prefix("Bearer ")
        .map_or("kubernetes-admin", str::trim)
        .to_owned()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

impl Target {
    /// Reads the path of a resource; `None` for every other path.
    pub fn parse(path: &str) -> Option<Self> {
        let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
        let (group, version, rest) = match words.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let mut target = Self {
            group: group.into(),
            version: version.into(),
            ..Self::default()
        };
        target.fill(rest)?;
        Some(target)
    }

    fn fill(&mut self, rest: &[&str]) -> Option<()> {
        match rest {
            ["namespaces", name, sub @ ("status" | "finalize")] => {
                self.set("namespaces", Some(name), sub);
            }
            ["namespaces", namespace, plural, rest @ ..] => {
                self.namespace = Some((*namespace).to_owned());
                let sub = rest.get(1..).unwrap_or_default().join("/");
                self.set(plural, rest.first(), &sub);
            }
            [plural, rest @ ..] => {
                let sub = rest.get(1..).unwrap_or_default().join("/");
                self.set(plural, rest.first(), &sub);
            }
            [] => return None,
        }
        Some(())
    }

    fn set(&mut self, plural: &str, name: Option<&&str>, subresource: &str) {
        plural.clone_into(&mut self.plural);
        self.name = name.map(|name| (*name).to_owned());
        subresource.clone_into(&mut self.subresource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        let target = |path: &str| {
            Target::parse(path).map(|t| {
                let namespace = t.namespace.unwrap_or_default();
                [
                    t.group,
                    t.version,
                    namespace,
                    t.plural,
                    t.name.unwrap_or_default(),
                    t.subresource,
                ]
                .join(" ")
            })
        };
        for (path, want) in [
            ("/api/v1/pods", Some(" v1  pods  ")),
            ("/api/v1/namespaces", Some(" v1  namespaces  ")),
            ("/api/v1/namespaces/a", Some(" v1  namespaces a ")),
            (
                "/api/v1/namespaces/a/status",
                Some(" v1  namespaces a status"),
            ),
            (
                "/api/v1/namespaces/a/pods/p/eviction",
                Some(" v1 a pods p eviction"),
            ),
            (
                "/apis/apps/v1/namespaces/a/deployments",
                Some("apps v1 a deployments  "),
            ),
            ("/apis/apps/v1", None),
            ("/version", None),
        ] {
            assert_eq!(target(path).as_deref(), want, "{path}");
        }
    }
}
