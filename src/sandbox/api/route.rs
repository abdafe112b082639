//! Which verb a request is, and who answers it.

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};

use super::Api;
use super::answer::Answer;
use super::call::{Call, Target};
use super::kinds::Kind;
use super::prepare::Operation;
use super::refusal::Refusal;
use super::write::Write;
use super::{delete, discovery, metadata, read, scale, watch, write};

/// The verb, as Kubernetes names it.
pub fn verb(call: &Call, target: Option<&Target>) -> &'static str {
    let named = target.is_some_and(|target| target.name.is_some());
    match call.method {
        Method::GET if call.flag("watch") => "watch",
        Method::GET if named || target.is_none() => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "get",
    }
}

/// Answers a request.
pub fn answer(api: &Api, call: &Call, target: Option<&Target>) -> Answer {
    let answered = match target {
        None => discovery::answer(api, call),
        Some(target) => resource(api, call, target),
    };
    answered.unwrap_or_else(Answer::from)
}

fn resource(api: &Api, call: &Call, target: &Target) -> Result<Answer, Refusal> {
    let kinds = api.kinds();
    let Some(kind) = kinds.find(&target.group, &target.version, &target.plural) else {
        if !kinds.groups().contains_key(target.group.as_str()) {
            return Ok(Answer::missing_page());
        }
        return Err(Refusal::no_such_path());
    };
    if kind.namespaced && target.namespace.is_none() {
        if target.name.is_some() {
            return Err(Refusal::no_such_path());
        }
        if call.method == Method::POST {
            return Err(Refusal::method_not_allowed());
        }
    }
    match target.subresource.as_str() {
        "" => main(api, &kind, call, target),
        "status" if kind.status => status(api, &kind, call, target),
        "finalize" => status(api, &kind, call, target),
        "scale" if kind.scale => scale::answer(api, &kind, call, target),
        "eviction" if kind.is("", "Pod") => evict(api, &kind, call, target),
        "binding" if kind.is("", "Pod") => bind(api, &kind, call, target),
        _ => Err(Refusal::no_such_path()),
    }
}

fn main(api: &Api, kind: &Arc<Kind>, call: &Call, target: &Target) -> Result<Answer, Refusal> {
    if kind.kind.ends_with("Review") {
        return review(kind, call);
    }
    match verb(call, Some(target)) {
        "watch" => watch::start(api, kind, target, call),
        "get" => read::get(api, kind, target, call),
        "list" => read::list(api, kind, target, call),
        "create" if target.name.is_none() => write::create(api, kind, target, call),
        "update" if target.name.is_some() => write::replace(api, kind, target, call),
        "patch" if target.name.is_some() => write::patch(api, kind, target, call),
        "delete" => delete::one(api, kind, target, call),
        "deletecollection" => delete::collection(api, kind, target, call),
        _ => Err(Refusal::method_not_allowed()),
    }
}

fn status(api: &Api, kind: &Arc<Kind>, call: &Call, target: &Target) -> Result<Answer, Refusal> {
    match call.method {
        Method::GET => read::get(api, kind, target, call),
        Method::PUT => write::replace(api, kind, target, call),
        Method::PATCH => write::patch(api, kind, target, call),
        _ => Err(Refusal::method_not_allowed()),
    }
}

fn evict(api: &Api, kind: &Arc<Kind>, call: &Call, target: &Target) -> Result<Answer, Refusal> {
    let options = call.parse()?["deleteOptions"].clone();
    let body = if options.is_null() {
        String::new()
    } else {
        options.to_string()
    };
    let call = Call {
        body: body.into(),
        ..call.clone()
    };
    delete::one(api, kind, target, &call)?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer::json(201, done.to_string()))
}

/// Puts a pod on a node, once.
fn bind(api: &Api, kind: &Arc<Kind>, call: &Call, target: &Target) -> Result<Answer, Refusal> {
    let name = target.name.clone().unwrap_or_default();
    let node = call.parse()?["target"]["name"].clone();
    let since = metadata::stamp(api.clock().now());
    let placed = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": since,
    });
    Write::new(api, kind, target, call).update(Operation::Update, &|old| {
        if let Some(node) = old["spec"]["nodeName"].as_str() {
            let why = format!("pod {name} is already assigned to node \"{node}\"");
            let named = Kind {
                plural: "pods/binding".into(),
                ..Kind::clone(kind)
            };
            return Err(Refusal::conflict(&named, &name, &why));
        }
        let mut pod = old.clone();
        pod["spec"]["nodeName"] = node.clone();
        let mut conditions = pod["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(placed.clone());
        pod["status"]["conditions"] = Value::Array(conditions);
        Ok((pod, true))
    })?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer::json(201, done.to_string()))
}

/// Everyone may do everything here; reviews say so.
fn review(kind: &Kind, call: &Call) -> Result<Answer, Refusal> {
    if call.method != Method::POST {
        return Err(Refusal::method_not_allowed());
    }
    // kubectl sends reviews in protobuf; the answer does not depend on what is asked.
    let mut review = if call.media.contains("protobuf") {
        json!({})
    } else {
        call.parse()?
    };
    if !review.is_object() {
        return Err(Refusal::bad_request(
            "the body of the request is not an object",
        ));
    }
    review["kind"] = json!(kind.kind);
    review["apiVersion"] = json!(kind.api_version());
    let groups = json!(["system:authenticated"]);
    review["status"] = match kind.kind.as_str() {
        "SelfSubjectReview" => json!({"userInfo": {"username": call.user, "groups": groups}}),
        "TokenReview" => token_review(&review["spec"]["token"]),
        "SelfSubjectRulesReview" => json!({
            "incomplete": false, "nonResourceRules": [],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        }),
        _ => json!({"allowed": true}),
    };
    Ok(Answer::json(201, review.to_string()))
}

fn token_review(token: &Value) -> Value {
    match token.as_str().filter(|token| !token.is_empty()) {
        Some(name) => {
            json!({"authenticated": true, "user": {"username": name, "groups": ["system:authenticated"]}})
        }
        None => json!({"authenticated": false}),
    }
}
