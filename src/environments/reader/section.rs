//! Reading one mapping of a pipeline: keys, texts, names and lists, and what is wrong with them.
//!
//! What is wrong is noted with its place and read over, so that all of it is told at once.
//! Not here: which keys there are (`reader`, `environment`).

use std::path::PathBuf;

use super::super::pipeline::Problem;
use super::Reader;
use crate::yaml::{Kind, Node, Place};

/// A mapping and its path.
pub(super) struct Section<'a> {
    pub(super) node: &'a Node,
    pub(super) place: Place,
    pub(super) path: String,
}

impl<'a> Section<'a> {
    pub(super) fn key(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<(&'a Node, Place)> {
        let Kind::Map(entries) = &self.node.kind else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        (entry.value.kind != Kind::Null).then_some((&entry.value, entry.place))
    }
}

impl Reader {
    pub(super) fn parsed<T>(
        &mut self,
        section: &Section,
        key: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(section, key)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.wrong(section, key, &format!("{text:?}"), wanted);
        }
        parsed
    }

    pub(super) fn flag(&mut self, section: &Section, key: &str) -> bool {
        match section.get(key).map(|(node, _)| &node.kind) {
            None => false,
            Some(Kind::Bool(flag)) => *flag,
            Some(_) => {
                self.wrong(section, key, "something else", "true or false");
                false
            }
        }
    }

    /// A name that no other has.
    pub(super) fn named<'n>(
        &mut self,
        section: &Section,
        mut others: impl Iterator<Item = &'n String>,
    ) -> Option<String> {
        let name = self.required(section, "name", "a name")?;
        if others.any(|other| *other == name) {
            let found = format!("{name:?} a second time");
            self.wrong(section, "name", &found, "each name once");
            return None;
        }
        Some(name)
    }

    /// The mappings of a list that must not be empty.
    pub(super) fn items<'a>(&mut self, root: &Section<'a>, key: &str) -> Vec<Section<'a>> {
        let items = match root.get(key).map(|(node, _)| &node.kind) {
            Some(Kind::List(items)) if !items.is_empty() => items,
            _ => {
                self.wrong(root, key, "no list", "a list with at least one entry");
                return Vec::new();
            }
        };
        let numbered = items.iter().enumerate();
        let sections = numbered.map(|(index, node)| Section {
            node,
            place: node.place,
            path: format!("{}[{index}]", root.key(key)),
        });
        sections.collect()
    }

    pub(super) fn below<'a>(
        &mut self,
        section: &Section<'a>,
        key: &str,
        needed: bool,
    ) -> Option<Section<'a>> {
        let Some((node, place)) = section.get(key) else {
            if needed {
                self.wrong(section, key, "nothing", "a mapping");
            }
            return None;
        };
        if !matches!(node.kind, Kind::Map(_)) {
            self.wrong(section, key, "something else", "a mapping");
            return None;
        }
        let path = section.key(key);
        Some(Section { node, place, path })
    }

    pub(super) fn known(&mut self, section: &Section, known: &[&str]) {
        let Kind::Map(entries) = &section.node.kind else {
            self.wrong(section, "", "something else", "a mapping");
            return;
        };
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let wanted = format!("one of: {}", known.join(", "));
                self.wrong(section, &entry.key, "an unknown key", &wanted);
            }
        }
    }

    pub(super) fn text(&mut self, section: &Section, key: &str) -> Option<String> {
        let (node, _) = section.get(key)?;
        let text = node.text().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.wrong(section, key, "something else", "text");
        }
        text.map(str::to_owned)
    }

    pub(super) fn required(
        &mut self,
        section: &Section,
        key: &str,
        wanted: &str,
    ) -> Option<String> {
        if section.get(key).is_none() {
            self.wrong(section, key, "nothing", wanted);
        }
        self.text(section, key)
    }

    /// A whole number from 1.
    pub(super) fn number(&mut self, section: &Section, key: &str, most: u32) -> Option<u32> {
        let (node, _) = section.get(key)?;
        let number = match &node.kind {
            Kind::Int(number) => u32::try_from(*number).ok(),
            _ => None,
        };
        let number = number.filter(|number| (1..=most).contains(number));
        if number.is_none() {
            let wanted = format!("a number from 1 to {most}");
            self.wrong(section, key, "something else", &wanted);
        }
        number
    }

    /// A list of texts; none is an empty one.
    pub(super) fn texts(&mut self, section: &Section, key: &str) -> Vec<String> {
        let items = match section.get(key).map(|(node, _)| &node.kind) {
            None => return Vec::new(),
            Some(Kind::List(items)) => items.as_slice(),
            Some(_) => &[],
        };
        let texts: Option<Vec<String>> = items
            .iter()
            .map(|item| item.text().map(str::to_owned))
            .collect();
        let texts = texts.unwrap_or_default();
        if texts.is_empty() {
            self.wrong(section, key, "something else", "a list of texts");
        }
        texts
    }

    /// Files, relative to the pipeline's.
    pub(super) fn files(&mut self, section: &Section, key: &str) -> Vec<PathBuf> {
        let texts = self.texts(section, key);
        texts.iter().map(|text| self.folder.join(text)).collect()
    }

    pub(super) fn file(&mut self, section: &Section, key: &str) -> Option<PathBuf> {
        let text = self.text(section, key)?;
        Some(self.folder.join(text))
    }

    pub(super) fn wrong(&mut self, section: &Section, key: &str, found: &str, wanted: &str) {
        let place = section.get(key).map_or(section.place, |(_, place)| place);
        let key = if key.is_empty() {
            section.path.clone()
        } else {
            section.key(key)
        };
        self.problems.push(Problem {
            file: self.file.clone(),
            place,
            key,
            found: found.to_owned(),
            wanted: wanted.to_owned(),
        });
    }
}
