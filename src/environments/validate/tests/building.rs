//! Folders that do not build, and what they need that is not built here.

use super::*;

#[test]
fn what_overlays_mend_is_mended_and_what_they_break_is_broken() {
    let base = GOOD.replace("image: shop/backend:v1", "image: shop/backend");
    let overlay = |images: &str| {
        found_in(&[
            ("b/kustomization.yaml", "resources: [all.yaml]\n".to_owned()),
            ("b/all.yaml", base.clone()),
            (
                "k/kustomization.yaml",
                format!("resources: [../b]\nnamespace: shop\n{images}"),
            ),
        ])
    };
    let mended = overlay("images: [{name: shop/backend, newTag: v2}]\n");
    assert_eq!(mended, Vec::<String>::new());
    let broken = overlay("");
    assert!(
        broken[0].starts_with("b/all.yaml:14 Error image-pinned Deployment backend"),
        "{broken:#?}"
    );
}

#[test]
fn a_folder_that_does_not_build_says_why_and_one_that_cannot_be_built_here_warns() {
    let build = |text: &str| found_in(&[("k/kustomization.yaml", text.to_owned())]);
    let gone = build("resources: [gone.yaml]\n");
    assert!(
        gone[0].starts_with("k/kustomization.yaml:1 Error builds"),
        "{gone:?}"
    );
    let helm = build("helmCharts: []\n");
    assert!(
        helm[0].starts_with("k/kustomization.yaml:1 Warning not-checked"),
        "{helm:?}"
    );
    let values = found_in(&[("k/values.yaml", "image: {tag: v1}\n".to_owned())]);
    assert!(
        values[0].starts_with("k:1 Warning not-checked"),
        "{values:?}"
    );
}

#[test]
fn a_patch_in_one_line_is_a_patch() {
    let patch = "resources: [all.yaml]\npatchesStrategicMerge:\n- '{apiVersion: apps/v1, kind: Deployment, metadata: {name: backend}, spec: {replicas: 2}}'\n";
    let told = found_in(&[
        ("k/kustomization.yaml", patch.to_owned()),
        ("k/all.yaml", GOOD.to_owned()),
    ]);
    assert_eq!(told, [] as [&str; 0]);
}

#[test]
fn what_kustomize_refuses_is_told_at_its_line() {
    let told = |more: &str| {
        let text = format!("resources: [all.yaml]\n{more}\n");
        found_in(&[
            ("k/kustomization.yaml", text),
            ("k/all.yaml", GOOD.to_owned()),
        ])
    };
    let at = "k/kustomization.yaml:2 Error builds :";
    let table = [
        ("imagez: []", "imagez: kustomize knows no such field"),
        (
            "images: [{name: a, newTag: 1.10}]",
            "images[0].newTag: kustomize wants text here; put it in quotes",
        ),
        (
            "patches: [{path: all.yaml, taget: {kind: Deployment}}]",
            "patches[0].taget: kustomize knows no such field",
        ),
    ];
    for (more, why) in table {
        let told = told(more);
        assert_eq!(told.first(), Some(&format!("{at} {why}")), "{told:?}");
    }
    for fine in [
        "images: [{name: a, newTag: '1.10'}]",
        "NamePrefix: a-",
        "metadata: {name: k, annotations: {config.kubernetes.io/local-config: 'true'}}",
        "configMapGenerator: [{name: c, literals: [a=b], options: {disableNameSuffixHash: true, labels: {a: b}}}]",
        "sortOptions: {order: fifo}",
    ] {
        let told = told(fine);
        assert!(
            !told.iter().any(|line| line.contains("builds")),
            "{fine}: {told:?}"
        );
    }
}

/// A good folder with an image that is not pinned, and these lines more in its kustomization.
fn with_gap(field: &str, manifest: &str) -> Vec<String> {
    found_in(&[
        (
            "k/kustomization.yaml",
            format!("resources: [all.yaml]\n{field}\n"),
        ),
        ("k/all.yaml", manifest.to_owned()),
    ])
}

const NAMED: &str = ", and not whether all that is named is there";

