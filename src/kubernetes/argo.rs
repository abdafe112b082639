//! Argo CD's objects, as far as the way from a Deployment back to its commit needs them: the
//! Application that applies it, and the Secrets and ConfigMaps that say how its repository is reached.
//!
//! They are read when they are needed, not watched. Credentials are given in the keys of Flux's Secrets,
//! so that one reader does for both.
//!
//! Sources: Argo CD's operator manual, "Declarative Setup"; the Application CRD (v1alpha1).
//!
//! Not here: Git itself (`crate::git`), and when anything is asked (`daemon::remedy`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::crd::MANAGER;
use super::flux::{Error, Kind, Named, Repository, api, commit, told, within};

const APPLICATION: Kind = ("argoproj.io", "v1alpha1", "Application", "applications");
/// By which Argo CD is asked to look at once.
const REFRESH: &str = "argocd.argoproj.io/refresh";
/// By which it knows what is whose.
const TRACKING: &str = "argocd.argoproj.io/tracking-id";
const LABELS: [&str; 2] = ["argocd.argoproj.io/instance", "app.kubernetes.io/instance"];
/// By which its Secrets about repositories are known.
const SECRETS: &str = "argocd.argoproj.io/secret-type in (repository,repo-creds)";
const SECRET_TYPE: &str = "argocd.argoproj.io/secret-type";

/// What an Application applies, and from which commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The folder in the repository, from its root.
    pub path: String,
    /// The repository's URL.
    pub url: String,
    /// The branch that is followed.
    pub branch: String,
    /// The commit that is on the cluster and healthy.
    pub applied: Option<String>,
    /// The commit that was applied last.
    pub attempted: Option<String>,
    /// The commit that is on the cluster, whatever its health, and since when: by the history of syncs.
    pub synced: Option<(String, Timestamp)>,
}

#[allow(missing_debug_implementations)] // kube's Client has none
/// Reads Argo CD's objects.
#[derive(Clone)]
pub struct Argo {
    reads: Client,
    writes: Client,
}

impl Argo {
    /// By these clients.
    pub fn new(reads: Client, writes: Client) -> Self {
        Self { reads, writes }
    }

    /// The Application that applies a workload.
    ///
    /// # Errors
    /// If it cannot be read, leads to no commit, or does not apply it.
    pub async fn application(
        &self,
        at: &Named,
        (kind, workload): (&str, &Named),
    ) -> Result<Application, Error> {
        let what = told(APPLICATION.2, at);
        let found = within(&what, api(&self.reads, APPLICATION, at).get(&at.name)).await?;
        if !lists(&found.data["status"], kind, workload) {
            return Err(Error::Foreign {
                what,
                of: told(kind, workload),
                by: "status.resources",
            });
        }
        application(&found.data).map_err(|why| Error::NoCommit { what, why })
    }

    /// Its repository, with the credentials that Argo CD has for it in the Application's namespace.
    pub async fn repository(&self, at: &Named, of: &Application) -> Result<Repository, Error> {
        let what = format!("Secrets of repositories in {}", at.namespace);
        let secrets: Api<Secret> = Api::namespaced(self.reads.clone(), &at.namespace);
        let params = ListParams::default().labels(SECRETS);
        let found = within(&what, secrets.list(&params)).await?;
        let mut secret = credentials(&found.items, &of.url);
        if secret.contains_key("identity") {
            let known = self.text(at, "argocd-ssh-known-hosts-cm", "ssh_known_hosts");
            secret.extend(known.await?.map(|text| ("known_hosts".to_owned(), text)));
        }
        if let Some(host) = https_host(&of.url) {
            let authority = self.text(at, "argocd-tls-certs-cm", host);
            secret.extend(authority.await?.map(|text| ("ca.crt".to_owned(), text)));
        }
        Ok(Repository {
            url: of.url.clone(),
            branch: of.branch.clone(),
            secret,
        })
    }

