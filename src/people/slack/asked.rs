//! What people ask in Slack: a button of a message, or `/sluice`.
//!
//! <https://docs.slack.dev/reference/interaction-payloads/block_actions-payload> and
//! <https://docs.slack.dev/interactivity/implementing-slash-commands>: a form with `payload`, or with `command` and
//! `text`; by Socket Mode the same as JSON.
//!
//! Not here: whether Slack sent it (`signed`), who may (`daemon::slack`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rollout::request::Act;

/// What begins the id of each of our buttons.
pub const ACTION: &str = "sluice-";

/// What a button means: which Rollout, in which environment, and the revision that its message was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aim {
    /// The environment.
    #[serde(rename = "e")]
    pub environment: String,
    /// The Rollout's namespace.
    #[serde(rename = "n")]
    pub namespace: String,
    /// The Rollout's name.
    #[serde(rename = "r")]
    pub name: String,
    /// The revision's hash.
    #[serde(rename = "h")]
    pub revision: String,
}

/// What is wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// An act, by a button.
    Button {
        /// The act.
        act: Act,
        /// Of what.
        aim: Aim,
    },
    /// An act, by a command, on the Rollout `namespace/name`.
    Command {
        /// The act.
        act: Act,
        /// The Rollout's namespace.
        namespace: String,
        /// The Rollout's name.
        name: String,
    },
    /// How a Rollout stands, `namespace/name`; or all of them.
    Status(Option<(String, String)>),
    /// What can be asked; with what was not understood.
    Help(Option<String>),
}

/// Something that a person asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The person's id in Slack.
    pub person: String,
    /// Where the answer goes.
    pub reply: String,
    /// What is wished.
    pub wish: Wish,
}

/// It is nothing that Slack documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not understood: {0}")]
pub struct Strange(pub &'static str);

/// What the Events API sends, <https://docs.slack.dev/apis/events-api>: nothing that anybody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Slack looks whether the address is ours: this is to be said back.
    Challenge(String),
    /// Something happened that an app has subscribed to.
    Happened,
}

/// Reads what the Events API sends; `None` where it is something else.
pub fn event(body: &[u8]) -> Option<Event> {
    if body.first() != Some(&b'{') {
        return None;
    }
    let event: Value = serde_json::from_slice(body).ok()?;
    match event["type"].as_str()? {
        "url_verification" => Some(Event::Challenge(event["challenge"].as_str()?.to_owned())),
        "event_callback" | "app_rate_limited" => Some(Event::Happened),
        _ => None,
    }
}

/// Reads a form. `None` where there is nothing to be done: Slack looks whether we are there, or it is the
/// button of somebody else's.
pub fn form(body: &[u8]) -> Result<Option<Asked>, Strange> {
    let mut fields = Fields::default();
    for (key, value) in form_urlencoded::parse(body) {
        match key.as_ref() {
            "payload" => fields.payload = Some(value.into_owned()),
            "command" => fields.command = Some(value.into_owned()),
            "text" => fields.text = value.into_owned(),
            "user_id" => fields.user_id = value.into_owned(),
            "response_url" => fields.response_url = value.into_owned(),
            "ssl_check" => fields.ssl_check = value == "1",
            _ => {}
        }
    }
    match (fields.payload.take(), &fields.command) {
        (Some(payload), _) => {
            let payload = serde_json::from_str(&payload).map_err(|_| Strange("no JSON"))?;
            interaction(&payload)
        }
        (None, Some(_)) => command(&fields).map(Some),
        (None, None) if fields.ssl_check => Ok(None),
        (None, None) => Err(Strange("neither payload nor command")),
    }
}

/// The fields of a command.
#[derive(Debug, Default, Deserialize)]
pub struct Fields {
    #[serde(skip)]
    payload: Option<String>,
    command: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    response_url: String,
    #[serde(skip)]
    ssl_check: bool,
}

/// Reads a command.
pub fn command(fields: &Fields) -> Result<Asked, Strange> {
    if fields.user_id.is_empty() {
        return Err(Strange("a command without user_id"));
    }
    Ok(Asked {
        person: fields.user_id.clone(),
        reply: fields.response_url.clone(),
        wish: wish(&fields.text),
    })
}

