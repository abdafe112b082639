//! Sends messages where they are to go; the few lines of this folder that do something.
//!
//! Guarantees: redirects are not followed, so that tokens stay where they are meant for; answers are bounded in
//! size and time; no error holds a token, a key or a secret URL.
//!
//! Not here: what is sent (`slack`, `webhook`, `teams`), when, and what follows a failure (`daemon::notices`).

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::bearer::{Stranger, secret};
use super::message::Message;
use super::slack::Slack;
use super::slack::api::{self, Call, Place, Wrong};
use super::teams::{self, Teams};
use super::webhook::{self, Alarm, Webhook};
use crate::http_client;
use crate::retry_after::retry_after;

/// A request that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(10);
/// What Slack says of one message that it does not like.
const OF_MESSAGE: [&str; 7] = [
    "invalid_blocks",
    "invalid_blocks_format",
    "msg_too_long",
    "msg_blocks_too_long",
    "no_text",
    "invalid_arguments",
    "message_limit_exceeded",
];
/// How long one that asks to be left alone is, where it does not say.
const BUSY: Duration = Duration::from_secs(30);
/// Where Slack takes answers.
const HOOKS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];
/// The largest answer that is read, in bytes; Slack repeats the message in it.
const BODY: usize = 1 << 20;

/// Where messages can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A channel of Slack's.
    Slack(Slack),
    /// Anybody's program.
    Webhook(Webhook),
    /// A channel of Teams'.
    Teams(Teams),
}

/// Where messages go, by the name that Rollouts call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// Why something was not sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token, the key or the URL cannot be read.
    #[error(transparent)]
    Secret(#[from] Stranger),
    /// What the file holds is no URL.
    #[error("the file holds no http or https URL")]
    NoUrl,
    /// What Slack said is no place of Slack's.
    #[error("the response_url is none of Slack's")]
    NoReply,
    /// No connection, or no answer in time.
    #[error("no answer: {0}")]
    Away(String),
    /// Too much was sent.
    #[error("it asks to be left alone for {} s", .0.as_secs())]
    Busy(Duration),
    /// Another status.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// Slack refuses it.
    #[error(transparent)]
    Slack(#[from] Wrong),
}

impl Error {
    /// How long the receiver wants to be left alone, if it says so.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Busy(wait) => Some(*wait),
            Self::Secret(_)
            | Self::NoUrl
            | Self::NoReply
            | Self::Away(_)
            | Self::Status(_)
            | Self::Slack(_) => None,
        }
    }

    /// Whether it is this message that is not taken, and others may be.
    pub fn is_of_message(&self) -> bool {
        match self {
            Self::Slack(Wrong::Refused(error)) => OF_MESSAGE.contains(&error.as_str()),
            Self::Status(status) => matches!(status.as_u16(), 400 | 413 | 422),
            Self::Secret(_)
            | Self::NoUrl
            | Self::NoReply
            | Self::Away(_)
            | Self::Busy(_)
            | Self::Slack(_) => false,
        }
    }

    /// Whether a line of its own is not taken, and will not be: what it belongs to is gone, or it is not liked.
    pub fn is_of_line(&self) -> bool {
        self.is_of_message() || matches!(self, Self::Slack(wrong) if wrong.is_gone())
    }
}

/// Sends. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender(Client);

