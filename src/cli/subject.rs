//! Which Rollout is meant and what it is judged by: for commands that look at its evidence outside of a run.
//!
//! A Rollout is named in a cluster or stands in a file; rules, timings and the place of the metrics
//! are those of the daemon's settings, where a settings file is given or found. Without one the
//! shipped rules and the default timings apply.
//!
//! Not here: reading metrics (`prometheus`), and what is made of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::connect::Cluster;
use super::input::read;
use super::{Error, Global, lint};
use crate::clock::Clock;
use crate::daemon;
use crate::daemon::rules::Rules;
use crate::daemon::settings::{self, Scrape as ScrapeSettings, Settings};
use crate::kubernetes::entries::Beside;
use crate::kubernetes::http_route::HttpRoute;
use crate::kubernetes::preflight::{self, Gateway, Nginx, Seen, Way};
use crate::kubernetes::{canary, conversion, crd, workload};
use crate::prometheus::{self, Scrape, Source, Targets};
use crate::rollout::plan::{Plan, Route};
use crate::rollout::rule::{Kind, RuleSet};
use crate::rollout::terms::{Terms, Timing};

/// The settings file that is read where there is one.
const SETTINGS: &str = "sluice.yaml";
/// Pods where nothing is said of them.
const PODS: u32 = 10;
/// A metrics page answers in this time, or not.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Which Rollout, and where its rules and metrics are.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// The Rollout's name, or a file (what holds a `/`, ends in .yaml, .yml or .json, or is `-`)
    #[arg(value_name = "ROLLOUT", required_unless_present = "file")]
    rollout: Option<String>,
    /// Read the Rollout from this file; no cluster is asked. `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The daemon's settings: rules, timings, metrics [default: sluice.yaml, if there is one]
    #[arg(long, value_name = "FILE", env = "SLUICE_CONFIG")]
    config: Option<PathBuf>,
    /// A folder with rule files, instead of those of the settings
    #[arg(long, value_name = "FOLDER")]
    rules: Vec<PathBuf>,
    /// The Prometheus server, instead of that of the settings
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Pods of the Deployment [default: as the cluster says, else 10]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pods: Option<u32>,
}

/// The Rollout that is meant.
#[derive(Debug)]
pub struct Chosen {
    /// Its plan, questions and timings.
    pub terms: Terms,
    /// Time between two looks.
    pub every: Duration,
    /// Pods of its Deployment.
    pub pods: u32,
    /// What is said of rules that count no requests and are left out.
    pub left_out: Vec<String>,
    rules: RuleSet,
    names: Option<Names>,
    settings: Option<Settings>,
    prometheus: Option<String>,
}

/// The stable Service and the port that the Ingress names.
#[derive(Debug)]
struct Names {
    service: String,
    other_ingresses: Vec<String>,
    ports: Vec<String>,
    /// Replicas of the Deployment; none where no cluster was asked.
    replicas: Option<u32>,
}

impl Which {
    fn file(&self) -> Option<PathBuf> {
        let named = self.rollout.as_deref().filter(|name| is_file(name));
        self.file.clone().or(named.map(PathBuf::from))
    }

