//! `sluice validate [ENVIRONMENT|FOLDER]...`: what is wrong with manifests before they are deployed.
//!
//! A folder is built and looked at; Rollouts are linted as they come out of it. Findings are printed
//! with file and line, as text, as JSON, or as SARIF for a code host. Nothing is asked of a cluster, and
//! of registries and hosts only what `online` does.
//!
//! Not here: the rules (`crate::environments::validate`) and the fields of Rollouts (`lint`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use kube::CustomResourceExt;
use serde::Serialize;

use super::way;
use super::{Error, Format, Screen, lint, online, text};
use crate::environments::Pipeline;
use crate::environments::pipeline::Environment;
use crate::environments::validate::{Checked, Finding, Level, check, sarif};
use crate::kubernetes::crd::Rollout;
use crate::kustomize::Disk;
use crate::registry::Access;
use crate::sandbox::api::examine::Kinds;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folders, or environments of the pipeline [default: every environment]
    #[arg(value_name = "ENVIRONMENT|FOLDER")]
    what: Vec<String>,
    /// The pipeline: environments, their order and their gates
    #[arg(
        long,
        value_name = "FILE",
        env = "SLUICE_PIPELINE",
        default_value = "clusters/environments.yaml"
    )]
    pipeline: PathBuf,
    /// Ask registries whether images exist, and hosts whether they answer
    #[arg(long)]
    online: bool,
    /// Warnings are errors
    #[arg(long)]
    strict: bool,
    /// Write SARIF 2.1.0
    #[arg(long)]
    sarif: bool,
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default, Serialize)]
struct Report {
    findings: Vec<Finding>,
    folders: Vec<String>,
    objects: usize,
    /// Objects more, in which only secrets were looked for.
    partly: usize,
    /// Kinds of which nothing is known, so that their fields were not looked at.
    unknown: BTreeSet<String>,
}

impl Arguments {
    /// How registries are reached, where they are asked: as the pipeline says, if there is one.
    fn registries(&self) -> Result<Option<Access>, Error> {
        match (self.online, self.pipeline.exists()) {
            (false, _) => Ok(None),
            (true, false) => Ok(Some(Access::default())),
            (true, true) => {
                let pipeline = Pipeline::load(&self.pipeline).map_err(way::told)?;
                Ok(Some(pipeline.registry))
            }
        }
    }
}

/// Checks the folders.
pub async fn validate(screen: &mut Screen, arguments: &Arguments) -> Result<(), Error> {
    let mut report = Report::default();
    let registries = arguments.registries()?;
    for (root, folder) in folders(arguments)? {
        let (mut checked, unknown) = checked(&root, &folder);
        report.unknown.extend(unknown);
        if let Some(access) = &registries {
            online::ask(&mut checked, access).await;
        }
        let shown = |path: &str| shown(&root, path);
        report.objects += checked.objects.len();
        report.partly += checked.partly;
        report.folders.push(shown(&folder));
        for mut finding in checked.findings {
            finding.file = shown(&finding.file);
            // A base that several environments share is wrong once.
            if !report.findings.contains(&finding) {
                report.findings.push(finding);
            }
        }
    }
    if arguments.sarif {
        let value = sarif::sarif(&report.findings);
        let text = serde_json::to_string_pretty(&value);
        let text = text.map_err(|error| Error::Format(error.to_string()))?;
        screen.print(&format!("{text}\n"))?;
    } else if screen.format() == Format::Text {
        for finding in &report.findings {
            anstream::eprintln!("{}", line(finding));
        }
    } else {
        screen.value(&report, |_| String::new())?;
    }
    ended(screen, arguments, &report)
}

