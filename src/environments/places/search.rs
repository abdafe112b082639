//! Looking through a folder for the places where a service's version stands.
//!
//! Every YAML file below it is looked into, as text within text too: patches in a kustomization, values in an
//! Application of Argo CD or a ConfigMap.

use std::collections::BTreeMap;

use super::super::error::Error;
use super::{Field, Found, Rank, Service, Spot};
use crate::kustomize::{Files, image_version, join};
use crate::yaml::scalar::{self, Fault};
use crate::yaml::{self, Kind, Node, Place};

/// How deep folders are looked into.
const DEEPEST: usize = 16;

/// What was found in a folder.
pub(super) struct Search<'a> {
    files: &'a dyn Files,
    service: &'a Service,
    /// The files in which something was found.
    pub(super) texts: BTreeMap<String, String>,
    /// The places.
    pub(super) found: Vec<Found>,
    /// Where the image stands without a version, `file:line`; the first of them.
    pub(super) bare: Option<String>,
}

/// A text, and where it begins in its file if it stands within another.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a str,
    text: &'a str,
    within: Option<Place>,
    loose: bool,
}

impl Source<'_> {
    fn spot(self, node: &Node) -> Spot {
        let says = match scalar::written(self.text, node.place) {
            // It can be read all the same; who writes there is told.
            Err(Fault::Alias) => node.text().map(str::to_owned).ok_or(Fault::Alias),
            says => says,
        };
        Spot {
            place: node.place,
            within: self.within,
            says,
        }
    }

    fn line(self, place: Place) -> u64 {
        place.line
            + self
                .within
                .map_or(0, |within| within.line.saturating_sub(1))
    }
}

impl<'a> Search<'a> {
    /// Looks through a folder, or into the one file.
    pub(super) fn of(
        files: &'a dyn Files,
        folder: &str,
        service: &'a Service,
    ) -> Result<Self, Error> {
        let mut search = Self {
            files,
            service,
            texts: BTreeMap::new(),
            found: Vec::new(),
            bare: None,
        };
        if is_yaml(folder) && files.text(folder).is_ok_and(|text| text.is_some()) {
            let name = folder.rsplit('/').next().unwrap_or(folder);
            search.file(folder, name)?;
        } else {
            search.below(folder, 0)?;
        }
        Ok(search)
    }

