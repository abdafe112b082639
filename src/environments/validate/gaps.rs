//! What of a folder could not be built, each told where its kustomization asks for it, and what was not looked at
//! therefore.
//!
//! Not here: which rules those are (`super::check`, `network`).

use super::sources::Document;
use super::{Finding, Level, NOWHERE};
use crate::kustomize::{Gap, Unknown};

/// A gap as a finding; what is left out for it counts where anything was built.
pub(super) fn told(gap: &Gap, documents: &[Document], is_built: bool) -> Finding {
    let mut own = documents.iter();
    let own = own.find(|document| document.is_kustomization() && document.file == gap.error.file);
    let place = own.map_or(NOWHERE, |document| document.node.place_of(&gap.field));
    let looked = match gap.unknown {
        Unknown::Others => "only what is here was looked at",
        Unknown::Objects => "in the objects that it may change only secrets were looked for",
        Unknown::Variables => "in objects with a $(NAME) only secrets were looked for",
    };
    let why = &gap.error.why;
    let message = if is_built {
        format!("{why}: {looked}, and not whether all that is named is there")
    } else {
        why.clone()
    };
    Finding {
        rule: "not-checked",
        level: Level::Warning,
        file: gap.error.file.clone(),
        line: place.line,
        column: place.column,
        object: String::new(),
        message,
    }
}
