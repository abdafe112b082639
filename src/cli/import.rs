//! `sluice import flagger|argo FILE...`: their resources as Rollouts and rules, what has no
//! counterpart, and the steps of the switch.
//!
//! As text, stdout is YAML that can be applied; notes and steps are comments in it. Not here: the
//! conversion (`crate::import`).

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::input::read;
use super::{Error, Screen, commented, lint, screen};
use crate::import::{Converted, From, convert};

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The tool that the resources are of
    from: Tool,
    /// YAML files with its resources; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the rules to this new file, for a folder of rules; else they are shown as comments
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// Tools that are known.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Tool {
    /// Canary and `MetricTemplate`
    Flagger,
    /// Rollout and `AnalysisTemplate`
    Argo,
}

/// Converts the files.
pub fn import(screen: &mut Screen, arguments: &Arguments) -> Result<(), Error> {
    let mut texts = Vec::new();
    for file in &arguments.files {
        texts.push(read(file)?);
    }
    let from = match arguments.from {
        Tool::Flagger => From::Flagger,
        Tool::Argo => From::Argo,
    };
    let mut converted = convert(from, &texts).map_err(|(number, error)| {
        let file = arguments
            .files
            .get(number)
            .map_or("-".into(), |file| file.display().to_string());
        Error::Usage(format!("{file}:{error}"))
    })?;
    let refused = refused(&converted);
    converted.notes.extend(refused);
    let rules = match converted.rules.as_slice() {
        [] => None,
        rules => Some(screen::yaml(&rules)?),
    };
    if let (Some(file), Some(rules)) = (&arguments.rules, &rules) {
        written(file, rules)?;
    }
    let shown = rules.filter(|_| arguments.rules.is_none());
    let shown = shown.iter().flat_map(|rules| rules.lines());
    let sections = [
        ("To be looked at:", converted.notes.clone()),
        (
            "The switch, in this order:",
            commented::numbered(&converted.steps),
        ),
        (
            "Rules, for a file in a folder of rules (--rules FILE writes it):",
            shown.map(str::to_owned).collect(),
        ),
    ];
    let text = commented::text(&sections, &converted.objects)?;
    screen.value(&converted, |_| text)?;
    if converted.objects.is_empty() {
        return Err(Error::Refused("nothing was converted".to_owned()));
    }
    Ok(())
}

/// What `sluice lint` would say of the result: a value of theirs may be none of ours.
fn refused(converted: &Converted) -> Vec<String> {
    let mut texts = vec![("rules".to_owned(), json!(converted.rules).to_string())];
    let objects = converted.objects.iter();
    texts.extend(objects.map(|object| (named(object), object.to_string())));
    let problems = lint::refused(&texts).into_iter();
    problems
        .map(|(of, problem)| format!("sluice lint refuses what is written: {of}: {problem}"))
        .collect()
}

/// `Kind NAMESPACE/NAME`.
fn named(object: &Value) -> String {
    let metadata = &object["metadata"];
    let names = [&metadata["namespace"], &metadata["name"]].into_iter();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    let kind = object["kind"].as_str().unwrap_or_default();
    format!("{kind} {}", names.join("/"))
}

/// Writes a file that is not there yet: other rules may be in one that is, and Rollouts name them.
fn written(file: &Path, rules: &str) -> Result<(), Error> {
    let said = |why: String| Error::Usage(format!("cannot write {}: {why}", file.display()));
    let mut new = File::create_new(file).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => said(
            "it is there, and Rollouts may name its rules; name a file that is not (--rules)"
                .to_owned(),
        ),
        _ => said(error.to_string()),
    })?;
    new.write_all(rules.as_bytes())
        .map_err(|error| said(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_are_there_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules.yaml");
        written(&file, "one").unwrap();
        let refused = written(&file, "other").unwrap_err().to_string();
        let kept = std::fs::read_to_string(&file).unwrap();
        assert_eq!(kept, "one");
        assert!(refused.contains("it is there"), "{refused}");
    }

    #[test]
    fn what_lint_refuses_is_said() {
        let bad = "{apiVersion: flagger.app/v1beta1, kind: Canary, metadata: {name: a}, spec: {targetRef: {kind: Deployment, name: a}, \
            service: {port: 80}, progressDeadlineSeconds: 0, analysis: {stepWeight: 10, interval: 1m}}}";
        let told = |text: &str| refused(&convert(From::Flagger, &[text.to_owned()]).unwrap());
        let wanted = "sluice lint refuses what is written: Rollout a: spec.progressDeadline: found";
        assert!(told(bad)[0].starts_with(wanted), "{:?}", told(bad));
        assert_eq!(
            told(&bad.replace("Seconds: 0", "Seconds: 60")),
            [] as [&str; 0]
        );
    }
}
