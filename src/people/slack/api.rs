//! Slack's Web API: `chat.postMessage`, `chat.update`.
//!
//! <https://docs.slack.dev/reference/methods/chat.postMessage>: JSON with the bot's token; 200 whatever
//! happened, and `ok` says whether; 429 with `Retry-After` when there was too much.
//!
//! Not here: what a message looks like (`blocks`).

use serde::Deserialize;
use serde_json::{Value, json};

use super::Slack;
use crate::people::message::Message;

/// Where a message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The channel's id.
    pub channel: String,
    /// The message's time stamp, which is its id.
    pub ts: String,
}

/// A call of the Web API.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method, e.g. `chat.postMessage`.
    pub method: &'static str,
    /// Its arguments.
    pub body: Value,
}

/// Says a run for the first time.
pub fn post(slack: &Slack, message: &Message) -> Call {
    Call {
        method: "chat.postMessage",
        body: shown(&slack.channel, message, slack.buttons),
    }
}

/// Replaces what was said.
pub fn update(slack: &Slack, at: &Place, message: &Message) -> Call {
    let mut body = shown(&at.channel, message, slack.buttons);
    body["ts"] = json!(at.ts);
    Call {
        method: "chat.update",
        body,
    }
}

fn shown(channel: &str, message: &Message, buttons: bool) -> Value {
    json!({
        "channel": channel,
        "text": super::blocks::escaped(&message.headline()),
        "blocks": super::blocks::blocks(message, buttons),
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// Says a line: in a run's thread, or by itself. `loud` shows a reply in the channel too.
pub fn line(slack: &Slack, thread: Option<&Place>, text: &str, loud: bool) -> Call {
    let text = super::blocks::escaped(text);
    let body = match thread {
        Some(at) => json!({
            "channel": at.channel, "thread_ts": at.ts, "text": text, "reply_broadcast": loud,
        }),
        None => json!({"channel": slack.channel, "text": text}),
    };
    Call {
        method: "chat.postMessage",
        body,
    }
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    ts: Option<String>,
}

/// What an answer says is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is no answer of Slack's.
    #[error("Slack's answer is not understood")]
    Strange,
    /// Slack refuses the call.
    #[error("Slack refuses it: {0}")]
    Refused(String),
}

impl Wrong {
    /// Whether the message that was to be replaced is not there any more, or too old.
    pub fn is_gone(&self) -> bool {
        let gone = [
            "message_not_found",
            "cant_update_message",
            "edit_window_closed",
            "thread_not_found",
        ];
        matches!(self, Self::Refused(error) if gone.contains(&error.as_str()))
    }
}

/// Reads an answer: where the message stands now, if it is one that stays.
pub fn read(body: &[u8]) -> Result<Option<Place>, Wrong> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| Wrong::Strange)?;
    if !answer.ok {
        return Err(Wrong::Refused(answer.error.chars().take(100).collect()));
    }
    let place = answer.channel.zip(answer.ts);
    Ok(place.map(|(channel, ts)| Place { channel, ts }))
}

/// Reads the answer to `apps.connections.open`: the socket's URL.
pub fn read_socket(body: &[u8]) -> Result<String, Wrong> {
    #[derive(Deserialize)]
    struct Opened {
        url: Option<String>,
    }
    read(body)?;
    let opened: Opened = serde_json::from_slice(body).map_err(|_| Wrong::Strange)?;
    opened.url.ok_or(Wrong::Strange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::message::samples::message;

    fn slack() -> Slack {
        Slack {
            channel: "#deploys".to_owned(),
            token_file: "token".into(),
            api: "https://slack.com/api".to_owned(),
            buttons: false,
        }
    }

    #[test]
    fn a_run_is_said_once_and_replaced_from_then_on() {
        let at = Place {
            channel: "C1".to_owned(),
            ts: "1.2".to_owned(),
        };
        let (first, then) = (
            post(&slack(), &message("Stepping")),
            update(&slack(), &at, &message("Held")),
        );
        assert_eq!(
            (first.method, &first.body["channel"]),
            ("chat.postMessage", &json!("#deploys"))
        );
        assert_eq!(first.body["text"], "shop/backend: v1.4.2 is tried at 5%");
        assert_eq!(
            (then.method, &then.body["channel"]),
            ("chat.update", &json!("C1"))
        );
        assert_eq!(then.body["ts"], "1.2");
        let reply = line(&slack(), Some(&at), "a <b> & c", true);
        let wanted = json!({"channel": "C1", "thread_ts": "1.2", "text": "a &lt;b&gt; &amp; c", "reply_broadcast": true});
        assert_eq!(reply.body, wanted);
    }

    #[test]
    fn answers_are_read_as_documented() {
        let place = Place {
            channel: "C1".to_owned(),
            ts: "1.2".to_owned(),
        };
        let good = br#"{"ok":true,"channel":"C1","ts":"1.2","message":{"text":"x"}}"#;
        assert_eq!(read(good), Ok(Some(place)));
        assert_eq!(read(br#"{"ok":true,"message_ts":"1.2"}"#), Ok(None));
        let refused = read(br#"{"ok":false,"error":"message_not_found"}"#).unwrap_err();
        assert!(refused.is_gone());
        assert!(
            !read(br#"{"ok":false,"error":"invalid_auth"}"#)
                .unwrap_err()
                .is_gone()
        );
        assert_eq!(read(b"<html>"), Err(Wrong::Strange));
    }
}