fn ended(screen: &mut Screen, arguments: &Arguments, report: &Report) -> Result<(), Error> {
    let of = |level| report.findings.iter().filter(|f| f.level == level).count();
    let (errors, warnings) = (of(Level::Error), of(Level::Warning));
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    if errors > 0 || (arguments.strict && warnings > 0) {
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        return Err(Error::Problems(format!("{errors} and {warnings}")));
    }
    if arguments.sarif || screen.format() != Format::Text {
        return Ok(());
    }
    let (objects, folders) = (
        counted(report.objects, "object"),
        counted(report.folders.len(), "folder"),
    );
    let warned = match warnings {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning")),
    };
    let partly = match (report.objects, report.partly) {
        (0, 0) => {
            let text = format!("nothing was looked at in {folders}{warned}\n");
            return screen.print(&text);
        }
        (0, partly) => {
            let partly = counted(partly, "object");
            let text = format!(
                "no secret is in {partly} in {folders}{warned}; nothing else was looked at\n"
            );
            return screen.print(&text);
        }
        (_, 0) => String::new(),
        (_, partly) => format!(
            "in {} more only secrets were looked for\n",
            counted(partly, "object")
        ),
    };
    let unknown: Vec<&str> = report.unknown.iter().map(String::as_str).collect();
    let unknown = match unknown.as_slice() {
        [] => String::new(),
        kinds => format!(
            "the fields of {} were not looked at: no definition is there\n",
            kinds.join(", ")
        ),
    };
    screen.print(&format!(
        "nothing is wrong with {objects} in {folders}{warned}\n{partly}{unknown}"
    ))
}

/// Each folder below its root: that of the repository, or of the file system.
fn folders(arguments: &Arguments) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut all = Vec::new();
    let mut pipeline = None;
    if arguments.what.is_empty() {
        let (root, found) = of_pipeline(&arguments.pipeline)?;
        let with_folder = found.environments.iter().filter(|one| one.path.is_some());
        let all: Vec<_> = with_folder
            .map(|one| of_environment(&root, one))
            .collect::<Result<_, _>>()?;
        if all.is_empty() {
            let text =
                "no environment of the pipeline names a folder of manifests (path); name one here";
            return Err(Error::Usage(text.to_owned()));
        }
        return Ok(all);
    }
    for what in &arguments.what {
        let path = Path::new(what);
        if path.is_dir() {
            all.push(on_disk(path)?);
            continue;
        }
        if path.exists() {
            let text = format!("{what} is a file; want the folder that is deployed");
            return Err(Error::Usage(text));
        }
        if pipeline.is_none() {
            pipeline = Some(of_pipeline(&arguments.pipeline)?);
        }
        if let Some((root, pipeline)) = &pipeline {
            let environment = pipeline.environment(what).map_err(way::told)?;
            all.push(of_environment(root, environment)?);
        }
    }
    Ok(all)
}

/// The folder of an environment below the repository's root.
fn of_environment(root: &Path, environment: &Environment) -> Result<(PathBuf, String), Error> {
    let folder = environment.folder().map_err(way::told)?;
    if !root.join(folder).exists() {
        return Err(Error::Usage(format!(
            "{} deploys {folder}, which is not in {}: run this in a checkout of the repository that has it, or name a folder",
            environment.name,
            root.display()
        )));
    }
    Ok((root.to_owned(), folder.to_owned()))
}

/// The pipeline and the root of the repository that it is in.
fn of_pipeline(file: &Path) -> Result<(PathBuf, Pipeline), Error> {
    let pipeline = Pipeline::load(file).map_err(way::told)?;
    let whole = absolute(file.parent().unwrap_or(Path::new("")))?;
    let root = whole
        .ancestors()
        .find(|folder| folder.join(".git").exists());
    let root = root.map_or_else(|| absolute(Path::new("")), |root| Ok(root.to_owned()));
    Ok((root?, pipeline))
}

