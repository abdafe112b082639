//! `sluice promote SERVICE --from ENV --to ENV` and `sluice rollback ENV SERVICE`: a version's way
//! between environments, through the repository that deploys them.
//!
//! Both commands also act on a Rollout in a cluster (`request`); which is meant says `--from`, or
//! the second name. Not here: the way itself (`crate::environments`).

use std::path::PathBuf;

use clap::Args;

use super::connect::Cluster;
use super::tried::tried;
use super::{Error, Global, Screen, text};
use crate::causes;
use crate::clock::Clock;
use crate::daemon::pipeline::{SERVER, api, standing};
use crate::environments::pipeline::Environment;
use crate::environments::{self, Desk, Outcome, Pipeline, Report, Service, Standing, Version};
use crate::kubernetes::crd::Rollout;

/// Where the pipeline is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Between environments")]
pub struct Where {
    /// The pipeline: environments, their order and their gates
    #[arg(
        long,
        value_name = "FILE",
        env = "SLUICE_PIPELINE",
        default_value = "clusters/environments.yaml"
    )]
    pub pipeline: PathBuf,
    /// Where copies of the repository are kept [default: .cache/sluice/git in the home folder]
    #[arg(long, value_name = "FOLDER")]
    pub copies: Option<PathBuf>,
}

/// How a version is moved.
#[derive(Debug, Args)]
#[command(next_help_heading = "Between environments")]
pub struct How {
    #[command(flatten)]
    place: Where,
    /// Show the change, write nothing
    #[arg(long)]
    dry_run: bool,
    /// The commit's author; not kept with `deliver: registry` [default: the committer of the pipeline]
    #[arg(long, value_name = "NAME <EMAIL>", value_parser = author)]
    by: Option<(String, String)>,
}

/// A name and an address, as Git writes them.
fn author(text: &str) -> Result<(String, String), &'static str> {
    let wanted = "a name and an address: \"Ada <ada@example.com>\"";
    let (name, rest) = text.split_once('<').ok_or(wanted)?;
    let email = rest.strip_suffix('>').ok_or(wanted)?;
    let good = !name.trim().is_empty() && email.contains('@') && !email.contains(['<', '>']);
    good.then(|| (name.trim().to_owned(), email.to_owned()))
        .ok_or(wanted)
}

impl Where {
    /// The pipeline.
    pub fn load(&self) -> Result<Pipeline, Error> {
        Pipeline::load(&self.pipeline).map_err(told)
    }

    /// What commands on it work with; `dry_run` writes nothing.
    pub fn desk<'a>(&self, pipeline: &'a Pipeline) -> Desk<'a> {
        let copies = self.copies.clone();
        let copies = copies.unwrap_or_else(own_folder);
        let (runtime, now) = (tokio::runtime::Handle::current(), Clock::machine().now());
        Desk::reading(pipeline, copies, runtime, now)
    }
}

/// Where nobody else writes; without a home, as in a pipeline's container, among the temporary files.
fn own_folder() -> PathBuf {
    match std::env::home_dir() {
        Some(home) if !home.as_os_str().is_empty() => home.join(".cache/sluice/git"),
        _ => std::env::temp_dir().join("sluice-git"),
    }
}

impl How {
    /// Refuses options that would be read over.
    pub fn unused(&self, without: &str) -> Result<(), Error> {
        if self.dry_run || self.by.is_some() {
            let text = format!(
                "--dry-run and --by are for the way between environments: give {without} too"
            );
            return Err(Error::Usage(text));
        }
        Ok(())
    }

    fn desk<'a>(&self, pipeline: &'a Pipeline) -> Desk<'a> {
        Desk {
            by: self.by.clone(),
            dry_run: self.dry_run,
            ..self.place.desk(pipeline)
        }
    }
}

/// Promotes a service from one environment to the next.
pub async fn promote(
    global: &Global,
    screen: &mut Screen,
    (service, from, to): (&str, &str, &str),
    (version, despite): (Option<&Version>, Option<&str>),
    how: &How,
) -> Result<(), Error> {
    let pipeline = how.place.load()?;
    let (below, above) = pipeline.way(from, to).map_err(told)?;
    let of = pipeline.service(service).map_err(told)?;
    let mut desk = how.desk(&pipeline);
    let asked = above.gates.ask_the_rollout() || blocking(|| desk.unproven(below, of, version))?;
    let standing = if asked {
        standing(global, below, of, Some(above)).await?
    } else {
        None
    };
    desk.despite = despite.map(str::to_owned);
    if !above.gates.smoke.is_empty() {
        // Tests ask what runs now: they say nothing of a version that is there no more.
        if let Some(version) = blocking(|| desk.lasting(below, of, version))? {
            let place = (below, of, &version);
            let made = tried(global, &pipeline, place, &above.gates.smoke);
            desk.smoked = Some(Box::pin(made).await?);
        }
    }
    let way = (service, from, to);
    let report = blocking(|| desk.promote(way, version, standing.as_ref()))?;
    tell(screen, &report)
}

/// Goes back to another version of a service in an environment.
pub fn roll_back(
    screen: &mut Screen,
    (environment, service): (&str, &str),
    version: Option<&Version>,
    how: &How,
) -> Result<(), Error> {
    let pipeline = how.place.load()?;
    let desk = how.desk(&pipeline);
    let report = blocking(|| desk.roll_back(environment, service, version))?;
    tell(screen, &report)
}

