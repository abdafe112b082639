//! Where versions are found, what is written there, and what is said where there is none.

use super::*;
use crate::kustomize::Disk;

const IMAGE: &str = "registry.example/shop/backend";

/// The version in the folder `env` of these files, and the lines that `v2` changes there.
fn moved(
    files: &[(&str, &str)],
    to: &str,
    field: Option<&str>,
) -> Result<(String, String), String> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let service = Service {
        name: "backend".to_owned(),
        image: Some(IMAGE.to_owned()),
        tag_field: field.map(str::to_owned),
        ..Service::default()
    };
    let told = |error: Error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    };
    let files = Disk(folder.path().to_owned());
    let pinned = Pinned::read(&files, "env", &service).map_err(told)?;
    let texts = pinned.with(&to.parse().unwrap()).map_err(told)?;
    let mut changed = Vec::new();
    for (path, new) in &texts {
        let old = pinned.text(path).unwrap();
        let differ = old.lines().zip(new.lines()).filter(|(old, new)| old != new);
        changed.extend(differ.map(|(old, new)| format!("{}>{}\n", old.trim(), new.trim())));
    }
    Ok((pinned.version.to_string(), changed.concat()))
}

fn check(file: &str, text: &str, was: &str, to: &str, wanted: &str) {
    let text = text.replace("IMAGE", IMAGE);
    let path = format!("env/{file}");
    let moved = moved(&[(&path, &text)], to, Some("app.tag"));
    let wanted = format!("{}\n", wanted.replace("IMAGE", IMAGE));
    assert_eq!(moved, Ok((was.to_owned(), wanted)), "{text}");
}

#[test]
fn patches_within_a_kustomization_pin_the_version() {
    let json = "patches:\n- target: {kind: Deployment}\n  patch: |-\n    - op: replace\n      path: /spec/x/image\n      \
                value: IMAGE:v1 # here\n";
    let line = "value: IMAGE:v1 # here>value: IMAGE:v2 # here";
    check("kustomization.yaml", json, "v1", "v2", line);
    let merged = "patchesStrategicMerge:\n- |\n  kind: Deployment\n  spec: {containers: [{image: \"IMAGE:v1\"}]}\n";
    let line =
        "spec: {containers: [{image: \"IMAGE:v1\"}]}>spec: {containers: [{image: \"IMAGE:v2\"}]}";
    check("kustomization.yaml", merged, "v1", "v2", line);
}

#[test]
fn a_json_patch_in_a_file_pins_the_version() {
    let text = "- op: add\n  path: /metadata/labels/image\n  value: x\n- {op: replace, path: /spec/image, value: 'IMAGE:v1'}\n";
    let line = "- {op: replace, path: /spec/image, value: 'IMAGE:v1'}>- {op: replace, path: /spec/image, value: 'IMAGE:v2'}";
    check("image.yaml", text, "v1", "v2", line);
    let json = "[{\"path\": \"/a/image\", \"value\": \"IMAGE:v1\"}]\n";
    check(
        "image.json",
        json,
        "v1",
        "v2",
        &format!("{}>{}", json.trim(), json.trim().replace("v1", "v2")),
    );
}

#[test]
fn an_application_of_argo_cd_pins_the_version() {
    let head = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec:\n  source:\n";
    for (text, line) in [
        (
            "    kustomize:\n      images:\n      - shop=IMAGE:v1\n",
            "- shop=IMAGE:v1>- shop=IMAGE:v2",
        ),
        (
            "    helm:\n      values: |\n        image: {repository: IMAGE, tag: v1}\n",
            "image: {repository: IMAGE, tag: v1}>image: {repository: IMAGE, tag: v2}",
        ),
        (
            "    helm:\n      valuesObject:\n        image: IMAGE:v1\n",
            "image: IMAGE:v1>image: IMAGE:v2",
        ),
        (
            "    helm:\n      parameters:\n      - {name: app.tag, value: v1}\n",
            "- {name: app.tag, value: v1}>- {name: app.tag, value: v2}",
        ),
    ] {
        check("app.yaml", &format!("{head}{text}"), "v1", "v2", line);
    }
}

#[test]
fn a_tag_alone_is_found_by_its_field() {
    check(
        "values.yaml",
        "app: {tag: '1.10'} # ours\nother: {tag: 1.10}\n",
        "1.10",
        "1.2.3",
        "app: {tag: '1.10'} # ours>app: {tag: '1.2.3'} # ours",
    );
    let flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec:\n  postBuild:\n    substitute:\n      backend_tag: v1\n";
    let moved = moved(&[("env/flux.yaml", flux)], "v2", Some("backend_tag"));
    assert_eq!(
        moved,
        Ok((
            "v1".to_owned(),
            "backend_tag: v1>backend_tag: v2\n".to_owned()
        ))
    );
}

#[test]
fn values_in_a_config_map_count_where_nothing_else_says_the_version() {
    let config = "kind: ConfigMap\napiVersion: v1\ndata:\n  values.yaml: |\n    image:\n      repository: IMAGE\n      tag: v1\n";
    check("config.yaml", config, "v1", "v2", "tag: v1>tag: v2");
    let pod = format!("{config}---\nkind: Pod\nspec: {{containers: [{{image: 'IMAGE:v0'}}]}}\n");
    let line =
        "spec: {containers: [{image: 'IMAGE:v0'}]}>spec: {containers: [{image: 'IMAGE:v2'}]}";
    check("all.yaml", &pod, "v0", "v2", line);
}

