//! Flux's `ImagePolicy` objects in the repository of a remedy, by which image automation would choose the
//! failed tag again: the commit that takes the release back leaves its tag out of their ranges, too.
//!
//! Which ones matter is said where image automation writes: markers `{"$imagepolicy": "namespace:name"}`
//! beside the failed tag, in the files that are taken back. Of these, those of another image are left alone.
//! Only semantic ranges can leave a tag out: the patterns of the others (RE2) know no "all but".
//!
//! Not here: the grammar of ranges (`kubernetes::flux::range`), and what is suspended meanwhile (`automation`).

use std::collections::{BTreeMap, BTreeSet};

use git2::{ObjectType, Repository, Tree, TreeWalkMode, TreeWalkResult};
use regex::Regex;

use crate::git::{Beside, Change, Error, Outcome, Written};
use crate::kubernetes::crd::GitRemedy;
use crate::kubernetes::flux::range;
use crate::kustomize::{blob, image_name, image_version};
use crate::yaml::{self, Node, scalar};

const MARKER: &str = "{\"$imagepolicy\"";
const GROUP: &str = "image.toolkit.fluxcd.io/";

/// The images of a failed release that stable does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    images: Vec<(String, String)>,
}

/// A tag that was looked for in an `ImagePolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The policy, `namespace/name`.
    pub policy: String,
    /// The tag.
    pub tag: String,
    /// The manifest.
    pub file: String,
}

impl Excluded {
    /// For a message.
    pub fn told(&self) -> String {
        let Self { policy, tag, file } = self;
        format!(
            "; tag {tag} is excluded in the range of ImagePolicy {policy} (to let it in again, take it out of {file})"
        )
    }
}

/// What a tree says of the failed tags.
#[derive(Debug, Default)]
struct Said {
    /// Policies that leave their tag out.
    excluded: Vec<Excluded>,
    /// Why others do not and cannot.
    why_not: Vec<String>,
    /// What is to be written so that they do.
    missing: BTreeMap<String, String>,
    written: Vec<Excluded>,
}

/// A policy that image automation writes by: namespace and name.
type Marked = BTreeSet<(String, String, (String, String))>;

impl Failed {
    /// Of the failed and of the stable template.
    pub fn new(failed: &[String], stable: &[String]) -> Self {
        let news = failed.iter().filter(|image| !stable.contains(image));
        let images = news.filter_map(|image| {
            let version = image_version(image).strip_prefix(':')?;
            let tag = version.split('@').next()?;
            Some((image_name(image).to_owned(), tag.to_owned()))
        });
        Self {
            images: images.collect(),
        }
    }

    /// Which policies leave the failed tags out in the commit that was pushed, and why others do not.
    ///
    /// # Errors
    /// If the commit cannot be read.
    pub fn left_out(
        &self,
        repository: &Repository,
        outcome: &Outcome,
    ) -> Result<(Vec<Excluded>, String), Error> {
        let (Outcome::Pushed { commit, undone } | Outcome::Shared { commit, undone, .. }) = outcome
        else {
            return Ok((Vec::new(), String::new()));
        };
        let tree = repository
            .find_commit(commit.0)
            .and_then(|commit| commit.tree());
        let tree = tree.map_err(|source| Error::Git {
            doing: "reading the commit that was pushed",
            source,
        })?;
        let said = self.said(repository, &tree, undone)?;
        Ok((said.excluded, said.why_not.join("; ")))
    }

    /// What a tree says, in which these changes are taken back.
    fn said(
        &self,
        repository: &Repository,
        tree: &Tree<'_>,
        undone: &[Change],
    ) -> Result<Said, Error> {
        let mut said = Said::default();
        if self.images.is_empty() {
            let why = "the failed template has no tag that the stable one does not have";
            said.why_not.push(why.to_owned());
            return Ok(said);
        }
        let marked = self.marked(repository, undone)?;
        if marked.is_empty() {
            let why = "no marker of image automation stands beside it in what is taken back";
            said.why_not.push(why.to_owned());
            return Ok(said);
        }
        let manifests = Manifests::of(repository, tree)?;
        for (namespace, name, (image, tag)) in marked {
            manifests.exclude(&(namespace, name), (&image, &tag), &mut said);
        }
        Ok(said)
    }

