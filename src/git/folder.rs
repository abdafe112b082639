//! The folder that a copy is kept in: our own, and worked on by one process at a time.
//!
//! A copy's configuration could lead libgit2, and with it the credentials, to another server; so one that
//! somebody else may have written, in a folder that many write to, is refused. Two processes in one copy
//! would throw it away under each other: the second waits.
//!
//! Assumption: locks of files hold between processes, as they do on local file systems.
//! Not here: what is in the copy (`copy`).

use std::fs::{self, DirBuilder, File, Metadata, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::runtime::Handle;

use super::error::Error;

/// Only its owner reads and writes it.
const OWN: u32 = 0o700;
/// Who may own whatever there is.
const ROOT: u32 = 0;
/// Between two tries to get the lock.
const PAUSE: Duration = Duration::from_millis(50);

/// The lock, until this is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Held {
    _lock: File,
}

/// The copy `name` in `folder`, for us alone; waits so long for another process.
pub(super) fn held(
    folder: &Path,
    name: &str,
    runtime: &Handle,
    wait: Duration,
) -> Result<Held, Error> {
    let doing = |what: &str, path: &Path| format!("{what} {}", path.display());
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(OWN).create(folder);
    made.map_err(local(|| doing("making", folder)))?;
    let us = us(runtime).map_err(local(|| "asking who we are".to_owned()))?;
    let path = folder.join(format!("{name}.lock"));
    let known_hosts = folder.join(format!("{name}.known_hosts"));
    let depth = folder.join(format!("{name}.depth"));
    for path in [folder, &folder.join(name), &path, &known_hosts, &depth] {
        is_ours(path, us)?;
    }
    let lock = File::options().create(true).append(true).open(&path);
    let lock = lock.map_err(local(|| doing("opening", &path)))?;
    let tries = wait.as_millis() / PAUSE.as_millis();
    for _ in 0..=tries {
        match lock.try_lock() {
            Ok(()) => return Ok(Held { _lock: lock }),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(source)) => {
                return Err(local(|| doing("locking", &path))(source));
            }
        }
    }
    Err(Error::InUse {
        folder: folder.join(name),
        seconds: wait.as_secs(),
    })
}

fn local(doing: impl FnOnce() -> String) -> impl FnOnce(std::io::Error) -> Error {
    |source| Error::Local {
        doing: doing(),
        source,
    }
}

/// Our user's number, as the other end of a socket sees it.
fn us(runtime: &Handle) -> std::io::Result<u32> {
    let _entered = runtime.enter();
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

/// Neither what is there, nor a link that leads there, is another user's.
fn is_ours(path: &Path, us: u32) -> Result<(), Error> {
    for look in [fs::symlink_metadata::<&Path>, fs::metadata::<&Path>] {
        let owner = match look(path).as_ref().map(Metadata::uid) {
            Ok(owner) => owner,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                let source = std::io::Error::new(error.kind(), error.to_string());
                let doing = format!("looking at {}", path.display());
                return Err(Error::Local { doing, source });
            }
        };
        if ![us, ROOT].contains(&owner) {
            return Err(Error::NotOurs {
                folder: path.to_owned(),
                owner,
                us,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_is_worked_on_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let copies = folder.path().join("copies");
        let held = |name| {
            held(
                &copies,
                name,
                &Handle::current(),
                Duration::from_millis(100),
            )
        };
        let first = held("a").unwrap();
        let mode = fs::metadata(&copies).unwrap().mode();
        assert_eq!(mode & 0o777, OWN);
        let told = held("a").unwrap_err().to_string();
        assert!(told.contains("another process works on"), "{told}");
        assert!(held("b").is_ok());
        drop(first);
        assert!(held("a").is_ok());
    }

    #[tokio::test]
    async fn a_folder_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let us = us(&Handle::current()).unwrap();
        assert!(is_ours(folder.path(), us).is_ok());
        assert!(is_ours(&folder.path().join("none"), us).is_ok());
        // Seen by somebody else it is another user's, unless it is root's.
        let told = is_ours(folder.path(), us + 1).map_err(|error| error.to_string());
        assert_eq!(told.is_ok(), us == ROOT, "{told:?}");
    }
}
