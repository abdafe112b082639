//! The daemon's settings: one YAML file, overridden by `SLUICE_*` variables.
//!
//! A variable's name is the key's path with `__` between its parts, in capitals:
//! `SLUICE_EVIDENCE__EVERY=5s`; a list is separated by commas. Variables without a key are
//! refused, save those that Kubernetes sets for Services. Every mistake of both layers is
//! reported at once, each with its place, its key, what was found and what is wanted. Secrets
//! are given as files only and are never printed.
//!
//! Not here: where the values lie (`layers`), how one is read (`reader`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

mod access;
mod alerts;
mod approvals;
mod election;
mod evidence;
mod freeze;
mod git;
mod history;
mod layers;
mod notify;
mod reader;
mod several;
mod slack;
mod webhook;

pub use access::Access;
pub use alerts::Alerts;
pub use election::Election;
pub use evidence::{Evidence, Scrape, Source};
pub use git::{Git, ImageAutomation};
pub use history::History;
use reader::{Reader, Section};
pub use several::{Environment, conflicts, files};
pub use slack::SlackApp;
pub use webhook::Webhook;

use crate::people::sender::Destination;
use crate::rollout::approval::Environment as Approvals;
use crate::rollout::freeze::Window;
use crate::telemetry::log;
use crate::telemetry::otlp::Collector;

/// What one daemon is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The environment's name, shown in logs and on the page. Default `default`.
    pub environment: String,
    /// The cluster that is guarded.
    pub cluster: Cluster,
    /// How new templates are held. Default `auto`.
    pub gate: Gate,
    /// The gate's endpoint, where it is a webhook. Default none.
    pub webhook: Option<Webhook>,
    /// The user name under which the daemon acts, which the gate lets through. Default: asked of
    /// the API server.
    pub account: Option<String>,
    /// Which of several daemons acts.
    pub election: Election,
    /// Where evidence comes from.
    pub evidence: Evidence,
    /// How commits are undone.
    pub git: Git,
    /// Which alerts count; `None`: none are taken.
    pub alerts: Option<Alerts>,
    /// Who may act at the page.
    pub access: Access,
    /// Where finished runs are kept.
    pub history: History,
    /// A file with the key by which Flux signs its notifications; `None`: none are taken.
    pub flux_secret_file: Option<PathBuf>,
    /// Who is told of runs. Default nobody.
    pub notify: Vec<Destination>,
    /// What people may ask in Slack; `None`: nothing.
    pub slack: Option<SlackApp>,
    /// Whose approvals are asked for besides what Rollouts ask. Default nobody's.
    pub approvals: Approvals,
    /// Times in which no new run begins. Default none.
    pub freeze: Vec<Window>,
    /// The pipeline that is shown on the page; `None`: none is.
    pub pipeline: Option<PathBuf>,
    /// Where people reach the page, without a slash at its end.
    pub page_url: Option<String>,
    /// Folders with smoke tests, relative to the settings file. Default none.
    pub smoke: Vec<PathBuf>,
    /// Folders with rule files, relative to the settings file. Default none: the shipped rules.
    pub rules: Vec<PathBuf>,
    /// Address of page, API, metrics and health. Default `127.0.0.1:8095`.
    pub listen: SocketAddr,
    /// Who is sent spans. Default nobody.
    pub traces: Option<Collector>,
    /// What is logged.
    pub log: Log,
}

/// The cluster that is guarded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// A kubeconfig file, relative to the settings file. Default: in-cluster, else as kubectl.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it. Default: its current one.
    pub context: Option<String>,
    /// The namespaces that are watched. Default none: all.
    pub namespaces: Vec<String>,
}

impl Cluster {
    /// What the command line says goes before the file.
    pub fn take(&mut self, kubeconfig: Option<&Path>, context: Option<&str>) {
        if let Some(kubeconfig) = kubeconfig {
            // The file's context is one of the file's kubeconfig.
            (self.kubeconfig, self.context) = (Some(kubeconfig.to_owned()), None);
        }
        if let Some(context) = context {
            self.context = Some(context.to_owned());
        }
    }
}

/// How new templates are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// By policy where the API server serves it, else by the webhook where there is one, else by
    /// keeping the Deployment paused.
    Auto,
    /// By a `MutatingAdmissionPolicy` in the API server.
    Policy,
    /// By the daemons' webhook.
    Webhook,
    /// By keeping the Deployment paused all the time.
    Paused,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Text for people or JSON for machines. Default `text`.
    pub format: LogFormat,
    /// A level, or directives such as `info,sluice=debug`. Default `info`.
    pub level: String,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {key}: found {found}, wanted {wanted}")]