    /// Policies named beside a failed tag in the files that changes brought.
    fn marked(&self, repository: &Repository, undone: &[Change]) -> Result<Marked, Error> {
        let mut marked = Marked::new();
        for change in undone {
            for text in brought(repository, change)? {
                for (value, namespace, name) in text.lines().filter_map(marker) {
                    for one in self.images.iter().filter(|(_, tag)| holds(value, tag)) {
                        marked.insert((namespace.clone(), name.clone(), one.clone()));
                    }
                }
            }
        }
        Ok(marked)
    }
}

/// The remedy with what was excluded by its commit, and why other tags were not.
pub fn excluding(remedy: GitRemedy, (excluded, why_not): (Vec<Excluded>, String)) -> GitRemedy {
    let told: String = excluded.iter().map(Excluded::told).collect();
    let why_not = match why_not.as_str() {
        "" => String::new(),
        why => format!("; its tag is not excluded: {why}"),
    };
    let names = excluded
        .iter()
        .map(|one| format!("{}:{}", one.policy, one.tag));
    GitRemedy {
        message: [remedy.message, told, why_not].concat(),
        excluded: names.collect(),
        ..remedy
    }
}

impl Beside for Failed {
    fn of(
        &self,
        repository: &Repository,
        tree: &Tree<'_>,
        undone: &[Change],
    ) -> Result<Written, Error> {
        let said = self.said(repository, tree, undone)?;
        let says = said
            .written
            .iter()
            .map(|one| format!("Excludes {} in ImagePolicy {}.", one.tag, one.policy));
        let says: Vec<String> = says.collect();
        Ok(Written {
            files: said.missing,
            says: says.join("\n"),
        })
    }
}

/// The texts of the files that a change brought.
fn brought(repository: &Repository, change: &Change) -> Result<Vec<String>, Error> {
    let git = |source| Error::Git {
        doing: "comparing a commit with its parent",
        source,
    };
    let tree = |commit| repository.find_commit(commit)?.tree();
    let (before, after) = (
        tree(change.parent).map_err(git)?,
        tree(change.commit.0).map_err(git)?,
    );
    let diff = repository.diff_tree_to_tree(Some(&before), Some(&after), None);
    let mut texts = Vec::new();
    for delta in diff.map_err(git)?.deltas() {
        let blob = blob(repository, delta.new_file().id());
        texts.extend(
            blob.ok()
                .and_then(|blob| std::str::from_utf8(blob.content()).ok().map(str::to_owned)),
        );
    }
    Ok(texts)
}

/// The value of a line that image automation writes, and the policy's namespace and name.
fn marker(line: &str) -> Option<(&str, String, String)> {
    let at = line.find(MARKER)?;
    let value = &line[..line[..at].rfind('#')?];
    let json: serde_json::Value = serde_json::Deserializer::from_str(&line[at..])
        .into_iter()
        .next()?
        .ok()?;
    let mut named = json["$imagepolicy"].as_str()?.split(':');
    let (namespace, name) = (named.next()?.to_owned(), named.next()?.to_owned());
    Some((value, namespace, name))
}

fn holds(value: &str, tag: &str) -> bool {
    let within = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    value.split(|c| !within(c)).any(|word| word == tag)
}

/// The policies and image repositories of a tree.
#[derive(Default)]
struct Manifests {
    texts: BTreeMap<String, String>,
    objects: Vec<(String, Node)>,
}

impl Manifests {
    fn of(repository: &Repository, tree: &Tree<'_>) -> Result<Self, Error> {
        let mut all = Self::default();
        let walked = tree.walk(TreeWalkMode::PreOrder, |parent, entry| {
            let path = format!("{parent}{}", String::from_utf8_lossy(entry.name_bytes()));
            let manifest = matches!(path.rsplit_once('.'), Some((_, "yaml" | "yml")));
            if manifest
                && entry.kind() == Some(ObjectType::Blob)
                && let Ok(blob) = blob(repository, entry.id())
                && let Ok(text) = std::str::from_utf8(blob.content())
            {
                all.read(path, text);
            }
            TreeWalkResult::Ok
        });
        walked.map_err(|source| Error::Git {
            doing: "reading a tree",
            source,
        })?;
        Ok(all)
    }

