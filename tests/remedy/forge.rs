//! A stand-in for the forges: answers as their REST references document it, and remembers what it
//! was asked.
//!
//! Sources of the shapes: GitHub 2022-11-28, GitLab v4, Gitea v1, Azure DevOps 7.1.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::trip::{Trip, counted};

/// Where GitHub gives tokens to the installation 8 of an App.
pub const TOKENS: &str = "/api/v3/app/installations/8/access_tokens";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    GitHub,
    GitLab,
    Gitea,
    AzureDevOps,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::GitHub, Self::GitLab, Self::Gitea, Self::AzureDevOps];

    /// Where its repositories are.
    pub fn path(self) -> &'static str {
        match self {
            Self::AzureDevOps => "org/team/_git/shop",
            _ => "team/shop.git",
        }
    }

    /// The base of its API, and its name where that does not tell.
    fn api(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::GitHub => ("/api/v3", None),
            Self::GitLab => ("/api/v4", None),
            Self::Gitea => ("/api/v1", None),
            Self::AzureDevOps => ("/org", Some("azureDevOps")),
        }
    }

    /// The list of the repository's pull requests.
    pub fn list(self) -> &'static str {
        match self {
            Self::GitHub => "/api/v3/repos/team/shop/pulls",
            Self::GitLab => "/api/v4/projects/team%2Fshop/merge_requests",
            Self::Gitea => "/api/v1/repos/team/shop/pulls",
            Self::AzureDevOps => "/org/team/_apis/git/repositories/shop/pullrequests",
        }
    }
}

/// A pull request as the forge keeps it.
#[derive(Clone, Debug)]
pub struct Pull {
    pub branch: String,
    pub text: String,
    pub title: String,
    pub onto: String,
    /// `open`, `closed`, or the merge.
    pub state: String,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
}

/// Status, headers and body.
type Fault = (u16, Vec<(&'static str, &'static str)>, &'static str);

#[derive(Default)]
struct Memory {
    pulls: Vec<Pull>,
    seen: Vec<Seen>,
    /// Answered before anything else.
    faults: VecDeque<Fault>,
    /// Opens it, but the answer is lost.
    forgets: bool,
}

pub struct Forge {
    pub kind: Kind,
    url: String,
    token: PathBuf,
    memory: Arc<Mutex<Memory>>,
    _task: JoinSet<()>,
}

impl Forge {
    /// Whose token's file lies in `folder`.
    pub async fn start(kind: Kind, folder: &Path, trip: &Trip) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let memory = Arc::<Mutex<Memory>>::default();
        let router = Router::new()
            .fallback(answer)
            .with_state((kind, memory.clone()))
            .layer(axum::middleware::from_fn_with_state(trip.clone(), counted));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let token = folder.join("forge-token");
        std::fs::write(&token, "secret\n").unwrap();
        Self {
            kind,
            url,
            token,
            memory,
            _task: task,
        }
    }

    /// The settings of `git` for it.
    pub fn settings(&self) -> Value {
        let (api, kind) = self.kind.api();
        let mut forge = json!({"api": format!("{}{api}", self.url), "tokenFile": self.token});
        if let Some(kind) = kind {
            forge["kind"] = json!(kind);
        }
        json!({"forge": forge})
    }

    /// The same by a GitHub App instead of a token, whose key is made in `folder`.
    pub fn settings_of_app(&self, folder: &Path) -> Value {
        let key = folder.join("app");
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
            .arg(&key)
            .stdin(std::process::Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let app = json!({"id": "7", "installation": "8", "privateKeyFile": key});
        let (api, _) = self.kind.api();
        json!({"forge": {"api": format!("{}{api}", self.url), "app": app}})
    }

    pub fn pulls(&self) -> Vec<Pull> {
        self.memory.lock().unwrap().pulls.clone()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.memory.lock().unwrap().seen.clone()
    }

    /// People decide on the newest one.
    pub fn decide(&self, state: &str) {
        let mut memory = self.memory.lock().unwrap();
        state.clone_into(&mut memory.pulls.last_mut().unwrap().state);
    }

    /// What the next request is answered.
    pub fn fault(&self, status: u16, headers: &[(&'static str, &'static str)], body: &'static str) {
        let fault = (status, headers.to_vec(), body);
        self.memory.lock().unwrap().faults.push_back(fault);
    }

    /// The answer to the next that is opened is lost.
    pub fn forget(&self) {
        self.memory.lock().unwrap().forgets = true;
    }
}

async fn answer(
    State((kind, memory)): State<(Kind, Arc<Mutex<Memory>>)>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
    };
    let mut memory = memory.lock().unwrap();
    memory.seen.push(seen.clone());
    if let Some((status, headers, body)) = memory.faults.pop_front() {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        return response;
    }
    if seen.path == TOKENS {
        // A JSON web token, whose signature tests/git checks.
        let signed = seen.headers["authorization"].to_str().unwrap();
        assert!(signed.starts_with("Bearer ey") && signed.matches('.').count() == 2);
        let token = json!({"token": "secret", "expires_at": "2030-01-01T00:00:00Z"});
        return (StatusCode::CREATED, token.to_string()).into_response();
    }
    let rest = seen.path.strip_prefix(kind.list());
    let Some(rest) = rest.filter(|_| authorized(kind, &seen.headers)) else {
        let body = json!({"message": "404 Not Found"});
        return (StatusCode::NOT_FOUND, body.to_string()).into_response();
    };
    let (status, body) = if seen.method == "POST" {
        opened(kind, &mut memory, &serde_json::from_slice(&body).unwrap())
    } else {
        shown(kind, &memory, rest, &seen.query)
    };
    (status, body.to_string()).into_response()
}