/// The global options as they are for an environment's cluster.
pub fn there(global: &Global, environment: &Environment) -> Global {
    let cluster = environment.cluster.clone().unwrap_or_default();
    Global {
        kubeconfig: cluster.kubeconfig.or_else(|| global.kubeconfig.clone()),
        context: cluster.context.or_else(|| global.context.clone()),
        namespace: cluster.namespace.or_else(|| global.namespace.clone()),
        ..global.clone()
    }
}

/// A service's Rollout in an environment's cluster.
pub async fn rollout(
    global: &Global,
    environment: &Environment,
    service: &Service,
) -> Result<(Cluster, Rollout), Error> {
    let cluster = Cluster::connect(&there(global, environment)).await?;
    let name = service.rollout.as_deref().unwrap_or(&service.name);
    let rollout = cluster.rollout(name).await?;
    Ok((cluster, rollout))
}

/// What the service's Rollout says in an environment's cluster, as far as the gates of the next one ask it;
/// `None` if there is none.
pub async fn standing(
    global: &Global,
    environment: &Environment,
    service: &Service,
    next: Option<&Environment>,
) -> Result<Option<Standing>, Error> {
    let Some(at) = &environment.cluster else {
        return Ok(None);
    };
    let cluster = Cluster::connect(&there(global, environment)).await?;
    let name = service.rollout.as_deref().unwrap_or(&service.name);
    let of = (cluster.namespace.as_str(), name);
    let rollout = cluster.rollouts().get_opt(name).await;
    let rollout = rollout.map_err(|error| {
        let doing = format!("read the Rollout {name} of {}", environment.name);
        Error::api(doing, &error)
    })?;
    let Some(rollout) = rollout else {
        return Ok(None);
    };
    let mut found = standing::standing(&rollout, of);
    if next.is_some_and(|next| next.gates.runs.is_some()) {
        let server = at.daemon.as_deref().unwrap_or(SERVER);
        found.runs = api::ended(&cluster.client, server, of).await;
    }
    Ok(Some(found))
}

/// Work with Git blocks, on this thread: nothing else is done meanwhile.
pub fn blocking<T>(work: impl FnOnce() -> Result<T, environments::Error>) -> Result<T, Error> {
    tokio::task::block_in_place(work).map_err(told)
}

/// An error of the environments as one of the command line.
pub fn told(error: environments::Error) -> Error {
    use environments::Error as Of;
    let text = causes::told(&error);
    match error {
        Of::Read { .. }
        | Of::NoRepository
        | Of::NoFolder { .. }
        | Of::Pipeline(_)
        | Of::Unknown { .. }
        | Of::Order { .. }
        | Of::Credential { .. } => Error::Usage(text),
        _ => Error::Refused(text),
    }
}

fn tell(screen: &mut Screen, report: &Report) -> Result<(), Error> {
    screen.value(report, words)?;
    if report.outcome == Outcome::Refused {
        let shut = report
            .gates
            .iter()
            .filter(|answer| !answer.open)
            .map(|answer| answer.gate);
        let shut: Vec<&str> = shut.collect();
        let (service, version) = (&report.service, &report.version);
        let text = format!("{service} {version} stays: {} shut", shut.join(", "));
        return Err(Error::Refused(text));
    }
    Ok(())
}

fn words(report: &Report) -> String {
    let Report {
        service,
        to,
        version,
        before,
        ..
    } = report;
    let (version, before) = (version.short(), before.short());
    let mut lines = vec![match &report.from {
        Some(from) => format!("{service}: {from} {version} -> {to} (has {before})"),
        None => format!("{service}: {to} {before} -> {version}"),
    }];
    for answer in &report.gates {
        let word = if answer.open { "open" } else { "shut" };
        lines.push(format!("  {word}  {:<10} {}", answer.gate, answer.why));
    }
    lines.extend(report.notes.iter().map(|note| format!("  note  {note}")));
    let diff = report.diff.trim_end();
    if !diff.is_empty() && !matches!(report.outcome, Outcome::Refused) {
        lines.push(coloured(diff));
    }
    lines.extend(ending(report));
    lines.join("\n") + "\n"
}

fn ending(report: &Report) -> Option<String> {
    let to = &report.to;
    Some(match &report.outcome {
        Outcome::Refused => return None,
        Outcome::Already => format!("{to} has it already"),
        Outcome::DryRun => "nothing was written (--dry-run)".to_owned(),
        Outcome::Tagged { tag, digest } => format!("{tag} leads to {digest} now"),
        Outcome::Pushed { branch, commit } => format!("pushed {commit:.12} to {branch}"),
        Outcome::Proposed {
            branch, url, open, ..
        } => match (url, open) {
            (Some(url), true) => format!("{url} asks people to merge {branch}"),
            (Some(url), false) => {
                format!("{url} is closed; open it again, or delete the branch {branch}")
            }
            (None, _) => format!(
                "pushed to {branch}; no forge is configured (git.forge): open a pull request for it"
            ),
        },
    })
}

fn coloured(diff: &str) -> String {
    use anstyle::AnsiColor::{Green, Red};
    let lines = diff.lines().map(|line| match line.chars().next() {
        Some('+') => text::styled(Green.on_default(), line),
        Some('-') => text::styled(Red.on_default(), line),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_a_name_and_an_address() {
        let ada = ("Ada".to_owned(), "ada@shop.example".to_owned());
        assert_eq!(author("Ada <ada@shop.example>"), Ok(ada));
        for text in ["Ada", "<ada@shop.example>", "Ada <ada>", "Ada <a@b> x"] {
            assert!(author(text).is_err(), "{text}");
        }
    }
}