    fn read(&mut self, path: String, text: &str) {
        if !text.contains(GROUP) {
            return;
        }
        let documents = yaml::documents(text).unwrap_or_default();
        let before = self.objects.len();
        self.objects.extend(
            documents
                .into_iter()
                .filter(|one| {
                    let group = at(one, &["apiVersion"]).and_then(Node::text);
                    group.is_some_and(|group| group.starts_with(GROUP))
                })
                .map(|one| (path.clone(), one)),
        );
        if self.objects.len() > before {
            self.texts.insert(path, text.to_owned());
        }
    }

    /// Manifests often leave the namespace to a kustomization.
    fn find(&self, kind: &str, (namespace, name): (&str, &str)) -> Option<&(String, Node)> {
        self.objects.iter().find(|(_, one)| {
            let said = |keys: &[&str]| at(one, keys).and_then(Node::text);
            said(&["kind"]) == Some(kind)
                && said(&["metadata", "name"]) == Some(name)
                && said(&["metadata", "namespace"]).is_none_or(|said| said == namespace)
        })
    }

    fn exclude(
        &self,
        (namespace, name): &(String, String),
        (image, tag): (&str, &str),
        said: &mut Said,
    ) {
        let policy = format!("{namespace}/{name}");
        let Some((file, found)) = self.find("ImagePolicy", (namespace, name)) else {
            said.why_not.push(format!(
                "the manifest of ImagePolicy {policy} is not in the repository"
            ));
            return;
        };
        if self
            .image_of(namespace, found)
            .is_some_and(|of| of != image)
        {
            return;
        }
        let known = said.missing.get(file).or_else(|| self.texts.get(file));
        let text = known.map_or("", String::as_str);
        let one = Excluded {
            policy: policy.clone(),
            tag: tag.to_owned(),
            file: file.clone(),
        };
        match without(found, text, tag) {
            Ok(new) if new == text => said.excluded.push(one),
            Ok(new) => {
                said.missing.insert(file.clone(), new);
                said.written.push(one);
            }
            Err(why) => said
                .why_not
                .push(format!("ImagePolicy {policy} in {file}: {why}")),
        }
    }

    /// The image that a policy is for, if the repository says it.
    fn image_of(&self, namespace: &str, policy: &Node) -> Option<&str> {
        let said = |key| at(policy, &["spec", "imageRepositoryRef", key]).and_then(Node::text);
        let namespace = said("namespace").unwrap_or(namespace);
        let (_, found) = self.find("ImageRepository", (namespace, said("name")?))?;
        at(found, &["spec", "image"]).and_then(Node::text)
    }
}

/// The text with the tag left out of a policy's range.
fn without(policy: &Node, text: &str, tag: &str) -> Result<String, String> {
    let Some(range) = at(policy, &["spec", "policy", "semver", "range"]) else {
        return Err("it has no semver range, and a pattern cannot leave one tag out".to_owned());
    };
    let version = extracted(policy, tag)?;
    let now = scalar::written(text, range.place).map_err(|fault| fault.to_string())?;
    let new = range::without(&now, &version)?;
    if new == now {
        return Ok(text.to_owned());
    }
    scalar::replaced(text, range.place, &new).map_err(|fault| fault.to_string())
}

/// What the policy compares: the tag, or what its filter takes out of that.
fn extracted(policy: &Node, tag: &str) -> Result<String, String> {
    let said = |key| at(policy, &["spec", "filterTags", key]).and_then(Node::text);
    let (Some(pattern), Some(extract)) = (said("pattern"), said("extract")) else {
        return Ok(tag.to_owned());
    };
    let pattern = Regex::new(pattern).map_err(|_| format!("the pattern {pattern:?}"))?;
    let found = pattern.captures(tag);
    let found = found.ok_or_else(|| format!("its pattern does not match {tag}"))?;
    let mut version = String::new();
    found.expand(extract, &mut version);
    Ok(version)
}

