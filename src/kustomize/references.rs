//! Where objects name others, which a prefix, a suffix or a generator gives other names.
//!
//! Source: kustomize's name references, those of the kinds that are in use here. Not here: kinds of one's own, which
//! kustomize does not know either (`configurations`).

use serde_json::{Value, json};

use super::{templates, text};

/// The new name of an object of this kind and name, if it has one.
type New<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

/// Gives what the object names its new name.
pub(super) fn refer(object: &mut Value, new: New<'_>) {
    if let Some(spec) = templates(object).and_then(|template| template.get_mut("spec")) {
        refer_within(spec, new);
    }
    match text(object, &["kind"]) {
        "Ingress" => of_ingress(object, new),
        "HorizontalPodAutoscaler" => follow(object.pointer_mut("/spec/scaleTargetRef"), new),
        "StatefulSet" => rename(object.get_mut("spec"), "serviceName", "Service", new),
        "RoleBinding" | "ClusterRoleBinding" => {
            follow(object.get_mut("roleRef"), new);
            for subject in list(object, "/subjects") {
                follow(Some(subject), new);
            }
        }
        _ => {}
    }
}

fn of_ingress(ingress: &mut Value, new: New<'_>) {
    let of_backend = |backend: Option<&mut Value>| rename(backend, "name", "Service", new);
    of_backend(ingress.pointer_mut("/spec/defaultBackend/service"));
    for rule in list(ingress, "/spec/rules") {
        for path in list(rule, "/http/paths") {
            of_backend(path.pointer_mut("/backend/service"));
        }
    }
    for tls in list(ingress, "/spec/tls") {
        rename(Some(tls), "secretName", "Secret", new);
    }
}

/// Renames what a reference with kind and name leads to.
fn follow(reference: Option<&mut Value>, new: New<'_>) {
    let kind = reference.as_ref().map(|it| text(it, &["kind"]).to_owned());
    rename(reference, "name", &kind.unwrap_or_default(), new);
}

fn rename(holder: Option<&mut Value>, key: &str, kind: &str, new: New<'_>) {
    let name = holder.and_then(|holder| holder.get_mut(key));
    let Some(name) = name else { return };
    if let Some(renamed) = name.as_str().and_then(|old| new(kind, old)) {
        *name = json!(renamed);
    }
}

fn list<'a>(object: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    let items = object.pointer_mut(pointer).and_then(Value::as_array_mut);
    items.into_iter().flatten()
}

/// Within a pod's spec.
fn refer_within(value: &mut Value, new: New<'_>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| refer_within(item, new)),
        Value::Object(fields) => {
            for (field, inner) in fields.iter_mut() {
                let (kind, key) = match field.as_str() {
                    "imagePullSecrets" => {
                        for secret in inner.as_array_mut().into_iter().flatten() {
                            rename(Some(secret), "name", "Secret", new);
                        }
                        continue;
                    }
                    "configMapRef" | "configMapKeyRef" | "configMap" => ("ConfigMap", "name"),
                    "secret" if inner.get("secretName").is_some() => ("Secret", "secretName"),
                    "secret" | "secretRef" | "secretKeyRef" => ("Secret", "name"),
                    "persistentVolumeClaim" => ("PersistentVolumeClaim", "claimName"),
                    _ => {
                        refer_within(inner, new);
                        continue;
                    }
                };
                rename(Some(inner), key, kind, new);
            }
            let account = fields.get("serviceAccountName").and_then(Value::as_str);
            if let Some(name) = account.and_then(|old| new("ServiceAccount", old)) {
                fields.insert("serviceAccountName".to_owned(), json!(name));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_a_binding_names_is_followed_and_one_of_another_kind_is_not() {
        let mut binding = json!({"kind": "RoleBinding", "subjects": [
            {"kind": "ServiceAccount", "name": "web"}, {"kind": "Group", "name": "web"},
        ]});
        refer(&mut binding, &|kind, name| {
            (kind == "ServiceAccount").then(|| format!("pre-{name}"))
        });
        let names = [0, 1].map(|at| binding["subjects"][at]["name"].clone());
        assert_eq!(names, ["pre-web", "web"]);
    }
}