fn wish(text: &str) -> Wish {
    let words: Vec<&str> = text.split_whitespace().collect();
    let not_understood = || Wish::Help(Some(text.trim().chars().take(200).collect()));
    match words.as_slice() {
        [] | ["help"] => Wish::Help(None),
        ["status"] => Wish::Status(None),
        ["status", at] => match place(at) {
            Some(at) => Wish::Status(Some(at)),
            None => not_understood(),
        },
        [act, at] => match (Act::of_people(act), place(at)) {
            (Some(act), Some((namespace, name))) => Wish::Command {
                act,
                namespace,
                name,
            },
            _ => not_understood(),
        },
        _ => not_understood(),
    }
}

/// `namespace/name`, as Kubernetes has them: nothing that could mean another path.
fn place(text: &str) -> Option<(String, String)> {
    let (namespace, name) = text.split_once('/')?;
    let plain = |text: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        !text.is_empty() && text.len() <= 253 && text.chars().all(fits) && text != ".."
    };
    (plain(namespace) && plain(name)).then(|| (namespace.to_owned(), name.to_owned()))
}

/// Reads what a button sends.
pub fn interaction(payload: &Value) -> Result<Option<Asked>, Strange> {
    if payload["type"] != "block_actions" {
        return Ok(None);
    }
    let Some(action) = payload["actions"].as_array().and_then(|all| all.first()) else {
        return Err(Strange("block_actions without actions"));
    };
    let id = action["action_id"].as_str().unwrap_or_default();
    let Some(act) = id.strip_prefix(ACTION).and_then(Act::of_people) else {
        return Ok(None);
    };
    let person = payload["user"]["id"].as_str().unwrap_or_default();
    if person.is_empty() {
        return Err(Strange("block_actions without a user"));
    }
    let value = action["value"].as_str().unwrap_or_default();
    let aim: Aim = serde_json::from_str(value).map_err(|_| Strange("the button's value"))?;
    if place(&format!("{}/{}", aim.namespace, aim.name)).is_none() {
        return Err(Strange("the button's value"));
    }
    Ok(Some(Asked {
        person: person.to_owned(),
        reply: payload["response_url"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        wish: Wish::Button { act, aim },
    }))
}

/// What comes over a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// The connection is made.
    Hello,
    /// Another connection is wanted in its place.
    Refresh,
    /// The app takes nothing over sockets any more.
    Disabled,
    /// Something that must be acknowledged by its id; nothing is asked by what is of no use here.
    Asked {
        /// The envelope's id.
        id: String,
        /// What is asked.
        asked: Option<Asked>,
    },
    /// Nothing that Slack documents.
    Strange,
}

