//! How libgit2 reaches a server: through our own HTTP client and our own SSH client.
//!
//! libgit2 is built without TLS and without SSH, so that the daemon has one TLS stack and needs
//! no program beside it. It asks for a connection by the scheme of an address; who asks is not
//! said, so the line that belongs to the work of this thread is kept in a thread-local while the
//! work lasts. libgit2 blocks: all of this runs on threads that may block.
//!
//! Not here: what is fetched and pushed (`copy`).

mod http;
mod known;
mod pack;
mod ssh;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use git2::transport::Service;
use git2::transport::{SmartSubtransport, SmartSubtransportStream, Transport};
use tokio::runtime::Handle;
use tokio::time::Instant;

use pack::{Inspector, Problem};

use super::error::Error;
use super::remote::{Address, Remote};

thread_local! {
    static LINE: RefCell<Option<Arc<Line>>> = const { RefCell::new(None) };
}

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For everything: connecting, fetching, pushing.
    pub time: Duration,
    /// Bytes that are received.
    pub bytes: u64,
}

/// A way to one server, for one piece of work.
pub(super) struct Line {
    runtime: Handle,
    remote: Remote,
    /// For HTTP; `None` where SSH is spoken, or nothing at all.
    http: Option<reqwest::Client>,
    /// Where the server led to when it was asked for its branches: what follows is asked there.
    moved: Mutex<Option<String>>,
    /// Where the known hosts are written for SSH.
    known_hosts: PathBuf,
    limits: Limits,
    until: Instant,
    received: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

/// Why the line failed, which libgit2's errors cannot carry.
enum Failure {
    Unreachable(String),
    Refused(String),
    TooLarge,
    Pack(Problem),
    TimedOut,
}

impl Line {
    /// A line to `remote`, from a thread that may block.
    pub fn new(
        runtime: Handle,
        remote: Remote,
        known_hosts: PathBuf,
        limits: Limits,
    ) -> Result<Arc<Self>, Error> {
        let http = if remote.at.is_ssh() || remote.at.is_local() {
            None
        } else {
            Some(http::client(&remote)?)
        };
        Ok(Arc::new(Self {
            runtime,
            remote,
            http,
            moved: Mutex::new(None),
            known_hosts,
            limits,
            until: Instant::now() + limits.time,
            received: AtomicU64::new(0),
            failure: Mutex::new(None),
        }))
    }

    /// Does `work`, whose connections go over this line.
    pub fn over<T>(
        self: &Arc<Self>,
        doing: &'static str,
        work: impl FnOnce() -> Result<T, git2::Error>,
    ) -> Result<T, Error> {
        register().map_err(|source| Error::Git {
            doing: "preparing the transports",
            source,
        })?;
        let _taken = Taken::new(Arc::clone(self));
        work().map_err(|source| self.told(doing, source))
    }

    /// The line's own failure, if there was one, else libgit2's.
    fn told(&self, doing: &'static str, source: git2::Error) -> Error {
        let at = self.remote.at.clone();
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.take() {
            Some(Failure::Unreachable(why)) => Error::Unreachable { at, why },
            Some(Failure::Refused(why)) => Error::Refused { at, why },
            Some(Failure::TooLarge) => Error::TooLarge {
                at,
                limit: self.limits.bytes >> 20,
            },
            Some(Failure::Pack(problem)) => unpacks(at, &problem),
            Some(Failure::TimedOut) => Error::TimedOut {
                at,
                seconds: self.limits.time.as_secs(),
            },
            None => Error::Git { doing, source },
        }
    }

    /// Remembers the failure and gives the error that ends libgit2's work.
    fn fail(&self, failure: Failure) -> std::io::Error {
        let mut kept = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert(failure);
        std::io::Error::other("the connection failed")
    }

    fn moved(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `future` within the line's time.
    fn wait<T>(&self, future: impl Future<Output = T>) -> std::io::Result<T> {
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout_at(self.until, future).await });
        waited.map_err(|_| self.fail(Failure::TimedOut))
    }

    /// Counts what was received, up to the limit, and looks at what it unpacks to, if a pack is expected.
    fn receive(&self, bytes: &[u8], inspector: Option<&mut Inspector>) -> std::io::Result<()> {
        let count = bytes.len() as u64;
        let before = self.received.fetch_add(count, Ordering::Relaxed);
        if before.saturating_add(count) > self.limits.bytes {
            return Err(self.fail(Failure::TooLarge));
        }
        let looked = inspector.map_or(Ok(()), |inspector| inspector.look(bytes));
        looked.map_err(|problem| self.fail(Failure::Pack(problem)))
    }
}

/// Looks at what is sent, where a pack is expected.
fn inspector(service: Service) -> Option<Inspector> {
    match service {
        Service::UploadPackLs | Service::UploadPack => Some(Inspector::default()),
        Service::ReceivePackLs | Service::ReceivePack => None,
    }
}

fn unpacks(at: Address, problem: &Problem) -> Error {
    let (found, most) = match problem {
        Problem::Large(bytes) => (
            format!("an object of {} MiB", bytes.div_ceil(1 << 20)),
            format!("{} MiB", pack::LARGEST >> 20),
        ),
        Problem::Many(count) => (format!("{count} objects"), pack::MOST.to_string()),
        Problem::Broken(why) => {
            let why = format!("what it sends is not Git's: {why}");
            return Error::Refused { at, why };
        }
    };
    Error::Unpacks { at, found, most }
}

/// The thread's line while its work lasts.
struct Taken(Option<Arc<Line>>);

impl Taken {
    fn new(line: Arc<Line>) -> Self {
        Self(LINE.with(|kept| kept.replace(Some(line))))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        LINE.with(|kept| kept.replace(self.0.take()));
    }
}

/// Tells libgit2, once, to ask us for connections.
fn register() -> Result<(), git2::Error> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        ["http", "https", "ssh"]
            .into_iter()
            .try_for_each(register_one)
            .map_err(|error| error.message().to_owned())
    });
    done.clone().map_err(|error| git2::Error::from_str(&error))
}

#[allow(unsafe_code)]
fn register_one(scheme: &'static str) -> Result<(), git2::Error> {
    // SAFETY: must not happen at the same time as a transport is created. All transports are
    // created by work in `Line::over`, which comes here first, and `OnceLock` lets one thread in
    // while the others wait.
    unsafe {
        git2::transport::register(scheme, move |remote| {
            Transport::smart(remote, scheme != "ssh", Asked)
        })
    }
}

/// What libgit2 asks for connections.
struct Asked;

impl SmartSubtransport for Asked {
    fn action(
        &self,
        // Ours is the line's: libgit2's own idea of it may be what a configuration puts in its place.
        _url: &str,
        service: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let line = LINE.with(|kept| kept.borrow().clone());
        let line = line.ok_or_else(|| git2::Error::from_str("asked without a line"))?;
        let stream: std::io::Result<Box<dyn SmartSubtransportStream>> = match line.http.clone() {
            Some(client) => Ok(Box::new(http::Exchange::new(line, client, service))),
            None => ssh::open(line, service).map(|open| Box::new(open) as _),
        };
        stream.map_err(|error| git2::Error::from_str(&error.to_string()))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}
