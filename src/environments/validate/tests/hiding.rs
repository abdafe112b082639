//! Secrets in clear.

use super::*;

#[test]
fn secrets_count_unless_they_are_encrypted() {
    let secret = |rest: &str| {
        format!("{GOOD}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{rest}\n")
    };
    let clear = found(&secret("stringData: {key: hunter2}"));
    let wanted = "k/all.yaml:49 Error secrets Secret s: key in clear: want SOPS, a SealedSecret or an ExternalSecret";
    assert_eq!(clear, [wanted]);
    assert!(
        found(&secret(
            "data: {key: 'ENC[AES256_GCM,data:x]'}\nsops: {mac: x}"
        ))
        .is_empty()
    );
    let generated = found_in(&[
        (
            "k/kustomization.yaml",
            "resources: [all.yaml]\nsecretGenerator:\n- name: made\n  literals: [a=b]\n".to_owned(),
        ),
        ("k/all.yaml", GOOD.to_owned()),
    ]);
    let filled = "stringData: {token: '${TOKEN}', password: '{{ password }}'}";
    assert_eq!(found(&secret(filled)), [] as [&str; 0]);
    assert!(
        generated[0].starts_with("k/kustomization.yaml:3 Error secrets Secret made"),
        "{generated:?}"
    );
}

/// A line of the Deployment, another one in its place, and how many findings there are.
const SECRETS: &[(&str, &str, usize)] = &[
    (
        "name: LEVEL, value: info",
        "name: PGPASSWORD, value: hunter2",
        1,
    ),
    (
        "name: LEVEL, value: info",
        "name: SECRET_KEY_BASE, value: hunter2",
        1,
    ),
    (
        "name: LEVEL, value: info",
        "name: REDIS_URL, value: 'redis://:hunter2@redis:6379'",
        1,
    ),
    (
        "name: LEVEL, value: info",
        "name: DB_PASSWORD, value: $(PG_PASSWORD)",
        0,
    ),
    (
        "name: LEVEL, value: info",
        "name: API_TOKEN, value: '${API_TOKEN}'",
        0,
    ),
    (
        "name: LEVEL, value: info",
        "name: IMAGE_PULL_SECRET, value: regcred",
        0,
    ),
    (
        "name: LEVEL, value: info",
        "name: USE_TOKEN, value: 'true'",
        0,
    ),
    (
        "name: LEVEL, value: info",
        "name: AWS_WEB_IDENTITY_TOKEN, value: /var/run/secrets/token",
        0,
    ),
    (
        "        env:",
        "        args: ['--db-password=hunter2']\n        env:",
        1,
    ),
    (
        "        env:",
        "        args: [--token, hunter2, --verbose]\n        env:",
        1,
    ),
    (
        "        env:",
        "        args: ['--token=$(TOKEN)', '--secret-name=tls', --password-file, /run/p]\n        env:",
        0,
    ),
    (
        "        env:",
        "        command: [run, 'postgres://a:hunter2@db/x']\n        env:",
        1,
    ),
];

#[test]
fn secrets_of_pods_count_by_name_or_by_value() {
    for (old, new, count) in SECRETS {
        let told = found(&GOOD.replacen(old, new, 1));
        assert_eq!(told.len(), *count, "{new}: {told:?}");
        assert!(
            told.iter()
                .all(|line| line.contains("Error secrets Deployment backend")),
            "{told:?}"
        );
        assert!(
            !told.iter().any(|line| line.contains("hunter2")),
            "{told:?}"
        );
    }
}

#[test]
fn secrets_of_configurations_and_charts_count() {
    let map = |data: &str| {
        beside(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n{data}"
        ))
    };
    let properties = map(
        "  application.properties: |\n    server.port=80\n    spring.datasource.password=hunter2\n",
    );
    let wanted = "k/all.yaml:49 Error secrets ConfigMap c: application.properties: spring.datasource.password looks like a secret, and a ConfigMap is none";
    assert_eq!(properties, [wanted]);
    assert_eq!(
        map("  a.yaml: 'jdbc:postgresql://db/x?user=a&password=hunter2'\n").len(),
        1
    );
    assert_eq!(
        map("  a.sh: |\n    PASSWORD=$(cat /run/p)\n    token=hunter2\n"),
        [] as [&str; 0]
    );
    assert_eq!(
        map("  a.yaml: |\n    password: ${PASSWORD}\n    secretName: tls\n"),
        [] as [&str; 0]
    );
    let release = |values: &str| {
        let told = beside(&format!(
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: r}}\nspec: {{values: {values}}}\n"
        ));
        let secrets = told
            .into_iter()
            .filter(|line| line.contains("Error secrets"));
        secrets.collect::<Vec<_>>()
    };
    let told = release("{auth: {password: hunter2}}");
    assert!(told[0].ends_with("HelmRelease r: spec.values.auth.password holds a secret in clear: want it from a Secret"), "{told:?}");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        release("{auth: {existingSecret: s, secretKey: k, password: ''}}"),
        [] as [&str; 0]
    );
    assert_eq!(
        release("{env: [{name: DB_PASSWORD, value: hunter2}]}").len(),
        1
    );
    assert_eq!(release("{url: 'redis://:hunter2@redis:6379'}").len(), 1);
}

#[test]
fn what_flux_puts_into_manifests_may_be_a_secret() {
    let flux = |name: &str| {
        beside(&format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: apps}}\n\
             spec: {{postBuild: {{substitute: {{{name}: hunter2hunter2}}}}}}"
        ))
    };
    let told = flux("DB_PASSWORD");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("Error secrets Kustomization apps: spec.postBuild.substitute.DB_PASSWORD"),
        "{told:?}"
    );
    assert_eq!(flux("web_tag"), [] as [&str; 0]);
}

#[test]
fn what_sops_left_in_clear_counts() {
    let secret = |entry: &str| {
        beside(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{password: 'ENC[AES256_GCM,data:x]', {entry}}}\nsops: {{mac: 'ENC[AES256_GCM,data:x]'}}"
        ))
    };
    let wanted = "k/all.yaml:49 Error secrets Secret s: plain in clear beside what SOPS encrypted: encrypt it too";
    assert_eq!(secret("plain: hunter2hunter2"), [wanted]);
    for fine in ["plain: ''", "user_unencrypted: admin"] {
        assert_eq!(secret(fine), [] as [&str; 0], "{fine}");
    }
}