fn authorized(kind: Kind, headers: &HeaderMap) -> bool {
    let (name, wanted) = match kind {
        Kind::GitHub => ("authorization", "Bearer secret"),
        Kind::GitLab => ("private-token", "secret"),
        Kind::Gitea => ("authorization", "token secret"),
        // `:secret`, as a browser would send it.
        Kind::AzureDevOps => ("authorization", "Basic OnNlY3JldA=="),
    };
    headers.get(name).is_some_and(|value| value == wanted)
}

fn opened(kind: Kind, memory: &mut Memory, body: &Value) -> (StatusCode, Value) {
    let text = |key: &str| body[key].as_str().expect(key).replace("refs/heads/", "");
    let [title, text_key, branch, onto] = match kind {
        Kind::GitHub | Kind::Gitea => ["title", "body", "head", "base"],
        Kind::GitLab => ["title", "description", "source_branch", "target_branch"],
        Kind::AzureDevOps => ["title", "description", "sourceRefName", "targetRefName"],
    };
    let pull = Pull {
        title: text(title),
        text: text(text_key),
        branch: text(branch),
        onto: text(onto),
        state: "open".to_owned(),
    };
    let there = |other: &Pull| other.branch == pull.branch && other.state == "open";
    if memory.pulls.iter().any(there) {
        return match kind {
            Kind::GitHub => (
                StatusCode::UNPROCESSABLE_ENTITY,
                json!({"message": "Validation Failed", "errors": [{"resource": "PullRequest", "code": "custom",
                       "message": format!("A pull request already exists for team:{}.", pull.branch)}]}),
            ),
            Kind::GitLab => (
                StatusCode::CONFLICT,
                json!({"message": ["Another open merge request already exists for this source branch: !1"]}),
            ),
            Kind::Gitea => (
                StatusCode::CONFLICT,
                json!({"message": "pull request already exists for these targets"}),
            ),
            Kind::AzureDevOps => (
                StatusCode::CONFLICT,
                json!({"typeKey": "GitPullRequestExistsException", "message": "TF401179: An active pull request for the source and target branch already exists."}),
            ),
        };
    }
    memory.pulls.push(pull.clone());
    if std::mem::take(&mut memory.forgets) {
        return (StatusCode::BAD_GATEWAY, json!({}));
    }
    let answer = shape(kind, memory.pulls.len(), &pull);
    (StatusCode::CREATED, answer)
}

