//! Reading a scenario, all problems at once and each with its line.
//!
//! A first pass splits the text into its header and its steps; each step is then read by
//! itself, so that one mistake does not hide the next. Manifest files are read here too:
//! a scenario that was read cannot fail for want of a file later.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use serde_saphyr::Spanned;

use super::format::{Apply, ClusterSettings, Scenario, Step};
use super::mode::Mode;

/// One mistake in a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its line, from 1; 0 when it is the file itself.
    pub line: u64,
    /// What was found and what is wanted.
    pub text: String,
}

/// All mistakes in a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// The file, or the scenario's name.
    pub file: String,
    /// In the order of their lines; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let end = if n == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{}: {}", self.file, problem.line, problem.text)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    name: String,
    #[serde(default)]
    about: String,
    #[serde(default = "unhurried")]
    speed: f64,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    cluster: ClusterSettings,
    #[serde(default)]
    daemon: Value,
    #[serde(default)]
    git: bool,
    #[serde(default)]
    not_with: BTreeMap<Mode, String>,
    #[allow(dead_code)] // read by `Body`
    steps: IgnoredAny,
}

fn unhurried() -> f64 {
    1.0
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    steps: Vec<Spanned<Value>>,
}

/// Reads the scenario in the file at `path`.
pub fn load(path: &Path) -> Result<Scenario, Problems> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Problems {
        file: file.clone(),
        problems: vec![Problem {
            line: 0,
            text: format!("cannot be read: {error}"),
        }],
    })?;
    parse(&file, &text, path.parent().unwrap_or(Path::new("")))
}

/// The scenarios in a folder and in all folders of it, sorted. Files without steps are manifests.
///
/// # Errors
/// If a folder or a file of it cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path)?.contains("\nsteps:") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a scenario's text; `file` names it in problems, and manifest files are looked for
/// in `folder`.
pub fn parse(file: &str, text: &str, folder: &Path) -> Result<Scenario, Problems> {
    let mut problems = Vec::new();
    let header = read::<Header>(text, 0, &mut problems);
    let body = if problems.is_empty() {
        read::<Body>(text, 0, &mut problems)
    } else {
        serde_saphyr::from_str(text).ok()
    };
    let spans = body.map(|body| body.steps).unwrap_or_default();
    let steps = steps(text, spans, folder, &mut problems);
    problems.sort_by_key(|problem| problem.line);
    match header {
        Some(header) if problems.is_empty() => Ok(scenario(header, steps, folder)),
        _ => Err(Problems {
            file: file.to_owned(),
            problems,
        }),
    }
}

fn scenario(header: Header, steps: Vec<(u64, Step)>, folder: &Path) -> Scenario {
    let with_daemon = header.daemon != Value::Bool(false);
    let git = header.git.then(new_folder);
    let mut daemon = header.daemon;
    if let Some(folder) = git.as_ref().filter(|_| with_daemon) {
        let copies = json!({"git": {"local": true, "folder": folder.join("copies")}});
        if !daemon.is_object() {
            daemon = json!({});
        }
        json_patch::merge(&mut daemon, &copies);
    }
    Scenario {
        name: header.name,
        about: header.about.trim().to_owned(),
        speed: header.speed,
        seed: header.seed,
        cluster: header.cluster,
        daemon,
        with_daemon,
        git,
        steps,
        namespace: String::new(),
        folder: folder.to_owned(),
        not_with: header.not_with,
    }
}

/// A folder among the temporary files that nobody else has.
fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("sluice-scenario-{}-{number}", std::process::id());
    std::env::temp_dir().join(name)
}

fn read<T: for<'de> Deserialize<'de>>(
    text: &str,
    before: u64,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    serde_saphyr::from_str(text)
        .map_err(|error| problems.push(problem(&error, before)))
        .ok()
}

/// `before` is the number of lines that stand before the text which was read.
fn problem(error: &serde_saphyr::Error, before: u64) -> Problem {
    let line = error.location().map_or(1, |location| location.line());
    let text = error.without_snippet().to_string();
    let text = text.split(" at line ").next().unwrap_or(&text).to_owned();
    Problem {
        line: before + line,
        text,
    }
}

