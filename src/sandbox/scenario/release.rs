//! A new revision of a manifest: another image, another behaviour, any merge patch.
//!
//! Pure. The behaviour of the sandbox's applications is said in annotations of the pod
//! template, so a release replaces these as a whole: what v3 did wrong v4 does not inherit.

use serde_json::{Map, Value, json};

use super::format::Release;

/// Prefix of the annotations that the sandbox's node and applications understand.
pub const PREFIX: &str = "sandbox.sluice.dev/";

/// The manifest with the release's changes.
pub fn changed(mut manifest: Value, release: &Release) -> Result<Value, String> {
    if let Some(image) = &release.image {
        *manifest
            .pointer_mut("/spec/template/spec/containers/0/image")
            .ok_or("the manifest has no container")? = json!(image);
    }
    if let Some(behaves) = &release.behaves {
        let metadata = manifest
            .pointer_mut("/spec/template/metadata")
            .and_then(Value::as_object_mut)
            .ok_or("the manifest's pod template has no metadata")?;
        let annotations = metadata
            .entry("annotations")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(annotations) = annotations {
            annotations.retain(|key, _| !key.starts_with(PREFIX));
            annotations.extend(
                behaves
                    .iter()
                    .map(|(key, value)| (format!("{PREFIX}{key}"), json!(value))),
            );
        }
    }
    if let Some(with) = &release.with {
        json_patch::merge(&mut manifest, with);
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_replaces_the_behaviour_and_keeps_other_annotations() {
        let manifest = json!({"spec": {"template": {
            "metadata": {"annotations": {"sandbox.sluice.dev/errors": "0.05", "team": "a"}},
            "spec": {"containers": [{"image": "shop:v3"}]}}}});
        let text = "{deployment: shop, image: 'shop:v4', behaves: {tail: '3'}}";
        let release: Release = serde_saphyr::from_str(text).unwrap();
        let wanted = json!({"spec": {"template": {
            "metadata": {"annotations": {"sandbox.sluice.dev/tail": "3", "team": "a"}},
            "spec": {"containers": [{"image": "shop:v4"}]}}}});
        assert_eq!(changed(manifest, &release), Ok(wanted));
    }
}
