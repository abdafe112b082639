//! What is wrong with a folder of manifests, before it is deployed.
//!
//! The folder is built as Flux would build it, and what comes out is looked at, so overlays and patches
//! count. Each finding stands at the line of the manifest that the object came from. Where something of it cannot be
//! built here, the rest is looked at, by those rules that what is missing cannot prove wrong. Rules are facts about the objects; none is a matter of taste that could not be named in a post-mortem.
//!
//! An object that must break a rule says so: `sluice.dev/validate-ignore: probes, resources`.
//!
//! Not here: what the Rollout's fields may say (the command line's lint), and asking servers.

mod filled;
mod gaps;
mod kustomizations;
mod network;
mod others;
mod pods;
pub mod sarif;
mod secrets;
mod security;
mod sources;
mod tell;

use serde::Serialize;
use serde_json::Value;

use crate::kustomize::{Files, Objects, build_partly};
use crate::yaml::Place;
use sources::Sources;
use tell::{Found, Tell};

/// The annotation by which an object breaks rules on purpose, `sluice.dev/validate-ignore`.
const IGNORE: &str = "/metadata/annotations/sluice.dev~1validate-ignore";

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It would not work, or is not safe.
    Error,
    /// It may be meant so.
    Warning,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What it asks for, a sentence.
    pub about: &'static str,
}

/// Every rule, in the order of the documentation.
pub const RULES: [Rule; 14] = [
    Rule {
        name: "builds",
        about: "The folder builds as kustomize builds it, with each object once.",
    },
    Rule {
        name: "schema",
        about: "Each object has the fields of its kind, of the right types, and what is required.",
    },
    Rule {
        name: "image-pinned",
        about: "Each image has a tag that is not `latest`, or a digest.",
    },
    Rule {
        name: "resources",
        about: "Each container requests CPU and memory, and its memory is limited.",
    },
    Rule {
        name: "probes",
        about: "Containers that get requests say when they are ready; liveness is worth having.",
    },
    Rule {
        name: "pod-security",
        about: "Pods hold to the restricted Pod Security Standard.",
    },
    Rule {
        name: "secrets",
        about: "No secret stands in clear in Git.",
    },
    Rule {
        name: "service",
        about: "A Service selects pods, and its ports are theirs.",
    },
    Rule {
        name: "ingress",
        about: "An Ingress or HTTPRoute leads to Services and ports that are there.",
    },
    Rule {
        name: "rollout",
        about: "A Rollout is right, and its Deployment, Ingress and Service are there and agree.",
    },
    Rule {
        name: "selectors",
        about: "A PodDisruptionBudget or NetworkPolicy selects pods.",
    },
    Rule {
        name: "image-exists",
        about: "Each image is in its registry (--online).",
    },
    Rule {
        name: "host",
        about: "The hosts of Ingresses and HTTPRoutes answer (--online).",
    },
    Rule {
        name: "not-checked",
        about: "Everything was looked at.",
    },
];

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// How bad it is.
    pub level: Level,
    /// The file, as `Files` names it.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// The object, `Kind name`.
    pub object: String,
    /// What was found, and what would be right.
    pub message: String,
}

/// What a folder deploys, and what is wrong with it.
#[derive(Debug)]
pub struct Checked {
    /// The objects, built.
    pub objects: Vec<Value>,
    /// How many objects more there are, of which only what is written is known: secrets were looked for in them.
    pub partly: usize,
    /// What is wrong, by file and line.
    pub findings: Vec<Finding>,
    sources: Vec<sources::Document>,
}

/// Each container's image: the object's number, the path, the image.
pub fn images(objects: &[Value]) -> Vec<(usize, String, String)> {
    let mut all = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        for pods in pods::pods(std::slice::from_ref(object)) {
            for (path, container, _) in pods.containers() {
                let image = text(container, "/image");
                all.push((at, format!("{path}.image"), image.to_owned()));
            }
        }
    }
    all
}

/// Checks a folder.
pub fn check(files: &dyn Files, folder: &str) -> Checked {
    let recording = Sources::new(files);
    let built = build_partly(&recording, folder);
    let mut checked = Checked {
        objects: Vec::new(),
        partly: 0,
        findings: Vec::new(),
        sources: recording.documents(),
    };
    if files.text(folder).is_ok_and(|text| text.is_some()) {
        let why = "a file of values: what a chart makes of it is not looked at";
        checked.add_of_file(("not-checked", Level::Warning), folder, why);
        return checked;
    }
    let gaps = built.gaps.iter();
    let is_built = built.objects.is_ok();
    let gaps = gaps.map(|gap| gaps::told(gap, &checked.sources, is_built));
    checked.findings = gaps.collect();
    let is_open = !checked.findings.is_empty();
    match built.objects {
        Err(error) => checked.add_of_file(("builds", Level::Error), &error.file, &error.why),
        Ok(built) if built == Objects::default() && !is_open => {
            let why =
                "no file here holds an object: values of a chart and the like are not looked at";
            checked.add_of_file(("not-checked", Level::Warning), folder, why);
        }
        Ok(built) => checked.rules(built, is_open),
    }
    sort(&mut checked.findings);
    checked
}

