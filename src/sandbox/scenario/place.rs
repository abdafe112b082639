//! A scenario moved to a namespace of its own, so that several share one cluster.
//!
//! Whatever it says of the namespace `default` is then said of the other one; objects that
//! live in no namespace stay as they are. Pure.

use serde_json::{Value, json};

use super::checks::Check;
use super::fields::default_namespace;
use super::format::{Scenario, Step};
use super::kinds;

impl Scenario {
    /// The same in this namespace instead of `default`.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        for (_, step) in &mut self.steps {
            place(step, namespace);
        }
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Whether it changes what all namespaces share, so that nothing else can be played meanwhile.
    pub fn is_cluster_wide(&self) -> bool {
        let shared = |kind: &str| !kinds::namespaced(kind);
        !self.cluster.gate
            || self.cluster.webhook
            || self.steps.iter().any(|(_, step)| match step {
                Step::Apply(apply) => apply
                    .objects
                    .iter()
                    .any(|object| shared(kinds::text(object, "/kind").unwrap_or_default())),
                Step::Patch(patch) => shared(&patch.kind),
                Step::Delete(delete) => shared(&delete.kind),
                _ => false,
            })
    }
}

fn place(step: &mut Step, namespace: &str) {
    match step {
        Step::Apply(apply) => {
            for object in &mut apply.objects {
                manifest(object, namespace);
            }
        }
        Step::Release(release) => name(&mut release.namespace, namespace),
        Step::Patch(patch) => name(&mut patch.namespace, namespace),
        Step::Delete(delete) => name(&mut delete.namespace, namespace),
        Step::Scale(scale) => name(&mut scale.namespace, namespace),
        Step::Restart(verb) | Step::Undo(verb) | Step::Resume(verb) => {
            name(&mut verb.namespace, namespace);
        }
        Step::Load(load) => name(&mut load.namespace, namespace),
        Step::Ask(ask) => name(&mut ask.namespace, namespace),
        Step::Expect(expect) => all(&mut expect.that, namespace),
        Step::Always(checks) => all(checks, namespace),
        Step::Run(run) => {
            name(&mut run.release.namespace, namespace);
            all(&mut run.then, namespace);
        }
        Step::Say(_) | Step::Break(_) | Step::Wait(_) => {}
    }
}

fn all(checks: &mut [Check], namespace: &str) {
    for check in checks {
        match check {
            Check::Rollout(check) => name(&mut check.namespace, namespace),
            Check::Deployment(check) => name(&mut check.namespace, namespace),
            Check::Object(check) => name(&mut check.namespace, namespace),
            Check::Absent(check) => name(&mut check.namespace, namespace),
            Check::Count(check) => name(&mut check.namespace, namespace),
            Check::Weight(check) => name(&mut check.namespace, namespace),
            Check::Event(check) => name(&mut check.namespace, namespace),
            Check::Traffic(_) | Check::Answer(_) => {}
        }
    }
}

fn name(found: &mut String, namespace: &str) {
    if *found == default_namespace() {
        namespace.clone_into(found);
    }
}

fn manifest(object: &mut Value, namespace: &str) {
    let kind = kinds::text(object, "/kind").unwrap_or_default();
    let said = kinds::text(object, "/metadata/namespace");
    if kinds::namespaced(kind) && said.is_none_or(|said| said == default_namespace()) {
        object["metadata"]["namespace"] = json!(namespace);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sandbox::scenario::parse;

    #[test]
    fn what_lives_in_a_namespace_is_moved_and_nothing_else() {
        let text = "name: x\nsteps:\n- apply: {objects: [{apiVersion: v1, kind: Service, metadata: {name: a}}, \
            {apiVersion: v1, kind: Node, metadata: {name: b}}]}\n\
            - expect: {that: [{rollout: {name: a}}, {rollout: {name: a, namespace: other}}]}\n";
        let scenario = parse("x.yaml", text, Path::new("")).unwrap();
        let Scenario { steps, .. } = scenario.in_namespace("s1");
        let [(_, Step::Apply(apply)), (_, Step::Expect(expect))] = &steps[..] else {
            panic!("two steps");
        };
        assert_eq!(apply.objects[0]["metadata"]["namespace"], "s1");
        assert_eq!(apply.objects[1]["metadata"].get("namespace"), None);
        let names: Vec<&str> = expect
            .that
            .iter()
            .filter_map(|check| match check {
                Check::Rollout(check) => Some(check.namespace.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(names, ["s1", "other"]);
    }
}
