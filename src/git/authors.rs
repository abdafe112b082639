//! Who wrote what led to a template: people, as the commits name them.
//!
//! The branch is read along first parents, from the commit that brought the template back to the last good
//! one; a commit counts if what the path deploys differs from that of its parent, as for a remedy. Of a merge
//! those count too whose commits it brought, and of each commit those whom `Co-authored-by` names.
//!
//! Guarantees: nothing is fetched that is there already, and never more than the branch's newest commits; names
//! are short and without control characters. Not here: who they are in the cluster. What a commit says of its
//! author is what whoever made it wrote there.

use git2::{Oid, Repository, Sort};

use super::copy::Copy;
use super::error::{Doing, Error};
use super::history::{self, View};

/// Commits that are looked at along the branch, and of one merge.
const LOOKED_AT: usize = 50;
/// People who are named: none of them may approve, so as many as commits are looked at.
const NAMED: usize = LOOKED_AT;
/// Characters of a name or an address.
const LONGEST: usize = 120;
const TRAILER: &str = "co-authored-by:";

/// Somebody as a commit names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
}

impl Author {
    /// None without an address.
    fn new(name: &str, email: &str) -> Option<Self> {
        let plain = |text: &str| -> String {
            let text = text.trim().chars().filter(|c| !c.is_control());
            text.take(LONGEST).collect()
        };
        let (name, email) = (plain(name), plain(email));
        (!email.is_empty()).then_some(Self { name, email })
    }
}

/// The authors of what led from `good` to `bad`, newest first; where `good` is not known, of the newest change that
/// led to `bad`. Empty where the branch's newest commits do not say it. The first of the views that can
/// be made of `bad` counts.
///
/// # Errors
/// As `Error` says: the server is away, or refuses.
pub fn authors(
    copy: &Copy,
    (good, bad): (Option<Oid>, Oid),
    views: &[&dyn View],
) -> Result<Vec<Author>, Error> {
    if copy.repository().find_commit(bad).is_err() {
        copy.fetch()?;
    }
    let repository = copy.repository();
    if repository.find_commit(bad).is_err() {
        return Ok(Vec::new());
    }
    for view in views {
        if let Ok(now) = history::seen(repository, bad, *view) {
            let leading = leading(repository, (good, bad), now, *view);
            return named(repository, &leading);
        }
    }
    Ok(Vec::new())
}

/// The commits whose view differs from their first parent's, newest first.
fn leading(
    repository: &Repository,
    (good, bad): (Option<Oid>, Oid),
    mut now: String,
    view: &dyn View,
) -> Vec<Oid> {
    let aim = good.and_then(|good| history::seen(repository, good, view).ok());
    let (mut leading, mut next) = (Vec::new(), bad);
    for _ in 0..LOOKED_AT {
        let parent = repository.find_commit(next).and_then(|c| c.parent(0));
        let Ok(parent) = parent.map(|parent| parent.id()) else {
            break;
        };
        // A commit in between may be broken: what is wrong with it is its view.
        let before = history::seen(repository, parent, view);
        let before = before.unwrap_or_else(|error| error.to_string());
        if before != now {
            leading.push(next);
        }
        let enough = aim.is_none() && !leading.is_empty();
        if enough || aim.as_ref() == Some(&before) || good == Some(parent) {
            break;
        }
        (now, next) = (before, parent);
    }
    leading
}

fn named(repository: &Repository, commits: &[Oid]) -> Result<Vec<Author>, Error> {
    let mut found: Vec<Author> = Vec::new();
    for commit in commits {
        for author in of_change(repository, *commit)? {
            let email = author.email.to_lowercase();
            let known = found
                .iter()
                .any(|known| known.email.to_lowercase() == email);
            if !known && found.len() < NAMED {
                found.push(author);
            }
        }
    }
    Ok(found)
}

/// Of a commit, and of those that it merges.
fn of_change(repository: &Repository, change: Oid) -> Result<Vec<Author>, Error> {
    let commit = repository.find_commit(change).doing("reading a commit")?;
    let mut all = of_commit(repository, change)?;
    if commit.parent_count() < 2 {
        return Ok(all);
    }
    let mut walk = repository.revwalk().doing("reading a merge")?;
    walk.set_sorting(Sort::TIME).doing("reading a merge")?;
    let first = commit.parent_id(0).doing("reading a merge")?;
    walk.push(change).doing("reading a merge")?;
    walk.hide(first).doing("reading a merge")?;
    // At the edge of the copy the walk ends with an error: what was found until there counts.
    for merged in walk.map_while(Result::ok).take(LOOKED_AT) {
        all.extend(of_commit(repository, merged)?);
    }
    Ok(all)
}

fn of_commit(repository: &Repository, commit: Oid) -> Result<Vec<Author>, Error> {
    let commit = repository.find_commit(commit).doing("reading a commit")?;
    let author = commit.author();
    let (name, email) = (author.name(), author.email());
    let author = Author::new(name.unwrap_or_default(), email.unwrap_or_default());
    let message = commit.message().unwrap_or_default();
    let others = message.lines().filter_map(co_author);
    Ok(author.into_iter().chain(others).collect())
}

/// `Co-authored-by: Ada <ada@example.com>`.
fn co_author(line: &str) -> Option<Author> {
    let begin = line.get(..TRAILER.len())?;
    let begins = begin.eq_ignore_ascii_case(TRAILER);
    let rest = begins.then(|| &line[TRAILER.len()..])?;
    let (name, email) = rest.trim().strip_suffix('>')?.split_once('<')?;
    Author::new(name, email)
}