    /// Finds the Rollout and what it is judged by.
    pub async fn choose(&self, global: &Global) -> Result<Chosen, Error> {
        let settings = self.settings()?;
        let folders = match (&self.rules[..], &settings) {
            ([], Some(settings)) => settings.rules.clone(),
            (folders, _) => folders.to_vec(),
        };
        let rules = Rules::load(folders).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::Usage(lines.join("\n"))
        })?;
        let rules = rules.all().clone();
        let known: BTreeSet<String> = rules.keys().cloned().collect();
        let (mut plan, names) = match self.file() {
            Some(file) => self.in_file(&file, global, &known)?,
            None => self.in_cluster(global, &known).await?,
        };
        let left_out = leave_out(&mut plan, &rules)?;
        let timing = settings
            .as_ref()
            .map_or_else(Timing::default, |settings| (&settings.evidence).into());
        let replicas = names.as_ref().and_then(|names| names.replicas);
        Ok(Chosen {
            terms: timing.terms(plan, &rules),
            every: timing.every,
            pods: self.pods.or(replicas).unwrap_or(PODS).max(1),
            left_out,
            rules,
            names,
            settings,
            prometheus: self.prometheus.clone(),
        })
    }

    fn settings(&self) -> Result<Option<Settings>, Error> {
        match &self.config {
            Some(file) => Ok(Some(Settings::load(file)?)),
            None if Path::new(SETTINGS).is_file() => Ok(Some(Settings::load(Path::new(SETTINGS))?)),
            None => Ok(None),
        }
    }

    fn in_file(
        &self,
        file: &Path,
        global: &Global,
        known: &BTreeSet<String>,
    ) -> Result<(Plan, Option<Names>), Error> {
        let name = file.display().to_string();
        let mut rollouts = lint::rollouts(&name, &read(file)?, known).map_err(Error::Usage)?;
        let wanted = self.rollout.as_deref().filter(|name| !is_file(name));
        rollouts.retain(|rollout| wanted.is_none_or(|wanted| rollout.name_any() == wanted));
        let rollout = match (rollouts.pop(), rollouts.len()) {
            (Some(rollout), 0) => rollout,
            (None, _) => {
                let which = wanted.map_or(String::new(), |wanted| format!(" {wanted}"));
                return Err(Error::Usage(format!("{name}: found no Rollout{which}")));
            }
            (Some(_), others) => {
                let found = others + 1;
                let text = format!("{name}: found {found} Rollouts; name the one that is meant");
                return Err(Error::Usage(text));
            }
        };
        let mut plan = converted(&rollout, known)?;
        if let (None, Some(namespace)) = (rollout.namespace(), &global.namespace) {
            plan.namespace.clone_from(namespace);
        }
        let names = plan.route.service().map(|service| Names {
            service: service.to_owned(),
            other_ingresses: Vec::new(),
            ports: Vec::new(),
            replicas: None,
        });
        Ok((plan, names))
    }

    async fn in_cluster(
        &self,
        global: &Global,
        known: &BTreeSet<String>,
    ) -> Result<(Plan, Option<Names>), Error> {
        let cluster = Cluster::connect(global).await?;
        let rollout = cluster
            .rollout(self.rollout.as_deref().unwrap_or_default())
            .await?;
        let plan = converted(&rollout, known)?;
        let names = names(&cluster, &plan).await?;
        Ok((plan, Some(names)))
    }
}

fn is_file(name: &str) -> bool {
    let endings = [".yaml", ".yml", ".json"];
    name == "-" || name.contains('/') || endings.iter().any(|ending| name.ends_with(ending))
}

fn converted(rollout: &crd::Rollout, known: &BTreeSet<String>) -> Result<Plan, Error> {
    conversion::plan(rollout, known).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::Usage(lines.join("\n"))
    })
}

/// Takes rules that count nothing of what was out of the plan: what they would see nobody knows.
fn leave_out(plan: &mut Plan, rules: &RuleSet) -> Result<Vec<String>, Error> {
    let asks = |name: &String| {
        let kind = rules.get(name).map(|rule| &rule.kind);
        matches!(
            kind,
            Some(Kind::Compare(_) | Kind::Value(_) | Kind::Load(_))
        )
    };
    let (asking, counting) = plan.analysis.rules.drain(..).partition(asks);
    plan.analysis.rules = counting;
    let asking: Vec<String> = asking;
    if plan.analysis.rules.is_empty() {
        let text = "spec.analysis.rules: found only rules that sample numbers or ask for load, wanted one that counts";
        return Err(Error::Usage(text.to_owned()));
    }
    let told = |name: &String| {
        format!("{name}: it samples numbers or asks for load, so it is left out here")
    };
    Ok(asking.iter().map(told).collect())
}

