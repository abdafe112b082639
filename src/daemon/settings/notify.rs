//! The settings of who is told of runs.

use std::collections::BTreeSet;

use super::reader::{Reader, Section};
use crate::people::sender::{Destination, Kind};
use crate::people::slack::Slack;
use crate::people::teams::Teams;
use crate::people::webhook::Webhook;

/// Reads `notify`; `buttons` says whether somebody takes what Slack's buttons send.
pub fn notify(reader: &mut Reader, root: &Section, buttons: bool) -> Vec<Destination> {
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for section in reader.sections(root, "notify") {
        let wanted = "a name that Rollouts call it by";
        let name = reader.required(&section, "name", wanted);
        if let Some(name) = &name
            && !names.insert(name.clone())
        {
            let found = format!("{name:?} a second time");
            reader.wrong(&section, "name", &found, "another name for each");
        }
        let kind = kind(reader, &section, buttons);
        all.extend(
            name.zip(kind)
                .map(|(name, kind)| Destination { name, kind }),
        );
    }
    all
}

fn kind(reader: &mut Reader, section: &Section, buttons: bool) -> Option<Kind> {
    let kinds = ["slack", "webhook", "teams"];
    let given: Vec<&str> = kinds.into_iter().filter(|kind| section.has(kind)).collect();
    match given.as_slice() {
        ["slack"] => slack(reader, section, buttons),
        ["webhook"] => webhook(reader, section),
        ["teams"] => teams(reader, section),
        other => {
            let found = match other {
                [] => "neither".to_owned(),
                other => other.join(" and "),
            };
            reader.wrong(section, "", &found, "exactly one of: slack, webhook, teams");
            None
        }
    }
}

fn slack(reader: &mut Reader, section: &Section, buttons: bool) -> Option<Kind> {
    let section = reader.section(section, "slack");
    let channel = reader.required(&section, "channel", "a channel's id, or its name");
    let wanted = "a file with the bot's token";
    let token = reader.required(&section, "tokenFile", wanted);
    let api = reader.text(&section, "api");
    let api = api.unwrap_or_else(|| super::slack::API.to_owned());
    Some(Kind::Slack(Slack {
        api: reader.url(&section, "api", &api)?,
        channel: channel?,
        token_file: reader.folder.join(token?),
        buttons,
    }))
}

fn webhook(reader: &mut Reader, section: &Section) -> Option<Kind> {
    let section = reader.section(section, "webhook");
    let url = reader.required(&section, "url", "the receiver's URL");
    let wanted = "a file with the key of the signatures";
    let secret = reader.required(&section, "secretFile", wanted);
    Some(Kind::Webhook(Webhook {
        url: url.and_then(|url| reader.url(&section, "url", &url))?,
        secret_file: reader.folder.join(secret?),
    }))
}

fn teams(reader: &mut Reader, section: &Section) -> Option<Kind> {
    let section = reader.section(section, "teams");
    let wanted = "a file with the URL of the workflow's webhook";
    let url = reader.required(&section, "urlFile", wanted)?;
    Some(Kind::Teams(Teams {
        url_file: reader.folder.join(url),
    }))
}
