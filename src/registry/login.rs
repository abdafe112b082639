//! Who we are at a registry, from a file as `docker login` and Kubernetes' image pull secrets have it.
//!
//! The file is read anew each time, since it may be rotated. Programs that it names as keepers of
//! passwords (`credHelpers`, `credsStore`) are not run. Not here: what is done with it (`client`).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde_json::Value;

/// A login.
#[derive(Debug, Clone)]
pub enum Login {
    /// Name and password.
    Basic(String, SecretString),
    /// A token by which others are got.
    Identity(SecretString),
}

/// The login for a host; `None` where the file has none. Says why where it cannot be used.
pub fn of_host(file: &Path, host: &str) -> Result<Option<Login>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let config: Value = serde_json::from_str(&text)
        .map_err(|_| "want JSON with `auths`, as docker login writes it".to_owned())?;
    let auths = config["auths"].as_object();
    let mut found = auths.into_iter().flatten();
    let found = found.find(|(key, _)| host_of(key) == normal(host));
    if let Some(login) = found.and_then(|(_, entry)| login(entry)) {
        return Ok(Some(login));
    }
    let helpers = config["credHelpers"].as_object();
    let helped =
        helpers.is_some_and(|helpers| helpers.keys().any(|key| host_of(key) == normal(host)));
    let stored = config["credsStore"]
        .as_str()
        .is_some_and(|store| !store.is_empty());
    if helped || (stored && auths.is_none_or(serde_json::Map::is_empty)) {
        let why = format!(
            "the login for {host} is kept by another program, which is not run: want `auths`"
        );
        return Err(why);
    }
    Ok(None)
}

fn login(entry: &Value) -> Option<Login> {
    let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Login::Identity(SecretString::from(token)));
    }
    if let (Some(name), Some(password)) = (text("username"), text("password")) {
        return Some(Login::Basic(name.to_owned(), SecretString::from(password)));
    }
    let decoded = STANDARD.decode(text("auth")?).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some(Login::Basic(name.to_owned(), SecretString::from(password)))
}

/// `https://index.docker.io/v1/` and `registry.example:5000` as hosts.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    normal(rest.split('/').next().unwrap_or_default())
}

fn normal(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}