fn at<'a>(node: &'a Node, keys: &[&str]) -> Option<&'a Node> {
    keys.iter().try_fold(node, |node, key| node.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: &str = "\
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageRepository
metadata: {name: shop}
spec: {image: r.example/shop, interval: 5m}
---
# The shop's versions.
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImagePolicy
metadata:
  name: shop
  namespace: flux-system
spec:
  imageRepositoryRef: {name: shop}
  policy:
    semver:
      range: '>=1.0.0'   # all of them
";

    fn manifests(text: &str) -> Manifests {
        let mut manifests = Manifests::default();
        manifests.read("policies.yaml".to_owned(), text);
        manifests
    }

    fn said(text: &str, image: &str, tag: &str) -> Said {
        let mut said = Said::default();
        let policy = ("flux-system".to_owned(), "shop".to_owned());
        manifests(text).exclude(&policy, (image, tag), &mut said);
        said
    }

    #[test]
    fn a_marker_names_the_policy_beside_the_tag_that_it_writes() {
        let line = "  newTag: '1.2.3' # {\"$imagepolicy\": \"flux-system:shop:tag\"}";
        let (value, namespace, name) = marker(line).unwrap();
        assert_eq!((namespace.as_str(), name.as_str()), ("flux-system", "shop"));
        assert!(holds(value, "1.2.3") && !holds(value, "1.2") && !holds(value, "2.3"));
        let image = "image: r.example/shop:v3@sha256:12 # by hand {\"$imagepolicy\": \"a:b\"} ok";
        let (value, ..) = marker(image).unwrap();
        assert!(holds(value, "v3"));
        assert_eq!(marker("image: shop:v3"), None);
    }

    #[test]
    fn the_tag_is_left_out_of_the_range_and_nothing_else_is_touched() {
        let first = said(POLICIES, "r.example/shop", "v1.2.3");
        let new = first.missing["policies.yaml"].clone();
        let wanted = POLICIES.replace("'>=1.0.0'", "'>=1.0.0, !=1.2.3'");
        assert_eq!(new, wanted);
        assert_eq!(first.written[0].policy, "flux-system/shop");
        let again = said(&new, "r.example/shop", "v1.2.3");
        assert!(again.missing.is_empty());
        assert_eq!(again.excluded, first.written);
    }

    #[test]
    fn another_images_policy_is_left_alone_and_what_has_no_range_is_told() {
        let other = said(POLICIES, "r.example/pay", "v1.2.3");
        assert!(other.missing.is_empty() && other.why_not.is_empty());
        let numbers = POLICIES.replace(
            "semver:\n      range: '>=1.0.0'",
            "numerical:\n      order: asc",
        );
        let refused = said(&numbers, "r.example/shop", "v1.2.3").why_not;
        assert!(refused[0].contains("no semver range"), "{refused:?}");
        let elsewhere = said("kind: x\n", "r.example/shop", "v3").why_not;
        assert!(elsewhere[0].contains("not in the repository"));
    }

    #[test]
    fn what_a_filter_extracts_is_the_version() {
        let filter = "  filterTags: {pattern: '^main-(?P<v>.*)$', extract: '$v'}\n  policy:\n";
        let text = POLICIES.replace("  policy:\n", filter);
        let found = said(&text, "r.example/shop", "main-1.2.3");
        assert!(found.missing["policies.yaml"].contains("!=1.2.3"));
        let refused = said(&text, "r.example/shop", "dev-1.2.3").why_not;
        assert!(refused[0].contains("does not match"), "{refused:?}");
    }

    #[test]
    fn only_what_stable_does_not_have_has_failed() {
        let all = |images: &[&str]| {
            images
                .iter()
                .map(|one| (*one).to_owned())
                .collect::<Vec<_>>()
        };
        let failed = all(&[
            "r.example:5000/shop:v3@sha256:1",
            "r.example/log:v1",
            "plain",
        ]);
        let found = Failed::new(&failed, &all(&["r.example/log:v1"]));
        let wanted = ("r.example:5000/shop".to_owned(), "v3".to_owned());
        assert_eq!(found.images, [wanted]);
    }
}
