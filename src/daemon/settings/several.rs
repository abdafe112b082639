//! Settings of several environments that one daemon serves: all files, and what they share.
//!
//! Guarantees: every mistake of every file is told at once; no two environments have one name, one
//! history file, webhook's port, or Rollouts in common as far as the settings show it.
//!
//! Not here: one file's own keys (`settings`), which namespace a cluster's default is (`hub`), and whether two
//! kubeconfigs lead to one cluster.

use std::path::{Path, PathBuf};

use super::{Error, Problem, Settings, Webhook};
use crate::history::Place;

/// One environment of several, and the file that its settings are from.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// The file.
    pub file: PathBuf,
    /// What it says.
    pub settings: Settings,
}

impl Settings {
    /// Reads several files, each an environment, and the process's `SLUICE_*` variables, which hold for
    /// all of them.
    pub fn load_several(files: &[PathBuf]) -> Result<Vec<Environment>, Error> {
        let mut problems = Vec::new();
        let mut all = Vec::new();
        for file in files {
            match Self::load(file) {
                Ok(settings) => all.push(Environment {
                    file: file.clone(),
                    settings,
                }),
                Err(Error::Invalid(more)) => problems.extend(more),
                Err(Error::Read { path, source }) => problems.push(Problem {
                    origin: path.display().to_string(),
                    key: "settings".to_owned(),
                    found: source.to_string(),
                    wanted: "a file that can be read".to_owned(),
                }),
            }
        }
        problems.extend(conflicts(&all));
        // A variable's mistake is the same in each file.
        problems.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
        problems.dedup();
        if problems.is_empty() {
            Ok(all)
        } else {
            Err(Error::Invalid(problems))
        }
    }
}

/// What each environment says that does not go together with those before it.
pub fn conflicts(all: &[Environment]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let mut wrong = |key: &str, found: String, wanted: &str| {
            problems.push(Problem {
                origin: one.file.display().to_string(),
                key: key.to_owned(),
                found,
                wanted: wanted.to_owned(),
            });
        };
        let name = &one.settings.environment;
        if !is_plain(name) {
            let wanted = "letters, digits, - and _, since it stands in addresses";
            wrong("environment", format!("{name:?}"), wanted);
        }
        for other in all.iter().take(index) {
            for (key, wanted) in disagree(&one.settings, &other.settings) {
                let file = other.file.display();
                wrong(key, format!("what stands in {file} too"), wanted);
            }
            if one.settings.log != other.settings.log {
                let found = format!("another than in {}", other.file.display());
                wrong("log", found, "one, since the process has one log");
            }
        }
    }
    problems
}

/// What two environments have in common that they must not have, and what is wanted instead.
fn disagree(one: &Settings, other: &Settings) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    if one.environment == other.environment {
        found.push(("environment", "a name of its own"));
    }
    // Two that write one file would wait for each other.
    if let (Place::Sqlite(one), Place::Sqlite(other)) = (&one.history.place, &other.history.place)
        && one == other
    {
        found.push(("history", "a file of its own"));
    }
    let (a, b) = (&one.cluster, &other.cluster);
    let one_cluster = (&a.kubeconfig, &a.context) == (&b.kubeconfig, &b.context);
    let shared = a.namespaces.is_empty()
        || b.namespaces.is_empty()
        || a.namespaces.iter().any(|name| b.namespaces.contains(name));
    if one_cluster && shared {
        let wanted = "another cluster, or namespaces that no other environment has";
        found.push(("cluster", wanted));
    }
    let (x, y) = (&one.election, &other.election);
    let one_lease = (&x.name, &x.namespace) == (&y.name, &y.namespace);
    if one_cluster && one_lease && x.enabled && y.enabled {
        found.push(("leaderElection.name", "a lease of its own"));
    }
    if let (Some(one), Some(other)) = (&one.webhook, &other.webhook) {
        found.extend(hooks_disagree(one, other, one_cluster));
    }
    found
}

/// The same of two webhooks. Environments of one namespace would have one Secret and one Service.
fn hooks_disagree(
    one: &Webhook,
    other: &Webhook,
    one_cluster: bool,
) -> Vec<(&'static str, &'static str)> {
    let (a, b) = (one.listen, other.listen);
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    let one_place = a.port() == b.port() && a.port() != 0 && (any || a.ip() == b.ip());
    let one_name = one_cluster && one.name == other.name;
    let one_namespace = one_cluster && one.namespace == other.namespace;
    let wanted = [
        (one_place, "webhook.listen", "a port of its own"),
        (one_name, "webhook.name", "a configuration of its own"),
        (one_namespace, "webhook.namespace", "a namespace of its own"),
    ];
    let wrong = wanted.into_iter().filter(|(same, ..)| *same);
    wrong.map(|(_, key, wanted)| (key, wanted)).collect()
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    !name.is_empty() && name.chars().all(plain)
}

