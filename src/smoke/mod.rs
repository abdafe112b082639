//! Smoke tests are made: HTTP requests, TCP connections, gRPC health checks, Jobs.
//!
//! Answers are bounded in size and time, redirects are not followed, and nothing is sent to
//! link-local addresses, where clouds keep their machines' credentials. Not here: when a test is
//! made (`daemon::smoke`), and what its tries come to (`rollout::smoke`).

pub mod file;
mod grpc;
mod http;
mod job;
mod masked;
mod tcp;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;
use tokio::net::{TcpStream, lookup_host};

use crate::clock::Clock;
use crate::rollout::smoke::{Attempt, Next, Probe, Report, Test, Words};
use job::Jobs;

/// Why a try is bad, in words.
type Failure = String;

type Asking = dyn Fn(Probe) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync;

/// Who makes one try: the network, or a sandbox whose applications have no address.
#[derive(Clone)]
pub struct Asker(Arc<Asking>);

impl Asker {
    /// Asks over the network.
    pub fn network(clock: Clock) -> Self {
        Self::with(move |probe| Box::pin(async move { ask(&probe, clock).await }))
    }

    /// Asks so; the error says in words why an answer is bad.
    pub fn with(
        ask: impl Fn(Probe) -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(ask))
    }

    /// One try, ended after `timeout`.
    pub async fn attempt(&self, probe: &Probe, timeout: Duration, clock: Clock) -> Attempt {
        let began = clock.ticks();
        let asked = clock.timeout(timeout, (self.0)(probe.clone())).await;
        let result = asked.unwrap_or_else(|_| {
            let timeout = humantime::format_duration(timeout);
            Err(format!("no answer within {timeout}"))
        });
        Attempt {
            took: clock.ticks().saturating_sub(began),
            failure: result.err(),
        }
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Asker").finish_non_exhaustive()
    }
}

/// Makes a test to its end; the error says why it cannot be made, or why nobody knows what it came to. Jobs
/// are made by the client.
pub async fn make(
    test: &Test,
    words: &Words,
    (asker, client): (&Asker, &Client),
    clock: Clock,
) -> Result<Report, String> {
    let probe = test.probe.filled(words)?;
    let jobs = Jobs::new(client, clock, words);
    let template = match &probe {
        Probe::Job(from) => Some(jobs.template(from).await?),
        Probe::Http(_) | Probe::Tcp { .. } | Probe::Grpc { .. } => None,
    };
    let mut attempts = Vec::new();
    let passed = loop {
        match test.next(&attempts) {
            Next::Passed => break true,
            Next::Failed => break false,
            Next::Try(pause) => {
                clock.sleep(pause).await;
                attempts.push(match &template {
                    Some(template) => Box::pin(jobs.attempt(template, test.timeout)).await?,
                    None => Box::pin(asker.attempt(&probe, test.timeout, clock)).await,
                });
            }
        }
    };
    Ok(Report {
        test: test.name.clone(),
        asked: probe.to_string(),
        passed,
        attempts,
    })
}

async fn ask(probe: &Probe, clock: Clock) -> Result<(), Failure> {
    match probe {
        Probe::Http(http) => http::ask(http, clock).await,
        Probe::Tcp { address } => tcp::ask(address).await,
        Probe::Grpc { address, service } => grpc::ask(address, service).await,
        Probe::Job(from) => Err(format!("{} is made, not asked", from.name)),
    }
}

/// Opens a connection to `host:port`.
async fn connect(address: &str) -> Result<TcpStream, Failure> {
    let found = lookup_host(address).await;
    let found = found.map_err(|error| format!("{address} is not found: {error}"))?;
    let mut last = format!("{address} has no address");
    for address in found {
        if is_link_local(address.ip()) {
            last = format!("{address} is a link-local address, which is not asked");
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("connecting to {address}: {error}"),
        }
    }
    Err(last)
}

/// Whether an address belongs to the link, as those of clouds' metadata servers do.
fn is_link_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The beginning of what was answered, in one line; masked before it is cut, since half a password is known by
/// nothing.
fn excerpt(bytes: &[u8]) -> String {
    const CHARACTERS: usize = 120;
    let text = masked::masked(&String::from_utf8_lossy(bytes));
    let mut short = String::new();
    for word in text.split_whitespace() {
        if short.chars().count() > CHARACTERS {
            break;
        }
        if !short.is_empty() {
            short.push(' ');
        }
        short.extend(word.chars().filter(|c| !c.is_control()));
    }
    let cut = short.chars().count() > CHARACTERS;
    let mut text: String = short.chars().take(CHARACTERS).collect();
    if cut {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b" a\n\tb \x00\xff "), "a b \u{fffd}");
        let refused = b"no connection to postgres://app:hunter2@db/shop";
        assert_eq!(
            excerpt(refused),
            "no connection to postgres://app:***@db/shop"
        );
        let long = excerpt("ä".repeat(500).as_bytes());
        assert_eq!(long.chars().count(), 121);
    }

    #[test]
    fn metadata_servers_are_link_local() {
        for (ip, wanted) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("10.0.0.1", false),
            ("127.0.0.1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(is_link_local(ip.parse().unwrap()), wanted, "{ip}");
        }
    }
}