fn steps(
    text: &str,
    spans: Vec<Spanned<Value>>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Vec<(u64, Step)> {
    let starts: Vec<u64> = spans.iter().map(|span| span.referenced.line()).collect();
    let mut steps = Vec::new();
    for (n, span) in spans.into_iter().enumerate() {
        let line = starts[n];
        let end = starts.get(n + 1).copied();
        match serde_json::from_value::<Step>(span.value) {
            Ok(step) => match resolved(step, folder) {
                Ok(step) => steps.push((line, step)),
                Err(text) => problems.push(Problem { line, text }),
            },
            Err(error) => problems.push(exact(text, line, end).unwrap_or_else(|| Problem {
                line,
                text: error.to_string(),
            })),
        }
    }
    steps
}

/// The mistake in the step of these lines with the very line where it is, if the step can be
/// read by itself.
fn exact(text: &str, line: u64, end: Option<u64>) -> Option<Problem> {
    let skipped = usize::try_from(line).ok()?.checked_sub(1)?;
    let lines = text.lines().skip(skipped);
    let own: Vec<&str> = match end {
        Some(end) => lines
            .take(usize::try_from(end.saturating_sub(line)).ok()?)
            .collect(),
        None => lines.collect(),
    };
    let error = serde_saphyr::from_str::<Vec<Step>>(&own.join("\n")).err()?;
    Some(problem(&error, line - 1))
}

/// The step with the objects of the files that it names.
fn resolved(step: Step, folder: &Path) -> Result<Step, String> {
    match step {
        Step::Apply(mut apply) => {
            if let Some(file) = apply.file.take() {
                apply.objects.extend(documents(&folder.join(file))?);
            }
            let kind = |object: &Value| object["kind"].as_str().unwrap_or_default().to_owned();
            let only = std::mem::take(&mut apply.only);
            apply
                .objects
                .retain(|object| only.is_empty() || only.contains(&kind(object)));
            wanted(&apply)?;
            Ok(Step::Apply(apply))
        }
        other => Ok(other),
    }
}

fn wanted(apply: &Apply) -> Result<(), String> {
    if apply.objects.is_empty() {
        return Err("apply needs a file or objects".to_owned());
    }
    let nameless = |object: &&Value| {
        ["/apiVersion", "/kind", "/metadata/name"]
            .iter()
            .any(|field| object.pointer(field).and_then(Value::as_str).is_none())
    };
    match apply.objects.iter().find(nameless) {
        Some(_) => Err("each object needs apiVersion, kind and metadata.name".to_owned()),
        None => Ok(()),
    }
}

fn documents(path: &PathBuf) -> Result<Vec<Value>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("file {} cannot be read: {error}", path.display()))?;
    manifests(&text).map_err(|error| format!("file {}: {error}", path.display()))
}

/// The objects in a text with one or more YAML documents; empty ones are left out.
pub fn manifests(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| error.without_snippet().to_string())?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(u64, String)> {
        parse("x.yaml", text, Path::new(""))
            .err()
            .map(|found| {
                found
                    .problems
                    .into_iter()
                    .map(|p| (p.line, p.text))
                    .collect()
            })
            .unwrap_or_default()
    }

    #[test]
    fn a_scenario_is_read() {
        let text = "name: x\nsteps:\n  - say: hello\n  - wait: 10s\n  - expect:\n      that:\n        - rollout: {name: shop, weight: \"<= 5\"}\n";
        let scenario = parse("x.yaml", text, Path::new("")).unwrap();
        assert_eq!(
            scenario.steps.iter().map(|s| s.0).collect::<Vec<_>>(),
            [3, 4, 5]
        );
        assert!(scenario.with_daemon);
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_lines() {
        let text = "name: x\nsteps:\n  - wait: soon\n  - say: fine\n  - expect:\n      within: 10s\n      that:\n        - rollout: {name: shop, fase: Idle}\n  - apply: {file: missing.yaml}\n  - dance: now\n";
        let found = problems(text);
        assert_eq!(
            found.iter().map(|p| p.0).collect::<Vec<_>>(),
            [3, 8, 9, 10],
            "{found:?}"
        );
        assert!(found[0].1.contains("soon"), "{found:?}");
        assert!(found[1].1.contains("fase"), "{found:?}");
        assert!(found[2].1.contains("missing.yaml"), "{found:?}");
        assert!(found[3].1.contains("dance"), "{found:?}");
    }

    #[test]
    fn an_unknown_key_of_the_header_does_not_hide_mistakes_in_steps() {
        let text = "name: x\nsped: 3\nsteps:\n  - wait: soon\n";
        let found = problems(text);
        assert_eq!(
            found.iter().map(|p| p.0).collect::<Vec<_>>(),
            [2, 4],
            "{found:?}"
        );
    }
}