impl Checked {
    /// Looks at what was built; `is_open` if there may be more than that.
    fn rules(&mut self, built: Objects, is_open: bool) {
        let mut tell = Tell {
            sources: &self.sources,
            findings: std::mem::take(&mut self.findings),
        };
        let known = &built.known;
        twice(known, &mut tell);
        pods::check(known, &mut tell);
        security::check(known, &mut tell);
        secrets::check(known, &mut tell);
        secrets::check(&built.changed, &mut tell);
        network::check(known, is_open, &mut tell);
        others::check(known, &mut tell);
        self.findings = tell.findings;
        self.findings.extend(kustomizations::check(&self.sources));
        self.partly = built.changed.len();
        self.objects = built.known;
    }

    fn add_of_file(&mut self, (rule, level): (&'static str, Level), file: &str, why: &str) {
        self.findings.push(Finding {
            rule,
            level,
            file: file.to_owned(),
            line: 1,
            column: 1,
            object: String::new(),
            message: why.to_owned(),
        });
    }

    /// Adds what is wrong with an object, of this number, at a path, found elsewhere.
    pub fn add(
        &mut self,
        rule: &'static str,
        level: Level,
        (object, path): (usize, &str),
        message: String,
    ) {
        self.told(object, |tell, object| {
            tell.found(Found {
                rule,
                level,
                object,
                path,
                message,
            });
        });
    }

    /// Adds what is wrong with a field of an object, whatever its value.
    pub fn add_of_field(
        &mut self,
        rule: &'static str,
        (object, path): (usize, &str),
        message: String,
    ) {
        let level = Level::Error;
        self.told(object, |tell, object| {
            tell.certain(Found {
                rule,
                level,
                object,
                path,
                message,
            });
        });
    }

    fn told(&mut self, object: usize, tells: impl FnOnce(&mut Tell<'_>, &Value)) {
        let Some(object) = self.objects.get(object) else {
            return;
        };
        let mut tell = Tell {
            sources: &self.sources,
            findings: std::mem::take(&mut self.findings),
        };
        tells(&mut tell, object);
        self.findings = tell.findings;
        sort(&mut self.findings);
    }
}

fn sort(findings: &mut [Finding]) {
    let key = |finding: &Finding| (finding.line, finding.column);
    findings.sort_by(|one, other| (&one.file, key(one)).cmp(&(&other.file, key(other))));
}

fn twice(objects: &[Value], tell: &mut Tell<'_>) {
    for (at, object) in objects.iter().enumerate() {
        let again = objects[..at]
            .iter()
            .any(|other| identity(other) == identity(object));
        if again {
            let message = "this object is there twice; one of them would win".to_owned();
            tell.error("builds", object, "metadata.name", message);
        }
    }
}

fn identity(object: &Value) -> [&str; 4] {
    let version = text(object, "/apiVersion");
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    [
        group,
        text(object, "/kind"),
        namespace(object),
        text(object, "/metadata/name"),
    ]
}

/// `Kind name`.
fn named(object: &Value) -> String {
    format!(
        "{} {}",
        text(object, "/kind"),
        text(object, "/metadata/name")
    )
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Its namespace; none is `default`, where what names none goes.
fn namespace(object: &Value) -> &str {
    place_of(text(object, "/metadata/namespace"))
}

fn place_of(namespace: &str) -> &str {
    if namespace == "default" {
        ""
    } else {
        namespace
    }
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    let items = object.pointer(pointer).and_then(Value::as_array);
    items.map_or(&[], Vec::as_slice)
}

/// The objects of a kind of Kubernetes', the Gateway API's or our own: others have kinds of the same names, such as
/// Knative's Service.
fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let is_known = |object: &Value| {
        let [group, ..] = identity(object);
        !group.contains('.') || group.ends_with(".k8s.io") || group == "sluice.dev"
    };
    let all = objects.iter();
    all.filter(move |object| object["kind"] == kind && is_known(object))
}

/// The place of nothing known.
const NOWHERE: Place = Place { line: 1, column: 1 };

#[cfg(test)]
mod tests;
