//! What a folder needs that is not done here, and what stays unknown for it.
//!
//! Whoever acts on a build wants the whole of it, so there the first gap is an error. Whoever only looks at it
//! wants what is known all the same, and every gap. An object that a gap may change is marked until the end, by a
//! key beside its `kind`, where no patch that is meant for the object reaches.
//!
//! Not here: what makes a gap (`file`, `build`, `patch`, `generate`).

use regex::Regex;
use serde_json::{Value, json};

use super::{Error, put, text};

/// The mark of an object that a gap may change.
const CHANGED: &str = "sluice.dev/changed";

/// Something that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The kustomization, and what of it is not done.
    pub error: Error,
    /// Where in the kustomization, such as `resources[1]`.
    pub field: String,
    /// What is not known therefore.
    pub unknown: Unknown,
}

/// What is not known for a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// What else is there, or by which name; what is here is known.
    Others,
    /// What objects of this kustomization come to.
    Objects,
    /// What `$(NAME)` stands for, in whichever object.
    Variables,
}

impl Gap {
    pub(super) fn new(error: Error, field: impl Into<String>, unknown: Unknown) -> Self {
        Self {
            error,
            field: field.into(),
            unknown,
        }
    }
}

/// What could be built of a folder, and what could not.
#[derive(Debug)]
pub struct Partly {
    /// The objects, or why there are none.
    pub objects: Result<Objects, Error>,
    /// Everything that is not done, in the order in which it was come by.
    pub gaps: Vec<Gap>,
}

/// What a folder deploys, beside what is not known of it.
#[derive(Debug, Default, PartialEq)]
pub struct Objects {
    /// These as they are.
    pub known: Vec<Value>,
    /// These, but a gap may change them; and patches of objects that are not here.
    pub changed: Vec<Value>,
}

/// Marks an object as one that a gap may change.
pub(super) fn mark(object: &mut Value) {
    put(object, &[], CHANGED, json!(true));
}

/// Marks the objects of kinds that one of the patterns matches as a whole; a pattern that is none may match any.
pub(super) fn mark_kinds(patterns: &[String], objects: &mut [Value]) {
    for pattern in patterns {
        let whole = Regex::new(&format!("^(?:{pattern})$")).ok();
        let fits = |object: &&mut Value| {
            let kind = text(object, &["kind"]);
            whole.as_ref().is_none_or(|whole| whole.is_match(kind))
        };
        objects.iter_mut().filter(fits).for_each(mark);
    }
}

/// Whether a gap may change it.
pub(super) fn is_marked(object: &Value) -> bool {
    object.get(CHANGED).is_some()
}

/// Tells what is known from what is not.
pub(super) fn told_apart(objects: Vec<Value>, gaps: &[Gap]) -> Objects {
    let variables = gaps.iter().any(|gap| gap.unknown == Unknown::Variables);
    let is_changed = |object: &Value| is_marked(object) || variables && holds_variable(object);
    let (mut changed, known): (Vec<Value>, _) = objects.into_iter().partition(is_changed);
    for object in changed.iter_mut().filter_map(Value::as_object_mut) {
        object.remove(CHANGED);
    }
    Objects { known, changed }
}