/// The Service behind the Ingress, found as the daemon finds it.
async fn names(cluster: &Cluster, plan: &Plan) -> Result<Names, Error> {
    let namespace = plan.namespace.as_str();
    let doing = |what: &str| format!("read {what} of {namespace}");
    let all = ListParams::default();
    let title = format!("{} {}", plan.kind, plan.target);
    let target = workload::get(&cluster.client, plan.kind, (namespace, &plan.target)).await;
    let target = target.map_err(|e| Error::api(doing(&title), &e))?;
    let target = target.ok_or_else(|| Error::Refused(format!("there is no {title}")))?;
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    let services = services.list(&all).await;
    let services = services.map_err(|e| Error::api(doing("the Services"), &e))?;
    let (mut ingresses, mut http_routes) = (Vec::new(), Vec::new());
    let way = match &plan.route {
        Route::IngressNginx {
            ingress,
            service,
            prefix,
        } => {
            let api: Api<Ingress> = Api::namespaced(cluster.client.clone(), namespace);
            let listed = api.list(&all).await;
            ingresses.extend(listed.map_err(|e| Error::api(doing("the Ingresses"), &e))?);
            Way::Nginx(Nginx {
                ingress,
                service: service.as_deref(),
                prefix,
                ingresses: ingresses.iter().collect(),
                classes: None,
            })
        }
        Route::GatewayApi {
            http_route,
            service,
        } => {
            let api: Api<HttpRoute> = Api::namespaced(cluster.client.clone(), namespace);
            let listed = api.list(&all).await;
            http_routes.extend(listed.map_err(|e| Error::api(doing("the HTTPRoutes"), &e))?);
            Way::Gateway(Gateway {
                http_route,
                service: service.as_deref(),
                http_routes: http_routes.iter().collect(),
                matching: plan.matching.as_ref(),
            })
        }
    };
    let beside = Beside::of(&target);
    let seen = preflight::preflight(&Seen {
        rollout_uid: &plan.uid,
        kind: plan.kind,
        target: &target,
        template: &target.spec.template,
        way,
        services: services.items.iter().collect(),
        deployments: vec![&beside],
        policies: Vec::new(),
        budgets: Vec::new(),
        claims: Vec::new(),
    });
    if let Some(found) = seen.found {
        return Ok(Names {
            service: found.service.name_any(),
            other_ingresses: found.others.iter().map(|name| (*name).to_owned()).collect(),
            ports: found.ports,
            replicas: target.spec.replicas.and_then(|n| u32::try_from(n).ok()),
        });
    }
    let why: Vec<String> = seen.refusals.iter().map(ToString::to_string).collect();
    Err(Error::Refused(why.join("; ")))
}

impl Chosen {
    /// What to read for it, from `since` on.
    pub fn subject(&self, since: Timestamp) -> Result<prometheus::Subject, Error> {
        let plan = &self.terms.plan;
        let names = self.names.as_ref().ok_or_else(|| {
            let field = plan.route.service_field();
            let text =
                "found nothing, wanted the stable Service's name, since no cluster is asked for it";
            Error::Usage(format!("{field}: {text}"))
        })?;
        let named = plan.analysis.rules.iter();
        Ok(prometheus::Subject {
            namespace: plan.namespace.clone(),
            name: plan.name.clone(),
            ingress: plan.route.name().to_owned(),
            service: names.service.clone(),
            canary_service: canary::service_name(&names.service),
            other_ingresses: names.other_ingresses.clone(),
            port: names.ports.first().cloned().unwrap_or_default(),
            other_ports: names.ports.iter().skip(1).cloned().collect(),
            workload: plan.target.clone(),
            canary_workload: canary::deployment_name(&plan.target),
            canary_pods: canary::pods(&canary::deployment_name(&plan.target)),
            stable_pods: canary::pods(&plan.target),
            rules: named
                .filter_map(|name| self.rules.get(name).map(Arc::clone))
                .collect(),
            cursor: None,
            since,
        })
    }

    /// Where metrics are read, and what it is called. Only a Prometheus server can look back.
    pub fn source(&self) -> Result<(Source, Place), Error> {
        if let Some(url) = &self.prometheus {
            return server(url, None, &[]);
        }
        match self.settings.as_ref().map(|s| &s.evidence.source) {
            Some(settings::Source::Prometheus {
                url,
                token_file,
                matching,
            }) => server(url, token_file.clone(), matching),
            Some(settings::Source::Scrape(ScrapeSettings::Targets(urls))) => {
                let scrape = Scrape::new(Targets::Urls(urls.clone()), PAGE_TIMEOUT);
                let place = Place {
                    name: urls.join(", "),
                    looks_back: false,
                };
                Ok((scrape.map_err(daemon::Error::from)?.into(), place))
            }
            Some(settings::Source::Scrape(ScrapeSettings::Pods { .. })) => Err(nowhere(
                "evidence.scrape: found pods, wanted a place that can be read from here",
            )),
            None => Err(nowhere(
                "evidence.prometheus.url: found nothing, wanted the place of the metrics",
            )),
        }
    }
}

/// Where metrics are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// For people.
    pub name: String,
    /// Whether it knows what was before.
    pub looks_back: bool,
}

fn server(
    url: &str,
    token_file: Option<PathBuf>,
    matching: &[(String, String)],
) -> Result<(Source, Place), Error> {
    let source = daemon::prometheus(url, token_file, matching, Clock::machine());
    let place = Place {
        name: url.to_owned(),
        looks_back: true,
    };
    Ok((source?, place))
}

fn nowhere(what: &str) -> Error {
    Error::Usage(format!("{what}: give --prometheus URL, or --config FILE"))
}