fn shown(kind: Kind, memory: &Memory, rest: &str, query: &str) -> (StatusCode, Value) {
    let absent = || (StatusCode::NOT_FOUND, json!({"message": "Not Found"}));
    let numbered = memory.pulls.iter().enumerate();
    let mut numbered = numbered.map(|(at, pull)| (at + 1, pull));
    if let Ok(number) = rest.trim_start_matches('/').parse::<usize>() {
        let found = memory.pulls.get(number - 1);
        return found.map_or_else(absent, |pull| (StatusCode::OK, shape(kind, number, pull)));
    }
    if kind == Kind::Gitea {
        let head = rest.strip_prefix("/main/").unwrap_or_default();
        let found = numbered.find(|(_, pull)| pull.branch == head);
        return found.map_or_else(absent, |(number, pull)| {
            (StatusCode::OK, shape(kind, number, pull))
        });
    }
    let of_branch = |pull: &Pull| {
        let branch = pull.branch.replace('/', "%2F");
        match kind {
            Kind::GitHub => query.contains(&format!("head=team%3A{branch}&base=main&state=all")),
            Kind::GitLab => query.contains(&format!(
                "source_branch={branch}&target_branch=main&state=all"
            )),
            Kind::AzureDevOps => query.contains(&format!(
                "searchCriteria.sourceRefName=refs%2Fheads%2F{branch}&"
            )),
            Kind::Gitea => false,
        }
    };
    let found = numbered.filter(|(_, pull)| of_branch(pull));
    let found: Vec<Value> = found
        .map(|(number, pull)| shape(kind, number, pull))
        .collect();
    let answer = match kind {
        Kind::AzureDevOps => json!({"count": found.len(), "value": found}),
        _ => json!(found),
    };
    (StatusCode::OK, answer)
}

/// One as the forge shows it.
fn shape(kind: Kind, number: usize, pull: &Pull) -> Value {
    let commit = Some(&pull.state).filter(|state| *state != "open" && *state != "closed");
    let at = commit.map(|_| "2026-11-22T00:00:00Z");
    let page = format!("https://forge.example/team/shop/{number}");
    let either = |open: &'static str, merged: &'static str, closed: &'static str| match (
        commit,
        pull.state.as_str(),
    ) {
        (Some(_), _) => merged,
        (None, "open") => open,
        (None, _) => closed,
    };
    match kind {
        Kind::GitHub => json!({
            "url": "u", "id": 1, "number": number, "html_url": page,
            "state": either("open", "closed", "closed"), "title": pull.title, "body": pull.text,
            "merged_at": at, "merge_commit_sha": commit.map_or("0000", |commit| commit),
            "head": {"label": format!("team:{}", pull.branch), "ref": pull.branch, "sha": "1"},
            "base": {"label": "team:main", "ref": pull.onto, "sha": "2"}, "draft": false,
        }),
        Kind::GitLab => json!({
            "id": 90, "iid": number, "project_id": 3, "web_url": page,
            "state": either("opened", "merged", "closed"), "title": pull.title,
            "description": pull.text, "source_branch": pull.branch, "target_branch": pull.onto,
            "merged_at": at, "merge_commit_sha": commit, "squash_commit_sha": null,
        }),
        Kind::Gitea => json!({
            "id": 90, "number": number, "html_url": page,
            "state": either("open", "closed", "closed"), "title": pull.title, "body": pull.text,
            "merged": commit.is_some(), "merged_at": at, "merge_commit_sha": commit,
            "head": {"label": pull.branch, "ref": pull.branch}, "base": {"label": "main", "ref": pull.onto},
        }),
        Kind::AzureDevOps => json!({
            "pullRequestId": number, "status": either("active", "completed", "abandoned"),
            "title": pull.title, "description": pull.text,
            "sourceRefName": format!("refs/heads/{}", pull.branch),
            "targetRefName": format!("refs/heads/{}", pull.onto),
            "mergeStatus": "succeeded", "lastMergeCommit": {"commitId": commit.map_or("0000", |commit| commit)},
        }),
    }
}
