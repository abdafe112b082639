//! The settings of alerts that end a run.

use std::path::PathBuf;

use super::reader::{Reader, Section};
use crate::rollout::alert::Matcher;

/// Which alerts are taken, and which of them count.
#[derive(Debug, Clone, PartialEq)]
pub struct Alerts {
    /// A file with the bearer token that Alertmanager sends, read again each time.
    pub token_file: PathBuf,
    /// Of the alerts whose labels name a Rollout those count that fulfil all. Default none: only
    /// alerts count that a Rollout names itself.
    pub matchers: Option<Vec<Matcher>>,
}

/// Reads `alerts`.
pub fn alerts(reader: &mut Reader, root: &Section) -> Option<Alerts> {
    let section = reader.section(root, "alerts");
    if !section.given() {
        return None;
    }
    let wanted = "a file with the bearer token that Alertmanager sends";
    let token = reader.required(&section, "tokenFile", wanted);
    let texts = reader.texts(&section, "matchers");
    let mut matchers = Vec::new();
    for text in &texts {
        match text.parse::<Matcher>() {
            Ok(matcher) => matchers.push(matcher),
            Err(error) => {
                let wanted = "matchers, e.g. severity=\"critical\"";
                reader.wrong(&section, "matchers", &format!("{text:?} ({error})"), wanted);
            }
        }
    }
    Some(Alerts {
        token_file: reader.folder.join(token?),
        matchers: section.has("matchers").then_some(matchers),
    })
}
