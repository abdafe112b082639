//! Reading one value of the settings: its type, its place, what is wrong with it.
//!
//! A reader goes on after a mistake and collects them all; a value that is wrong reads as absent
//! or as its default, which nobody sees, since settings with a problem are refused.
//!
//! Not here: which keys there are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Value, ValueKind};

use super::{KEYS, Problem};

/// No look, block or settling time is longer: evidence would never come.
const LONGEST: Duration = Duration::from_secs(3600);

/// Collects what is wrong.
#[derive(Debug)]
pub struct Reader {
    /// What relative paths are relative to.
    pub folder: PathBuf,
    /// All mistakes so far.
    pub problems: Vec<Problem>,
}

/// A mapping of the settings, with its path and origin; empty where it is not given.
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    origin: String,
    value: Option<&'a Value>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn root(value: &'a Value, file: &Path) -> Self {
        Self {
            path: String::new(),
            origin: file.display().to_string(),
            value: Some(value),
        }
    }

    /// Whether it is given at all.
    pub fn given(&self) -> bool {
        self.value.is_some()
    }

    /// Whether a key is given and not null.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        let ValueKind::Table(map) = &self.value?.kind else {
            return None;
        };
        map.get(key).filter(|value| value.kind != ValueKind::Nil)
    }

    fn path(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            (path, "") => path.to_owned(),
            ("", key) => key.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    fn origin(&self, key: &str) -> String {
        let value = self.get(key).and_then(Value::origin);
        value.unwrap_or(&self.origin).to_owned()
    }
}

impl Reader {
    /// Records a mistake at a key, or at the section itself where the key is empty.
    pub fn wrong(&mut self, section: &Section, key: &str, found: &str, wanted: &str) {
        self.problems.push(Problem {
            origin: section.origin(key),
            key: section.path(key),
            found: found.to_owned(),
            wanted: wanted.to_owned(),
        });
    }

    /// Refuses the keys that are not in the table of keys.
    pub fn known(&mut self, section: &Section) {
        let Some(Value {
            kind: ValueKind::Table(map),
            ..
        }) = section.value
        else {
            return;
        };
        let known = children(&section.path);
        let mut unknown: Vec<&String> = map
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
            .collect();
        unknown.sort();
        let wanted = format!("one of: {}", known.join(", "));
        for key in unknown {
            self.wrong(section, key, "an unknown key", &wanted);
        }
    }

