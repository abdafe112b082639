//! The rules in force: loaded from folders, reloaded when they change.
//!
//! Files are compared by content, so that a `ConfigMap` mount's swapped links, a copy with an old
//! time and an editor's rename are all seen. The set is taken as a whole: one mistake anywhere
//! and the last good set stays, with every mistake told once. Without folders the rules that
//! are shipped in the binary apply.
//!
//! Not here: what a rule may say (`rollout::rule`), and when to look (the caller's tick).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::rollout::rule::{Problem, Rule, RuleSet, lint};

/// The shipped rules: file name and text.
pub const SHIPPED: [(&str, &str); 10] = [
    ("rules/cilium.yaml", include_str!("../../rules/cilium.yaml")),
    (
        "rules/envoy-gateway.yaml",
        include_str!("../../rules/envoy-gateway.yaml"),
    ),
    (
        "rules/ingress-nginx.yaml",
        include_str!("../../rules/ingress-nginx.yaml"),
    ),
    (
        "rules/ingress-nginx-limits.yaml",
        include_str!("../../rules/ingress-nginx-limits.yaml"),
    ),
    (
        "rules/http-server.yaml",
        include_str!("../../rules/http-server.yaml"),
    ),
    (
        "rules/nginx-gateway-fabric.yaml",
        include_str!("../../rules/nginx-gateway-fabric.yaml"),
    ),
    ("rules/istio.yaml", include_str!("../../rules/istio.yaml")),
    (
        "rules/kubernetes.yaml",
        include_str!("../../rules/kubernetes.yaml"),
    ),
    (
        "rules/synthetic.yaml",
        include_str!("../../rules/synthetic.yaml"),
    ),
    (
        "rules/traefik.yaml",
        include_str!("../../rules/traefik.yaml"),
    ),
];

/// The rules in force and where they come from.
#[derive(Debug, Clone)]
pub struct Rules {
    folders: Vec<PathBuf>,
    /// File name and text, as last seen, whether they were accepted or not.
    texts: BTreeMap<String, Result<String, String>>,
    current: RuleSet,
}

/// What a look at the folders brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Reload {
    /// As before, good or bad; told already.
    Unchanged,
    /// A new set is in force.
    Loaded {
        /// Rules that were added or changed, then rules that are gone.
        changed: Vec<String>,
    },
    /// The folders hold mistakes; the last good set stays in force.
    Refused(Vec<Problem>),
}

impl Rules {
    /// Loads the rules of `folders`, or the shipped ones if there are none. All mistakes of all
    /// files at once.
    pub fn load(folders: Vec<PathBuf>) -> Result<Self, Vec<Problem>> {
        let texts = texts(&folders);
        let current = parse(&texts)?;
        Ok(Self {
            folders,
            texts,
            current,
        })
    }

    /// The rule with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        self.current.get(name)
    }

    /// All rules in force. Unchanged rules keep their `Arc` over a reload.
    pub fn all(&self) -> &RuleSet {
        &self.current
    }

    /// Looks at the folders again. Reads files; call it every few seconds at most.
    pub fn reload(&mut self) -> Reload {
        let texts = texts(&self.folders);
        if texts == self.texts {
            return Reload::Unchanged;
        }
        self.texts = texts;
        match parse(&self.texts) {
            Err(problems) => Reload::Refused(problems),
            Ok(rules) => self.replace(rules),
        }
    }

    fn replace(&mut self, mut rules: RuleSet) -> Reload {
        let mut changed = Vec::new();
        for (name, rule) in &mut rules {
            match self.current.get(name) {
                Some(known) if known == rule => *rule = Arc::clone(known),
                _ => changed.push(name.clone()),
            }
        }
        let gone = self
            .current
            .keys()
            .filter(|name| !rules.contains_key(*name));
        changed.extend(gone.cloned());
        self.current = rules;
        Reload::Loaded { changed }
    }
}

fn parse(texts: &BTreeMap<String, Result<String, String>>) -> Result<RuleSet, Vec<Problem>> {
    let mut rules = RuleSet::new();
    let mut files: BTreeMap<String, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for (file, text) in texts {
        let text = text
            .as_ref()
            .map_err(|why| vec![whole_file(file, why.clone())]);
        match text.and_then(|text| lint(text, file)) {
            Err(found) => problems.extend(found),
            Ok(found) => {
                for rule in found {
                    if let Some(other) = files.insert(rule.name.clone(), file) {
                        let message = format!(
                            "the rule `{}` is also in {other}; names must differ",
                            rule.name
                        );
                        problems.push(whole_file(file, message));
                    }
                    rules.insert(rule.name.clone(), Arc::new(rule));
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(rules)
    } else {
        Err(problems)
    }
}

fn whole_file(file: &str, message: String) -> Problem {
    Problem {
        file: file.to_owned(),
        line: 0,
        column: 0,
        key: String::new(),
        message,
    }
}

/// The texts of all rule files, or why one could not be read.
fn texts(folders: &[PathBuf]) -> BTreeMap<String, Result<String, String>> {
    if folders.is_empty() {
        return SHIPPED
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned())))
            .collect();
    }
    read(folders)
}

