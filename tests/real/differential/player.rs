//! Plays one conversation on one server and writes down the answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use regex::Regex;
use serde_json::{Value, json};

use super::conversation::{Conversation, Step, bodies};
use super::kubelet;
use super::normal::Normal;
use super::servers::{Answer, Server, USER, open, send};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The group and version of each resource that is named in short paths.
const RESOURCES: &[(&str, &str)] = &[
    ("deployments", "apis/apps/v1"),
    ("replicasets", "apis/apps/v1"),
    ("statefulsets", "apis/apps/v1"),
    ("daemonsets", "apis/apps/v1"),
    ("controllerrevisions", "apis/apps/v1"),
    ("jobs", "apis/batch/v1"),
    ("cronjobs", "apis/batch/v1"),
    ("ingresses", "apis/networking.k8s.io/v1"),
    ("networkpolicies", "apis/networking.k8s.io/v1"),
    ("endpointslices", "apis/discovery.k8s.io/v1"),
    ("poddisruptionbudgets", "apis/policy/v1"),
    ("horizontalpodautoscalers", "apis/autoscaling/v2"),
    ("leases", "apis/coordination.k8s.io/v1"),
    ("rollouts", "apis/sluice.dev/v1alpha1"),
    ("roles", "apis/rbac.authorization.k8s.io/v1"),
    ("rolebindings", "apis/rbac.authorization.k8s.io/v1"),
];

/// One answer, and what it answers.
#[derive(Debug)]
pub struct Told {
    pub asked: String,
    pub answer: Value,
}

/// A conversation under way.
pub struct Player<'a> {
    pub server: Server<'a>,
    pub namespace: &'a str,
    bodies: BTreeMap<String, Value>,
    kept: BTreeMap<String, Value>,
    last: Value,
    pub pods: u32,
}

/// Plays it.
pub async fn play(conversation: &Conversation, server: Server<'_>) -> Vec<Told> {
    let mut player = Player {
        server,
        namespace: &conversation.namespace,
        bodies: bodies(),
        kept: BTreeMap::new(),
        last: Value::Null,
        pods: 0,
    };
    let namespace = json!({"metadata": {"name": conversation.namespace}}).to_string();
    let client = server.client(USER).await;
    send(&client, Method::POST, "/api/v1/namespaces", &[], namespace).await;
    let mut normal = Normal::new(!conversation.about_controllers());
    let mut told = Vec::new();
    for (number, step) in conversation.steps.iter().enumerate() {
        let (asked, answer) = player.step(step).await;
        player.last = answer.body.clone();
        let in_vain = answer.status == 0;
        if let Some(name) = &step.keep {
            player.kept.insert(name.clone(), answer.body.clone());
        }
        let mut answer = normal.answer(&answer);
        if let Some(look) = &step.look {
            answer = json!({"status": answer["status"], "body": answer.pointer(look)});
        }
        if !step.silent || in_vain {
            let asked = format!("{}. {asked}", number + 1);
            told.push(Told { asked, answer });
        }
        if in_vain {
            break;
        }
    }
    told
}

