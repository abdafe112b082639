//! `sluice migrate ingress-to-gateway NAME`: the `HTTPRoute`s that equal an Ingress, its canary included.
//!
//! As text, stdout is YAML that can be applied; notes and steps are comments in it. Not here: the
//! conversion (`crate::migrate`).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connect::Cluster;
use super::input::read;
use super::{Error, Global, Screen, commented};
use crate::kubernetes::crd::Rollout;
use crate::migrate::{Gateway, Given, PREFIX, to_gateway};
use crate::yaml;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// Migrations that are known.
#[derive(Debug, Subcommand)]
enum What {
    /// Write the `HTTPRoute`s that equal an Ingress of ingress-nginx, its canary included
    IngressToGateway(ToGateway),
}

/// Arguments.
#[derive(Debug, Args)]
struct ToGateway {
    /// The Ingress
    name: String,
    /// The Gateway that is to serve it
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = gateway)]
    gateway: Parent,
    /// Its listener without TLS
    #[arg(long, value_name = "NAME", default_value = "http")]
    http_listener: String,
    /// Its listener with TLS
    #[arg(long, value_name = "NAME", default_value = "https")]
    https_listener: String,
    /// YAML files with the Ingress, its canary, its Services and Rollouts, instead of the cluster; `-` is stdin
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What may be lost, since the Gateway has the like of it or nobody needs it: an annotation without its prefix,
    /// `class`, or the prefix of another controller's annotations
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    without: Vec<String>,
    /// What the annotations begin with
    #[arg(long, value_name = "PREFIX", default_value = PREFIX)]
    annotation_prefix: String,
}

/// A Gateway by namespace and name.
#[derive(Debug, Clone)]
struct Parent {
    namespace: Option<String>,
    name: String,
}

fn gateway(text: &str) -> Result<Parent, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    let good = |part: &str| !part.is_empty() && !part.contains('/');
    if !good(name) || !namespace.is_none_or(good) {
        return Err("wanted NAME or NAMESPACE/NAME".to_owned());
    }
    Ok(Parent {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    })
}

/// Migrates.
pub async fn migrate(
    global: &Global,
    screen: &mut Screen,
    arguments: &Arguments,
) -> Result<(), Error> {
    let What::IngressToGateway(arguments) = &arguments.what;
    let mut given = if arguments.files.is_empty() {
        from_cluster(global, &arguments.name).await?
    } else {
        from_files(global, arguments)?
    };
    given.prefix.clone_from(&arguments.annotation_prefix);
    given.without.clone_from(&arguments.without);
    let parent = &arguments.gateway;
    let gateway = Gateway {
        namespace: parent.namespace.clone(),
        name: parent.name.clone(),
        http: arguments.http_listener.clone(),
        https: arguments.https_listener.clone(),
    };
    let migrated =
        to_gateway(&given, &gateway).map_err(|faults| Error::Refused(faults.to_string()))?;
    let sections = [
        ("To be looked at:", migrated.notes.clone()),
        (
            "The switch, in this order:",
            commented::numbered(&migrated.steps),
        ),
    ];
    let text = commented::text(&sections, &migrated.objects)?;
    screen.value(&migrated, |_| text)
}

async fn from_cluster(global: &Global, name: &str) -> Result<Given, Error> {
    let cluster = Cluster::connect(global).await?;
    let ingresses: Vec<Ingress> = all(&cluster, "Ingresses").await?;
    let (elsewhere, looked_in) = elsewhere(&cluster).await?;
    let rollouts: Vec<Rollout> = match all(&cluster, "Rollouts").await {
        // Sluice need not be there.
        Err(Error::Api { code: 404, .. }) => Vec::new(),
        listed => listed?,
    };
    let rollouts = rollouts.iter().map(serde_json::to_value);
    let rollouts: Result<Vec<Value>, _> = rollouts.collect();
    let services = all(&cluster, "Services").await?;
    let rollouts = rollouts.map_err(|error| Error::Format(error.to_string()))?;
    let (ingress, others) = chosen(ingresses, name, &cluster.namespace)?;
    Ok(Given {
        ingress,
        others,
        elsewhere,
        looked_in,
        services,
        rollouts,
        ..Given::default()
    })
}