/// The texts of all YAML files of folders, or why one could not be read.
pub(super) fn read(folders: &[PathBuf]) -> BTreeMap<String, Result<String, String>> {
    let mut texts = BTreeMap::new();
    for folder in folders {
        match files(folder) {
            Err(error) => {
                texts.insert(
                    folder.display().to_string(),
                    Err(format!("cannot be read: {error}")),
                );
            }
            Ok(files) => texts.extend(files.iter().map(|file| {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("cannot be read: {error}"));
                (file.display().to_string(), text)
            })),
        }
    }
    texts
}

/// The rule files of a folder; not those of its subfolders, nor hidden ones.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !hidden && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("sluice-rules-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.0.join(file), text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn rule(name: &str, ratio: &str) -> String {
        format!(
            "- name: {name}\n  proportion:\n    metric: m\n    select: {{ns: '{{{{namespace}}}}'}}\n    arm: {{label: c, canary: nonempty, stable: empty}}\n    bad: {{s: '5..'}}\n  worseBy: {{ratio: {ratio}}}\n"
        )
    }

    fn names(rules: &Rules) -> Vec<&str> {
        rules.all().keys().map(String::as_str).collect()
    }

    #[test]
    fn shipped_rules_apply_where_no_folder_is_given() {
        let rules = Rules::load(Vec::new()).unwrap();
        assert_eq!(
            names(&rules),
            [
                "cilium-error-rate",
                "cilium-latency-p99",
                "cpu-throttling",
                "envoy-gateway-error-rate",
                "envoy-gateway-latency-p99",
                "error-limit",
                "error-rate",
                "http-error-rate",
                "http-error-rate-status",
                "http-latency-p99",
                "istio-error-rate",
                "istio-latency-p99",
                "latency-limit",
                "latency-p99",
                "nginx-gateway-fabric-error-rate",
                "no-restarts",
                "oom-kills",
                "restarts",
                "synthetic-health",
                "traefik-error-rate",
                "traefik-gateway-error-rate",
                "traefik-gateway-latency-p99",
                "traefik-latency-p99",
            ]
        );
    }

    #[test]
    fn shipped_rules_are_those_in_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
        assert_eq!(files(&folder).unwrap().len(), SHIPPED.len());
    }

    #[test]
    fn a_change_is_loaded_and_a_mistake_keeps_the_last_good_set() {
        let folder = Folder::new("change");
        folder.write("a.yaml", &rule("a", "1.5"));
        folder.write("b.yml", &rule("b", "2"));
        folder.write("notes.txt", "not a rule");
        let mut rules = Rules::load(vec![folder.0.clone()]).unwrap();
        let b = Arc::clone(rules.get("b").unwrap());
        assert_eq!(rules.reload(), Reload::Unchanged);

        folder.write("a.yaml", &rule("a", "0.5"));
        let Reload::Refused(problems) = rules.reload() else {
            panic!("accepted")
        };
        assert_eq!(problems.len(), 1);
        assert!(problems[0].file.ends_with("a.yaml"), "{problems:?}");
        assert_eq!(
            (problems[0].line, problems[0].key.as_str()),
            (7, "a.worseBy.ratio")
        );
        assert_eq!(rules.reload(), Reload::Unchanged, "told once");
        assert!((rules.get("a").unwrap().ratio - 1.5).abs() < 1e-9);

        folder.write("a.yaml", &rule("c", "3"));
        assert_eq!(
            rules.reload(),
            Reload::Loaded {
                changed: vec!["c".into(), "a".into()]
            }
        );
        assert!(
            Arc::ptr_eq(&b, rules.get("b").unwrap()),
            "what did not change is the same"
        );
    }

    #[test]
    fn a_name_in_two_files_is_refused_with_both() {
        let folder = Folder::new("twice");
        folder.write("a.yaml", &rule("same", "2"));
        folder.write("b.yaml", &rule("same", "2"));
        folder.write("c.yaml", "- name: [");
        let problems = Rules::load(vec![folder.0.clone()]).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].file.ends_with("b.yaml") && problems[0].message.contains("a.yaml"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_swapped_link_is_a_change_as_in_a_configmap_mount() {
        let folder = Folder::new("links");
        for (version, ratio) in [("..1", "2"), ("..2", "3")] {
            fs::create_dir(folder.0.join(version)).unwrap();
            fs::write(folder.0.join(version).join("a.yaml"), rule("a", ratio)).unwrap();
        }
        symlink("..1", folder.0.join("..data")).unwrap();
        symlink("..data/a.yaml", folder.0.join("a.yaml")).unwrap();
        let mut rules = Rules::load(vec![folder.0.clone()]).unwrap();
        symlink("..2", folder.0.join("..new")).unwrap();
        fs::rename(folder.0.join("..new"), folder.0.join("..data")).unwrap();
        assert_eq!(
            rules.reload(),
            Reload::Loaded {
                changed: vec!["a".into()]
            }
        );
        assert_eq!(names(&rules), ["a"]);
    }

    #[test]
    fn a_folder_that_is_missing_is_said_and_changes_nothing() {
        let folder = Folder::new("missing");
        folder.write("a.yaml", &rule("a", "2"));
        let mut rules = Rules::load(vec![folder.0.clone()]).unwrap();
        fs::remove_dir_all(&folder.0).unwrap();
        let Reload::Refused(problems) = rules.reload() else {
            panic!("accepted")
        };
        assert!(
            problems[0].message.starts_with("cannot be read"),
            "{problems:?}"
        );
        assert_eq!(names(&rules), ["a"]);
        assert!(Rules::load(vec![folder.0.clone()]).is_err());
    }
}