    fn below(&mut self, folder: &str, depth: usize) -> Result<(), Error> {
        let unread = |why| Error::Read {
            path: folder.to_owned(),
            why,
        };
        let names = self.files.list(folder).map_err(unread)?;
        let names = names.ok_or_else(|| unread("there is no such folder".to_owned()))?;
        for name in names {
            let path = join(folder, &name).map_err(Error::Manifests)?;
            if name.ends_with('/') {
                if depth < DEEPEST && !name.starts_with('.') {
                    self.below(&path, depth + 1)?;
                }
            } else if is_yaml(&name) || is_json(&name) {
                self.file(&path, &name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str, name: &str) -> Result<(), Error> {
        let text = self.files.text(path).map_err(|why| Error::Read {
            path: path.to_owned(),
            why,
        })?;
        let text = text.unwrap_or_default();
        let documents = match yaml::documents(&text) {
            Ok(documents) => documents,
            // A template of another tool: of interest only if it names the service. JSON is so only as a patch, and
            // one that cannot be read does not build.
            Err(_) if is_json(name) || !text.contains(&self.service.name) => return Ok(()),
            Err(error) => {
                return Err(Error::Read {
                    path: path.to_owned(),
                    why: error.to_string(),
                });
            }
        };
        let before = self.found.len();
        for document in &documents {
            let source = Source {
                path,
                text: &text,
                within: None,
                loose: is_loose(name, document),
            };
            self.document(source, name, document);
        }
        if self.found.len() > before {
            self.texts.insert(path.to_owned(), text);
        }
        Ok(())
    }

    fn document(&mut self, source: Source<'_>, name: &str, document: &Node) {
        let kind = document.get("kind").and_then(Node::text);
        let group = document.get("apiVersion").and_then(Node::text);
        let group = group.and_then(|version| version.split('/').next());
        match (kind, group) {
            _ if is_kustomization(name) => {
                self.images(source, document.get("images"));
                self.patches(source, document);
            }
            (Some("Kustomization"), Some("kustomize.toolkit.fluxcd.io")) => {
                self.images(source, at(document, "spec.images"));
                if let Some(spec) = document.get("spec") {
                    self.patches(source, spec);
                }
                let variables = at(document, "spec.postBuild.substitute");
                self.tag(source, variables, Rank::Values);
            }
            (Some("Application" | "ApplicationSet"), Some("argoproj.io")) => {
                self.application(source, document);
            }
            (Some("HelmRelease"), _) => {
                for renderer in items(at(document, "spec.postRenderers")) {
                    self.images(source, at(renderer, "kustomize.images"));
                }
                if let Some(values) = at(document, "spec.values") {
                    self.chart(source, values);
                }
            }
            (Some("ConfigMap"), _) => {
                self.config(source, document.get("data"));
                self.values(source, document, Rank::Manifest);
            }
            (Some(_), _) => self.values(source, document, Rank::Manifest),
            (None, _) if matches!(document.kind, Kind::List(_)) => {
                self.operations(source, document);
            }
            (None, _) if is_json(name) => {}
            (None, _) => self.chart(source, document),
        }
    }

    /// The `images` of a kustomization.
    fn images(&mut self, source: Source<'_>, images: Option<&Node>) {
        for item in items(images) {
            let named = |key: &str| item.get(key).and_then(Node::text);
            let names = [named("name"), named("newName")];
            let mut names = names.into_iter().flatten();
            if names.any(|name| self.service.has(name)) {
                self.apart(Rank::Kustomization, source, item, ("newTag", "digest"));
            }
        }
    }

    /// Patches in a kustomization's own text; files with patches are found as files.
    fn patches(&mut self, source: Source<'_>, document: &Node) {
        let patches = ["patches", "patchesJson6902"];
        let patches = patches.into_iter().flat_map(|key| items(document.get(key)));
        let patches = patches.filter_map(|patch| patch.get("patch"));
        for patch in patches.chain(items(document.get("patchesStrategicMerge"))) {
            self.text(source, patch, |search, source, inner| match inner.kind {
                Kind::List(_) => search.operations(source, inner),
                _ => search.values(source, inner, Rank::Patch),
            });
        }
    }

    /// The operations of a JSON patch (RFC 6902).
    fn operations(&mut self, source: Source<'_>, document: &Node) {
        for operation in items(Some(document)) {
            let path = operation.get("path").and_then(Node::text);
            let Some(value) = operation.get("value") else {
                continue;
            };
            match value.text() {
                Some(image) if path.is_some_and(|path| path.ends_with("/image")) => {
                    self.image(Rank::Patch, source, value, image);
                }
                _ => self.values(source, value, Rank::Patch),
            }
        }
    }

    /// What an Application of Argo CD gives kustomize and Helm.
    fn application(&mut self, source: Source<'_>, document: &Node) {
        let spec = ["spec", "spec.template.spec"];
        let spec = spec.into_iter().filter_map(|path| at(document, path));
        for spec in spec {
            for one in spec
                .get("source")
                .into_iter()
                .chain(items(spec.get("sources")))
            {
                for entry in items(at(one, "kustomize.images")) {
                    // `[NAME=]IMAGE:TAG`
                    let image = entry.text().unwrap_or_default();
                    let named = image.split('=').any(|image| self.service.has(image));
                    if named {
                        self.within(Rank::Kustomization, source, entry);
                    }
                }
                let Some(helm) = one.get("helm") else {
                    continue;
                };
                if let Some(values) = helm.get("valuesObject") {
                    self.chart(source, values);
                }
                if let Some(values) = helm.get("values") {
                    self.text(source, values, Self::chart);
                }
                let field = self.service.tag_field.clone();
                for parameter in items(helm.get("parameters")) {
                    let name = parameter.get("name").and_then(Node::text);
                    if name.is_some() && name == field.as_deref() {
                        self.apart(Rank::Values, source, parameter, ("value", ""));
                    }
                }
            }
        }
    }

    /// Values that a ConfigMap holds as files.
    fn config(&mut self, source: Source<'_>, data: Option<&Node>) {
        if let Some(Kind::Map(entries)) = data.map(|data| &data.kind) {
            for entry in entries.iter().filter(|entry| is_yaml(&entry.key)) {
                self.text(source, &entry.value, |search, source, values| {
                    search.tag(source, Some(values), Rank::Config);
                    search.values(source, values, Rank::Config);
                });
            }
        }
    }

    /// A text within the text: its documents.
    fn text(
        &mut self,
        source: Source<'_>,
        node: &Node,
        look: impl Fn(&mut Self, Source<'_>, &Node),
    ) {
        // What is no YAML, or is within such a text already, is somebody else's text.
        let (Some(text), None) = (node.text(), source.within) else {
            return;
        };
        for document in yaml::documents(text).unwrap_or_default() {
            let source = Source {
                text,
                within: Some(node.place),
                ..source
            };
            look(self, source, &document);
        }
    }

    /// Values of a chart.
    fn chart(&mut self, source: Source<'_>, values: &Node) {
        self.tag(source, Some(values), Rank::Values);
        self.values(source, values, Rank::Values);
    }

    /// The field that the service says.
    fn tag(&mut self, source: Source<'_>, values: Option<&Node>, rank: Rank) {
        let Some(field) = self.service.tag_field.clone() else {
            return;
        };
        let (above, key) = field.rsplit_once('.').unwrap_or(("", &field));
        // Found by its image too, where that stands beside it.
        let node = values.and_then(|values| at(values, above));
        if let Some(node) = node.filter(|node| !self.is_in_parts(node)) {
            self.apart(rank, source, node, (key, "digest"));
        }
    }

    fn apart(&mut self, rank: Rank, source: Source<'_>, node: &Node, (tag, digest): (&str, &str)) {
        let spot = |key: &str| {
            let value = node.get(key).filter(|value| !is_empty(value));
            value.map(|value| {
                let mut spot = source.spot(value);
                if let Some(number) = other_number(value, rank, &spot) {
                    spot.says = Err(Fault::Number(number));
                }
                spot
            })
        };
        let (tag, digest) = (spot(tag), spot(digest));
        // What pins nothing overrides nothing.
        if tag.is_some() || digest.is_some() {
            self.found(rank, source, node.place, Field::Apart { tag, digest });
        }
    }

    fn within(&mut self, rank: Rank, source: Source<'_>, node: &Node) {
        let image = source.spot(node);
        self.found(rank, source, node.place, Field::Within { image });
    }

    fn found(&mut self, rank: Rank, source: Source<'_>, place: Place, field: Field) {
        self.found.push(Found {
            rank,
            file: source.path.to_owned(),
            line: source.line(place),
            loose: source.loose,
            field,
        });
    }

    fn image(&mut self, rank: Rank, source: Source<'_>, node: &Node, image: &str) {
        if !self.service.has(image) {
            return;
        }
        if image_version(image).is_empty() {
            let told = || format!("{}:{}", source.path, source.line(node.place));
            self.bare.get_or_insert_with(told);
        } else {
            self.within(rank, source, node);
        }
    }

    /// Images below a node: one text at `image`, or `repository` beside `tag` or `digest`.
    fn values(&mut self, source: Source<'_>, node: &Node, rank: Rank) {
        match &node.kind {
            Kind::List(items) => items
                .iter()
                .for_each(|item| self.values(source, item, rank)),
            Kind::Map(entries) => {
                if matches!(rank, Rank::Values | Rank::Config) && self.is_in_parts(node) {
                    self.apart(rank, source, node, ("tag", "digest"));
                }
                for entry in entries {
                    match entry.value.text() {
                        Some(image) if entry.key == "image" => {
                            self.image(rank, source, &entry.value, image);
                        }
                        _ => self.values(source, &entry.value, rank),
                    }
                }
            }
            _ => {}
        }
    }

    fn is_in_parts(&self, node: &Node) -> bool {
        let text = |key: &str| node.get(key).and_then(Node::text);
        let Some(repository) = text("repository") else {
            return false;
        };
        let whole = text("registry").map(|registry| format!("{registry}/{repository}"));
        let versioned = node.get("tag").is_some() || node.get("digest").is_some();
        let named = self.service.has(repository) || whole.is_some_and(|w| self.service.has(&w));
        versioned && named
    }
}

/// The number that is deployed for a tag, where it is not as it is written (`1.10` is 1.1); kustomize wants text.
fn other_number(node: &Node, rank: Rank, spot: &Spot) -> Option<String> {
    let number = match node.kind {
        // Helm reads numbers as Go's `float64`, and writes the long ones with an exponent.
        Kind::Int(number) if number.abs() > 999_999 => format!("{:e}", number as f64),
        Kind::Int(number) => number.to_string(),
        Kind::Float(number) => number.to_string(),
        Kind::Null | Kind::Bool(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => return None,
    };
    let same = spot.says.as_ref() == Ok(&number);
    (rank == Rank::Kustomization || !same).then_some(number)
}

/// The node at a path of keys, `a.b`.
fn at<'n>(node: &'n Node, path: &str) -> Option<&'n Node> {
    let mut keys = path.split('.').filter(|key| !key.is_empty());
    keys.try_fold(node, |node, key| node.get(key))
}

/// Whether a document is neither an object nor a patch: values for a chart.
fn is_loose(name: &str, document: &Node) -> bool {
    let map = matches!(document.kind, Kind::Map(_));
    map && document.get("kind").is_none() && !is_kustomization(name)
}

fn items(node: Option<&Node>) -> impl Iterator<Item = &Node> {
    let items = match node.map(|node| &node.kind) {
        Some(Kind::List(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter()
}

fn is_empty(node: &Node) -> bool {
    node.kind == Kind::Null || node.text() == Some("")
}

fn is_yaml(name: &str) -> bool {
    is_kustomization(name) || matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml")))
}

fn is_json(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "json")))
}

fn is_kustomization(name: &str) -> bool {
    ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name)
}