#[test]
fn a_digest_behind_the_tag_stays_one() {
    let [one, two] = ["a1", "b2"].map(|byte| format!("sha256:{}", byte.repeat(32)));
    let text = format!("image: {{repository: IMAGE, tag: 'v1@{one}'}}\n");
    let line = format!(
        "image: {{repository: IMAGE, tag: 'v1@{one}'}}>image: {{repository: IMAGE, tag: 'v2@{two}'}}"
    );
    check(
        "values.yaml",
        &text,
        &format!("v1@{one}"),
        &format!("v2@{two}"),
        &line,
    );
    let text = text.replace("IMAGE", IMAGE);
    let lacks = moved(&[("env/values.yaml", &text)], "v2", None);
    assert_eq!(
        lacks.unwrap_err(),
        "env/values.yaml:1 pins a digest, and v2 has none: give both, as --version TAG@sha256:..."
    );
}

#[test]
fn an_alias_is_read_and_not_written() {
    let text = format!("image: &image {IMAGE}:v1\nworker: {{image: *image}}\n");
    let files = [("env/values.yaml", text.as_str())];
    let same = moved(&files, "v1", None);
    assert_eq!(
        same.unwrap_err(),
        "env/values.yaml:2: found an alias; write the value itself"
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("env")).unwrap();
    std::fs::write(folder.path().join(files[0].0), files[0].1).unwrap();
    let service = Service {
        name: "backend".to_owned(),
        ..Service::default()
    };
    let pinned = Pinned::read(&Disk(folder.path().to_owned()), "env", &service);
    assert_eq!(pinned.unwrap().version.to_string(), "v1");
}

#[test]
fn what_pins_nothing_is_told_with_what_is_there() {
    let deployment = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {{template: {{spec: {{containers: [{{name: a, image: '{image}'}}]}}}}}}\n"
        )
    };
    let refused = |files: &[(&str, &str)]| moved(files, "v2", None).unwrap_err();
    let here = "no file under env says the version of backend: ";
    let bare = refused(&[("env/a.yaml", &deployment(IMAGE))]);
    assert_eq!(
        bare,
        format!("{here}env/a.yaml:4 names its image without one")
    );
    let other = refused(&[("env/a.yaml", &deployment("shop:v1"))]);
    assert_eq!(
        other,
        format!(
            "{here}its images are shop:v1; name the service's own in the pipeline (services[].image)"
        )
    );
    let outside = refused(&[
        (
            "env/kustomization.yaml",
            "resources: [../base]\nimages: [{name: x}]\n",
        ),
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("base/a.yaml", &deployment(&format!("{IMAGE}:v1"))),
    ]);
    assert!(
        outside.contains(&format!("it deploys {IMAGE}:v1 by a file outside")),
        "{outside}"
    );
    let differ = refused(&[
        ("env/a.yaml", &deployment(&format!("{IMAGE}:v1"))),
        ("env/b.yaml", &deployment(&format!("{IMAGE}:v3"))),
    ]);
    assert_eq!(
        differ,
        "the places of backend say different versions: env/a.yaml:4 says v1, env/b.yaml:4 says v3; write one into all of them"
    );
}

#[test]
fn an_image_is_the_same_with_the_host_of_docker_hub_and_without() {
    let has = |own: &str, image: &str| {
        let service = Service {
            name: "web".to_owned(),
            image: Some(own.to_owned()),
            ..Service::default()
        };
        service.has(image)
    };
    for (own, image) in [
        ("acme/web", "docker.io/acme/web:1.0.0"),
        ("docker.io/acme/web", "acme/web:1.0.0"),
        ("nginx", "docker.io/library/nginx:1.29"),
        ("acme/web", "index.docker.io/acme/web@sha256:0"),
    ] {
        assert!(has(own, image), "{own} {image}");
    }
    for (own, image) in [("acme/web", "ghcr.io/acme/web:1"), ("web", "acme/web:1")] {
        assert!(!has(own, image), "{own} {image}");
    }
}

/// Helm deploys `1.10` as 1.1, and a long number with an exponent; kustomize refuses any.
#[test]
fn a_tag_that_is_a_number_is_refused() {
    let read = |file: &str, text: &str| {
        let (path, text) = (format!("env/{file}"), text.replace("IMAGE", IMAGE));
        moved(&[(&path, &text)], "v2", None)
    };
    let values = |tag: &str| {
        read(
            "values.yaml",
            &format!("image: {{repository: IMAGE, tag: {tag}}}\n"),
        )
    };
    let images = |tag: &str| {
        read(
            "kustomization.yaml",
            &format!("images: [{{name: IMAGE, newTag: {tag}}}]\n"),
        )
    };
    for (moved, number) in [
        (values("1.10"), "1.1"),
        (values("12345678"), "1.2345678e7"),
        (values("007"), "7"),
        (images("1.10"), "1.1"),
        (images("42"), "42"),
    ] {
        let why = moved.unwrap_err();
        let wanted = format!("found the number {number}, and a tag is text; put it in quotes");
        assert!(why.contains(&wanted), "{why}");
    }
    for (moved, was) in [
        (values("'1.10'"), "1.10"),
        (values("42"), "42"),
        (values("1.10.0"), "1.10.0"),
        (images("'1.10'"), "1.10"),
    ] {
        assert_eq!(moved.map(|(version, _)| version), Ok(was.to_owned()));
    }
}