/// Reads a message of a socket.
pub fn envelope(text: &str) -> Envelope {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return Envelope::Strange;
    };
    match message["type"].as_str() {
        Some("hello") => return Envelope::Hello,
        Some("disconnect") if message["reason"] == "link_disabled" => return Envelope::Disabled,
        Some("disconnect") => return Envelope::Refresh,
        _ => {}
    }
    let Some(id) = message["envelope_id"].as_str().filter(|id| !id.is_empty()) else {
        return Envelope::Strange;
    };
    let payload = &message["payload"];
    let asked = match message["type"].as_str() {
        Some("interactive") => interaction(payload).ok().flatten(),
        Some("slash_commands") => Fields::deserialize(payload)
            .ok()
            .and_then(|fields| command(&fields).ok()),
        _ => None,
    };
    Envelope::Asked {
        id: id.to_owned(),
        asked,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(text: &str) -> Wish {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("command", "/sluice")
            .append_pair("text", text)
            .append_pair("user_id", "U1")
            .append_pair("response_url", "https://hooks.slack.com/commands/1")
            .finish();
        form(body.as_bytes()).unwrap().unwrap().wish
    }

    #[test]
    fn commands_are_read() {
        let shop = || ("shop".to_owned(), "backend".to_owned());
        let hold = Wish::Command {
            act: Act::Hold,
            namespace: shop().0,
            name: shop().1,
        };
        assert_eq!(asked(" hold  shop/backend "), hold);
        assert_eq!(asked("status"), Wish::Status(None));
        assert_eq!(asked("status shop/backend"), Wish::Status(Some(shop())));
        assert_eq!(asked(""), Wish::Help(None));
        for strange in [
            "hold",
            "hold backend",
            "explode shop/backend",
            "hold shop/../pay",
            "hold shop/a b",
            "hold Shop/backend",
            "status /",
        ] {
            assert_eq!(asked(strange), Wish::Help(Some(strange.to_owned())));
        }
    }

    fn pressed(id: &str, value: &str) -> Result<Option<Asked>, Strange> {
        // As documented, with what is not read left out.
        let payload = json!({
            "type": "block_actions", "user": {"id": "U1", "username": "alice", "team_id": "T1"}, "api_app_id": "A1",
            "container": {"type": "message", "message_ts": "1.2", "channel_id": "C1"}, "trigger_id": "1.2.3",
            "response_url": "https://hooks.slack.com/actions/1",
            "actions": [{"type": "button", "action_id": id, "block_id": "b", "value": value, "action_ts": "1.3"}],
        });
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &payload.to_string())
            .finish();
        form(body.as_bytes())
    }

    #[test]
    fn buttons_are_read_and_those_of_others_left_alone() {
        let value = r#"{"e":"production","n":"shop","r":"backend","h":"91bc"}"#;
        let found = pressed("sluice-hold", value).unwrap().unwrap();
        assert_eq!(
            (found.person.as_str(), found.reply.as_str()),
            ("U1", "https://hooks.slack.com/actions/1")
        );
        let Wish::Button { act, aim } = found.wish else {
            panic!("{found:?}")
        };
        assert_eq!(act, Act::Hold);
        assert_eq!(serde_json::to_string(&aim).unwrap(), value);
        assert_eq!(pressed("other", value), Ok(None));
        assert_eq!(pressed("sluice-explode", value), Ok(None));
        assert!(pressed("sluice-hold", "{}").is_err());
        let outside = value.replace("shop", "../pay");
        assert!(pressed("sluice-hold", &outside).is_err());
    }

    #[test]
    fn envelopes_are_read() {
        let of = |text: &str| match envelope(text) {
            Envelope::Asked { id, asked } => (id, asked.map(|asked| asked.wish)),
            other => (format!("{other:?}"), None),
        };
        let command = r#"{"envelope_id":"1","type":"slash_commands","payload":{"command":"/sluice","text":"status","user_id":"U1","response_url":"x","more":1}}"#;
        assert_eq!(of(command), ("1".to_owned(), Some(Wish::Status(None))));
        for (text, wanted) in [
            (r#"{"type":"hello"}"#, "Hello"),
            (r#"{"type":"disconnect","reason":"warning"}"#, "Refresh"),
            (
                r#"{"type":"disconnect","reason":"link_disabled"}"#,
                "Disabled",
            ),
            (
                r#"{"envelope_id":"2","type":"events_api","payload":{}}"#,
                "2",
            ),
            (
                r#"{"envelope_id":"3","type":"slash_commands","payload":{}}"#,
                "3",
            ),
            (
                r#"{"envelope_id":"4","type":"interactive","payload":{"type":"block_actions"}}"#,
                "4",
            ),
            (r#"{"type":"interactive"}"#, "Strange"),
            ("{", "Strange"),
        ] {
            assert_eq!(of(text), (wanted.to_owned(), None), "{text}");
        }
    }

    #[test]
    fn what_slack_does_not_document_is_refused() {
        for body in [
            "",
            "payload=",
            "payload=%7B%7D%7D",
            "text=hold",
            "command=%2Fsluice",
        ] {
            assert!(form(body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(form(b"ssl_check=1&token=x"), Ok(None));
        assert_eq!(
            form(br"payload=%7B%22type%22%3A%22view_closed%22%7D"),
            Ok(None)
        );
    }
}
