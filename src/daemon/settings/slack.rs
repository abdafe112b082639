//! The settings of what people may ask in Slack.
//!
//! Not here: where Slack's messages go (`notify`), whose messages have buttons where this is given.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::reader::{Reader, Section};

/// Slack's Web API.
pub const API: &str = "https://slack.com/api";

/// The app whose buttons and command are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackApp {
    /// A file with the key of Slack's signatures, read again each time; `None`: nothing is taken over HTTP.
    pub signing_secret_file: Option<PathBuf>,
    /// A file with the app's own token, read again at each connection: what people ask comes over sockets that the
    /// daemon opens.
    pub app_token_file: Option<PathBuf>,
    /// The Web API's base; answers go there or to Slack's own hooks.
    pub api: String,
    /// Who people are in the cluster, by their id in Slack.
    pub users: BTreeMap<String, Person>,
}

/// Who somebody is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The user's name there.
    pub user: String,
    /// The groups there.
    pub groups: Vec<String>,
}

/// Reads `slack`.
pub fn slack(reader: &mut Reader, root: &Section) -> Option<SlackApp> {
    let section = reader.section(root, "slack");
    if !section.given() {
        return None;
    }
    let signing = reader.path(&section, "signingSecretFile");
    let token = reader.path(&section, "appTokenFile");
    if signing.is_none() && token.is_none() {
        let wanted = "signingSecretFile (over HTTP), appTokenFile (over sockets), or both";
        reader.wrong(&section, "", "neither", wanted);
    }
    let api = reader.text(&section, "api");
    let api = api.unwrap_or_else(|| API.to_owned());
    let api = reader.url(&section, "api", &api)?;
    Some(SlackApp {
        signing_secret_file: signing,
        app_token_file: token,
        api,
        users: users(reader, &section),
    })
}

fn users(reader: &mut Reader, section: &Section) -> BTreeMap<String, Person> {
    let mut all = BTreeMap::new();
    for section in reader.sections(section, "users") {
        let id = reader.required(&section, "id", "a person's id in Slack, e.g. U0123456789");
        let groups = reader.texts(&section, "groups");
        let wanted = "the person's name in the cluster, by which they count once wherever they act";
        let user = reader.required(&section, "user", wanted);
        let (Some(id), Some(user)) = (id, user) else {
            continue;
        };
        let person = Person { user, groups };
        if all.contains_key(&id) {
            let found = format!("{id:?} a second time");
            reader.wrong(&section, "id", &found, "each person once");
        }
        all.insert(id, person);
    }
    all
}
