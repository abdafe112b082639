//! `sluice get`: the Rollouts and where they stand.
//!
//! Not here: why (`explain`), and what comes next (`watch`).

use clap::Args;
use comfy_table::Cell;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::connect::Cluster;
use super::{Error, Format, Global, Screen, text};
use crate::clock::{Clock, elapsed};
use crate::kubernetes::crd::Rollout;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this one
    name: Option<String>,
}

/// Prints a table, or the objects.
pub async fn get(global: &Global, screen: &mut Screen, arguments: &Arguments) -> Result<(), Error> {
    let cluster = Cluster::connect(global).await?;
    if let Some(name) = &arguments.name {
        let mut rollout = cluster.rollout(name).await?;
        rollout.managed_fields_mut().clear();
        let width = screen.width();
        return screen.value(&rollout, |rollout| {
            table(
                std::slice::from_ref(rollout),
                false,
                Clock::machine().now(),
                width,
            )
        });
    }
    let rollouts = list(&cluster).await?;
    if rollouts.is_empty() && screen.format() == Format::Text {
        return screen.print("No Rollout was found.\n");
    }
    let width = screen.width();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": rollouts});
    screen.value(&list, |_| {
        table(
            &rollouts,
            global.all_namespaces,
            Clock::machine().now(),
            width,
        )
    })
}

async fn list(cluster: &Cluster) -> Result<Vec<Rollout>, Error> {
    let list = cluster.all_rollouts().list(&ListParams::default()).await;
    let mut rollouts = list
        .map_err(|error| Error::api("list Rollouts", &error))?
        .items;
    for rollout in &mut rollouts {
        rollout.managed_fields_mut().clear();
    }
    Ok(rollouts)
}

/// A row a Rollout.
pub fn table(rollouts: &[Rollout], everywhere: bool, now: Timestamp, width: Option<u16>) -> String {
    let columns = [
        "NAMESPACE",
        "NAME",
        "PHASE",
        "WEIGHT",
        "STEP",
        "VERDICT",
        "REVISION",
        "AGE",
        "WHY",
    ];
    let skipped = usize::from(!everywhere);
    let mut table = text::table(&columns[skipped..], width);
    for rollout in rollouts {
        table.add_row(row(rollout, now).into_iter().skip(skipped));
    }
    text::lines(&table)
}

fn row(rollout: &Rollout, now: Timestamp) -> Vec<Cell> {
    let status = rollout.status.clone().unwrap_or_default();
    let run = status.run.as_ref();
    let created = rollout.meta().creation_timestamp.as_ref();
    let dash = || "-".to_owned();
    vec![
        Cell::new(rollout.namespace().unwrap_or_default()),
        Cell::new(rollout.name_any()),
        text::cell(status.phase.as_deref().unwrap_or("-")),
        Cell::new(run.map_or_else(dash, |run| format!("{}%", run.weight))),
        Cell::new(run.and_then(|run| run.step.clone()).unwrap_or_else(dash)),
        text::cell(run.map_or("-", |run| run.verdict.as_str())),
        Cell::new(status.revision.clone().unwrap_or_else(dash)),
        Cell::new(created.map_or_else(dash, |at| text::age(elapsed(at.0, now)))),
        Cell::new(
            status
                .message
                .clone()
                .unwrap_or_else(|| match status.phase {
                    Some(_) => String::new(),
                    None => "no daemon has looked at it yet".to_owned(),
                }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::cli::explain::tests::stepping;

    #[test]
    fn the_table_is_read_at_a_glance() {
        let mut idle = stepping();
        idle.metadata.name = Some("front".to_owned());
        idle.status = None;
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let found = table(&[stepping(), idle], true, now, None);
        let wanted = "\
NAMESPACE   NAME      PHASE      WEIGHT   STEP   VERDICT     REVISION     AGE   WHY
shop        backend   Stepping   5%       1/3    Undecided   91bc03aa17   60s   collecting evidence
shop        front     -          -        -      -           -            60s   no daemon has looked at it yet
";
        assert_eq!(strip_str(&found).to_string(), wanted);
    }

    #[test]
    fn a_narrow_terminal_wraps_the_reason() {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let found = table(&[stepping()], true, now, Some(90));
        for line in strip_str(&found).to_string().lines() {
            assert!(line.chars().count() <= 90, "{line}");
        }
    }
}
