//! `sluice approve SERVICE --from ENV --to ENV`: a person lets a version go on to the next environment.
//!
//! It is written on the service's Rollout in the environment before, as an annotation that names who the API
//! server says it is: the right to patch that Rollout is needed, and `clusters/components/approvals` refuses
//! the name of somebody else.
//!
//! Not here: whether that is enough (`crate::environments::gates`).

use clap::Args;
use serde::Serialize;

use super::between::Between;
use super::way::{self, Where};
use super::{Error, Global, Screen, request};
use crate::clock::Clock;
use crate::environments::Version;
use crate::kubernetes::ask;
use crate::rollout::request::{Act, Request};

/// The field manager of what is written.
const MANAGER: &str = "sluice-cli";

/// Arguments.
#[derive(Debug, Args)]
pub struct Approve {
    #[command(flatten)]
    request: request::Arguments,
    #[command(flatten)]
    between: Between,
    #[command(flatten)]
    place: Where,
}

/// What was approved.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Consent {
    service: String,
    version: Version,
    to: String,
    by: String,
}

/// Approves a step of a run, or a version for an environment.
pub async fn approve(
    global: &Global,
    screen: &mut Screen,
    arguments: &Approve,
) -> Result<(), Error> {
    let Some((from, to)) = arguments.between.ends() else {
        return request::ask(global, screen, Act::Approve, &arguments.request).await;
    };
    let pipeline = arguments.place.load()?;
    let name = arguments.request.name();
    let (below, above) = pipeline.way(from, to).map_err(way::told)?;
    if above.gates.approval.is_none() {
        let text = format!("{to} asks for no approval (gates.approval)");
        return Err(Error::Usage(text));
    }
    let service = pipeline.service(name).map_err(way::told)?;
    let desk = arguments.place.desk(&pipeline);
    let version = arguments.between.version();
    let version = way::blocking(|| desk.version(below, service, version))?;
    let (cluster, rollout) = way::rollout(global, below, service).await?;
    let (by, groups) = ask::who(&cluster.client).await;
    let by = by.ok_or_else(|| {
        let text = format!("the API server of {from} does not say who you are");
        Error::Refused(text)
    })?;
    let id = ask::id(Act::Approve, Clock::machine());
    let request = Request {
        revision: Some(version.to_string()),
        goal: Some(to.to_owned()),
        service: Some(name.to_owned()),
        by: Some(by.clone()),
        groups,
        ..Request::new(id, Ok(Act::Approve))
    };
    let written = ask::let_on(&cluster.client, &rollout, &request, MANAGER).await;
    written.map_err(|error| {
        let doing = format!("write to the Rollout of {name} in {from}");
        Error::asking(doing, &error)
    })?;
    let consent = Consent {
        service: name.to_owned(),
        version,
        to: to.to_owned(),
        by,
    };
    screen.value(&consent, |consent| {
        let Consent {
            service,
            version,
            to,
            by,
        } = consent;
        format!("{service} {} may go to {to}, says {by}\n", version.short())
    })
}