    /// A mapping below.
    pub fn section<'a>(&mut self, parent: &Section<'a>, key: &str) -> Section<'a> {
        let mut section = Section {
            path: parent.path(key),
            origin: parent.origin(key),
            value: parent.get(key),
        };
        match section.value.map(|value| &value.kind) {
            None | Some(ValueKind::Table(_)) => self.known(&section),
            Some(other) => {
                self.wrong(parent, key, &found(other), "a mapping");
                section.value = None;
            }
        }
        section
    }

    /// A list of mappings; absent is empty.
    pub fn sections<'a>(&mut self, parent: &Section<'a>, key: &str) -> Vec<Section<'a>> {
        let items = match parent.get(key).map(|value| &value.kind) {
            None => return Vec::new(),
            Some(ValueKind::Array(items)) => items,
            Some(other) => {
                self.wrong(parent, key, &found(other), "a list of mappings");
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let section = Section {
                path: parent.path(&format!("{key}[{index}]")),
                origin: item.origin().unwrap_or(&parent.origin(key)).to_owned(),
                value: Some(item),
            };
            if let ValueKind::Table(_) = &item.kind {
                self.known(&section);
                sections.push(section);
            } else {
                self.wrong(&section, "", &found(&item.kind), "a mapping");
            }
        }
        sections
    }

    /// Text that is not empty.
    pub fn text(&mut self, section: &Section, key: &str) -> Option<String> {
        match &section.get(key)?.kind {
            ValueKind::String(text) if !text.trim().is_empty() => Some(text.clone()),
            other => {
                self.wrong(section, key, &found(other), "text");
                None
            }
        }
    }

    /// Text that must be there.
    pub fn required(&mut self, section: &Section, key: &str, wanted: &str) -> Option<String> {
        if !section.has(key) {
            self.wrong(section, key, "nothing", wanted);
        }
        self.text(section, key)
    }

    /// A list of texts; absent is empty.
    pub fn texts(&mut self, section: &Section, key: &str) -> Vec<String> {
        let texts = section.get(key).map(|value| match &value.kind {
            ValueKind::Array(items) => items.iter().map(text_of).collect::<Result<Vec<_>, _>>(),
            other => Err(found(other)),
        });
        texts.unwrap_or(Ok(Vec::new())).unwrap_or_else(|found| {
            self.wrong(section, key, &found, "a list of texts");
            Vec::new()
        })
    }

    /// A file or folder, relative to the settings file.
    pub fn path(&mut self, section: &Section, key: &str) -> Option<PathBuf> {
        let text = self.text(section, key)?;
        Some(self.folder.join(text))
    }

    /// Files or folders, relative to the settings file.
    pub fn paths(&mut self, section: &Section, key: &str) -> Vec<PathBuf> {
        let texts = self.texts(section, key);
        texts.iter().map(|text| self.folder.join(text)).collect()
    }

    /// A duration above zero.
    pub fn duration(&mut self, section: &Section, key: &str, default: Duration) -> Duration {
        let duration = self.duration_or_zero(section, key, default);
        if duration.is_zero() {
            self.wrong(section, key, "0s", "a duration above zero");
            return default;
        }
        duration
    }

    /// A duration, in humantime's words.
    pub fn duration_or_zero(
        &mut self,
        section: &Section,
        key: &str,
        default: Duration,
    ) -> Duration {
        let Some(value) = section.get(key) else {
            return default;
        };
        let parsed = match &value.kind {
            ValueKind::String(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        parsed
            .filter(|duration| *duration <= LONGEST)
            .unwrap_or_else(|| {
                let wanted = "a duration such as 30s or 5m, at most 1h";
                self.wrong(section, key, &found(&value.kind), wanted);
                default
            })
    }

    /// Yes or no.
    pub fn flag(&mut self, section: &Section, key: &str, default: bool) -> bool {
        let Some(value) = section.get(key) else {
            return default;
        };
        let parsed = match &value.kind {
            ValueKind::Boolean(flag) => Some(*flag),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        parsed.unwrap_or_else(|| {
            self.wrong(section, key, &found(&value.kind), "true or false");
            default
        })
    }

    /// A port.
    pub fn port(&mut self, section: &Section, key: &str, default: u16) -> u16 {
        self.number(section, key, default, "a port, 1 to 65535")
    }

    /// A number above zero, of 16 bits.
    pub fn number(&mut self, section: &Section, key: &str, default: u16, wanted: &str) -> u16 {
        let Some(value) = section.get(key) else {
            return default;
        };
        let parsed = match &value.kind {
            ValueKind::I64(number) => u16::try_from(*number).ok(),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        parsed.filter(|number| *number > 0).unwrap_or_else(|| {
            let found = found(&value.kind);
            self.wrong(section, key, &found, wanted);
            default
        })
    }

    /// An `http` or `https` URL without a password, without a slash at its end.
    pub fn url(&mut self, section: &Section, key: &str, text: &str) -> Option<String> {
        let parsed = reqwest::Url::parse(text).ok();
        match parsed.filter(|url| matches!(url.scheme(), "http" | "https")) {
            None if text.contains('@') => {
                let found = "something with a user or password";
                self.wrong(section, key, found, "an http or https URL without one");
            }
            None => self.wrong(section, key, &format!("{text:?}"), "an http or https URL"),
            Some(url) if url.password().is_some() || !url.username().is_empty() => {
                let wanted = "a URL without one, and tokenFile";
                self.wrong(section, key, "a URL with a password", wanted);
            }
            Some(_) => return Some(text.trim_end_matches('/').to_owned()),
        }
        None
    }
}

fn text_of(item: &Value) -> Result<String, String> {
    match &item.kind {
        ValueKind::String(text) => Ok(text.clone()),
        other => Err(found(other)),
    }
}

/// The keys directly below a path, each once, in the order of the table.
fn children(path: &str) -> Vec<&'static str> {
    let mut children = Vec::new();
    // `notify[3]` has the keys of `notify[]`.
    let path: String = path.chars().filter(|c| !c.is_ascii_digit()).collect();
    for (key, _) in KEYS {
        let below = match path.as_str() {
            "" => Some(*key),
            path => key
                .strip_prefix(path)
                .and_then(|rest| rest.strip_prefix('.')),
        };
        let child = below.and_then(|below| below.split('.').next());
        let child = child.map(|child| child.trim_end_matches("[]"));
        if let Some(child) = child.filter(|child| !children.contains(child)) {
            children.push(child);
        }
    }
    children
}

/// A value in the words of a problem.
pub fn found(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Table(_) => "a mapping".to_owned(),
        other => other.to_string(),
    }
}
