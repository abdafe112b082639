//! What of a folder's objects only servers know: whether its images exist, and whether its hosts answer.
//!
//! An image that is not there is an error; a registry or a host that cannot be asked is a warning, since it may
//! be reachable from the cluster only. Each image and each host is asked once, several at a time.
//!
//! Not here: what can be said without servers (`crate::environments::validate`).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;

use crate::causes;
use crate::clock::Clock;
use crate::environments::Version;
use crate::environments::validate::{Checked, Level, images};
use crate::kustomize::image_name;
use crate::registry::{Access, Image, Registry};

/// For one host.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions under way at one time.
const AT_ONCE: usize = 8;

/// Where something was named: the object's number and the path in it.
type Places = Vec<(usize, String)>;

/// Adds what servers say.
pub async fn ask(checked: &mut Checked, access: &Access) {
    ask_registries(checked, access).await;
    ask_hosts(checked).await;
}

async fn ask_registries(checked: &mut Checked, access: &Access) {
    let mut images_at: BTreeMap<String, Places> = BTreeMap::new();
    for (at, path, image) in images(&checked.objects) {
        images_at.entry(image).or_default().push((at, path));
    }
    let asked = futures::stream::iter(images_at)
        .map(|(image, places)| async move { (exists(&image, access).await, places) });
    let answers: Vec<_> = asked.buffered(AT_ONCE).collect().await;
    for (answer, places) in answers {
        let Err((level, why)) = answer else { continue };
        for (at, path) in places {
            checked.add("image-exists", level, (at, &path), why.clone());
        }
    }
}

async fn ask_hosts(checked: &mut Checked) {
    let mut hosts_at: BTreeMap<(String, u16), Places> = BTreeMap::new();
    for (at, object) in checked.objects.iter().enumerate() {
        for (path, host, port) in hosts(object) {
            hosts_at.entry((host, port)).or_default().push((at, path));
        }
    }
    let asked = futures::stream::iter(hosts_at)
        .map(|((host, port), places)| async move { (listens(&host, port).await, places) });
    let told: Vec<_> = asked.buffered(AT_ONCE).collect().await;
    for (answer, places) in told {
        let Err(why) = answer else { continue };
        for (at, path) in places {
            checked.add("host", Level::Warning, (at, &path), why.clone());
        }
    }
}

/// Whether a registry has an image; a version that is missing in the manifest is another rule's.
async fn exists(image: &str, access: &Access) -> Result<(), (Level, String)> {
    let Ok(version) = Version::of_image(image) else {
        return Ok(());
    };
    let warned = |why: String| (Level::Warning, why);
    let place = Image::parse(image_name(image)).map_err(|error| warned(error.to_string()))?;
    let unknown = |error: crate::registry::Error| warned(causes::told(&error));
    let registry = Registry::new(&place.host, access).map_err(unknown)?;
    let reference = version.digest.or(version.tag).unwrap_or_default();
    match registry
        .digest(&place.repository, &reference)
        .await
        .map_err(unknown)?
    {
        Some(_) => Ok(()),
        None => Err((Level::Error, format!("{image} is not in the registry"))),
    }
}

/// The hosts of an Ingress, an `HTTPRoute` or a Gateway, with their paths and the port that users ask.
fn hosts(object: &Value) -> Vec<(String, String, u16)> {
    let list = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let mut all = Vec::new();
    match object["kind"].as_str() {
        Some("Ingress") => {
            let secured: Vec<&Value> = list("/spec/tls")
                .flat_map(|tls| tls["hosts"].as_array().into_iter().flatten())
                .collect();
            for (at, rule) in list("/spec/rules").enumerate() {
                let port = if secured.contains(&&rule["host"]) {
                    443
                } else {
                    80
                };
                let path = format!("spec.rules[{at}].host");
                all.extend(
                    rule["host"]
                        .as_str()
                        .map(|host| (path, host.to_owned(), port)),
                );
            }
        }
        Some("HTTPRoute") => {
            for (at, host) in list("/spec/hostnames").enumerate() {
                let path = format!("spec.hostnames[{at}]");
                all.extend(host.as_str().map(|host| (path, host.to_owned(), 80)));
            }
        }
        _ => {}
    }
    all.retain(|(_, host, _)| !host.starts_with('*'));
    all
}

/// Whether somebody listens there.
async fn listens(host: &str, port: u16) -> Result<(), String> {
    let clock = Clock::machine();
    let found = clock
        .timeout(PATIENCE, tokio::net::lookup_host((host, port)))
        .await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) | Err(_) => return Err(format!("{host} is not found in the DNS")),
    };
    let mut last = format!("{host} has no address");
    for address in addresses {
        match clock
            .timeout(PATIENCE, tokio::net::TcpStream::connect(address))
            .await
        {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => last = format!("{host} does not answer at {address}: {error}"),
            Err(_) => last = format!("{host} does not answer at {address} in time"),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_is_asked_where_its_users_ask_it() {
        let ingress = json!({"kind": "Ingress", "spec": {"tls": [{"hosts": ["a.example"]}],
            "rules": [{"host": "a.example"}, {"host": "b.example"}, {"host": "*.c.example"}, {}]}});
        let wanted = [
            ("spec.rules[0].host".to_owned(), "a.example".to_owned(), 443),
            ("spec.rules[1].host".to_owned(), "b.example".to_owned(), 80),
        ];
        assert_eq!(hosts(&ingress), wanted);
        let route = json!({"kind": "HTTPRoute", "spec": {"hostnames": ["a.example"]}});
        let wanted = ("spec.hostnames[0]".to_owned(), "a.example".to_owned(), 80);
        assert_eq!(hosts(&route), [wanted]);
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_at_is_said() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listens("127.0.0.1", port).await, Ok(()));
        drop(listener);
        let why = listens("127.0.0.1", port).await.unwrap_err();
        assert!(why.contains("does not answer"), "{why}");
    }
}