/// The Ingresses of other namespaces; where they may not be seen, which one was looked in.
async fn elsewhere(cluster: &Cluster) -> Result<(Vec<Ingress>, Option<String>), Error> {
    let api: Api<Ingress> = Api::all(cluster.client.clone());
    match api.list(&ListParams::default()).await {
        Ok(list) => {
            let mut ingresses = list.items;
            ingresses.retain(|one| one.namespace().as_ref() != Some(&cluster.namespace));
            Ok((ingresses, None))
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok((Vec::new(), Some(format!("namespace {}", cluster.namespace))))
        }
        Err(error) => Err(Error::api(
            "list the Ingresses of all namespaces".to_owned(),
            &error,
        )),
    }
}

async fn all<K>(cluster: &Cluster, what: &str) -> Result<Vec<K>, Error>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let doing = || format!("list the {what} of {}", cluster.namespace);
    let list = api.list(&ListParams::default()).await;
    Ok(list.map_err(|error| Error::api(doing(), &error))?.items)
}

fn from_files(global: &Global, arguments: &ToGateway) -> Result<Given, Error> {
    let mut objects = Vec::new();
    for file in &arguments.files {
        let wrong =
            |error: &dyn std::fmt::Display| Error::Usage(format!("{}:{error}", file.display()));
        let documents = yaml::documents(&read(file)?).map_err(|error| wrong(&error))?;
        objects.extend(
            documents
                .iter()
                .flat_map(|document| listed(document.to_json())),
        );
    }
    let ingress = |object: &&Value| {
        object["kind"] == "Ingress" && object["metadata"]["name"] == arguments.name.as_str()
    };
    let found = objects.iter().find(ingress);
    let place = found.and_then(|found| found["metadata"]["namespace"].as_str());
    let namespace = global
        .namespace
        .clone()
        .or_else(|| place.map(str::to_owned));
    let elsewhere = of_kind(&objects, "Ingress")?;
    if let Some(namespace) = &namespace {
        // What names no namespace goes where it is applied.
        objects.retain(|object| {
            object["metadata"]["namespace"]
                .as_str()
                .is_none_or(|one| one == namespace)
        });
    }
    let is_elsewhere = |one: &Ingress| one.namespace().is_some() && one.namespace() != namespace;
    let elsewhere = elsewhere.into_iter().filter(is_elsewhere).collect();
    let place = namespace.clone();
    let place = place.unwrap_or_else(|| "the files".to_owned());
    let (ingress, others) = chosen(of_kind(&objects, "Ingress")?, &arguments.name, &place)?;
    Ok(Given {
        ingress,
        others,
        elsewhere,
        looked_in: Some("the files".to_owned()),
        services: of_kind(&objects, "Service")?,
        rollouts: of_kind(&objects, "Rollout")?,
        ..Given::default()
    })
}

/// The objects of a `List`, or the object.
fn listed(object: Value) -> Vec<Value> {
    match object.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None => vec![object],
    }
}

fn of_kind<T: DeserializeOwned>(objects: &[Value], kind: &str) -> Result<Vec<T>, Error> {
    let objects = objects.iter().filter(|object| object["kind"] == kind);
    let typed = objects.map(|object| {
        serde_json::from_value(object.clone()).map_err(|error| {
            Error::Usage(format!("{kind} {}: {error}", object["metadata"]["name"]))
        })
    });
    typed.collect()
}

/// The Ingress of this name, and the others.
fn chosen(all: Vec<Ingress>, name: &str, place: &str) -> Result<(Ingress, Vec<Ingress>), Error> {
    let (mut named, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| one.name_any() == name);
    match named.pop() {
        Some(ingress) => Ok((ingress, others)),
        None => Err(Error::Refused(format!(
            "there is no Ingress {name} in {place}"
        ))),
    }
}
