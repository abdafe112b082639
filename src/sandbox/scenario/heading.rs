//! A step as a short line for the reader. Pure.

use super::format::Step;
use super::kinds::text;

/// A step as a short line.
pub fn heading(step: &Step) -> String {
    match step {
        Step::Apply(apply) => {
            let names: Vec<String> = apply
                .objects
                .iter()
                .map(|object| {
                    let part = |pointer| text(object, pointer).unwrap_or_default();
                    format!("{} {}", part("/kind"), part("/metadata/name"))
                })
                .collect();
            format!("{} applies {}", apply.by.manager(), names.join(", "))
        }
        Step::Release(release) => {
            let image = release.image.as_deref().unwrap_or("a change");
            format!("{image} is applied to {}", release.deployment)
        }
        Step::Patch(patch) => format!("{} patches {} {}", patch.r#as, patch.kind, patch.name),
        Step::Delete(delete) => format!("{} {} is deleted", delete.kind, delete.name),
        Step::Scale(scale) => format!("{} is scaled to {}", scale.deployment, scale.replicas),
        Step::Restart(verb) => format!("kubectl rollout restart {}", verb.deployment),
        Step::Undo(verb) => format!("kubectl rollout undo {}", verb.deployment),
        Step::Resume(verb) => format!("kubectl rollout resume {}", verb.deployment),
        Step::Load(load) => format!("{} gets {} requests a second", load.ingress, load.rps),
        Step::Ask(ask) => format!("a person asks {} to {}", ask.rollout, ask.act),
        Step::Break(what) => format!("breaks: {what:?}"),
        Step::Say(_) | Step::Wait(_) | Step::Expect(_) | Step::Always(_) | Step::Run(_) => {
            String::new()
        }
    }
}
