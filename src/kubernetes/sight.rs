//! What of the cluster is in sight: which watches are filled, and which namespaces are refused.
//!
//! Guarantees: of a namespace that is refused in part nothing is said to be in sight, since a shelf that stays empty
//! or old would be taken for a fact; and it keeps nobody from looking after the others.
//!
//! Not here: the watches (`cache`), and what a run does without sight (`rollout::decide`).

use std::collections::BTreeMap;

/// Watches of one namespace, or of all, that are not in sight, by what was asked; and why, where that is refused.
type Missing = BTreeMap<String, Option<String>>;

/// How the watches stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// All watches.
    pub all: usize,
    /// How often one broke, without an answer of the API server.
    pub broken: u64,
    /// By the namespace that is watched by itself; none for what is watched in all of them.
    missing: BTreeMap<Option<String>, Missing>,
}

impl Sight {
    /// A watch begins.
    pub fn begins(&mut self, scope: Option<&str>, what: &str) {
        self.all += 1;
        self.of(scope).insert(what.to_owned(), None);
    }

    /// Its list came, or it can be done without. Whether it had been missing.
    pub fn came(&mut self, scope: Option<&str>, what: &str) -> bool {
        self.of(scope).remove(what).is_some()
    }

    /// It is refused. Whether that is news.
    pub fn refused(&mut self, scope: Option<&str>, what: &str, why: String) -> bool {
        let why = Some(why);
        let before = self.of(scope).insert(what.to_owned(), why.clone());
        before != Some(why)
    }

    fn of(&mut self, scope: Option<&str>) -> &mut Missing {
        self.missing.entry(scope.map(str::to_owned)).or_default()
    }

    /// Watches that are in sight.
    pub fn done(&self) -> usize {
        self.all - self.missing.values().map(BTreeMap::len).sum::<usize>()
    }

    /// Whether work can begin: all is in sight but namespaces that are refused, and not all of them are.
    pub fn suffices(&self) -> bool {
        let everywhere = self.missing.get(&None).is_none_or(BTreeMap::is_empty);
        let mut named = self.named();
        let known = named.all(|(_, missing)| missing.is_empty() || is_refused(missing));
        let seen = self.named().any(|(_, missing)| missing.is_empty());
        everywhere && known && (seen || self.named().next().is_none())
    }

    /// Whether nothing else of the namespace is missing.
    pub fn lacks_only(&self, scope: Option<&str>, what: &str) -> bool {
        let missing = self.missing.get(&scope.map(str::to_owned));
        missing.is_none_or(|missing| missing.keys().all(|other| other == what))
    }

    /// Why a namespace that is watched by itself cannot be seen whole.
    pub fn unseen(&self, namespace: &str) -> Option<String> {
        why(self.missing.get(&Some(namespace.to_owned()))?)
    }

    /// The namespaces that are watched by themselves and are in sight, or are refused, and why.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, Option<String>)> {
        let known = self
            .named()
            .filter(|(_, missing)| missing.is_empty() || is_refused(missing));
        known.map(|(namespace, missing)| (namespace, why(missing)))
    }

    fn named(&self) -> impl Iterator<Item = (&str, &Missing)> {
        let scopes = self.missing.iter();
        scopes.filter_map(|(scope, missing)| Some((scope.as_deref()?, missing)))
    }

    /// How many watches are filled, and why others are not.
    pub fn words(&self) -> String {
        let count = if self.done() == self.all {
            format!("{} watches are filled", self.all)
        } else {
            format!("{} of {} watches are filled", self.done(), self.all)
        };
        let missing = self.missing.values().flatten();
        let refused = missing.filter_map(|(what, why)| Some((what, why.as_ref()?)));
        let refused = refused.map(|(what, why)| format!("; {what}: {why}"));
        std::iter::once(count).chain(refused).collect()
    }
}

fn is_refused(missing: &Missing) -> bool {
    missing.values().any(Option::is_some)
}

/// What is refused first, and how much besides.
fn why(missing: &Missing) -> Option<String> {
    let mut refused = missing
        .iter()
        .filter_map(|(what, why)| Some((what, why.as_ref()?)));
    let (what, why) = refused.next()?;
    Some(match refused.count() {
        0 => format!("{what}: {why}"),
        more => format!("{what}: {why} (and {more} more)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scopes: &[Option<&str>]) -> Sight {
        let mut sight = Sight::default();
        for scope in scopes {
            sight.begins(*scope, "Pod");
            sight.begins(*scope, "Rollout");
        }
        sight
    }

    fn fill(sight: &mut Sight, scope: Option<&str>) {
        for what in ["Pod", "Rollout"] {
            assert!(sight.came(scope, what));
        }
    }

    #[test]
    fn a_namespace_that_is_refused_is_left_out_and_the_others_are_not() {
        let mut sight = of(&[None, Some("a"), Some("b")]);
        assert!(sight.refused(Some("a"), "Pod", "no".to_owned()));
        assert!(!sight.refused(Some("a"), "Pod", "no".to_owned()));
        fill(&mut sight, None);
        assert!(!sight.suffices(), "b is waited for");
        fill(&mut sight, Some("b"));
        assert!(sight.suffices());
        assert_eq!(sight.words(), "4 of 6 watches are filled; Pod: no");
        let known: Vec<_> = sight.namespaces().collect();
        assert_eq!(known, [("a", Some("Pod: no".to_owned())), ("b", None)]);
        assert!(sight.refused(Some("b"), "Rollout", "neither".to_owned()));
        assert!(!sight.suffices(), "nothing is seen");
        assert!(sight.came(Some("b"), "Rollout"));
        assert!(!sight.came(Some("b"), "Rollout"));
        assert!(sight.suffices());
    }

    #[test]
    fn what_is_watched_in_all_namespaces_is_waited_for() {
        let mut sight = of(&[None]);
        sight.refused(None, "Pod", "no".to_owned());
        assert!(sight.came(None, "Rollout"));
        assert!(!sight.suffices());
        assert_eq!(sight.unseen("a"), None);
        assert!(sight.came(None, "Pod"));
        assert!(sight.suffices());
        assert_eq!(sight.words(), "2 watches are filled");
    }

    #[test]
    fn only_what_is_refused_is_out_of_sight() {
        let mut sight = of(&[Some("a")]);
        assert_eq!(sight.unseen("a"), None, "it may still come");
        assert!(!sight.lacks_only(Some("a"), "Rollout"));
        sight.refused(Some("a"), "Pod", "no".to_owned());
        sight.refused(Some("a"), "Rollout", "no".to_owned());
        let why = sight.unseen("a").unwrap();
        assert_eq!(why, "Pod: no (and 1 more)");
        sight.came(Some("a"), "Pod");
        assert!(sight.lacks_only(Some("a"), "Rollout"));
        assert_eq!(sight.unseen("b"), None);
    }
}
