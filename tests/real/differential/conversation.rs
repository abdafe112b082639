//! The conversations: lists of requests, read from the YAML files beside this one.
//!
//! A step is one request, or a wait for what controllers do, or what a kubelet would do.
//! Paths are short, `deployments/web/scale`, unless they begin with a slash. `{ns}`, `{rv}`
//! and `{uid}` stand for the namespace and the last answer's; `{word/pointer}` for a part of
//! the answer kept as `word`. `like` names a body of `bodies.yaml`, and `body` is laid over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// A conversation with a server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// What it shows, as a sentence.
    pub about: String,
    /// Its requests, in order.
    pub steps: Vec<Step>,
    /// Where the sandbox differs on purpose: beginnings of pointers, and why.
    #[serde(default)]
    pub apart: BTreeMap<String, String>,
    /// What differs, is a fault of the sandbox and is not mended yet: told, without failing.
    pub open: Option<String>,
    /// A name for its namespace.
    #[serde(skip)]
    pub namespace: String,
}

/// One step.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub get: Option<String>,
    pub post: Option<String>,
    pub put: Option<String>,
    pub delete: Option<String>,
    /// By default a merge patch; see `form`.
    pub patch: Option<String>,
    /// Server-side apply.
    pub apply: Option<String>,
    /// A watch, read until `events` have come or it ends by itself.
    pub watch: Option<String>,
    /// Asked again until `until` holds.
    pub wait: Option<String>,
    /// Waits for `ReplicaSets` of these sizes, oldest revision first.
    pub sizes: Option<Vec<i64>>,
    /// Makes so many pods ready, when there are so many that are not.
    pub ready: Option<usize>,
    /// Ends so many pods that are being deleted, when there are so many.
    pub finish: Option<usize>,
    /// Makes pods ready and ends them until the Deployment of this name is rolled out.
    pub roll: Option<String>,
    /// A request with another method: `OPTIONS /api`.
    pub send: Option<String>,
    #[serde(default)]
    pub query: String,
    pub body: Option<Value>,
    /// A body as it stands.
    pub text: Option<String>,
    pub like: Option<String>,
    /// `json`, `merge`, `strategic`, or a media type.
    pub form: Option<String>,
    pub accept: Option<String>,
    /// The field manager.
    pub by: Option<String>,
    /// Who asks.
    #[serde(rename = "as")]
    pub user: Option<String>,
    #[serde(default)]
    pub force: bool,
    /// For `wait`: pointers and their values; null is absence.
    #[serde(default)]
    pub until: BTreeMap<String, Value>,
    /// For `wait`: the object is not there.
    #[serde(default)]
    pub gone: bool,
    pub events: Option<usize>,
    /// Keeps the answer under this name.
    pub keep: Option<String>,
    /// The answer is not compared.
    #[serde(default)]
    pub silent: bool,
    /// Only this pointer of the answer is compared.
    pub look: Option<String>,
}

impl Conversation {
    /// Whether it compares what controllers do.
    pub fn about_controllers(&self) -> bool {
        ["rolling", "endpoints"]
            .iter()
            .any(|file| self.about.starts_with(file))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/differential")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Bodies by name.
pub fn bodies() -> BTreeMap<String, Value> {
    serde_saphyr::from_str(&read(&folder().join("bodies.yaml"))).expect("bodies.yaml")
}

/// All conversations that are asked for.
pub fn all() -> Vec<Conversation> {
    let wanted = std::env::var("SLUICE_CONVERSATION").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the folder of conversations")
        .map(|entry| entry.expect("its entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .filter(|path| !path.ends_with("bodies.yaml"))
        .collect();
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let read: Vec<Conversation> = serde_saphyr::from_str(&read(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (number, mut conversation) in read.into_iter().enumerate() {
            conversation.namespace = format!("{stem}-{number}");
            conversation.about = format!("{stem}: {}", conversation.about);
            found.push(conversation);
        }
    }
    found.retain(|conversation| conversation.about.contains(&wanted));
    found
}