fn holds_variable(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("$("),
        Value::Array(items) => items.iter().any(holds_variable),
        Value::Object(fields) => fields.values().any(holds_variable),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Files, build, build_partly};
    use super::*;

    struct Texts(BTreeMap<&'static str, String>);

    impl Files for Texts {
        fn text(&self, path: &str) -> Result<Option<String>, String> {
            Ok(self.0.get(path).cloned())
        }

        fn list(&self, _: &str) -> Result<Option<Vec<String>>, String> {
            Ok(None)
        }
    }

    const LOCAL: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: here}\nspec: {externalName: x}\n---\n\
        apiVersion: v1\nkind: ConfigMap\nmetadata: {name: here}\ndata: {a: $(A)}\n";

    /// Folder `k` with these files and two objects in `k/all.yaml`.
    fn folder(texts: &[(&'static str, &str)]) -> Texts {
        let mut all: BTreeMap<_, _> = [("k/all.yaml", LOCAL.to_owned())].into();
        all.extend(texts.iter().map(|(path, text)| (*path, (*text).to_owned())));
        Texts(all)
    }

    fn kustomization(more: &str) -> Texts {
        let text = format!("resources: [all.yaml]\n{more}");
        folder(&[("k/kustomization.yaml", &text)])
    }

    fn kinds(objects: &[Value]) -> Vec<&str> {
        objects
            .iter()
            .map(|object| text(object, &["kind"]))
            .collect()
    }

    const BOTH: [&str; 2] = ["Service", "ConfigMap"];

    /// A field, and which of the two objects are known beside it.
    const FIELDS: &[(&str, &[&str])] = &[
        ("helmCharts: [{name: a}]", &BOTH),
        ("helmChartInflationGenerator: [{chartName: a}]", &BOTH),
        ("helmGlobals: {chartHome: a}", &BOTH),
        ("generators: [a.yaml]", &BOTH),
        ("configurations: [a.yaml]", &BOTH),
        ("bases: ['github.com/a/b']", &BOTH),
        (
            "configMapGenerator: [{name: here, behavior: merge, files: ['https://a.test/b']}]",
            &BOTH,
        ),
        ("vars: [{name: A}]", &["Service"]),
        ("crds: [a.yaml]", &[]),
        ("transformers: [a.yaml]", &[]),
        ("components: ['https://a.test/b']", &[]),
        ("replacements: [{path: a.yaml}]", &[]),
        (
            "replacements: [{targets: [{select: {kind: Config.*, name: old}}]}]",
            &["Service"],
        ),
        ("replacements: [{targets: [{select: {name: here}}]}]", &[]),
        ("patches: [{path: 'https://a.test/b'}]", &[]),
        (
            "patches: [{target: {kind: Service, labelSelector: 'a in (b)'}, patch: '[]'}]",
            &["ConfigMap"],
        ),
    ];

    #[test]
    fn what_is_known_beside_a_gap_is_told_and_a_whole_build_is_refused() {
        for (field, known) in FIELDS {
            let files = kustomization(field);
            let partly = build_partly(&files, "k");
            let objects = partly.objects.unwrap();
            assert_eq!(kinds(&objects.known), *known, "{field}");
            assert_eq!(objects.known.len() + objects.changed.len(), 2, "{field}");
            assert!(!format!("{objects:?}").contains(CHANGED), "{objects:?}");
            let errors: Vec<Error> = partly.gaps.into_iter().map(|gap| gap.error).collect();
            assert_eq!(build(&files, "k"), Err(errors[0].clone()), "{field}");
            assert_eq!(errors.len(), 1, "{field}: {errors:?}");
        }
    }

    #[test]
    fn every_gap_is_told_where_it_is_and_once() {
        let files = folder(&[
            (
                "k/kustomization.yaml",
                "resources: [a, a, 'https://a.test/b']\nvars: []\n",
            ),
            ("k/a/kustomization.yaml", "helmCharts: []\ncrds: []\n"),
        ]);
        let gaps = build_partly(&files, "k").gaps;
        let told: Vec<(&str, &str)> = gaps
            .iter()
            .map(|gap| (gap.error.file.as_str(), gap.field.as_str()))
            .collect();
        let (own, below) = ("k/kustomization.yaml", "k/a/kustomization.yaml");
        let wanted = [
            (own, "vars"),
            (below, "helmCharts"),
            (below, "crds"),
            (own, "resources[2]"),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_patch_may_be_for_what_is_not_known_and_what_it_says_is_kept() {
        let patch = "patches:\n- patch: '{apiVersion: v1, kind: Secret, metadata: {name: there}, data: {a: b}}'\n\
            - patch: '{apiVersion: v1, kind: Secret, metadata: {name: other}, $patch: delete}'\n\
            configMapGenerator: [{name: there, behavior: merge, literals: [a=b]}]\n";
        let open = kustomization(&format!("{patch}helmCharts: []\n"));
        let objects = build_partly(&open, "k").objects.unwrap();
        assert_eq!(kinds(&objects.known), BOTH);
        assert_eq!(kinds(&objects.changed), ["ConfigMap", "Secret"]);
        let whole = build_partly(&kustomization(patch), "k").objects;
        assert!(whole.unwrap_err().why.contains("there to merge"));
    }

    #[test]
    fn a_patch_may_need_what_a_gap_brings() {
        let patch =
            "patches: [{target: {kind: Service}, patch: '[{op: remove, path: /spec/a}]'}]\n";
        let refused = build_partly(&kustomization(patch), "k").objects;
        assert!(refused.is_err(), "{refused:?}");
        let component = format!("{patch}components: ['https://a.test/b']\n");
        let objects = build_partly(&kustomization(&component), "k").objects;
        assert_eq!(kinds(&objects.unwrap().changed), BOTH);
    }

    #[test]
    fn a_gap_excuses_nothing_beside_it() {
        let patch = "patches: [{patch: '{apiVersion: v1, kind: Secret, metadata: {name: there}}'}]";
        let files = |patched: &str| {
            let open = "resources: ['https://a.test/b']\n";
            let around = format!("resources: [open, {patched}]\n");
            folder(&[
                ("k/kustomization.yaml", &around),
                ("k/open/kustomization.yaml", open),
                ("k/whole/kustomization.yaml", patch),
                (
                    "k/over/kustomization.yaml",
                    &format!("resources: [../open]\n{patch}"),
                ),
            ])
        };
        let beside = build_partly(&files("whole"), "k");
        assert_eq!(
            beside.objects.unwrap_err().file,
            "k/whole/kustomization.yaml"
        );
        assert_eq!(beside.gaps.len(), 1);
        assert!(build_partly(&files("over"), "k").objects.is_ok());
    }
}
