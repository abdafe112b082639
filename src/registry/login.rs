//! Who we are at a registry, from a file as `docker login` and Kubernetes' image pull secrets have it.
//!
//! A key is a host, or a host and the beginning of a path, and of several the longest counts, as
//! containers-auth.json(5) says. Keys that are URLs (`https://index.docker.io/v1/`) are of the whole host.
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

/// The login for a repository of a host; `None` where the file has none. Says why where it cannot be used.
pub fn of_repository(file: &Path, host: &str, repository: &str) -> Result<Option<Login>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let config: Value = serde_json::from_str(&text)
        .map_err(|_| "want JSON with `auths`, as docker login writes it".to_owned())?;
    let entry = longest(&config["auths"], host, repository);
    if let Some(login) = entry.and_then(login) {
        return Ok(Some(login));
    }
    let helped = longest(&config["credHelpers"], host, repository).is_some();
    let store = config["credsStore"].as_str().unwrap_or_default();
    let auths = config["auths"].as_object();
    // With a store, docker login leaves an entry without a password behind.
    let stored =
        !store.is_empty() && (entry.is_some() || auths.is_none_or(serde_json::Map::is_empty));
    if helped || stored {
        let why = format!(
            "the login for {host} is kept by another program, which is not run: want `auths`"
        );
        return Err(why);
    }
    Ok(None)
}

/// What stands under the longest key that a repository lies beneath.
fn longest<'a>(entries: &'a Value, host: &str, repository: &str) -> Option<&'a Value> {
    let asked = format!("{}/{repository}", normal(host));
    let entries = entries.as_object().into_iter().flatten();
    let above = entries.filter_map(|(key, entry)| {
        let key = place(key);
        let rest = asked.strip_prefix(&key)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((key.len(), entry))
    });
    above
        .max_by_key(|(length, _)| *length)
        .map(|(_, entry)| entry)
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

/// A key as host and path: `https://index.docker.io/v1/` is `docker.io`, `registry.example:5000/shop` is itself.
fn place(key: &str) -> String {
    let (url, rest) = match key.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, key),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = normal(host);
    match path.trim_end_matches('/') {
        // Versions of the API, as docker login and Kubernetes have them.
        "" | "v1" | "v2" => host.to_owned(),
        _ if url => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

fn normal(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn name(config: &Value, host: &str, repository: &str) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let login = of_repository(&file, host, repository)?;
        Ok(login.map(|login| match login {
            Login::Basic(name, password) => {
                assert_eq!(password.expose_secret(), "x");
                name
            }
            Login::Identity(token) => token.expose_secret().to_owned(),
        }))
    }

    #[test]
    fn the_login_of_the_longest_path_counts() {
        let entry = |name: &str| json!({"username": name, "password": "x"});
        let config = json!({"auths": {
            "r.example": entry("host"), "r.example/shop": entry("shop"), "r.example/shop/web/": entry("web"),
            "https://r.example:5000/shop": entry("url"), "other.example/a": entry("a"),
            "https://index.docker.io/v1/": entry("hub"), "docker.io/team": entry("team"), "v.example/v2": entry("v"),
        }});
        for (host, repository, wanted) in [
            ("r.example", "else/web", Some("host")),
            ("r.example", "shopping/web", Some("host")),
            ("r.example", "shop", Some("shop")),
            ("r.example", "shop/api", Some("shop")),
            ("r.example", "shop/web", Some("web")),
            ("r.example", "shop/web/nginx", Some("web")),
            ("r.example:5000", "else", Some("url")),
            ("other.example", "a/b", Some("a")),
            ("other.example", "b", None),
            ("docker.io", "library/nginx", Some("hub")),
            ("index.docker.io", "team/web", Some("team")),
            ("v.example", "shop", Some("v")),
            ("example", "shop", None),
        ] {
            let found = name(&config, host, repository).unwrap();
            assert_eq!(found.as_deref(), wanted, "{host}/{repository}");
        }
    }

    #[test]
    fn what_another_program_keeps_is_said() {
        let kept = |config: Value| name(&config, "r.example", "shop/web").unwrap_err();
        let left = json!({"auths": {"r.example": {}}, "credsStore": "pass"});
        for config in [
            left,
            json!({"credsStore": "pass"}),
            json!({"credHelpers": {"r.example/shop": "pass"}}),
        ] {
            let why = kept(config.clone());
            assert!(
                why.contains("is kept by another program"),
                "{config}: {why}"
            );
        }
        let others = json!({"auths": {"a.example": {}}, "credsStore": "pass"});
        assert_eq!(name(&others, "r.example", "shop/web"), Ok(None));
        let others = json!({"credHelpers": {"r.example/shop": "pass"}});
        assert_eq!(name(&others, "r.example", "else"), Ok(None));
    }
}