#[cfg(test)]
mod tests {
    use git2::{Signature, Time};

    use super::*;
    use crate::git::copy::Copy;
    use crate::git::{Address, Credentials, Limits, Remote};

    /// What the file `tag` says; nothing can be said of a tree without one.
    struct Tag;

    impl View for Tag {
        fn of(&self, repository: &Repository, tree: &git2::Tree<'_>) -> Result<String, Error> {
            let entry = tree
                .get_name("tag")
                .ok_or_else(|| Error::View("no tag".to_owned()))?;
            let blob = repository.find_blob(entry.id()).unwrap();
            Ok(String::from_utf8_lossy(blob.content()).into_owned())
        }
    }

    struct Nothing;

    impl View for Nothing {
        fn of(&self, _: &Repository, _: &git2::Tree<'_>) -> Result<String, Error> {
            Err(Error::View("cannot be made".to_owned()))
        }
    }

    fn commit(
        repository: &Repository,
        (who, text): (&str, &str),
        file: (&str, &str),
        parents: &[Oid],
    ) -> Oid {
        let at = Signature::new(
            who,
            &format!("{who}@example.com"),
            &Time::new(1_800_000_000, 0),
        );
        let at = at.unwrap();
        let parents: Vec<_> = parents
            .iter()
            .map(|p| repository.find_commit(*p).unwrap())
            .collect();
        let before = parents.last().map(|parent| parent.tree().unwrap());
        let mut tree = repository.treebuilder(before.as_ref()).unwrap();
        let blob = repository.blob(file.1.as_bytes()).unwrap();
        tree.insert(file.0, blob, 0o100_644).unwrap();
        let tree = repository.find_tree(tree.write().unwrap()).unwrap();
        let parents: Vec<_> = parents.iter().collect();
        let commit = repository
            .commit(None, &at, &at, text, &tree, &parents)
            .unwrap();
        repository
            .reference("refs/heads/main", commit, true, "test")
            .unwrap();
        commit
    }

    fn copy_of(folder: &std::path::Path, runtime: &tokio::runtime::Runtime) -> Copy {
        let url = format!("file://{}", folder.join("origin").display());
        let remote = Remote {
            at: Address::local(&url).unwrap(),
            branch: "main".to_owned(),
            credentials: Credentials::None,
            authority: None,
        };
        let limits = Limits {
            time: std::time::Duration::from_secs(60),
            bytes: 1 << 20,
        };
        Copy::open(
            &folder.join("copies"),
            runtime.handle().clone(),
            remote,
            limits,
        )
        .unwrap()
    }

    fn names(found: &[Author]) -> Vec<&str> {
        found.iter().map(|author| author.name.as_str()).collect()
    }

    #[test]
    fn those_count_whose_commits_changed_what_is_deployed() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let origin = Repository::init_bare(folder.path().join("origin")).unwrap();
        let first = commit(&origin, ("ada", "Begin"), ("tag", "1"), &[]);
        let two = commit(&origin, ("bob", "Two"), ("tag", "2"), &[first]);
        let words = commit(&origin, ("carol", "Words"), ("README", "x"), &[two]);
        let text = "Three\n\nCo-Authored-By: Dan <dan@example.com>\nCo-authored-by: nobody\n";
        let branch = commit(&origin, ("erin", text), ("tag", "3"), &[words]);
        let merge = commit(&origin, ("frank", "Merge"), ("more", "x"), &[words, branch]);
        let last = commit(&origin, ("carol", "Words"), ("README", "y"), &[merge]);
        let copy = copy_of(folder.path(), &runtime);
        let cases: [(Option<Oid>, Oid, &[&str]); 5] = [
            (Some(two), last, &["frank", "erin", "Dan"]),
            (None, last, &["frank", "erin", "Dan"]),
            (Some(first), last, &["frank", "erin", "Dan", "bob"]),
            (Some(first), words, &["bob"]),
            (Some(two), words, &[]),
        ];
        for (good, bad, wanted) in cases {
            let found = authors(&copy, (good, bad), &[&Nothing, &Tag]).unwrap();
            assert_eq!(names(&found), wanted, "{good:?} to {bad}");
        }
        let unmade = authors(&copy, (Some(first), last), &[&Nothing]).unwrap();
        assert_eq!(unmade, []);
        // One that came later is fetched; one that the branch does not have says nothing.
        let later = commit(&origin, ("gus", "Four"), ("tag", "4"), &[last]);
        let found = authors(&copy, (Some(last), later), &[&Tag]).unwrap();
        assert_eq!(names(&found), ["gus"]);
        let strange = Oid::from_str("00000000000000000000000000000000000000aa").unwrap();
        assert_eq!(authors(&copy, (None, strange), &[&Tag]).unwrap(), []);
    }

    #[test]
    fn names_are_short_and_plain() {
        let long = "x".repeat(500);
        let author = Author::new(&format!("A\u{1b}[31m\n{long}"), " a@example.com ").unwrap();
        assert_eq!(author.name.chars().count(), LONGEST);
        assert!(!author.name.chars().any(char::is_control));
        assert_eq!(author.email, "a@example.com");
        assert_eq!(Author::new("nobody", " "), None);
        assert_eq!(co_author("Co-authored-by: é"), None);
        assert_eq!(co_author("Co-authored-bé: a <b>"), None);
    }
}