/// A folder below the root of its repository, else of the file system: an overlay's base is beside
/// it.
fn on_disk(path: &Path) -> Result<(PathBuf, String), Error> {
    let whole = absolute(path)?;
    let root = whole
        .ancestors()
        .find(|folder| folder.join(".git").exists());
    let root = root.unwrap_or(Path::new("/")).to_owned();
    let below = whole.strip_prefix(&root).unwrap_or(&whole);
    Ok((root.clone(), below.display().to_string()))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let path = if path == Path::new("") {
        Path::new(".")
    } else {
        path
    };
    std::fs::canonicalize(path)
        .map_err(|error| Error::Usage(format!("cannot read {}: {error}", path.display())))
}

/// A path as a person here would write it.
fn shown(root: &Path, path: &str) -> String {
    let whole = root.join(path);
    let here = std::env::current_dir()
        .ok()
        .and_then(|here| here.canonicalize().ok());
    let short = here.and_then(|here| whole.strip_prefix(here).map(Path::to_owned).ok());
    let path = short.unwrap_or(whole).display().to_string();
    if path.is_empty() {
        ".".to_owned()
    } else {
        path
    }
}

/// The folder, and the kinds of which nothing is known.
fn checked(root: &Path, folder: &str) -> (Checked, BTreeSet<String>) {
    let mut checked = check(&Disk(root.to_owned()), folder);
    let rollouts = checked.objects.iter().enumerate();
    let rollouts = rollouts.filter(|(_, object)| {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        object["kind"] == "Rollout" && version.starts_with("sluice.dev/")
    });
    let mut problems = Vec::new();
    let mut linted = Vec::new();
    for (at, rollout) in rollouts {
        linted.push(at);
        for message in lint::problems(&rollout.to_string()) {
            let path = message.split(": ").next().unwrap_or_default().to_owned();
            problems.push((at, path, message));
        }
    }
    for (at, path, message) in problems {
        // A rule may be the user's own, mounted where the daemon runs.
        let level = if path.starts_with("spec.analysis.rules") {
            Level::Warning
        } else {
            Level::Error
        };
        checked.add("rollout", level, (at, &path), message);
    }
    let unknown = schema(&mut checked, &linted);
    (checked, unknown)
}

/// Holds each object against its kind, except those that were linted: a lint says the same, and where to look. The
/// kinds of which nothing is known.
fn schema(checked: &mut Checked, linted: &[usize]) -> BTreeSet<String> {
    let own = serde_json::to_value(Rollout::crd()).unwrap_or_default();
    let objects = checked.objects.iter();
    let definitions = objects.filter(|object| object["kind"] == "CustomResourceDefinition");
    let kinds = Kinds::with(definitions.chain(std::iter::once(&own)));
    let unknown = checked.objects.iter().filter(|object| !kinds.knows(object));
    let unknown = unknown.filter_map(|object| object["kind"].as_str());
    let unknown = unknown.map(str::to_owned).collect();
    let mut flaws = Vec::new();
    for (at, object) in checked.objects.iter().enumerate() {
        let is_linted = linted.contains(&at);
        let found = kinds.flaws(object).into_iter();
        flaws.extend(found.filter(|_| !is_linted).map(|flaw| (at, flaw)));
    }
    for (at, flaw) in flaws {
        let message = format!("{}: {}", flaw.path, flaw.message);
        if flaw.unknown {
            checked.add_of_field("schema", (at, &flaw.path), message);
        } else {
            checked.add("schema", Level::Error, (at, &flaw.path), message);
        }
    }
    unknown
}

fn line(finding: &Finding) -> String {
    use anstyle::AnsiColor::{Red, Yellow};
    let Finding {
        rule,
        file,
        line,
        column,
        object,
        message,
        ..
    } = finding;
    let word = match finding.level {
        Level::Error => text::styled(Red.on_default(), "error"),
        Level::Warning => text::styled(Yellow.on_default(), "warning"),
    };
    let object = if object.is_empty() {
        String::new()
    } else {
        format!("{object}: ")
    };
    format!("{file}:{line}:{column}: {word} {rule}: {object}{message}")
}
