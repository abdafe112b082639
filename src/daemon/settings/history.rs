//! The settings of the history of runs.

use std::time::Duration;

use super::reader::{Reader, Section};
use crate::history::{Place, Server};

/// Where finished runs are kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Where. Default in memory: a daemon that may write no file must be able to start.
    pub place: Place,
    /// How long. Default 90 days.
    pub keep: Duration,
}

impl Default for History {
    fn default() -> Self {
        Self {
            place: Place::Memory,
            keep: Duration::from_secs(90 * 86_400),
        }
    }
}

/// Reads `history` and `historyKeep`.
pub fn history(reader: &mut Reader, root: &Section) -> History {
    let usual = History::default();
    History {
        place: place(reader, root).unwrap_or(usual.place),
        keep: keep(reader, root).unwrap_or(usual.keep),
    }
}

fn place(reader: &mut Reader, root: &Section) -> Option<Place> {
    let text = reader.text(root, "history")?;
    let file = text.strip_prefix("sqlite:").filter(|path| !path.is_empty());
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return postgres(reader, root, text);
    }
    match (text.as_str(), file) {
        ("off", _) => Some(Place::Off),
        ("memory", _) => Some(Place::Memory),
        (_, Some(path)) => Some(Place::Sqlite(reader.folder.join(path))),
        (_, None) => {
            let wanted = "memory, off, sqlite: and a file's path, or a postgres:// URL";
            reader.wrong(root, "history", &format!("{text:?}"), wanted);
            None
        }
    }
}

fn postgres(reader: &mut Reader, root: &Section, url: String) -> Option<Place> {
    let (found, wanted) = match crate::history::tls::config(&url) {
        Ok(config) if config.get_password().is_none() => {
            return Some(Place::Postgres(Server {
                url,
                password_file: reader.path(root, "historyPasswordFile"),
                ca_file: reader.path(root, "historyCaFile"),
            }));
        }
        Ok(_) => (
            "a URL with a password".to_owned(),
            "a URL without one, and historyPasswordFile",
        ),
        Err(_) => (
            "a URL that cannot be read".to_owned(),
            "a URL such as postgres://sluice@db/sluice",
        ),
    };
    reader.wrong(root, "history", &found, wanted);
    None
}

fn keep(reader: &mut Reader, root: &Section) -> Option<Duration> {
    let text = reader.text(root, "historyKeep")?;
    let keep = humantime::parse_duration(&text).ok();
    let keep = keep.filter(|keep| !keep.is_zero());
    if keep.is_none() {
        let wanted = "a duration such as 90d";
        reader.wrong(root, "historyKeep", &format!("{text:?}"), wanted);
    }
    keep
}