impl Player<'_> {
    async fn step(&mut self, step: &Step) -> (String, Answer) {
        if let Some(sizes) = &step.sizes {
            return (
                format!("sizes {sizes:?}"),
                kubelet::sizes(self, sizes).await,
            );
        }
        if let Some(count) = step.ready {
            return (format!("ready {count}"), kubelet::ready(self, count).await);
        }
        if let Some(count) = step.finish {
            return (
                format!("finish {count}"),
                kubelet::finish(self, count).await,
            );
        }
        if let Some(name) = &step.roll {
            return (format!("roll {name}"), kubelet::roll(self, name).await);
        }
        if let Some(path) = &step.watch {
            return (format!("WATCH {path}"), self.watch(path, step).await);
        }
        if let Some(path) = &step.wait {
            return (format!("wait for {path}"), self.wait(path, step).await);
        }
        let (method, path) = request(step);
        if method.as_str() == "COMPACT" {
            self.server.compact();
            return ("forgets".into(), Answer::empty());
        }
        let asked = format!("{method} {path} {}", step.query);
        (asked, self.ask(method, &path, step).await)
    }

    async fn ask(&self, method: Method, path: &str, step: &Step) -> Answer {
        let client = self
            .server
            .client(step.user.as_deref().unwrap_or(USER))
            .await;
        let headers = headers(step);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        send(
            &client,
            method,
            &self.url(path, step),
            &headers,
            self.body(step),
        )
        .await
    }

    /// Asks for something of this namespace, as the administrator.
    pub async fn get(&self, path: &str) -> Value {
        let client = self.server.client(USER).await;
        let path = self.path(path);
        send(&client, Method::GET, &path, &[], String::new())
            .await
            .body
    }

    /// Sends something of this namespace, as the administrator.
    pub async fn change(&self, method: Method, path: &str, body: Value) -> Answer {
        let client = self.server.client(USER).await;
        let media = match method {
            Method::PATCH => "application/strategic-merge-patch+json",
            _ => "application/json",
        };
        let headers = [("content-type", media)];
        send(
            &client,
            method,
            &self.path(path),
            &headers,
            body.to_string(),
        )
        .await
    }

    async fn wait(&self, path: &str, step: &Step) -> Answer {
        let started = Instant::now();
        loop {
            let answer = self.ask(Method::GET, path, step).await;
            let holds = |(at, want): (&String, &Value)| {
                found(&answer.body, at).unwrap_or(&Value::Null) == want
            };
            let done = if step.gone {
                answer.status == 404
            } else {
                answer.status == 200 && step.until.iter().all(holds)
            };
            if done {
                return answer;
            }
            if started.elapsed() > PATIENCE {
                let body = json!({"waited in vain for": step.until, "body": answer.body});
                return Answer {
                    status: 0,
                    body,
                    ..answer
                };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn watch(&self, path: &str, step: &Step) -> Answer {
        let client = self
            .server
            .client(step.user.as_deref().unwrap_or(USER))
            .await;
        let headers = headers(step);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let mut url = self.url(path, step);
        url.push_str(if url.contains('?') {
            "&watch=true"
        } else {
            "?watch=true"
        });
        let response = open(&client, Method::GET, &url, &headers, String::new()).await;
        let status = response.status().as_u16();
        let media = response.headers().get("content-type");
        let media = media.map(|media| String::from_utf8_lossy(media.as_bytes()).into_owned());
        let mut body = response.into_body();
        let (mut text, wanted) = (Vec::new(), step.events.unwrap_or(usize::MAX));
        let reading = async {
            while lines(&text).len() < wanted
                && let Some(Ok(frame)) = body.frame().await
            {
                text.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.ok();
        Answer {
            status,
            media: media.unwrap_or_default(),
            warnings: Vec::new(),
            body: Value::Array(lines(&text)),
        }
    }

    fn url(&self, path: &str, step: &Step) -> String {
        let mut query: Vec<String> = Vec::new();
        query.extend(Some(self.filled(&step.query)).filter(|query| !query.is_empty()));
        query.extend(step.by.as_ref().map(|by| format!("fieldManager={by}")));
        query.extend(step.force.then(|| "force=true".to_owned()));
        let path = self.path(path);
        if query.is_empty() {
            return path;
        }
        let query = query.join("&").replace(' ', "%20");
        format!("{path}?{query}")
    }

    fn path(&self, path: &str) -> String {
        let path = self.filled(path);
        if path.starts_with('/') {
            return path;
        }
        let resource = path.split('/').next().unwrap_or_default();
        let base = RESOURCES.iter().find(|(name, _)| *name == resource);
        let base = base.map_or("api/v1", |(_, base)| base);
        format!("/{base}/namespaces/{}/{path}", self.namespace)
    }

    fn body(&self, step: &Step) -> String {
        if let Some(text) = &step.text {
            return self.filled(text);
        }
        let mut body = match &step.like {
            Some(name) => self
                .bodies
                .get(name)
                .cloned()
                .unwrap_or_else(|| panic!("no body {name}")),
            None => Value::Null,
        };
        match (&step.body, body.is_null()) {
            (Some(over), true) => body = over.clone(),
            (Some(over), false) => json_patch::merge(&mut body, over),
            (None, true) => return String::new(),
            (None, false) => {}
        }
        self.fill(&mut body);
        body.to_string()
    }

    fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.filled(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill(item)),
            Value::Object(map) => map.values_mut().for_each(|value| self.fill(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn filled(&self, text: &str) -> String {
        let hole = Regex::new(r"\{([a-z]+)(/[^}]*)?\}").expect("a pattern");
        let fill = |found: &regex::Captures<'_>| {
            let at = found.get(2).map_or("", |at| at.as_str());
            let value = match &found[1] {
                "ns" => Some(Value::from(self.namespace)),
                "rv" => self.last.pointer("/metadata/resourceVersion").cloned(),
                "uid" => self.last.pointer("/metadata/uid").cloned(),
                name => self
                    .kept
                    .get(name)
                    .and_then(|kept| kept.pointer(at))
                    .cloned(),
            };
            match value {
                Some(Value::String(text)) => text,
                Some(other) => other.to_string(),
                None => found[0].to_owned(),
            }
        };
        hole.replace_all(text, fill).into_owned()
    }
}

/// What is at a pointer; conditions are named by their type.
fn found<'a>(body: &'a Value, at: &str) -> Option<&'a Value> {
    let named = |(list, rest): (&str, &str)| {
        let (name, rest) = rest.split_once('/')?;
        let conditions = body.pointer(list)?["conditions"].as_array()?;
        let condition = conditions.iter().find(|one| one["type"] == name)?;
        condition.pointer(&format!("/{rest}"))
    };
    at.split_once("/conditions/")
        .and_then(named)
        .or_else(|| body.pointer(at))
}

fn request(step: &Step) -> (Method, String) {
    for (method, path) in [
        (Method::GET, &step.get),
        (Method::POST, &step.post),
        (Method::PUT, &step.put),
        (Method::DELETE, &step.delete),
        (Method::PATCH, &step.patch),
        (Method::PATCH, &step.apply),
    ] {
        if let Some(path) = path {
            return (method, path.clone());
        }
    }
    let line = step.send.clone().expect("a request");
    let (method, path) = line.split_once(' ').expect("a method and a path");
    (method.parse().expect("a method"), path.to_owned())
}

fn headers(step: &Step) -> Vec<(&'static str, String)> {
    let form = match (step.form.as_deref(), &step.patch, &step.apply) {
        (Some("json"), ..) => "application/json-patch+json",
        (Some("strategic"), ..) => "application/strategic-merge-patch+json",
        (Some("merge") | None, Some(_), _) => "application/merge-patch+json",
        (Some(other), ..) => other,
        (None, None, Some(_)) => "application/apply-patch+yaml",
        (None, None, None) => "application/json",
    };
    let accept = step
        .accept
        .clone()
        .unwrap_or_else(|| "application/json".into());
    vec![("content-type", form.to_owned()), ("accept", accept)]
}

fn lines(text: &[u8]) -> Vec<Value> {
    // What has come of the next line is no JSON yet.
    let events = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok());
    // The bookmarks between times come when the server likes.
    events
        .filter(|event: &Value| {
            event["type"] != "BOOKMARK" || event.to_string().contains("k8s.io/initial-events-end")
        })
        .collect()
}
