//! The Flux Operator's `ResourceSetInputProvider`, by which an image's tag reaches the cluster without a
//! commit: the tag of a failed release is excluded in its filter, and let in again later.
//!
//! Annotations name the Rollouts for which something is excluded, and what the filter said before. A filter
//! that a person edited meanwhile is theirs and stays.
//!
//! Source: the Flux Operator's API reference, `ResourceSetInputProvider` of type `OCIArtifactTag`: `excludeTag`
//! is a regular expression (RE2).
//!
//! Not here: when a tag is excluded and let in (`daemon::remedy`).

use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::{Error, Flux, Kind, Named, REQUESTED, api, told, within};
use crate::kubernetes::crd::MANAGER;

/// For which Rollouts tags are excluded: `{"namespace/name": ["tag"]}`.
pub const EXCLUDED_FOR: &str = "sluice.dev/excluded-for";
/// What the filter excluded before, as JSON: a text, or null.
pub const EXCLUDED_BEFORE: &str = "sluice.dev/excluded-before";
/// The Rollouts of other namespaces for which tags may be excluded: `namespace/name` or `namespace/*`, with commas
/// between. Those of the provider's own namespace need no word.
pub const ROLLOUTS: &str = "sluice.dev/rollouts";

const PROVIDER: Kind = (
    "fluxcd.controlplane.io",
    "v1",
    "ResourceSetInputProvider",
    "resourcesetinputproviders",
);

