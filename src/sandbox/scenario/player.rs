//! Playing a scenario: its steps in order, its expectations, what must hold always, and what
//! is to be told meanwhile.
//!
//! Guarantees: all waiting is on the stage's clock, so that a scenario takes no time where
//! that is virtual; as often as the stage bears it the always-checks are looked at and running Rollouts
//! are followed. A step that fails ends the scenario; a named run that does not end as it
//! should is a failure, but the next one is played.

mod commits;
mod routes;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::acts;
use super::checks::{Check, Expect};
use super::fleet::Fleet;
use super::format::{Ask, Run, Scenario, Step};
use super::heading::heading;
use super::journal::Journal;
use super::kinds::text;
use super::look::{self, look};
use super::manifests::Git;
use super::measure::{Measure, Moment};
use super::stage::Stage;
use super::told::{Row, Sink, Told};
use super::verbs;
use crate::clock::elapsed;

/// Looks between two live lines.
const LIVE: u32 = 10;
/// Time for what must be seen after a named run.
const AFTERMATH: Duration = Duration::from_secs(30);

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The named runs.
    pub rows: Vec<Row>,
    /// How many things were not as expected.
    pub failures: usize,
}

/// Plays the scenario on the stage and tells the sink; `stop` ends it early.
pub async fn play(
    scenario: &Scenario,
    stage: &dyn Stage,
    sink: &mut dyn Sink,
    stop: &CancellationToken,
) -> Ended {
    let now = stage.clock().now();
    let mut player = Player {
        stage,
        sink,
        stop,
        namespace: &scenario.namespace,
        git: Git::default(),
        fleet: None,
        gateway: scenario.cluster.gateway_api,
        journal: Journal::new(now, stage.world().tallies()),
        always: Vec::new(),
        rows: Vec::new(),
        failures: 0,
        looks: 0,
        asked: 0,
    };
    player.begin(scenario);
    for opened in [
        player.define_routes(scenario).await,
        player.open(scenario).await,
    ] {
        if let Err(problem) = opened {
            player.fail(0, one(problem));
            return player.end();
        }
    }
    for (line, step) in &scenario.steps {
        if stop.is_cancelled() {
            break;
        }
        if let Err(problems) = player.step(*line, step).await {
            player.fail(*line, problems);
            break;
        }
    }
    player.end()
}

struct Player<'a> {
    stage: &'a dyn Stage,
    sink: &'a mut dyn Sink,
    stop: &'a CancellationToken,
    namespace: &'a str,
    git: Git,
    fleet: Option<Fleet>,
    /// Whether there are `HTTPRoutes`.
    gateway: bool,
    journal: Journal,
    always: Vec<(u64, Check)>,
    rows: Vec<Row>,
    failures: usize,
    looks: u32,
    asked: u32,
}

type Done = Result<(), Vec<String>>;

fn one(problem: String) -> Vec<String> {
    vec![problem]
}

