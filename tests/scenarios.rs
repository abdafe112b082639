//! Every shipped scenario, the demo included, is played in virtual time and must go as it says.
//!
//! The cluster, its applications and load, and the daemon live in one thread on tokio's paused
//! clock, so minutes take seconds and a run is the same each time. Nothing listens; the daemon
//! reads the routers' metrics as texts. A failure prints the whole story.
//!
//! `GATE=webhook` or `GATE=paused` plays them in another mode of the gate; what cannot hold there says why
//! in its file. The gate's own are played in the mode `webhook` always.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sluice::cli::sandbox::embedded::{Addresses, Embedded};
use sluice::clock::Clock;
use sluice::sandbox::scenario::{self, Collected, Mode};
use tokio_util::sync::CancellationToken;

/// A test for each file, and the list of them.
macro_rules! scenarios {
    ($($name:ident: $file:literal,)*) => {
        const LISTED: &[&str] = &[$($file),*];
        $(#[test] fn $name() { play($file); })*
    };
}

scenarios! {
    bake_damage_after_the_promotion: "bake/damage-after-the-promotion.yaml",
    bad_days_a_bad_release_while_the_api_server_fails: "bad-days/a-bad-release-while-the-api-server-fails.yaml",
    bad_days_a_spec_that_turns_bad: "bad-days/a-spec-that-turns-bad.yaml",
    bad_days_another_target_during_the_run: "bad-days/another-target-during-the-run.yaml",
    bad_days_answers_are_lost: "bad-days/answers-are-lost.yaml",
    bad_days_canary_pods_are_refused: "bad-days/canary-pods-are-refused.yaml",
    bad_days_ingress_without_the_service: "bad-days/ingress-without-the-service.yaml",
    bad_days_metrics_are_gone_while_the_canary_is_bad: "bad-days/metrics-are-gone-while-the-canary-is-bad.yaml",
    bad_days_metrics_down: "bad-days/metrics-down.yaml",
    bad_days_metrics_fails: "bad-days/metrics-fails.yaml",
    bad_days_metrics_hangs: "bad-days/metrics-hangs.yaml",
    bad_days_metrics_html: "bad-days/metrics-html.yaml",
    bad_days_metrics_nan: "bad-days/metrics-nan.yaml",
    bad_days_metrics_partial: "bad-days/metrics-partial.yaml",
    bad_days_pods_cannot_be_listed: "bad-days/pods-cannot-be-listed.yaml",
    bad_days_rollout_with_unknown_rule: "bad-days/rollout-with-unknown-rule.yaml",
    bad_days_rollout_without_deployment: "bad-days/rollout-without-deployment.yaml",
    bad_days_rollout_without_ingress: "bad-days/rollout-without-ingress.yaml",
    bad_days_rollouts_that_the_api_refuses: "bad-days/rollouts-that-the-api-refuses.yaml",
    bad_days_the_api_server_answers_409: "bad-days/the-api-server-answers-409.yaml",
    bad_days_the_api_server_answers_429: "bad-days/the-api-server-answers-429.yaml",
    bad_days_the_api_server_answers_500: "bad-days/the-api-server-answers-500.yaml",
    bad_days_the_router_restarts: "bad-days/the-router-restarts.yaml",
    bad_days_the_weight_cannot_be_lowered: "bad-days/the-weight-cannot-be-lowered.yaml",
    bad_days_two_rollouts_for_one_deployment: "bad-days/two-rollouts-for-one-deployment.yaml",
    bad_days_watches_are_closed: "bad-days/watches-are-closed.yaml",
    blue_green_approved_scaled_and_superseded: "blue-green/approved-scaled-and-superseded.yaml",
    blue_green_good_and_bad: "blue-green/good-and-bad.yaml",
    demo: "demo.yaml",
    gate_01_newer_revision_before_the_unpause: "gate/01-newer-revision-before-the-unpause.yaml",
    gate_02_newer_revision_during_the_promotion: "gate/02-newer-revision-during-the-promotion.yaml",
    gate_03_a_replace_is_held: "gate/03-a-replace-is-held.yaml",
    gate_04_the_old_template_again: "gate/04-the-old-template-again.yaml",
    gate_05_appliers_that_repeat_themselves: "gate/05-appliers-that-repeat-themselves.yaml",
    gate_05_a_template_put_back_belongs_to_whoever_applies_it: "gate/05-a-template-put-back-belongs-to-whoever-applies-it.yaml",
    gate_06_kubectl_rollout_while_held: "gate/06-kubectl-rollout-while-held.yaml",
    gate_07_everything_in_one_commit_rollout_first: "gate/07-everything-in-one-commit-rollout-first.yaml",
    gate_07_everything_in_one_commit_rollout_last: "gate/07-everything-in-one-commit-rollout-last.yaml",
    gate_08_the_same_said_otherwise: "gate/08-the-same-said-otherwise.yaml",
    gate_09_another_policy_changes_the_template: "gate/09-another-policy-changes-the-template.yaml",
    gate_10_two_deployments_with_one_selector: "gate/10-two-deployments-with-one-selector.yaml",
    gate_11_no_replicas: "gate/11-no-replicas.yaml",
    gate_12_scaled_during_the_run: "gate/12-scaled-during-the-run.yaml",
    gate_13_stable_scaled_to_nothing: "gate/13-stable-scaled-to-nothing.yaml",
    gate_14_the_canary_cannot_be_pulled: "gate/14-the-canary-cannot-be-pulled.yaml",
    gate_14_the_canary_crashes: "gate/14-the-canary-crashes.yaml",
    gate_14_the_canary_hangs: "gate/14-the-canary-hangs.yaml",
    gate_14_the_canary_runs_out_of_memory: "gate/14-the-canary-runs-out-of-memory.yaml",
    gate_15_the_daemon_is_killed_again_and_again: "gate/15-the-daemon-is-killed-again-and-again.yaml",
    gate_15_the_daemon_is_killed_while_it_rolls_back: "gate/15-the-daemon-is-killed-while-it-rolls-back.yaml",
    gate_16_a_header_is_added_by_hand: "gate/16-a-header-is-added-by-hand.yaml",
    gate_16_the_canary_deployment_is_deleted: "gate/16-the-canary-deployment-is-deleted.yaml",
    gate_16_the_canary_ingress_is_deleted: "gate/16-the-canary-ingress-is-deleted.yaml",
    gate_16_the_canary_service_is_deleted: "gate/16-the-canary-service-is-deleted.yaml",
    gate_16_the_weight_is_edited_by_hand: "gate/16-the-weight-is-edited-by-hand.yaml",
    gate_17_a_path_edited_during_the_run: "gate/17-a-path-edited-during-the-run.yaml",
    gate_17_a_rule_without_paths: "gate/17-a-rule-without-paths.yaml",
    gate_17_an_ingress_without_rules: "gate/17-an-ingress-without-rules.yaml",
    gate_18_the_rollout_is_deleted_during_the_run: "gate/18-the-rollout-is-deleted-during-the-run.yaml",
    gate_18_the_rollout_is_suspended_during_the_run: "gate/18-the-rollout-is-suspended-during-the-run.yaml",
    gate_19_the_deployment_is_deleted_and_made_again: "gate/19-the-deployment-is-deleted-and-made-again.yaml",
    gate_20_an_approval_and_a_status_write_at_once: "gate/20-an-approval-and-a-status-write-at-once.yaml",
    gate_21_a_held_run_and_a_newer_revision: "gate/21-a-held-run-and-a-newer-revision.yaml",
    gate_21_a_held_run_and_a_rollback: "gate/21-a-held-run-and-a-rollback.yaml",
    gate_22_nobody_answers_the_webhook: "gate/22-nobody-answers-the-webhook.yaml",
    gate_22_sluice_is_down: "gate/22-sluice-is-down.yaml",
    gate_23_waiting_for_a_held_deployment: "gate/23-waiting-for-a-held-deployment.yaml",
    gate_24_tracking_labels: "gate/24-tracking-labels.yaml",
    gate_25_broken_glass: "gate/25-broken-glass.yaml",
    gate_25_broken_glass_in_a_run: "gate/25-broken-glass-in-a-run.yaml",
    gate_25_broken_glass_in_mode_paused: "gate/25-broken-glass-in-mode-paused.yaml",
    gate_25_past_the_gate: "gate/25-past-the-gate.yaml",
    gate_26_the_gate_is_deleted: "gate/26-the-gate-is-deleted.yaml",
    gate_26_the_webhook_is_deleted: "gate/26-the-webhook-is-deleted.yaml",
    gate_26_the_label_is_stripped: "gate/26-the-label-is-stripped.yaml",
    gate_27_a_restart_during_a_run: "gate/27-a-restart-during-a-run.yaml",
    gate_27_a_restart_in_mode_paused: "gate/27-a-restart-in-mode-paused.yaml",
    gate_27_a_restart_when_idle: "gate/27-a-restart-when-idle.yaml",
    gate_28_a_network_policy: "gate/28-a-network-policy.yaml",
    gate_29_known_good_again: "gate/29-known-good-again.yaml",
    gate_30_a_configuration_that_changes_in_its_run: "gate/30-a-configuration-that-changes-in-its-run.yaml",
    gateway_an_http_route_is_split_and_made_whole: "gateway/an-http-route-is-split-and-made-whole.yaml",
    gateway_an_idle_rollout_goes_from_its_ingress_to_a_route: "gateway/an-idle-rollout-goes-from-its-ingress-to-a-route.yaml",
    limits_a_switch_without_a_baseline: "limits/a-switch-without-a-baseline.yaml",
    load_a_service_without_traffic: "load/a-service-without-traffic.yaml",
    rolling_a_daemon_set: "rolling/a-daemon-set.yaml",
    rolling_a_stateful_set: "rolling/a-stateful-set.yaml",
    rolling_good_and_bad: "rolling/good-and-bad.yaml",
    rolling_overtaken_and_killed: "rolling/overtaken-and-killed.yaml",
    load_no_requests_and_no_load: "load/no-requests-and-no-load.yaml",
    traffic_two_ingresses_on_one_service: "traffic/two-ingresses-on-one-service.yaml",
}

/// Those of the gate go by webhook as by policy.
#[test]
fn the_gates_scenarios_go_by_webhook_as_by_policy() {
    for file in LISTED.iter().filter(|file| file.starts_with("gate/0")) {
        play_in(file, Mode::Webhook);
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// All shipped scenarios, by their path in `scenarios/`.
fn files() -> BTreeSet<String> {
    let short = |path: PathBuf| path.strip_prefix(folder()).unwrap().display().to_string();
    let files = scenario::files(&folder()).unwrap();
    files.into_iter().map(short).collect()
}

#[test]
fn every_scenario_is_played() {
    let listed: BTreeSet<String> = LISTED.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(listed, files());
}

#[test]
fn every_scenario_can_be_read() {
    for file in files() {
        if let Err(problems) = scenario::load(&folder().join(file)) {
            panic!("{problems}");
        }
    }
}

/// Plays one file; panics with its story if anything is not as expected.
fn play(file: &str) {
    play_in(file, wanted());
}

/// The mode that is asked for.
#[allow(clippy::disallowed_methods)] // so that all can be played in each mode
fn wanted() -> Mode {
    let mode = std::env::var("GATE").ok();
    mode.map_or(Mode::Policy, |mode| mode.parse().unwrap())
}

fn play_in(file: &str, mode: Mode) {
    // Fails only when another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (failures, story) = runtime.block_on(told(file, mode));
    assert!(failures == 0, "\n{story}");
}

async fn told(file: &str, mode: Mode) -> (usize, String) {
    let scenario =
        scenario::load(&folder().join(file)).unwrap_or_else(|problems| panic!("{problems}"));
    let scenario = match scenario.in_mode(mode) {
        Ok(scenario) => scenario,
        Err(why) => {
            println!("NOT PLAYED in mode {mode}: {file}: {why}");
            return (0, String::new());
        }
    };
    let clock = Clock::scaled(Timestamp::from_second(1_700_000_000).unwrap(), 1.0);
    let cluster = Embedded::start(&scenario, clock, Addresses::default())
        .await
        .unwrap();
    let mut sink = Collected::default();
    let ended = scenario::play(&scenario, &cluster, &mut sink, &CancellationToken::new()).await;
    cluster.stop().await;
    (ended.failures, sink.story())
}
