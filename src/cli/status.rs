//! `sluice status`: which version is where, since when, and what stands between it and the next
//! environment.
//!
//! Versions come from the branch that deploys each environment, promotions from its Rollouts where
//! the pipeline names clusters. A cluster that does not answer is a shut gate, not an error. Not
//! here: the gates' judgement (`crate::environments`).

use std::time::Duration;

use clap::Args;
use comfy_table::{Cell, Color};
use futures::future::join_all;
use humantime::format_duration;
use serde::Serialize;

use super::way::{self, Where};
use super::{Error, Global, Screen, text};
use crate::clock::Clock;
use crate::environments::gates::ago;
use crate::environments::{Pipeline, Place, Standings};

/// For what one Rollout says.
const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this service
    service: Option<String>,
    #[command(flatten)]
    place: Where,
}

/// A service in an environment, with the text that people read.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    place: Place,
    #[serde(skip)]
    since: String,
    #[serde(skip)]
    next: String,
}

/// Prints a row for each service and environment.
pub async fn status(
    global: &Global,
    screen: &mut Screen,
    arguments: &Arguments,
) -> Result<(), Error> {
    let pipeline = arguments.place.load()?;
    if let Some(service) = &arguments.service {
        pipeline.service(service).map_err(way::told)?;
    }
    let is_meant = |name: &str| arguments.service.as_deref().is_none_or(|only| only == name);
    let standings = standings(global, &pipeline, is_meant).await;
    let desk = arguments.place.desk(&pipeline);
    let places = way::blocking(|| desk.places(&is_meant, &standings))?;
    let rows: Vec<Row> = places.into_iter().map(row).collect();
    let width = screen.width();
    screen.value(&rows, |rows| table(rows, width))
}

/// What all clusters say, asked at once: one that does not answer costs its own rows.
async fn standings(
    global: &Global,
    pipeline: &Pipeline,
    is_meant: impl Fn(&str) -> bool,
) -> Standings {
    let clock = Clock::machine();
    let environments = || pipeline.environments.iter();
    let services = pipeline.services.iter().filter(|s| is_meant(&s.name));
    let asked = services.flat_map(|service| {
        let clusters = environments().filter(|e| e.cluster.is_some());
        clusters.map(move |environment| async move {
            let next = pipeline.after(&environment.name);
            let asked = way::standing(global, environment, service, next);
            let says = match clock.timeout(PATIENCE, asked).await {
                Ok(says) => says.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {}", format_duration(PATIENCE))),
            };
            ((environment.name.clone(), service.name.clone()), says)
        })
    });
    join_all(asked).await.into_iter().collect()
}

fn row(place: Place) -> Row {
    let now = Clock::machine().now();
    let since = place.since.map_or("-".to_owned(), |since| ago(now, since));
    Row {
        next: next(&place),
        since,
        place,
    }
}

/// What is to be said of the way on.
fn next(place: &Place) -> String {
    let Some(to) = &place.next else {
        return place.why.clone().unwrap_or_default();
    };
    let shut: Vec<&str> = place.shut().map(|answer| answer.why.as_str()).collect();
    match (place.ahead, place.may_go()) {
        (false, _) => format!("{to} has it"),
        (true, true) => format!("{to}: may go"),
        (true, false) => format!("{to}: {}", shut.join("; ")),
    }
}

fn table(rows: &[Row], width: Option<u16>) -> String {
    let header = [
        "SERVICE",
        "ENVIRONMENT",
        "VERSION",
        "SINCE",
        "ROLLOUT",
        "NEXT",
    ];
    let mut table = text::table(&header, width);
    for row in rows {
        let place = &row.place;
        let version = place
            .version
            .as_ref()
            .map_or("-".to_owned(), crate::environments::Version::short);
        let phase = place.phase.as_deref().unwrap_or("-");
        let next = Cell::new(&row.next);
        table.add_row(vec![
            Cell::new(&place.service),
            Cell::new(&place.environment),
            Cell::new(version),
            Cell::new(&row.since),
            text::cell(phase),
            if place.may_go() {
                next.fg(Color::Green)
            } else {
                next
            },
        ]);
    }
    text::lines(&table)
}