    async fn text(&self, at: &Named, name: &str, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let what = format!("ConfigMap {}/{name}", at.namespace);
        let maps: Api<ConfigMap> = Api::namespaced(self.reads.clone(), &at.namespace);
        let found = within(&what, maps.get_opt(name)).await?;
        let data = found.and_then(|map| map.data).unwrap_or_default();
        Ok(data.get(key).map(|text| text.clone().into_bytes()))
    }

    /// Asks Argo CD to look at the repository at once; whether it applies what it finds is its
    /// `syncPolicy`.
    pub async fn refresh_now(&self, at: &Named) -> Result<(), Error> {
        let asked = json!({"metadata": {"annotations": {REFRESH: "normal"}}});
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = api(&self.writes, APPLICATION, at);
        let patch = Patch::Merge(&asked);
        let request = api.patch(&at.name, &params, &patch);
        within(&told(APPLICATION.2, at), request).await.map(|_| ())
    }
}

fn application(object: &Value) -> Result<Application, String> {
    let (source, index) = source(&object["spec"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = &object["status"];
    let operation = &status["operationState"];
    let attempted = [
        revision(&operation["syncResult"], index),
        revision(&operation["operation"]["sync"], index),
    ];
    let now = revision(&status["sync"], index).filter(|_| status["sync"]["status"] == "Synced");
    let applied = now.filter(|_| status["health"]["status"] == "Healthy");
    let newest = status["history"]
        .as_array()
        .and_then(|history| history.last());
    let synced = newest.filter(|newest| now.is_some() && revision(newest, index) == now);
    let since = synced.and_then(|newest| newest["deployedAt"].as_str()?.parse().ok());
    Ok(Application {
        path: text(&source["path"]),
        url: text(&source["repoURL"]),
        branch: branch(source["targetRevision"].as_str().unwrap_or_default())?,
        applied: applied.and_then(commit),
        attempted: attempted.into_iter().flatten().next().and_then(commit),
        synced: now.and_then(commit).zip(since),
    })
}

/// The one source with manifests in Git, and its number where there are several: the others may be charts,
/// or files with values for them.
fn source(spec: &Value) -> Result<(&Value, Option<usize>), String> {
    let chart = "its source is a Helm chart, which has no commit to revert";
    let Some(sources) = spec["sources"].as_array().filter(|all| !all.is_empty()) else {
        let source = &spec["source"];
        return if source["chart"].is_string() {
            Err(chart.to_owned())
        } else {
            Ok((source, None))
        };
    };
    let manifests = |source: &&Value| !source["chart"].is_string() && source["path"].is_string();
    let mut found = sources.iter().enumerate().filter(|(_, one)| manifests(one));
    match (found.next(), found.next()) {
        (Some((index, source)), None) => Ok((source, Some(index))),
        (None, _) => {
            Err("none of its sources is a path in Git: charts have no commit to revert".to_owned())
        }
        (Some((_, one)), Some((_, other))) => Err(format!(
            "several of its sources are paths in Git ({}, {}), want one: give each an Application of its own",
            one["path"], other["path"]
        )),
    }
}

/// A source's revision, of one or of several.
fn revision(of: &Value, index: Option<usize>) -> Option<&str> {
    match index {
        Some(index) => of["revisions"][index].as_str(),
        None => of["revision"].as_str(),
    }
}

/// The Application by which Argo CD tracks a Deployment, as its annotation says it, else its label, which Helm
/// sets too; `argo` is Argo CD's namespace. Whether it is so, the Application says ([`Argo::application`]).
///
/// # Errors
/// What was found and what would be right.
pub fn tracked((kind, deployment): (&str, &ObjectMeta), argo: &str) -> Result<Named, String> {
    let text = |all: &Option<BTreeMap<String, String>>, key: &str| {
        all.as_ref().and_then(|all| all.get(key)).cloned()
    };
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (namespace, name) = (part(&deployment.namespace), part(&deployment.name));
    let named = |name: &str| match name.split_once('_') {
        // Those beside Argo CD's namespace.
        Some((namespace, name)) => Named {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
        None => Named {
            namespace: argo.to_owned(),
            name: name.to_owned(),
        },
    };
    if let Some(id) = text(&deployment.annotations, TRACKING) {
        let own = format!(":apps/{kind}:{namespace}/{name}");
        let found = id.strip_suffix(&own).map(named);
        return found.ok_or_else(|| format!("the annotation {TRACKING} is another object's: {id}"));
    }
    let label = LABELS.iter().find_map(|key| text(&deployment.labels, key));
    let label = label.map(|name| named(&name));
    label.ok_or_else(|| {
        format!(
            "it has neither the annotation {TRACKING} nor a label of Argo CD: name the Application"
        )
    })
}

/// Whether an Application's status lists a workload.
fn lists(status: &Value, kind: &str, at: &Named) -> bool {
    let is = |one: &Value| {
        one["group"] == "apps"
            && one["kind"] == kind
            && one["namespace"] == at.namespace.as_str()
            && one["name"] == at.name.as_str()
    };
    let resources = status["resources"].as_array();
    resources.into_iter().flatten().any(is)
}

/// The branch that is followed; what cannot be added to is refused.
fn branch(revision: &str) -> Result<String, String> {
    if let Some(branch) = revision.strip_prefix("refs/heads/") {
        return Ok(branch.to_owned());
    }
    let fixed = revision.starts_with("refs/") || commit(revision).is_some();
    match revision {
        "" | "HEAD" => Err("it follows HEAD, want a branch's name in targetRevision".to_owned()),
        revision if fixed => Err(format!("it follows {revision}, want a branch")),
        branch => Ok(branch.to_owned()),
    }
}

/// What Argo CD knows of a repository: by its own Secret, else by the one for the longest beginning
/// of its URL; in the keys of Flux's Secrets.
fn credentials(secrets: &[Secret], url: &str) -> BTreeMap<String, Vec<u8>> {
    let kind = |secret: &Secret| {
        let labels = secret.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(SECRET_TYPE)).cloned()
    };
    let url_of = |secret: &Secret| {
        let data = secret.data.as_ref();
        let url = data.and_then(|data| data.get("url"));
        url.map(|url| String::from_utf8_lossy(&url.0).into_owned())
            .unwrap_or_default()
    };
    let own = secrets
        .iter()
        .find(|secret| kind(secret).as_deref() == Some("repository") && same(&url_of(secret), url));
    let templates = secrets.iter().filter(|secret| {
        let begins = url_of(secret);
        kind(secret).as_deref() == Some("repo-creds")
            && !begins.is_empty()
            && url.starts_with(&begins)
    });
    let template = templates.max_by_key(|secret| url_of(secret).len());
    let given = [template, own].into_iter().flatten();
    let mut all = BTreeMap::new();
    for (key, value) in given.flat_map(|secret| secret.data.iter().flatten()) {
        all.extend(as_fluxs(key, &value.0));
    }
    all
}

/// Whether two URLs name one repository: with or without `.git` at the end.
fn same(one: &str, other: &str) -> bool {
    let plain = |url: &str| {
        let url = url.trim().trim_end_matches('/').to_ascii_lowercase();
        url.strip_suffix(".git").unwrap_or(&url).to_owned()
    };
    plain(one) == plain(other)
}

fn as_fluxs(key: &str, value: &[u8]) -> Option<(String, Vec<u8>)> {
    let name = match key {
        "sshPrivateKey" => "identity",
        "username"
        | "password"
        | "bearerToken"
        | "githubAppID"
        | "githubAppInstallationID"
        | "githubAppPrivateKey" => key,
        // Argo CD has the API's base there, Flux the host's.
        "githubAppEnterpriseBaseUrl" => {
            let url = String::from_utf8_lossy(value);
            let base = url.trim().trim_end_matches('/');
            let base = base.strip_suffix("/api/v3").unwrap_or(base);
            return Some(("githubAppBaseURL".to_owned(), base.as_bytes().to_vec()));
        }
        _ => return None,
    };
    Some((name.to_owned(), value.to_vec()))
}

/// The host of an `https` URL, by which Argo CD keeps authorities.
fn https_host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next()?;
    host.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const OTHER: &str = "abcdef0123456789abcdef0123456789abcdef01";

    fn object(sync: &str, health: &str) -> Value {
        json!({
            "spec": {"source": {"repoURL": "https://git.example/shop", "path": "apps/shop", "targetRevision": "main"}},
            "status": {
                "sync": {"status": sync, "revision": COMMIT},
                "health": {"status": health},
                "operationState": {"syncResult": {"revision": OTHER}},
            },
        })
    }

    #[test]
    fn a_commit_counts_as_applied_once_it_is_synced_and_healthy() {
        let found = application(&object("Synced", "Healthy")).unwrap();
        assert_eq!(
            (
                found.path.as_str(),
                found.url.as_str(),
                found.branch.as_str()
            ),
            ("apps/shop", "https://git.example/shop", "main")
        );
        assert_eq!(found.applied.as_deref(), Some(COMMIT));
        assert_eq!(found.attempted.as_deref(), Some(OTHER));
        for (sync, health) in [("OutOfSync", "Healthy"), ("Synced", "Suspended")] {
            assert_eq!(application(&object(sync, health)).unwrap().applied, None);
        }
    }

    #[test]
    fn a_source_without_a_branch_is_refused_by_name() {
        let of = |path: &str, value: Value| {
            let mut object = object("Synced", "Healthy");
            object["spec"]["source"][path] = value;
            application(&object).unwrap_err()
        };
        assert!(of("chart", json!("shop")).contains("Helm chart"));
        for revision in ["HEAD", "refs/tags/v1", COMMIT] {
            let said = of("targetRevision", json!(revision));
            assert!(said.contains("want a branch"), "{said}");
        }
    }

    #[test]
    fn of_several_sources_the_one_with_manifests_in_git_counts() {
        let chart =
            json!({"repoURL": "https://charts.example", "chart": "log", "targetRevision": "1.2"});
        let values = json!({"repoURL": "https://git.example/values", "ref": "values", "targetRevision": "main"});
        let shop = json!({"repoURL": "https://git.example/shop", "path": "apps/shop", "targetRevision": "main"});
        let of = |sources: Value| {
            let mut object = object("Synced", "Healthy");
            object["spec"] = json!({"sources": sources});
            object["status"]["sync"] =
                json!({"status": "Synced", "revisions": ["1.2", OTHER, COMMIT]});
            object["status"]["operationState"] =
                json!({"syncResult": {"revisions": ["1.2", OTHER, COMMIT]}});
            application(&object)
        };
        let found = of(json!([chart, values, shop])).unwrap();
        assert_eq!(
            (found.path.as_str(), found.url.as_str()),
            ("apps/shop", "https://git.example/shop")
        );
        assert_eq!(found.applied.as_deref(), Some(COMMIT));
        assert_eq!(found.attempted.as_deref(), Some(COMMIT));
        assert!(of(json!([chart, values])).unwrap_err().contains("charts"));
        let two = of(json!([shop, shop])).unwrap_err();
        assert!(two.contains("several of its sources"), "{two}");
    }

    #[test]
    fn the_newest_sync_says_since_when_a_commit_is_on_the_cluster() {
        let mut degraded = object("Synced", "Degraded");
        degraded["status"]["history"] = json!([
            {"id": 1, "revision": OTHER, "deployedAt": "2026-01-01T00:00:00Z"},
            {"id": 2, "revision": COMMIT, "deployedAt": "2026-01-02T00:00:00Z"},
        ]);
        let found = application(&degraded).unwrap();
        let since = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(
            (found.applied, found.synced),
            (None, Some((COMMIT.to_owned(), since)))
        );
        degraded["status"]["history"] =
            json!([{"id": 1, "revision": OTHER, "deployedAt": "2026-01-01T00:00:00Z"}]);
        assert_eq!(application(&degraded).unwrap().synced, None);
    }

    #[test]
    fn a_deployment_is_tracked_by_its_annotation_or_by_a_label() {
        let of = |annotation: Option<&str>, label: Option<&str>| {
            let one = |key: &str, value: Option<&str>| {
                value.map(|value| [(key.to_owned(), value.to_owned())].into())
            };
            let meta = ObjectMeta {
                namespace: Some("default".to_owned()),
                name: Some("shop".to_owned()),
                annotations: one(TRACKING, annotation),
                labels: one(LABELS[1], label),
                ..ObjectMeta::default()
            };
            tracked(("Deployment", &meta), "argocd")
                .map(|at| format!("{}/{}", at.namespace, at.name))
        };
        let own = of(Some("shop:apps/Deployment:default/shop"), Some("other"));
        assert_eq!(own.as_deref(), Ok("argocd/shop"));
        let beside = of(Some("team_shop:apps/Deployment:default/shop"), None);
        assert_eq!(beside.as_deref(), Ok("team/shop"));
        let copied = of(Some("shop:apps/Deployment:default/old"), None).unwrap_err();
        assert!(copied.contains("another object's"), "{copied}");
        assert_eq!(of(None, Some("shop")).as_deref(), Ok("argocd/shop"));
        assert!(of(None, None).unwrap_err().contains("name the Application"));
        let status = json!({"resources": [{"group": "apps", "kind": "Deployment", "namespace": "default", "name": "shop"}]});
        let at = |namespace: &str, name: &str| Named {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        assert!(lists(&status, "Deployment", &at("default", "shop")));
        assert!(!lists(&status, "Deployment", &at("default", "pay")));
        assert!(!lists(&status, "Deployment", &at("production", "shop")));
        assert!(!lists(&status, "StatefulSet", &at("default", "shop")));
    }

    #[test]
    fn the_repositorys_own_secret_counts_before_that_of_its_host() {
        let secret = |kind: &str, data: &[(&str, &str)]| {
            let data = data.iter().map(|(key, text)| {
                let text = k8s_openapi::ByteString(text.as_bytes().to_vec());
                ((*key).to_owned(), text)
            });
            let mut secret = Secret {
                data: Some(data.collect()),
                ..Secret::default()
            };
            let label = (SECRET_TYPE.to_owned(), kind.to_owned());
            secret.metadata.labels = Some([label].into());
            secret
        };
        let secrets = [
            secret(
                "repository",
                &[("url", "https://git.example/shop.git"), ("password", "own")],
            ),
            secret(
                "repo-creds",
                &[
                    ("url", "https://git.example"),
                    ("username", "bot"),
                    ("password", "all"),
                ],
            ),
            secret(
                "repo-creds",
                &[("url", "https://git.example/pay"), ("sshPrivateKey", "key")],
            ),
        ];
        let found = |url: &str| {
            let found = credentials(&secrets, url);
            let text = |(key, value): (String, Vec<u8>)| {
                format!("{key}={}", String::from_utf8(value).unwrap())
            };
            found.into_iter().map(text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            found("https://git.example/Shop"),
            "password=own username=bot"
        );
        assert_eq!(found("https://git.example/pay/api"), "identity=key");
        assert_eq!(
            found("https://git.example/other"),
            "password=all username=bot"
        );
        assert_eq!(found("https://elsewhere.example/shop"), "");
        assert_eq!(
            https_host("https://bot@git.example:8443/a"),
            Some("git.example")
        );
    }
}