pub struct Problem {
    /// `file:line:column`, or the variable's name.
    pub origin: String,
    /// The key's path.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What would be right.
    pub wanted: String,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the settings {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// All that is wrong in it.
    #[error("the settings cannot be used:\n{}", lines(.0))]
    Invalid(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl Settings {
    /// Reads a file and the process's `SLUICE_*` variables.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::parse(&text, path, &variables)
    }

    /// Reads a text that stands (or would stand) in `file`, with the variables given.
    pub fn parse(text: &str, file: &Path, variables: &[(String, String)]) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let root = layers::merge(text, file, variables, &mut problems);
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let mut reader = Reader { folder, problems };
        let settings = root.and_then(|root| settings(&mut reader, &Section::root(&root, file)));
        match settings {
            Some(settings) if reader.problems.is_empty() => Ok(settings),
            _ => Err(Error::Invalid(reader.problems)),
        }
    }
}

/// Every key that may be given; lists are marked.
const KEYS: &[(&str, bool)] = &[
    ("environment", false),
    ("cluster.kubeconfig", false),
    ("cluster.context", false),
    ("cluster.namespaces", true),
    ("gate", false),
    ("webhook.listen", false),
    ("webhook.name", false),
    ("webhook.namespace", false),
    ("webhook.url", false),
    ("account", false),
    ("leaderElection.enabled", false),
    ("leaderElection.name", false),
    ("leaderElection.namespace", false),
    ("leaderElection.identity", false),
    ("leaderElection.leaseDuration", false),
    ("leaderElection.renewDeadline", false),
    ("leaderElection.retryPeriod", false),
    ("evidence.every", false),
    ("evidence.block", false),
    ("evidence.settle", false),
    ("evidence.prometheus.url", false),
    ("evidence.prometheus.tokenFile", false),
    ("evidence.prometheus.match", true),
    ("evidence.scrape.selector", false),
    ("evidence.scrape.namespace", false),
    ("evidence.scrape.port", false),
    ("evidence.scrape.targets", true),
    ("git.folder", false),
    ("git.name", false),
    ("git.email", false),
    ("git.signingKeyFile", false),
    ("git.timeout", false),
    ("git.maxDownload", false),
    ("git.imageAutomation", false),
    ("git.local", false),
    ("git.authors", true),
    ("git.authors[].email", false),
    ("git.authors[].user", false),
    ("git.forge.kind", false),
    ("git.forge.api", false),
    ("git.forge.host", false),
    ("git.forge.tokenFile", false),
    ("git.forge.app.id", false),
    ("git.forge.app.installation", false),
    ("git.forge.app.privateKeyFile", false),
    ("alerts.tokenFile", false),
    ("alerts.matchers", true),
    ("access.tokenReview", false),
    ("access.tokenFile", false),
    ("access.proxy.from", true),
    ("access.proxy.userHeader", false),
    ("access.proxy.groupsHeader", false),
    ("access.sessionKeyFile", false),
    ("access.oidc.issuer", false),
    ("access.oidc.clientId", false),
    ("access.oidc.clientSecretFile", false),
    ("access.oidc.caFile", false),
    ("access.oidc.scopes", true),
    ("access.oidc.userClaim", false),
    ("access.oidc.userPrefix", false),
    ("access.oidc.groupsClaim", false),
    ("access.oidc.groupsPrefix", false),
    ("access.oidc.session", false),
    ("history", false),
    ("historyKeep", false),
    ("historyPasswordFile", false),
    ("historyCaFile", false),
    ("flux.secretFile", false),
    ("notify", true),
    ("notify[].name", false),
    ("notify[].slack.channel", false),
    ("notify[].slack.tokenFile", false),
    ("notify[].slack.api", false),
    ("notify[].webhook.url", false),
    ("notify[].webhook.secretFile", false),
    ("notify[].teams.urlFile", false),
    ("slack.signingSecretFile", false),
    ("slack.appTokenFile", false),
    ("slack.api", false),
    ("slack.users", true),
    ("slack.users[].id", false),
    ("slack.users[].user", false),
    ("slack.users[].groups", true),
    ("approvals.required", false),
    ("approvals.from", true),
    ("approvals.expires", false),
    ("approvals.notAuthor", false),
    ("approvals.everyRun", false),
    ("freeze", true),
    ("freeze[].name", false),
    ("freeze[].from", false),
    ("freeze[].to", false),
    ("freeze[].for", false),
    ("freeze[].zone", false),
    ("pipeline", false),
    ("pageUrl", false),
    ("rules", true),
    ("smoke", true),
    ("listen", false),
    ("telemetry.otlp.endpoint", false),
    ("telemetry.otlp.headersFile", false),
    ("log.format", false),
    ("log.level", false),
];

fn settings(reader: &mut Reader, root: &Section) -> Option<Settings> {
    reader.known(root);
    let environment = reader.text(root, "environment");
    let cluster = cluster(reader, root);
    let gate = gate(reader, root);
    let webhook = webhook::webhook(reader, root, gate);
    let account = reader.text(root, "account");
    let election = election::election(reader, root);
    let evidence = evidence::evidence(reader, root);
    let git = git::git(reader, root);
    let alerts = alerts::alerts(reader, root);
    let access = access::access(reader, root);
    let history = history::history(reader, root);
    let flux = reader.section(root, "flux");
    let flux_secret_file = reader.path(&flux, "secretFile");
    let slack = slack::slack(reader, root);
    let notify = notify::notify(reader, root, slack.is_some());
    let approvals = approvals::approvals(reader, root);
    let freeze = freeze::freeze(reader, root);
    let pipeline = reader.path(root, "pipeline");
    let page_url = reader.text(root, "pageUrl");
    let page_url = page_url.and_then(|url| reader.url(root, "pageUrl", &url));
    let rules = reader.paths(root, "rules");
    let smoke = reader.paths(root, "smoke");
    let listen = listen(reader, root);
    let traces = traces(reader, root);
    let log = log(reader, root);
    Some(Settings {
        environment: environment.unwrap_or_else(|| "default".to_owned()),
        cluster,
        gate,
        webhook,
        account,
        election,
        git,
        alerts,
        access,
        history,
        evidence: evidence?,
        flux_secret_file,
        notify,
        slack,
        approvals,
        freeze,
        pipeline,
        page_url,
        rules,
        smoke,
        listen: listen?,
        traces,
        log,
    })
}

fn traces(reader: &mut Reader, root: &Section) -> Option<Collector> {
    let section = reader.section(root, "telemetry");
    let section = reader.section(&section, "otlp");
    let headers_file = reader.path(&section, "headersFile");
    if !section.given() {
        return None;
    }
    let wanted = "a collector's base URL, such as http://collector:4318";
    let endpoint = reader.required(&section, "endpoint", wanted)?;
    Some(Collector {
        endpoint: reader.url(&section, "endpoint", &endpoint)?,
        headers_file,
    })
}

fn cluster(reader: &mut Reader, root: &Section) -> Cluster {
    let section = reader.section(root, "cluster");
    Cluster {
        kubeconfig: reader.path(&section, "kubeconfig"),
        context: reader.text(&section, "context"),
        namespaces: reader.texts(&section, "namespaces"),
    }
}

fn gate(reader: &mut Reader, root: &Section) -> Gate {
    match reader.text(root, "gate").as_deref() {
        None | Some("auto") => Gate::Auto,
        Some("policy") => Gate::Policy,
        Some("paused") => Gate::Paused,
        Some("webhook") => Gate::Webhook,
        Some(other) => {
            let wanted = "auto, policy, webhook or paused";
            reader.wrong(root, "gate", &format!("{other:?}"), wanted);
            Gate::Auto
        }
    }
}

fn listen(reader: &mut Reader, root: &Section) -> Option<SocketAddr> {
    let text = reader.text(root, "listen");
    let text = text.as_deref().unwrap_or("127.0.0.1:8095");
    let address = text.parse().ok();
    if address.is_none() {
        let wanted = "an IP address and port such as 127.0.0.1:8095";
        reader.wrong(root, "listen", &format!("{text:?}"), wanted);
    }
    address
}

fn log(reader: &mut Reader, root: &Section) -> Log {
    let section = reader.section(root, "log");
    let format = match reader.text(&section, "format").as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => {
            reader.wrong(&section, "format", &format!("{other:?}"), "text or json");
            LogFormat::Text
        }
    };
    let level = reader.text(&section, "level");
    let level = level.unwrap_or_else(|| "info".to_owned());
    if !log::is_level(&level) {
        let wanted = "error, warn, info, debug, trace, or directives such as info,sluice=debug";
        reader.wrong(&section, "level", &format!("{level:?}"), wanted);
    }
    Log { format, level }
}

#[cfg(test)]
mod tests;