impl Flux {
    /// Excludes a tag of a provider's image for a Rollout, and asks for a look at once; the tag, or why
    /// there is none to exclude.
    ///
    /// # Errors
    /// If the provider cannot be read or written.
    pub async fn exclude(
        &self,
        at: &Named,
        rollout: &str,
        (failed, stable): (&[String], &[String]),
        now: Timestamp,
    ) -> Result<Result<String, String>, Error> {
        let found = self.provider(at).await?;
        if let Err(why) = serves(&found, rollout) {
            return Ok(Err(why));
        }
        let tag = match tag(&found.data["spec"], failed, stable) {
            Ok(tag) => tag,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(mut patch) = exclusion(&found, rollout, &tag) {
            patch["metadata"]["annotations"][REQUESTED] = json!(now.to_string());
            self.write(at, &patch).await?;
        }
        Ok(Ok(tag))
    }

    /// Lets in again what was excluded for a Rollout. A provider that is gone excludes nothing.
    pub async fn let_in(&self, at: &Named, rollout: &str) -> Result<(), Error> {
        let found = match self.provider(at).await {
            Err(Error::Read {
                source: kube::Error::Api(status),
                ..
            }) if status.code == 404 => return Ok(()),
            found => found?,
        };
        match inclusion(&found, rollout) {
            Some(patch) => self.write(at, &patch).await,
            None => Ok(()),
        }
    }

    async fn provider(&self, at: &Named) -> Result<DynamicObject, Error> {
        let api = api(&self.reads, PROVIDER, at);
        within(&told(PROVIDER.2, at), api.get(&at.name)).await
    }

    async fn write(&self, at: &Named, patch: &Value) -> Result<(), Error> {
        let api = api(&self.writes, PROVIDER, at);
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        let request = api.patch(&at.name, &params, &patch);
        within(&told(PROVIDER.2, at), request).await.map(|_| ())
    }
}

/// Whether a provider may be changed for a Rollout: who may write that has else no say in the provider's namespace.
fn serves(provider: &DynamicObject, rollout: &str) -> Result<(), String> {
    let namespace = rollout.split('/').next().unwrap_or_default();
    if provider.metadata.namespace.as_deref() == Some(namespace) {
        return Ok(());
    }
    let annotations = provider.metadata.annotations.as_ref();
    let named = annotations.and_then(|all| all.get(ROLLOUTS));
    let all = format!("{namespace}/*");
    let mut words = named.map_or("", String::as_str).split(',').map(str::trim);
    if words.any(|word| word == rollout || word == all) {
        return Ok(());
    }
    Err(format!(
        "the provider is of another namespace and does not name {rollout}: annotate it with {ROLLOUTS}={rollout}"
    ))
}

/// The failed revision's tag of the provider's image, where stable has another one.
fn tag(spec: &Value, failed: &[String], stable: &[String]) -> Result<String, String> {
    let url = spec["url"].as_str().unwrap_or_default();
    let image = url.strip_prefix("oci://").ok_or_else(|| {
        format!("the provider reads {url:?}, want the tags of an image (oci://...)")
    })?;
    let of = |images: &[String]| images.iter().find_map(|one| tag_of(one, image));
    let Some(tag) = of(failed) else {
        return Err(format!("the failed template has no tag of {image}"));
    };
    if of(stable).as_ref() == Some(&tag) {
        return Err(format!(
            "stable has the tag {tag} of {image}, too: it was moved, so move it back in the registry"
        ));
    }
    Ok(tag)
}

/// The tag of an image of that name, its digest left out.
fn tag_of(image: &str, name: &str) -> Option<String> {
    let rest = image.strip_prefix(name)?.strip_prefix(':')?;
    let tag = rest.split('@').next()?;
    (!tag.is_empty() && !tag.contains('/')).then(|| tag.to_owned())
}

/// What is to be written so that a tag is excluded for a Rollout, on top of what was read.
fn exclusion(found: &DynamicObject, rollout: &str, tag: &str) -> Option<Value> {
    let mut marks = marks(found);
    let mut tags = tags(&marks, rollout);
    if tags.iter().any(|one| one == tag) {
        return None;
    }
    tags.push(tag.to_owned());
    let now = &found.data["spec"]["filter"]["excludeTag"];
    // Ours of before is not theirs.
    let theirs = if marks.is_empty() || *now != pattern(&before(found), &marks) {
        now.clone()
    } else {
        before(found)
    };
    marks.insert(rollout.to_owned(), json!(tags));
    Some(json!({
        "metadata": {
            "resourceVersion": found.metadata.resource_version,
            "annotations": {
                EXCLUDED_FOR: Value::Object(marks.clone()).to_string(),
                EXCLUDED_BEFORE: theirs.to_string(),
            },
        },
        "spec": {"filter": {"excludeTag": pattern(&theirs, &marks)}},
    }))
}

/// What is to be written so that nothing is excluded for a Rollout any more.
fn inclusion(found: &DynamicObject, rollout: &str) -> Option<Value> {
    let mut marks = marks(found);
    let ours = pattern(&before(found), &marks);
    marks.remove(rollout)?;
    let theirs = before(found);
    let (said, kept) = if marks.is_empty() {
        (Value::Null, Value::Null)
    } else {
        let said = Value::Object(marks.clone()).to_string();
        (json!(said), json!(theirs.to_string()))
    };
    let mut patch = json!({"metadata": {
        "resourceVersion": found.metadata.resource_version,
        "annotations": {EXCLUDED_FOR: said, EXCLUDED_BEFORE: kept},
    }});
    // What a person wrote meanwhile stays.
    if found.data["spec"]["filter"]["excludeTag"] == ours {
        let excluded = if marks.is_empty() {
            theirs
        } else {
            pattern(&theirs, &marks)
        };
        patch["spec"] = json!({"filter": {"excludeTag": excluded}});
    }
    Some(patch)
}

/// What people exclude and what is excluded for Rollouts, as one expression.
fn pattern(theirs: &Value, marks: &Map<String, Value>) -> Value {
    let own = theirs.as_str().filter(|own| !own.is_empty());
    let own = own.map(|own| format!("(?:{own})"));
    let mut all: Vec<String> = marks.keys().flat_map(|one| tags(marks, one)).collect();
    all.sort_unstable();
    all.dedup();
    let all = all
        .into_iter()
        .map(|tag| format!("^{}$", regex::escape(&tag)));
    json!(own.into_iter().chain(all).collect::<Vec<_>>().join("|"))
}

fn tags(marks: &Map<String, Value>, rollout: &str) -> Vec<String> {
    let tags = marks.get(rollout).and_then(Value::as_array);
    let texts = tags.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn marks(found: &DynamicObject) -> Map<String, Value> {
    match annotation(found, EXCLUDED_FOR) {
        Value::Object(marks) => marks,
        _ => Map::new(),
    }
}

fn before(found: &DynamicObject) -> Value {
    annotation(found, EXCLUDED_BEFORE)
}

fn annotation(found: &DynamicObject, key: &str) -> Value {
    let annotations = found.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(key));
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(exclude: Value, marks: Option<&str>, before: &str) -> DynamicObject {
        let annotations = marks.map(|marks| json!({EXCLUDED_FOR: marks, EXCLUDED_BEFORE: before}));
        let object = json!({
            "metadata": {"name": "shop", "resourceVersion": "7", "annotations": annotations},
            "spec": {"filter": {"excludeTag": exclude}},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_failed_tag_of_the_providers_image_is_meant_and_a_moved_one_is_refused() {
        let spec = json!({"url": "oci://r.example/shop"});
        let of =
            |failed: &str, stable: &str| tag(&spec, &[failed.to_owned()], &[stable.to_owned()]);
        let found = of("r.example/shop:v3@sha256:12", "r.example/shop:v2");
        assert_eq!(found.as_deref(), Ok("v3"));
        assert!(
            of("r.example/shop-api:v3", "")
                .unwrap_err()
                .contains("no tag")
        );
        let moved = of("r.example/shop:v3@sha256:12", "r.example/shop:v3@sha256:34");
        assert!(moved.unwrap_err().contains("move it back"));
        assert!(tag(&json!({"url": "https://git.example"}), &[], &[]).is_err());
    }

    #[test]
    fn a_tag_is_excluded_once_beside_what_people_exclude_and_let_in_again() {
        let first = exclusion(&provider(json!("-rc"), None, ""), "a/shop", "v3").unwrap();
        let excluded = &first["spec"]["filter"]["excludeTag"];
        assert_eq!(excluded, "(?:-rc)|^v3$");
        let annotations = &first["metadata"]["annotations"];
        assert_eq!(annotations[EXCLUDED_BEFORE], "\"-rc\"");
        let marks = annotations[EXCLUDED_FOR].as_str();
        let now = provider(excluded.clone(), marks, "\"-rc\"");
        assert_eq!(exclusion(&now, "a/shop", "v3"), None);
        let both = exclusion(&now, "a/pay", "v1.0").unwrap();
        assert_eq!(
            both["spec"]["filter"]["excludeTag"],
            "(?:-rc)|^v1\\.0$|^v3$"
        );
        assert_eq!(both["metadata"]["annotations"][EXCLUDED_BEFORE], "\"-rc\"");
        let back = inclusion(&now, "a/shop").unwrap();
        assert_eq!(back["spec"]["filter"]["excludeTag"], "-rc");
        assert_eq!(back["metadata"]["annotations"][EXCLUDED_FOR], Value::Null);
        assert_eq!(inclusion(&now, "a/pay"), None);
        let plain = exclusion(&provider(Value::Null, None, ""), "a/shop", "v3").unwrap();
        assert_eq!(plain["spec"]["filter"]["excludeTag"], "^v3$");
        let marks = plain["metadata"]["annotations"][EXCLUDED_FOR].as_str();
        let back = inclusion(&provider(json!("^v3$"), marks, "null"), "a/shop").unwrap();
        assert_eq!(back["spec"]["filter"]["excludeTag"], Value::Null);
    }

    #[test]
    fn a_provider_serves_its_own_namespace_and_the_rollouts_that_it_names() {
        let of = |named: Option<&str>| {
            let annotations = named.map(|named| json!({ROLLOUTS: named}));
            let meta =
                json!({"name": "shop", "namespace": "flux-system", "annotations": annotations});
            serde_json::from_value(json!({"metadata": meta})).unwrap()
        };
        assert_eq!(serves(&of(None), "flux-system/shop"), Ok(()));
        let refused = serves(&of(None), "shop-dev/shop").unwrap_err();
        let advice = "annotate it with sluice.dev/rollouts=shop-dev/shop";
        assert!(refused.contains(advice), "{refused}");
        let named = Some("shop/backend, pay/*");
        assert_eq!(serves(&of(named), "shop/backend"), Ok(()));
        assert_eq!(serves(&of(named), "pay/api"), Ok(()));
        assert!(serves(&of(named), "shop/frontend").is_err());
    }

    #[test]
    fn what_a_person_wrote_meanwhile_stays() {
        let edited = provider(json!("^v4$"), Some("{\"a/shop\": [\"v3\"]}"), "null");
        assert_eq!(inclusion(&edited, "a/shop").unwrap().get("spec"), None);
        let next = exclusion(&edited, "a/shop", "v5").unwrap();
        assert_eq!(next["spec"]["filter"]["excludeTag"], "(?:^v4$)|^v3$|^v5$");
    }
}