#[test]
fn what_is_wrong_beside_what_is_not_built_is_told() {
    let bad = GOOD.replace("backend:v1", "backend:latest");
    let elsewhere = "https://a.test/b is elsewhere, which is not fetched";
    let table = [
        ("bases: ['https://a.test/b']", elsewhere),
        (
            "helmCharts: [{name: a}]",
            "helmCharts is not understood here",
        ),
        ("helmGlobals: {}", "helmGlobals is not understood here"),
        ("generators: [a.yaml]", "generators is not understood here"),
        (
            "configurations: [a.yaml]",
            "configurations is not understood here",
        ),
    ];
    for (field, why) in table {
        let told = with_gap(field, &bad);
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(
            told[0].starts_with("k/all.yaml:14 Error image-pinned"),
            "{told:#?}"
        );
        let gap = format!(
            "k/kustomization.yaml:2 Warning not-checked : {why}: only what is here was looked at{NAMED}"
        );
        assert_eq!(told[1], gap);
    }
    let several = found_in(&[
        (
            "k/kustomization.yaml",
            "resources:\n- all.yaml\n- https://a.test/b\n- https://a.test/c\n".to_owned(),
        ),
        ("k/all.yaml", bad),
    ]);
    assert_eq!(several.len(), 3, "{several:#?}");
    assert!(
        several[1].starts_with("k/kustomization.yaml:3 Warning"),
        "{several:#?}"
    );
    assert!(
        several[2].starts_with("k/kustomization.yaml:4 Warning"),
        "{several:#?}"
    );
}

#[test]
fn what_may_be_changed_has_secrets_all_the_same_and_nothing_else_is_told_of_it() {
    let bad = GOOD.replace("backend:v1", "backend:$(TAG)").replace(
        "name: LEVEL, value: info",
        "name: DB_PASSWORD, value: hunter2",
    );
    let bad = bad.replace(", limits: {memory: 64Mi}}", "}");
    let fields = [
        "replacements: [{targets: [{select: {kind: Deployment}}]}]",
        "vars: [{name: TAG}]",
        "transformers: [a.yaml]",
        "crds: [a.yaml]",
        "components: ['https://a.test/b']",
        "patches: [{path: 'https://a.test/b'}]",
    ];
    for field in fields {
        let told = with_gap(field, &bad);
        assert_eq!(told.len(), 2, "{field}: {told:#?}");
        assert!(
            told[0].starts_with("k/all.yaml:20 Error secrets"),
            "{told:#?}"
        );
        assert!(
            told[1].starts_with("k/kustomization.yaml:2 Warning not-checked"),
            "{told:#?}"
        );
        assert!(
            told[1].contains("only secrets were looked for"),
            "{told:#?}"
        );
    }
    let other = with_gap(
        "replacements: [{targets: [{select: {kind: Ingress}}]}]",
        &bad,
    );
    assert!(other[0].contains("Error resources"), "{other:#?}");
}

#[test]
fn what_is_named_may_be_where_nobody_looked() {
    let selects = "selector: {app: backend}, ports";
    let gone = [
        GOOD.replace(selects, "selector: {app: gone}, ports"),
        GOOD.replace("targetPort: http", "targetPort: web"),
        GOOD.replace("service: {name: backend,", "service: {name: gone,"),
        GOOD.replace(
            "matchLabels: {app: backend}}}",
            "matchLabels: {app: gone}}}",
        ),
        GOOD.replace("target: {name: backend}", "target: {name: gone}"),
        GOOD.replace("{ingress: backend}", "{ingress: gone}"),
        format!(
            "{GOOD}---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\n\
             spec: {{rules: [{{backendRefs: [{{name: gone, port: 80}}]}}]}}\n"
        ),
    ];
    for manifest in gone {
        assert_ne!(found(&manifest), [] as [&str; 0]);
        let told = with_gap("bases: ['https://a.test/b']", &manifest);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains("Warning not-checked"), "{told:#?}");
    }
    // What is here is looked at.
    let port = GOOD.replace("port: {name: http}", "port: {number: 8080}");
    let told = with_gap("bases: ['https://a.test/b']", &port);
    assert!(told[0].contains("Error ingress"), "{told:#?}");
    let patch = "bases: ['https://a.test/b']\npatches:\n- patch: |\n    apiVersion: v1\n    kind: Secret\n    metadata: {name: there}\n    stringData: {key: hunter2}";
    let told = with_gap(patch, GOOD);
    assert_eq!(told.len(), 2, "{told:#?}");
    let wanted = "k/kustomization.yaml:4 Error secrets Secret there: key in clear";
    assert!(told[1].starts_with(wanted), "{told:#?}");
}

#[test]
fn a_folder_that_does_not_build_beside_a_gap_says_both() {
    let told = found_in(&[(
        "k/kustomization.yaml",
        "resources: ['https://a.test/b', gone.yaml]\n".to_owned(),
    )]);
    assert_eq!(told.len(), 2, "{told:#?}");
    let wanted = [
        "k/kustomization.yaml:1 Error builds : gone.yaml is neither a file nor a folder with a kustomization",
        "k/kustomization.yaml:1 Warning not-checked : https://a.test/b is elsewhere, which is not fetched",
    ];
    assert_eq!(told, wanted);
}
