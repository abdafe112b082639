//! Building a folder: its resources, then what the kustomization does to them, in kustomize's order.
//!
//! What is read for one build is bounded: folders that each name the next one twice would be built a billion
//! times, and whoever may write to a repository would hold up the daemon.

use std::cell::{Cell, RefCell};

use serde_json::Value;

use super::file::Kustomization;
use super::gaps::{self, Gap, Partly, Unknown};
use super::{Error, Files, generate, images, labels, patch, text};

/// How deep folders may name folders: further down they name each other in a circle.
const DEEPEST: usize = 32;
/// Files and folders that are asked for in one build, each as often as that is done.
const MOST_READS: usize = 50_000;
/// Bytes that are read in one build.
const MOST_BYTES: usize = 32 << 20;

/// The objects that `folder` deploys.
///
/// # Errors
/// If something is missing, malformed, or not understood here.
pub fn build(files: &dyn Files, folder: &str) -> Result<Vec<Value>, Error> {
    all(&Build::new(files, None), folder)
}

/// What can be told of what `folder` deploys although something is not understood here, and all of that.
pub fn build_partly(files: &dyn Files, folder: &str) -> Partly {
    let build = Build::new(files, Some(RefCell::default()));
    let built = all(&build, folder);
    let gaps = build.gaps.map(RefCell::into_inner).unwrap_or_default();
    let objects = built.map(|objects| gaps::told_apart(objects, &gaps));
    Partly { objects, gaps }
}

fn all(build: &Build<'_>, folder: &str) -> Result<Vec<Value>, Error> {
    let folder = join("", folder)?;
    let mut objects = match Kustomization::read(build, &folder)? {
        Some(read) => built(build, &folder, read, Vec::new(), 0)?,
        None => all_below(build, &folder, 0)?,
    };
    generate::name_by_content(&mut objects);
    Ok(objects)
}

/// One build: its files, of which so many may be read, and what it could not do.
pub(super) struct Build<'a> {
    files: &'a dyn Files,
    reads: Cell<usize>,
    bytes: Cell<usize>,
    /// None where a gap is an error.
    gaps: Option<RefCell<Vec<Gap>>>,
    /// Whether there was a gap in the kustomization that is being built, or in what it takes.
    is_open: Cell<bool>,
}

impl<'a> Build<'a> {
    fn new(files: &'a dyn Files, gaps: Option<RefCell<Vec<Gap>>>) -> Self {
        Self {
            files,
            reads: Cell::new(0),
            bytes: Cell::new(0),
            gaps,
            is_open: Cell::new(false),
        }
    }

    /// Notes a gap.
    ///
    /// # Errors
    /// The gap's, if the build must be whole.
    pub fn gap(&self, gap: Gap) -> Result<(), Error> {
        let Some(gaps) = &self.gaps else {
            return Err(gap.error);
        };
        self.is_open.set(true);
        let mut gaps = gaps.borrow_mut();
        if !gaps.contains(&gap) {
            gaps.push(gap);
        }
        Ok(())
    }

    /// Whether an object that is not found may be one that is not known.
    pub fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Builds what knows nothing of the gaps around it.
    fn apart<T>(&self, built: impl FnOnce() -> T) -> T {
        let around = self.is_open.replace(false);
        let built = built();
        self.is_open.set(around || self.is_open.get());
        built
    }

    fn one_more(&self) -> Result<(), String> {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() > MOST_READS {
            return Err(format!(
                "more than {MOST_READS} files are read for this: do folders name each other several times?"
            ));
        }
        Ok(())
    }
}

impl Files for Build<'_> {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        self.one_more()?;
        let text = self.files.text(path)?;
        let length = text.as_ref().map_or(0, String::len);
        self.bytes.set(self.bytes.get().saturating_add(length));
        if self.bytes.get() > MOST_BYTES {
            let most = MOST_BYTES >> 20;
            return Err(format!(
                "more than {most} MiB are read for this: do folders name each other several times?"
            ));
        }
        Ok(text)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, String> {
        self.one_more()?;
        self.files.list(path)
    }
}

/// What a kustomization makes of `objects`, which only a component is given.
fn built(
    build: &Build<'_>,
    folder: &str,
    (path, this): (String, Kustomization),
    mut objects: Vec<Value>,
    depth: usize,
) -> Result<Vec<Value>, Error> {
    if depth > DEEPEST {
        return Err(Error::new(&path, "folders name each other in a circle"));
    }
    for (field, all) in [("resources", &this.resources), ("bases", &this.bases)] {
        for (number, named) in all.iter().enumerate() {
            if is_elsewhere(named) {
                let field = format!("{field}[{number}]");
                build.gap(Gap::new(elsewhere(&path, named), field, Unknown::Others))?;
                continue;
            }
            objects.extend(build.apart(|| resource(build, folder, &path, named, depth))?);
        }
    }
    generate::generate(build, folder, &path, &this, &mut objects)?;
    for (number, named) in this.components.iter().enumerate() {
        // A component may patch whatever is there before it.
        if is_elsewhere(named) {
            let field = format!("components[{number}]");
            build.gap(Gap::new(elsewhere(&path, named), field, Unknown::Objects))?;
            objects.iter_mut().for_each(gaps::mark);
            continue;
        }
        let below = join(folder, named).map_err(|error| Error::new(&path, error.why))?;
        let component = Kustomization::read(build, &below)?
            .ok_or_else(|| Error::new(&path, format!("{named} holds no kustomization")))?;
        objects = built(build, &below, component, objects, depth + 1)?;
    }
    patch::all(build, folder, &path, &this, &mut objects)?;
    labels::all(&this, &mut objects);
    images::all(&this, &mut objects);
    gaps::mark_kinds(&this.changed, &mut objects);
    Ok(objects)
}

