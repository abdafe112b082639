//! Images that a kustomization renames or pins.

use serde_json::{Value, json};

use super::file::{Image, Kustomization};
use super::{put, templates};

/// Each image of each pod.
pub(super) fn all(this: &Kustomization, objects: &mut [Value]) {
    for object in objects {
        let Some(template) = templates(object) else {
            continue;
        };
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            let Some(containers) = template
                .pointer_mut(&format!("/spec/{list}"))
                .and_then(Value::as_array_mut)
            else {
                continue;
            };
            for container in containers {
                pin(&this.images, container);
            }
        }
    }
}

fn pin(images: &[Image], container: &mut Value) {
    for image in images {
        let Some(old) = container.get("image").and_then(Value::as_str) else {
            return;
        };
        let (name, rest) = parts(old);
        if name != image.name {
            continue;
        }
        let name = match image.new_name.as_str() {
            "" => name,
            new => new,
        };
        let tag = image.new_tag.as_ref().map(tag);
        let tail = match (image.digest.as_str(), tag) {
            ("", None) => rest.to_owned(),
            ("", Some(tag)) => format!(":{tag}"),
            (digest, None) => format!("@{digest}"),
            (digest, Some(tag)) => format!(":{tag}@{digest}"),
        };
        let image = json!(format!("{name}{tail}"));
        put(container, &[], "image", image);
    }
}

/// A tag that looks like a number is one in YAML.
fn tag(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// An image's name, and its tag and digest with what stands before them.
pub(super) fn parts(image: &str) -> (&str, &str) {
    let digest = image.find('@').unwrap_or(image.len());
    let host = image[..digest].rfind('/').map_or(0, |at| at + 1);
    let at = image[host..digest].find(':').map_or(digest, |at| host + at);
    image.split_at(at)
}