/// The files that are meant: a folder means the settings files in it.
pub fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in given {
        if path.is_dir() {
            files.extend(in_folder(path)?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ours = name.ends_with(".yaml") || name.ends_with(".yml");
        // What a mounted ConfigMap consists of begins with a dot.
        if ours && !name.starts_with('.') && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let none = std::io::Error::new(std::io::ErrorKind::NotFound, "no settings file in it");
        return Err(read(none));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "evidence: {scrape: {targets: ['http://127.0.0.1:1/metrics']}}";

    /// What is told of these files, without the folder's name.
    fn told(texts: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in texts {
            std::fs::write(folder.path().join(name), format!("{text}\n{METRICS}\n")).unwrap();
        }
        let files = files(&[folder.path().to_owned()]).unwrap();
        let told = Settings::load_several(&files);
        let told = told.map_or_else(
            |error| error.to_string(),
            |all| format!("{} good", all.len()),
        );
        told.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn environments_of_one_daemon_have_little_in_common() {
        let other = "environment: b\ncluster: {kubeconfig: b}";
        let cases = [
            ("environment: a\ncluster: {kubeconfig: a}", "2 good"),
            (
                "environment: a\ncluster: {kubeconfig: b, namespaces: [x]}",
                "b.yaml: cluster: found what stands in a.yaml too, wanted another cluster, or namespaces",
            ),
            (
                "environment: b\ncluster: {kubeconfig: a}",
                "b.yaml: environment: found what stands in a.yaml too, wanted a name of its own",
            ),
            (
                "environment: 'a/b'\ncluster: {kubeconfig: a}",
                "a.yaml: environment: found \"a/b\", wanted letters",
            ),
            (
                "environment: a\ncluster: {kubeconfig: a}\nlog: {level: debug}",
                "b.yaml: log: found another than in a.yaml",
            ),
        ];
        for (one, wanted) in cases {
            let told = told(&[("a.yaml", one), ("b.yaml", other), (".c.yaml", "{")]);
            assert!(told.contains(wanted), "{one}\n{told}");
        }
    }

    #[test]
    fn one_cluster_and_one_history_are_not_shared_by_accident() {
        let one = "environment: a\ncluster: {namespaces: [a]}\nhistory: sqlite:x.db\nleaderElection: {enabled: true}";
        let two = one.replace(" a\n", " b\n").replace("[a]", "[b]");
        let told_two = told(&[("a.yaml", one), ("b.yaml", &two)]);
        assert!(told_two.contains("b.yaml: history: found"), "{told_two}");
        assert!(
            told_two.contains("b.yaml: leaderElection.name: found"),
            "{told_two}"
        );
        let apart = two.replace("x.db", "y.db").replace("true", "true, name: b");
        assert_eq!(told(&[("a.yaml", one), ("b.yaml", &apart)]), "2 good");
    }

    #[test]
    fn webhooks_have_ports_of_their_own_and_in_one_cluster_names_too() {
        let one = "environment: a\ncluster: {kubeconfig: c, namespaces: [a]}\ngate: webhook";
        let two = one.replace(" a\n", " b\n").replace("[a]", "[b]");
        let apart = two.replace("kubeconfig: c", "kubeconfig: d");
        let with = |text: &str, hook: &str| format!("{text}\nwebhook: {{{hook}}}");
        let listen =
            "b.yaml: webhook.listen: found what stands in a.yaml too, wanted a port of its own";
        let name = "b.yaml: webhook.name: found what stands in a.yaml too, wanted a configuration";
        let namespace =
            "b.yaml: webhook.namespace: found what stands in a.yaml too, wanted a namespace";
        let cases = [
            (two.clone(), vec![listen, name, namespace]),
            (apart.clone(), vec![listen]),
            (with(&apart, "listen: '127.0.0.1:8443'"), vec![listen]),
            (
                apart.replace("gate: webhook", "webhook: {name: x}"),
                vec![listen],
            ),
            (apart.replace("webhook", "policy"), vec![]),
            (with(&apart, "listen: '0.0.0.0:8444'"), vec![]),
            (
                with(&two, "listen: '0.0.0.0:8444', name: b"),
                vec![namespace],
            ),
            (
                with(&two, "listen: '0.0.0.0:8444', namespace: b"),
                vec![name],
            ),
            (
                with(&two, "listen: '0.0.0.0:8444', namespace: b, name: b"),
                vec![],
            ),
        ];
        for (other, wanted) in cases {
            let told = told(&[("a.yaml", one), ("b.yaml", &other)]);
            assert_eq!(
                told.matches(": found").count(),
                wanted.len(),
                "{other}\n{told}"
            );
            for wanted in wanted {
                assert!(told.contains(wanted), "{other}\n{told}");
            }
        }
    }

    #[test]
    fn the_mistakes_of_all_files_are_told_at_once() {
        let told = told(&[("a.yaml", "gate: shut"), ("b.yaml", "listen: here")]);
        assert!(told.contains("a.yaml:1:1: gate: found"), "{told}");
        assert!(told.contains("b.yaml:1:1: listen: found"), "{told}");
    }
}
