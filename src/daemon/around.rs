//! What the page shows of a Rollout beside its status, from the watches: pods, plan, answers.
//!
//! Not here: how it looks (`web::view`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::kubernetes::cache::Cache;
use crate::kubernetes::crd::Target;
use crate::kubernetes::pods::PodRow;
use crate::kubernetes::{canary, conversion};
use crate::web::{Around, Pod};

/// Looks around a Rollout; none where it is not known.
pub fn around(cache: &Cache, namespace: &str, name: &str) -> Option<Around> {
    let rollout = cache.rollouts.get(namespace, name)?;
    let rules = rollout
        .spec
        .analysis
        .iter()
        .flat_map(|analysis| &analysis.rules);
    // That each rule exists is said elsewhere: the plan is shown all the same.
    let defaults = conversion::DEFAULT_RULES.map(str::to_owned);
    let known: BTreeSet<String> = rules.cloned().chain(defaults).collect();
    let status = rollout.status.as_ref();
    Some(Around {
        pods: pods(cache, namespace, &rollout.spec.target),
        plan: conversion::plan(&rollout, &known).ok(),
        answers: status.map_or_else(Vec::new, |status| status.answers.clone()),
    })
}

fn pods(cache: &Cache, namespace: &str, target: &Target) -> Vec<Pod> {
    let stable = (target.kind.as_str(), target.name.as_str());
    let canary = canary::deployment_name(&target.name);
    let canary = ("Deployment", canary.as_str());
    let rows = cache.rows.within(namespace).into_iter();
    let both = rows.filter(|row| [stable, canary].contains(&row.workload()));
    both.map(|row| pod(cache, namespace, row, canary)).collect()
}

fn pod(cache: &Cache, namespace: &str, row: Arc<PodRow>, canary: (&str, &str)) -> Pod {
    let set = cache.replica_sets.get(namespace, &row.set);
    Pod {
        canary: row.workload() == canary,
        revision: set.map(|set| set.revision.hash.clone()),
        row,
    }
}