/// Whether kustomize fetches it: a URL, or what it takes for a repository.
pub(super) fn is_elsewhere(named: &str) -> bool {
    let begins = ["git@", "git::", "gh:", "github.com/"];
    named.contains("://")
        || named.contains("?ref=")
        || begins.iter().any(|begin| named.starts_with(begin))
}

/// The error for it.
pub(super) fn elsewhere(path: &str, named: &str) -> Error {
    Error::new(path, format!("{named} is elsewhere, which is not fetched"))
}

fn resource(
    build: &Build<'_>,
    folder: &str,
    path: &str,
    named: &str,
    depth: usize,
) -> Result<Vec<Value>, Error> {
    let below = join(folder, named).map_err(|error| Error::new(path, error.why))?;
    if let Some(text) = build.text(&below).map_err(|why| Error::new(&below, why))? {
        return documents(&below, &text).map(flat);
    }
    match Kustomization::read(build, &below)? {
        Some(read) => built(build, &below, read, Vec::new(), depth + 1),
        None => Err(Error::new(
            path,
            format!("{named} is neither a file nor a folder with a kustomization"),
        )),
    }
}

/// All manifests below a folder that has no kustomization; folders that have one are built.
fn all_below(build: &Build<'_>, folder: &str, depth: usize) -> Result<Vec<Value>, Error> {
    let names = build.list(folder).map_err(|why| Error::new(folder, why))?;
    let names = names.ok_or_else(|| Error::new(folder, "there is no such folder"))?;
    let mut objects = Vec::new();
    for name in names {
        let path = join(folder, &name)?;
        if name.ends_with('/') {
            objects.extend(build.apart(|| match Kustomization::read(build, &path)? {
                Some(read) => built(build, &path, read, Vec::new(), depth + 1),
                None if depth < DEEPEST => all_below(build, &path, depth + 1),
                None => Ok(Vec::new()),
            })?);
        } else if matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml"))) {
            let text = build.text(&path).map_err(|why| Error::new(&path, why))?;
            objects.extend(flat(documents(&path, &text.unwrap_or_default())?));
        }
    }
    Ok(objects)
}

/// The documents of a manifest.
pub(super) fn documents(path: &str, text: &str) -> Result<Vec<Value>, Error> {
    let nodes =
        crate::yaml::documents(text).map_err(|error| Error::new(path, error.to_string()))?;
    Ok(nodes.iter().map(crate::yaml::Node::to_json).collect())
}

/// Lists taken apart, and what is no object left out.
fn flat(documents: Vec<Value>) -> Vec<Value> {
    let mut objects = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) if text(&document, &["kind"]).ends_with("List") => {
                objects.extend(items.iter().cloned());
            }
            _ if document.get("kind").is_some() => objects.push(document),
            _ => {}
        }
    }
    objects
}

/// A path from a folder, without `.` and `..`.
///
/// # Errors
/// If it leads out of the root.
pub fn join(folder: &str, path: &str) -> Result<String, Error> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(Error::new(path, "leads out of the repository"));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders `0`, `1`, `2` and so on, each of which names the next one twice.
    struct Twice;

    impl Files for Twice {
        fn text(&self, path: &str) -> Result<Option<String>, String> {
            let folder = path.strip_suffix("/kustomization.yaml");
            let number = folder.and_then(|folder| folder.parse::<u32>().ok());
            Ok(number.map(|number| match number {
                0..30 => format!("resources: [../{0}, ../{0}]\n", number + 1),
                _ => "namespace: a\n".to_owned(),
            }))
        }

        fn list(&self, _: &str) -> Result<Option<Vec<String>>, String> {
            Ok(None)
        }
    }

    /// One file, which names itself a thousand times.
    struct Long(String);

    impl Files for Long {
        fn text(&self, path: &str) -> Result<Option<String>, String> {
            Ok(match path {
                "kustomization.yaml" => {
                    let names = vec!["a.yaml"; 1000].join(", ");
                    Some(format!("resources: [{names}]\n"))
                }
                "a.yaml" => Some(self.0.clone()),
                _ => None,
            })
        }

        fn list(&self, _: &str) -> Result<Option<Vec<String>>, String> {
            Ok(None)
        }
    }

    #[test]
    fn folders_that_name_each_other_twice_end_at_a_bound() {
        let error = build(&Twice, "0").unwrap_err();
        assert!(error.why.contains("more than 50000 files"), "{error}");
        let long = format!("# {}\n", "a".repeat(1 << 20));
        let error = build(&Long(long), "").unwrap_err();
        assert!(error.why.contains("more than 32 MiB"), "{error}");
        assert_eq!(build(&Twice, "29"), Ok(Vec::new()));
    }
}
