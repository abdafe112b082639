//! Socket Mode: what Slack would send to the door comes over a connection that the daemon opens, for clusters
//! that nobody outside reaches.
//!
//! <https://docs.slack.dev/apis/events-api/using-socket-mode>: `apps.connections.open` with the app's token gives a URL,
//! good once; there come envelopes, each to be acknowledged by its id. Slack ends a connection every few hours and says
//! so before. What is taken is put where the door puts it.
//!
//! Guarantees: whatever happens to a connection, another one is opened, later after each failure. An envelope is
//! acknowledged when it is taken, so that a person sees it if not. Not here: who may do what (`clerk`).

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::{BYTES, Desk};
use crate::backoff::Doubling;
use crate::causes;
use crate::people::sender::{self, Sender};
use crate::people::slack::asked::{Envelope, envelope};

/// For a connection to be made, and for a message to be sent.
const DEADLINE: Duration = Duration::from_secs(10);
/// Slack asks whether we are there more often than that.
const SILENCE: Duration = Duration::from_secs(120);
/// Between a connection that Slack ended in order and the next one.
const NEXT: Duration = Duration::from_millis(100);
/// Waits after failures.
const RETRY: Doubling = Doubling::new(Duration::from_secs(1), LONGEST_RETRY);
/// Slack may ask for longer than we wait.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a connection is not there any more.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("Slack gives no URL for a socket")]
    Url(#[source] sender::Error),
    #[error("the socket cannot be opened")]
    Open(#[source] tungstenite::Error),
    #[error("the socket broke")]
    Read(#[source] tungstenite::Error),
    #[error("Slack has closed the socket")]
    Closed,
    #[error("Slack says nothing")]
    Silent,
    #[error("Socket Mode is switched off for the app")]
    Disabled,
}

/// The connection's keeper.
pub struct Socket {
    desk: Desk,
    sender: Sender,
}

impl Socket {
    pub fn new(desk: Desk, sender: Sender) -> Self {
        Self { desk, sender }
    }

    /// Keeps a connection for ever.
    pub async fn keep_up(self) {
        let (mut failures, mut told) = (0_u32, String::new());
        loop {
            let mut greeted = false;
            let broken = match Box::pin(self.one(&mut greeted)).await {
                Ok(()) => {
                    failures = 0;
                    self.desk.0.clock.sleep(NEXT).await;
                    continue;
                }
                Err(broken) => broken,
            };
            if greeted {
                failures = 0;
            }
            let why = causes::told(&broken);
            if greeted || told != why {
                tracing::warn!(why, "nothing comes from Slack; it is tried again");
            }
            told = why;
            let wait = RETRY.after(failures);
            failures = failures.saturating_add(1);
            let asked = match &broken {
                Broken::Url(error) => error.wait(),
                _ => None,
            };
            let wait = asked.unwrap_or(wait).min(LONGEST_RETRY);
            self.desk.0.clock.sleep(wait).await;
        }
    }

    /// One connection, until Slack wants another one.
    async fn one(&self, greeted: &mut bool) -> Result<(), Broken> {
        let app = &self.desk.0.app;
        let Some(token) = &app.app_token_file else {
            return Err(Broken::Disabled);
        };
        let now = self.desk.0.clock.now();
        let url = self.sender.open_socket(&app.api, token, now).await;
        let mut stream = connect(&url.map_err(Broken::Url)?).await?;
        loop {
            let next = tokio::time::timeout(SILENCE, stream.next()).await;
            let next = next.map_err(|_| Broken::Silent)?.ok_or(Broken::Closed)?;
            let text = match next.map_err(Broken::Read)? {
                Message::Text(text) => text,
                Message::Close(_) => return Err(Broken::Closed),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                    continue;
                }
            };
            match envelope(text.as_str()) {
                Envelope::Hello => {
                    *greeted = true;
                    tracing::info!("Slack's socket is open");
                }
                Envelope::Refresh if *greeted => return close(stream).await,
                Envelope::Refresh => return Err(Broken::Closed),
                Envelope::Disabled => return Err(Broken::Disabled),
                Envelope::Asked { id, asked } => {
                    let taken = asked.is_none_or(|asked| self.desk.put(plain(&id), asked).is_ok());
                    if taken {
                        acknowledge(&mut stream, &id).await?;
                    }
                }
                Envelope::Strange => tracing::debug!("Slack said what is not understood"),
            }
        }
    }
}

async fn connect(url: &str) -> Result<Stream, Broken> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(BYTES))
        .max_frame_size(Some(BYTES));
    let opening = Box::pin(connect_async_with_config(url, Some(config), true));
    let opened = tokio::time::timeout(DEADLINE, opening).await;
    let opened = opened.map_err(|_| Broken::Silent)?;
    opened.map(|(stream, _)| stream).map_err(Broken::Open)
}

async fn acknowledge(stream: &mut Stream, id: &str) -> Result<(), Broken> {
    let text = serde_json::json!({"envelope_id": id}).to_string();
    let sent = tokio::time::timeout(DEADLINE, stream.send(Message::text(text))).await;
    sent.map_err(|_| Broken::Silent)?.map_err(Broken::Read)
}

async fn close(mut stream: Stream) -> Result<(), Broken> {
    // It ends either way.
    let _ = tokio::time::timeout(DEADLINE, stream.close(None)).await;
    Ok(())
}

/// An id that may stand in an annotation's name.
fn plain(id: &str) -> String {
    let plain = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-');
    let plain: String = plain.take(36).collect();
    plain.trim_end_matches('-').to_owned()
}