impl Sender {
    /// Fails where the system's certificates cannot be used.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = http_client::builder().timeout(DEADLINE).no_proxy();
        Ok(Self(client.build()?))
    }

    /// Tells a run's message, in the place of what was said of it before. Where it stands then, if
    /// it can be replaced again.
    pub async fn tell(
        &self,
        to: &Kind,
        message: &Message,
        before: Option<&Place>,
        now: Timestamp,
    ) -> Result<Option<Place>, Error> {
        match (to, before) {
            (Kind::Slack(slack), Some(at)) => {
                match self
                    .slack(slack, api::update(slack, at, message), now)
                    .await
                {
                    Err(Error::Slack(wrong)) if wrong.is_gone() => {}
                    other => return other.map(|_| Some(at.clone())),
                }
                self.slack(slack, api::post(slack, message), now).await
            }
            (Kind::Slack(slack), None) => self.slack(slack, api::post(slack, message), now).await,
            (Kind::Webhook(hook), _) => self.event(hook, webhook::event(message), now).await,
            (Kind::Teams(teams), _) => self.card(teams, teams::card(message), now).await,
        }
    }

    /// Tells what belongs to no run's message.
    pub async fn alarm(&self, to: &Kind, alarm: &Alarm, now: Timestamp) -> Result<(), Error> {
        let done = match to {
            Kind::Slack(slack) => {
                let line = api::line(slack, None, &alarm.headline(), false);
                self.slack(slack, line, now).await
            }
            Kind::Webhook(hook) => self.event(hook, webhook::alarm(alarm), now).await,
            Kind::Teams(teams) => self.card(teams, teams::note(&alarm.headline()), now).await,
        };
        done.map(drop)
    }

    /// Calls Slack's Web API.
    pub async fn slack(
        &self,
        slack: &Slack,
        call: Call,
        now: Timestamp,
    ) -> Result<Option<Place>, Error> {
        let token = secret(&slack.token_file)?;
        let request = self.0.post(format!("{}/{}", slack.api, call.method));
        let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        let request = with_json(request, "application/json; charset=utf-8", &call.body);
        let body = send(request, now).await?;
        match api::read(&body) {
            Err(Wrong::Refused(error)) if error == "ratelimited" => Err(Error::Busy(BUSY)),
            read => Ok(read?),
        }
    }

    /// Asks for a socket of Slack's: its URL, which is good once. It is encrypted where the Web API is.
    pub async fn open_socket(
        &self,
        api: &str,
        token: &Path,
        now: Timestamp,
    ) -> Result<String, Error> {
        let token = secret(token)?;
        let request = self.0.post(format!("{api}/apps.connections.open"));
        let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let url = api::read_socket(&send(request, now).await?)?;
        let plain = url.starts_with("ws://") && api.starts_with("http://");
        if !plain && !url.starts_with("wss://") {
            return Err(Error::Slack(Wrong::Strange));
        }
        Ok(url)
    }

    /// Answers a person in Slack, seen by nobody else. `url` is what Slack has said; nothing is sent elsewhere than
    /// to Slack's hooks, or to where its Web API is.
    pub async fn reply(
        &self,
        api: &str,
        url: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let url = reqwest::Url::parse(url).map_err(|_| Error::NoReply)?;
        let ours = reqwest::Url::parse(api).is_ok_and(|api| api.origin() == url.origin());
        let slacks =
            url.scheme() == "https" && url.host_str().is_some_and(|host| HOOKS.contains(&host));
        if !ours && !slacks {
            return Err(Error::NoReply);
        }
        let text = super::slack::blocks::escaped(text);
        let body = json!({"response_type": "ephemeral", "replace_original": false, "text": text});
        let request = with_json(self.0.post(url), "application/json", &body);
        send(request, now).await.map(drop)
    }

    async fn event(
        &self,
        hook: &Webhook,
        event: Value,
        now: Timestamp,
    ) -> Result<Option<Place>, Error> {
        let key = secret(&hook.secret_file)?;
        let body = event.to_string();
        let signature = webhook::signature(&key, now, body.as_bytes()).unwrap_or_default();
        let request = self.0.post(&hook.url);
        let request = request.header(webhook::SIGNATURE, signature);
        let request = request.header(CONTENT_TYPE, webhook::CONTENT_TYPE);
        send(request.body(body), now).await.map(|_| None)
    }

    async fn card(
        &self,
        teams: &Teams,
        card: Value,
        now: Timestamp,
    ) -> Result<Option<Place>, Error> {
        let url = secret(&teams.url_file)?;
        let url = reqwest::Url::parse(&url).map_err(|_| Error::NoUrl)?;
        let request = self.0.post(url);
        let request = with_json(request, "application/json", &card);
        send(request, now).await.map(|_| None)
    }
}

fn with_json(request: RequestBuilder, media: &str, body: &Value) -> RequestBuilder {
    let request = request.header(CONTENT_TYPE, media);
    request.body(body.to_string())
}

async fn send(request: RequestBuilder, now: Timestamp) -> Result<Vec<u8>, Error> {
    // A URL may be a secret.
    let away = |error: reqwest::Error| Error::Away(crate::causes::told(&error.without_url()));
    let mut answer = request.send().await.map_err(away)?;
    let status = answer.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        let wait = retry_after(answer.headers(), now);
        return Err(Error::Busy(wait.unwrap_or(BUSY)));
    }
    if !status.is_success() {
        return Err(Error::Status(status));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(away)? {
        if body.len() + chunk.len() > BODY {
            return Err(Error::Away("the answer is longer than 1 MiB".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_given_up_only_where_trying_again_changes_nothing() {
        let slack = |error: &str| Error::Slack(Wrong::Refused(error.to_owned()));
        let status = |code: u16| Error::Status(StatusCode::from_u16(code).unwrap());
        let cases = [
            (slack("thread_not_found"), true),
            (slack("msg_too_long"), true),
            (slack("internal_error"), false),
            (slack("invalid_auth"), false),
            (slack("channel_not_found"), false),
            (Error::Slack(Wrong::Strange), false),
            (status(400), true),
            (status(422), true),
            (status(401), false),
            (status(500), false),
            (Error::Away("no route".to_owned()), false),
        ];
        for (error, wanted) in cases {
            assert_eq!(error.is_of_line(), wanted, "{error}");
        }
    }
}