impl Player<'_> {
    fn now(&self) -> Timestamp {
        self.stage.clock().now()
    }

    fn at(&self) -> f64 {
        self.journal.seconds(self.now())
    }

    fn begin(&mut self, scenario: &Scenario) {
        self.sink.told(&Told::Began {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
        });
    }

    fn fail(&mut self, line: u64, problems: Vec<String>) {
        self.failures += 1;
        let at = self.at();
        self.sink.told(&Told::Failed { at, line, problems });
    }

    fn end(mut self) -> Ended {
        self.tell_log();
        let at = self.at();
        let Self {
            rows,
            failures,
            sink,
            ..
        } = self;
        sink.told(&Told::Ended {
            at,
            rows: rows.clone(),
            failures,
        });
        Ended { rows, failures }
    }

    async fn step(&mut self, line: u64, step: &Step) -> Done {
        let at = self.at();
        match step {
            Step::Say(text) => self.sink.told(&Told::Said {
                at,
                text: text.clone(),
            }),
            Step::Wait(wait) => self.pause(*wait).await,
            Step::Expect(expect) => self.expect(line, expect).await?,
            Step::Always(checks) => {
                self.always
                    .extend(checks.iter().map(|check| (line, check.clone())));
            }
            Step::Run(run) => self.run(line, run).await?,
            act => {
                let text = heading(act);
                self.sink.told(&Told::Step { at, line, text });
                self.act(act).await.map_err(one)?;
            }
        }
        Ok(())
    }

    async fn act(&mut self, step: &Step) -> Result<(), String> {
        let stage = self.stage;
        match step {
            Step::Apply(apply) => {
                let objects = acts::manifests(apply);
                let kinds = objects.iter().filter_map(|object| text(object, "/kind"));
                let summary = format!("Add {}", kinds.collect::<Vec<_>>().join(", "));
                self.commit(apply.by, &objects, &summary).await?;
                acts::apply(stage, &mut self.git, apply).await
            }
            Step::Release(release) => self.release(release).await.map(drop),
            Step::Patch(patch) => acts::patch(stage, patch).await,
            Step::Delete(delete) => acts::delete(stage, delete).await,
            Step::Scale(scale) => acts::scale(stage, scale).await,
            Step::Restart(verb) => {
                acts::settled(verbs::restart(stage, verb).await, verb.refused.as_ref())
            }
            Step::Undo(verb) => {
                acts::settled(verbs::undo(stage, verb).await, verb.refused.as_ref())
            }
            Step::Resume(verb) => {
                acts::settled(verbs::resume(stage, verb).await, verb.refused.as_ref())
            }
            Step::Load(load) => acts::load(stage, load).await,
            Step::Ask(ask) => self.ask(ask).await,
            Step::Break(what) => stage.broken(what).await,
            Step::Say(_) | Step::Wait(_) | Step::Expect(_) | Step::Always(_) | Step::Run(_) => {
                Ok(())
            }
        }
    }

    /// Lets time pass.
    async fn pause(&mut self, wait: Duration) {
        let start = self.now();
        while elapsed(start, self.now()) < wait && !self.stop.is_cancelled() {
            self.tick().await;
        }
    }

    /// One look at everything that is followed all the time, after a short while.
    async fn tick(&mut self) {
        let clock = self.stage.clock();
        tokio::select! {
            () = self.stop.cancelled() => return,
            () = clock.sleep(self.stage.look_every()) => {}
        }
        let now = self.now();
        self.journal.note(now, self.stage.world().tallies());
        self.watch_always().await;
        self.sync().await;
        self.follow().await;
    }

    /// A check that must always hold and does not is told once.
    async fn watch_always(&mut self) {
        let mut kept = Vec::new();
        for (line, check) in std::mem::take(&mut self.always) {
            let problems = look(self.stage, &self.journal, &check).await;
            if problems.is_empty() {
                kept.push((line, check));
            } else {
                self.fail(line, problems);
            }
        }
        self.always = kept;
    }

    /// Tells what changed in any Rollout, and each second where running ones stand.
    async fn follow(&mut self) {
        self.looks += 1;
        let now = self.now();
        for rollout in look::all(self.stage, "Rollout", self.namespace)
            .await
            .unwrap_or_default()
        {
            let name = text(&rollout, "/metadata/name").unwrap_or_default();
            let namespace = text(&rollout, "/metadata/namespace").unwrap_or_default();
            let live = self
                .journal
                .stand(now, &rollout, self.stage.live(namespace, name));
            if self.journal.news(&live) {
                self.sink.told(&Told::Changed(live));
            } else if self.looks.is_multiple_of(LIVE) && !live.images.is_empty() {
                self.sink.told(&Told::Live(live));
            }
        }
    }

    async fn expect(&mut self, line: u64, expect: &Expect) -> Done {
        self.met(&expect.that, expect.within).await?;
        let start = self.now();
        while elapsed(start, self.now()) < expect.held && !self.stop.is_cancelled() {
            self.tick().await;
            let problems = self.problems(&expect.that).await;
            if !problems.is_empty() {
                return Err(problems);
            }
        }
        let names: Vec<String> = expect.that.iter().map(ToString::to_string).collect();
        let at = self.at();
        self.sink.told(&Told::Met {
            at,
            line,
            text: names.join(", "),
        });
        Ok(())
    }

    /// Waits until all checks hold at one time.
    async fn met(&mut self, checks: &[Check], within: Duration) -> Done {
        let start = self.now();
        loop {
            let problems = self.problems(checks).await;
            if problems.is_empty() {
                return Ok(());
            }
            if elapsed(start, self.now()) >= within || self.stop.is_cancelled() {
                return Err(problems);
            }
            self.tick().await;
        }
    }

    async fn problems(&self, checks: &[Check]) -> Vec<String> {
        let mut problems = Vec::new();
        for check in checks {
            problems.extend(look(self.stage, &self.journal, check).await);
        }
        problems
    }

    async fn ask(&mut self, ask: &Ask) -> Result<(), String> {
        self.asked += 1;
        let id = format!("scenario-{}", self.asked);
        acts::ask(self.stage, ask, &id).await?;
        let start = self.now();
        if ask.unanswered {
            return Ok(());
        }
        loop {
            if let Some(answer) = acts::answer(self.stage, ask, &id).await? {
                return acts::settled(answer, ask.refused.as_ref());
            }
            if elapsed(start, self.now()) >= ask.within || self.stop.is_cancelled() {
                return Err(format!("{} was not answered", ask.act));
            }
            self.tick().await;
        }
    }

    /// A release, followed from change to outcome.
    async fn run(&mut self, line: u64, run: &Run) -> Done {
        let text = format!("{}: {}", run.name, run.about);
        let at = self.at();
        self.sink.told(&Told::Step { at, line, text });
        let name = run.rollout.as_deref().unwrap_or(&run.release.deployment);
        let before = self.rollout(run, name).await.map_err(one)?;
        let start = self.now();
        let tallies = self.stage.world().tallies();
        let image = self.release(&run.release).await.map_err(one)?;
        let last = text_of(&before, "/status/lastRun/id");
        let mut measure = Measure::new(image, start, last.as_deref(), &tallies);
        let end = self
            .measured(run, name, &mut measure, start)
            .await
            .map_err(one)?;
        self.close(line, run, &measure, &end).await;
        Ok(())
    }

    async fn rollout(&self, run: &Run, name: &str) -> Result<Value, String> {
        let found = look::one(self.stage, "Rollout", &run.release.namespace, name).await?;
        found.ok_or_else(|| format!("there is no Rollout {name}"))
    }

    async fn measured(
        &mut self,
        run: &Run,
        name: &str,
        measure: &mut Measure,
        start: Timestamp,
    ) -> Result<Value, String> {
        loop {
            self.tick().await;
            let rollout = self.rollout(run, name).await?;
            let weight = self.weight(&run.release.namespace, name).await;
            let at = self.now();
            let suspect = text(&rollout, "/status/run/verdict") == Some("Suspect");
            measure.see(&Moment {
                at,
                tallies: self.journal.latest(),
                weight,
                suspect,
            });
            let late = elapsed(start, at) >= run.within;
            if measure.ended(&rollout) || late || self.stop.is_cancelled() {
                return Ok(rollout);
            }
        }
    }

    /// The highest weight of the Rollout's canary Ingresses, or of a split `HTTPRoute`; 0 without one.
    async fn weight(&self, namespace: &str, rollout: &str) -> u8 {
        let ingresses = look::all(self.stage, "Ingress", namespace)
            .await
            .unwrap_or_default();
        let routes = if self.gateway {
            look::all(self.stage, "HTTPRoute", namespace).await
        } else {
            Ok(Vec::new())
        };
        let split = routes.iter().flatten().map(look::split);
        ingresses
            .iter()
            .filter(|ingress| look::is_canary_of(ingress, rollout))
            .map(look::weight)
            .chain(split)
            .max()
            .unwrap_or(0)
    }

    async fn close(&mut self, line: u64, run: &Run, measure: &Measure, rollout: &Value) {
        let mut row = measure.row(run, rollout, self.now());
        let mut problems = measure.problems(run, &row);
        if problems.is_empty() {
            problems = self
                .met(&run.then, AFTERMATH)
                .await
                .err()
                .unwrap_or_default();
        } else {
            let message = text(rollout, "/status/message").unwrap_or("nothing");
            problems.push(format!("the Rollout says {message:?}"));
        }
        row.as_wanted = problems.is_empty();
        let at = self.at();
        self.sink.told(&Told::RunEnded {
            at,
            row: row.clone(),
        });
        self.rows.push(row);
        if !problems.is_empty() {
            self.fail(
                line,
                problems
                    .into_iter()
                    .map(|text| format!("{}: {text}", run.name))
                    .collect(),
            );
        }
    }
}

