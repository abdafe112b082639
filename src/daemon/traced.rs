//! What a pass tells as spans: the pass, what it decided, each thing that it did, and the run at its end.
//!
//! Passes of a Rollout at rest that do nothing are not told. Not here: sending (`telemetry::otlp`).

use jiff::Timestamp;

use super::context::Context;
use crate::kubernetes::execute::Order;
use crate::rollout::action::Action;
use crate::rollout::decide::Decision;
use crate::rollout::plan::Plan;
use crate::rollout::reason::Reason;
use crate::rollout::revision::short;
use crate::rollout::state::{Ended, State};
use crate::telemetry::traces::{Span, Trace, span_id};

/// Which run a span belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    pub namespace: &'a str,
    pub rollout: &'a str,
    pub run: &'a str,
}

/// When something began and ended.
type Times = (Timestamp, Timestamp);

impl Of<'_> {
    fn span(
        self,
        name: &'static str,
        (begun, ended): Times,
        attributes: Vec<(&'static str, String)>,
    ) -> Span {
        let trace = Trace::of(self.namespace, self.rollout, self.run);
        let own = [
            ("namespace", self.namespace.to_owned()),
            ("rollout", self.rollout.to_owned()),
            ("run", self.run.to_owned()),
        ];
        Span {
            trace: trace.id,
            id: span_id(begun),
            parent: Some(trace.run),
            name,
            begun,
            ended,
            attributes: own.into_iter().chain(attributes).collect(),
            error: None,
        }
    }
}

/// Tells a pass with its decision, and the run if it has ended.
pub fn passed(
    context: &Context,
    plan: &Plan,
    before: &State,
    decision: &Decision,
    decided: Times,
    error: Option<String>,
) {
    let next = &decision.next;
    let run = next.phase.run().or_else(|| before.phase.run());
    let quiet = decision.actions.is_empty() && decision.reasons.is_empty() && error.is_none();
    if !context.traces.are_on() || (run.is_none() && quiet) {
        return;
    }
    let of = Of {
        namespace: &plan.namespace,
        rollout: &plan.name,
        run: run.map_or("", |run| run.id.as_str()),
    };
    let now = context.clock.now();
    let mut pass = of.span(
        "pass",
        (decided.0, now),
        vec![("phase", next.phase.name().to_owned())],
    );
    pass.error = error;
    let mut decide = of.span("decide", decided, said(before, decision));
    decide.parent = Some(pass.id);
    context.traces.tell(|| pass);
    context.traces.tell(|| decide);
    let known = before.last_run.as_ref().map(|last| &last.id);
    if let Some(ended) = next
        .last_run
        .as_ref()
        .filter(|last| Some(&last.id) != known)
    {
        let of = Of {
            run: &ended.id,
            ..of
        };
        context.traces.tell(|| whole(of, ended));
    }
}

fn said(before: &State, decision: &Decision) -> Vec<(&'static str, String)> {
    let run = decision.next.phase.run();
    let reasons: Vec<&str> = decision.reasons.iter().map(Reason::name).collect();
    vec![
        ("phase.before", before.phase.name().to_owned()),
        ("phase.after", decision.next.phase.name().to_owned()),
        ("weight", run.map_or(0, |run| run.weight).to_string()),
        (
            "verdict",
            run.map_or("", |run| run.verdict.name()).to_owned(),
        ),
        ("reasons", reasons.join(",")),
    ]
}

/// The run's own span.
fn whole(of: Of<'_>, ended: &Ended) -> Span {
    let attributes = vec![
        ("outcome", ended.outcome.to_string()),
        ("reason", ended.reason.clone()),
        ("message", ended.message.clone()),
        ("revision", short(&ended.revision.hash).to_owned()),
    ];
    let trace = Trace::of(of.namespace, of.rollout, of.run);
    Span {
        id: trace.run,
        parent: None,
        ..of.span("run", (ended.started, ended.ended), attributes)
    }
}

/// Tells something that was done.
pub fn acted(
    context: &Context,
    order: &Order<'_>,
    action: &Action,
    begun: Timestamp,
    error: Option<String>,
) {
    context.traces.tell(|| {
        let of = Of {
            namespace: &order.plan.namespace,
            rollout: &order.plan.name,
            run: order.run,
        };
        let attributes = vec![("action", action.name().to_owned())];
        Span {
            error,
            ..of.span("act", (begun, context.clock.now()), attributes)
        }
    });
}

/// Tells a step of the remedy in Git.
pub fn remedied(context: &Context, of: Of<'_>, begun: Timestamp, error: Option<String>) {
    context.traces.tell(|| Span {
        error,
        ..of.span("remedy", (begun, context.clock.now()), Vec::new())
    });
}
