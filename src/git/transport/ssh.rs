//! Git's smart protocol over SSH: a command on the server, its input and output.
//!
//! What the server says on its error output is kept: it holds the reason when it ends early
//! ("Repository not found", "protected branch").

use std::io::{self, Read, Write};
use std::sync::Arc;

use git2::transport::Service;
use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKeyWithHashAlg, decode_secret_key};
use russh::{Channel, ChannelMsg, Preferred};
use secrecy::ExposeSecret;

use super::known::Known;
use super::pack::Inspector;
use super::{Failure, Line};
use crate::git::credentials::Credentials;

/// How much of the server's error output is kept, in bytes.
const QUOTED: usize = 2_000;
const PORT: u16 = 22;

/// A command that runs on the server.
pub(super) struct Open {
    line: Arc<Line>,
    /// Ends the connection when dropped.
    _session: Handle<Known>,
    channel: Channel<Msg>,
    rest: bytes::Bytes,
    heard: bool,
    errors: Vec<u8>,
    inspector: Option<Inspector>,
}

/// Connects, signs in and starts the service.
pub(super) fn open(line: Arc<Line>, service: Service) -> io::Result<Open> {
    let command = match service {
        Service::UploadPackLs | Service::UploadPack => "git-upload-pack",
        Service::ReceivePackLs | Service::ReceivePack => "git-receive-pack",
    };
    let (told, mut why) = tokio::sync::mpsc::unbounded_channel();
    let opened = line.wait(connect(&line, command, told))?;
    match opened {
        Ok((session, channel)) => Ok(Open {
            line,
            _session: session,
            channel,
            rest: bytes::Bytes::new(),
            heard: false,
            errors: Vec::new(),
            inspector: super::inspector(service),
        }),
        Err(failure) => Err(line.fail(match why.try_recv() {
            Ok(why) => Failure::Refused(why),
            Err(_) => failure,
        })),
    }
}

async fn connect(
    line: &Line,
    command: &str,
    told: tokio::sync::mpsc::UnboundedSender<String>,
) -> Result<(Handle<Known>, Channel<Msg>), Failure> {
    let place = Place::of(line.remote.at.url());
    let known = Known::new(&place.host, place.port, line.known_hosts.clone(), told);
    let defaults = Preferred::default();
    let config = Arc::new(client::Config {
        preferred: Preferred {
            key: known.preferred(&defaults.key),
            ..defaults
        },
        ..client::Config::default()
    });
    let mut session = client::connect(config, (place.host.as_str(), place.port), known)
        .await
        .map_err(|error| Failure::Unreachable(crate::causes::told(&error)))?;
    sign_in(&mut session, &place.user, &line.remote.credentials).await?;
    let channel = session.channel_open_session().await.map_err(lost)?;
    let path = place.path.replace('\'', "'\\''");
    channel
        .exec(false, format!("{command} '{path}'"))
        .await
        .map_err(lost)?;
    Ok((session, channel))
}

async fn sign_in(
    session: &mut Handle<Known>,
    user: &str,
    credentials: &Credentials,
) -> Result<(), Failure> {
    let Credentials::Ssh {
        identity,
        passphrase,
        ..
    } = credentials
    else {
        let why = "the Secret holds no `identity` with `known_hosts`, which SSH needs";
        return Err(Failure::Refused(why.to_owned()));
    };
    let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret);
    let key = decode_secret_key(identity.expose_secret(), passphrase)
        .map_err(|error| Failure::Refused(format!("the Secret's identity: {error}")))?;
    let hash = session.best_supported_rsa_hash().await.map_err(lost)?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash.flatten());
    let answer = session
        .authenticate_publickey(user, key)
        .await
        .map_err(lost)?;
    if answer.success() {
        Ok(())
    } else {
        Err(Failure::Refused(format!(
            "does not take the key for user {user}"
        )))
    }
}

fn lost(error: russh::Error) -> Failure {
    Failure::Unreachable(crate::causes::told(&error))
}

/// An address in its parts.
struct Place {
    user: String,
    host: String,
    port: u16,
    path: String,
}

impl Place {
    /// Of `ssh://[user@]host[:port]/path`. A path from `~` on is the user's home.
    fn of(url: &str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("git", authority));
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => (host, port.parse().ok()),
            _ => (host, None),
        };
        let path = if path.starts_with('~') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Self {
            user: user.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.unwrap_or(PORT),
            path,
        }
    }
}

impl Open {
    /// The server ended: the reason is what it said, if it had said nothing else.
    fn ended(&self) -> io::Result<usize> {
        let said = String::from_utf8_lossy(&self.errors);
        let said = said.trim();
        if self.heard || said.is_empty() {
            return Ok(0);
        }
        Err(self.line.fail(Failure::Refused(said.to_owned())))
    }

    fn note(&mut self, said: &[u8]) {
        let room = QUOTED.saturating_sub(self.errors.len());
        self.errors.extend_from_slice(&said[..said.len().min(room)]);
    }
}

impl Read for Open {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let line = Arc::clone(&self.line);
            match line.wait(self.channel.wait())? {
                Some(ChannelMsg::Data { data }) => {
                    line.receive(&data, self.inspector.as_mut())?;
                    self.heard = true;
                    self.rest = data;
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => self.note(&data),
                Some(ChannelMsg::Close) | None => return self.ended(),
                Some(_) => {}
            }
        }
        let count = self.rest.len().min(into.len());
        into[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

impl Write for Open {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let bytes = bytes::Bytes::copy_from_slice(from);
        match self.line.wait(self.channel.data_bytes(bytes))? {
            Ok(()) => Ok(from.len()),
            Err(error) => Err(self.line.fail(lost(error))),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_falls_into_its_parts() {
        let cases = [
            (
                "ssh://git@git.example/a/b.git",
                ("git", "git.example", 22, "/a/b.git"),
            ),
            ("ssh://me@[::1]:2222/~me/a", ("me", "::1", 2222, "~me/a")),
            ("ssh://git.example/a", ("git", "git.example", 22, "/a")),
        ];
        for (url, wanted) in cases {
            let place = Place::of(url);
            let found = (&*place.user, &*place.host, place.port, &*place.path);
            assert_eq!(found, wanted);
        }
    }
}