fn text_of(object: &Value, pointer: &str) -> Option<String> {
    text(object, pointer).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures::future::BoxFuture;

    use super::*;
    use crate::clock::Clock;
    use crate::sandbox::api::Api;
    use crate::sandbox::scenario::breaks::Break;
    use crate::sandbox::scenario::parse;
    use crate::sandbox::scenario::told::Collected;
    use crate::sandbox::world::{self, World};

    /// An API server and nothing else: no controller answers what a scenario does.
    struct Bare(Clock, Api, World);

    impl Stage for Bare {
        fn clock(&self) -> Clock {
            self.0
        }

        fn client(&self, user: &str) -> kube::Client {
            self.1.client(user)
        }

        fn world(&self) -> &World {
            &self.2
        }

        fn broken<'a>(&'a self, _: &'a Break) -> BoxFuture<'a, Result<(), String>> {
            Box::pin(async { Err("nothing to break".to_owned()) })
        }

        fn live(&self, _: &str, _: &str) -> Option<Value> {
            None
        }
    }

    const SHOP: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: shop}, spec: {replicas: 2, \
        selector: {matchLabels: {app: shop}}, template: {metadata: {labels: {app: shop}}, \
        spec: {containers: [{name: shop, image: 'shop:v1'}]}}}}";

    /// Plays these steps; returns how many failures there were, and the story.
    async fn told(steps: &str) -> (usize, String) {
        let text = format!("name: x\nsteps:\n{steps}");
        let scenario = parse("x.yaml", &text, Path::new("")).unwrap();
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        let world = World::new(world::Options {
            clock,
            seed: 1,
            reload: Duration::ZERO,
            routers: 1,
            namespace: None,
            gateway: false,
        });
        let stage = Bare(clock, Api::new(clock), world);
        let mut sink = Collected::default();
        let ended = play(&scenario, &stage, &mut sink, &CancellationToken::new()).await;
        (ended.failures, sink.story())
    }

    #[tokio::test(start_paused = true)]
    async fn every_way_of_applying_changes_the_image() {
        for way in [
            "flux",
            "argo-cd",
            "kubectl",
            "server-side",
            "helm",
            "replace",
        ] {
            let first = if way == "replace" { "create" } else { way };
            let (failures, story) = told(&format!(
                "  - apply: {{by: {first}, objects: [{SHOP}]}}\n  \
                 - release: {{deployment: shop, image: 'shop:v2', by: {way}, behaves: {{errors: '0.05'}}}}\n  \
                 - expect: {{within: 1s, that: [{{deployment: {{name: shop, image: 'shop:v2', replicas: 2}}}}, \
                 {{object: {{kind: Deployment, name: shop, like: {{spec: {{template: {{metadata: \
                 {{annotations: {{sandbox.sluice.dev/errors: '0.05'}}}}}}}}}}}}}}]}}\n"
            ))
            .await;
            assert_eq!(failures, 0, "{way}: {story}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_seen_in_time_ends_the_scenario_and_says_both() {
        let (failures, story) = told(&format!(
            "  - apply: {{by: create, objects: [{SHOP}]}}\n  \
             - expect: {{within: 5s, that: [{{deployment: {{name: shop, ready: 2}}}}]}}\n  \
             - say: never reached\n"
        ))
        .await;
        assert_eq!(failures, 1);
        assert!(
            story.contains("deployment shop: ready is 0, wanted 2"),
            "{story}"
        );
        assert!(story.contains("    5.0s"), "{story}");
        assert!(!story.contains("never reached"), "{story}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_must_hold_always_is_told_once_when_it_does_not() {
        let (failures, story) = told(&format!(
            "  - apply: {{by: create, objects: [{SHOP}]}}\n  \
             - always: [{{deployment: {{name: shop, replicas: 2}}}}]\n  \
             - wait: 1s\n  - scale: {{deployment: shop, replicas: 3}}\n  - wait: 2s\n  - say: the end\n"
        ))
        .await;
        assert_eq!(failures, 1, "{story}");
        assert!(
            story.contains("replicas is 3, wanted 2") && story.contains("the end"),
            "{story}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn kubectl_refuses_restart_and_undo_while_paused() {
        let (failures, story) = told(&format!(
            "  - apply: {{by: create, objects: [{SHOP}]}}\n  \
             - patch: {{kind: Deployment, name: shop, patch: {{spec: {{paused: true}}}}}}\n  \
             - restart: {{deployment: shop, refused: \"can't restart paused\"}}\n  \
             - undo: {{deployment: shop, refused: cannot rollback a paused}}\n  \
             - resume: {{deployment: shop}}\n  - restart: {{deployment: shop}}\n"
        ))
        .await;
        assert_eq!(failures, 0, "{story}");
    }
}
