//! Our copy of a repository: bare, shallow, kept between remedies, and worth nothing.
//!
//! It begins with a few commits of the branch and is deepened until the last good one is reached,
//! so that a large repository costs little. A copy that cannot be opened, after a crash or a full
//! disk, or that has grown by many fetches, is thrown away and made anew. How deep it is stands beside it, since a fetch that is asked for less cuts
//! off what was there, and all would be fetched anew at each use. It goes to the address that was given: what a person's own
//! configuration of Git puts in its place (`insteadOf`) is not followed.
//!
//! Not here: which commits matter (`history`), and whose folder it is (`folder`).

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ConfigLevel, FetchOptions, Oid, PushOptions, RemoteCallbacks, Repository};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::credentials::Credentials;
use super::error::{Doing, Error};
use super::folder::{Held, held};
use super::remote::Remote;
use super::transport::{Limits, Line};

/// Commits that are fetched at first.
const SHALLOW: usize = 50;
/// How much deeper each further fetch reaches.
const DEEPER: usize = 8;
/// How deep is looked at most.
const DEEPEST: usize = 25_600;
/// Packs of a copy, over which it is made anew: nothing puts them together, and each lookup asks all of them.
const PACKS: usize = 100;

/// A local copy of one branch.
pub struct Copy {
    folder: PathBuf,
    repository: Repository,
    line: Arc<Line>,
    remote: Remote,
    /// Commits that are fetched of a branch.
    depth: usize,
    /// Where that is kept.
    depth_file: PathBuf,
    _held: Held,
}

impl fmt::Debug for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copy")
            .field("of", &self.remote.at)
            .field("branch", &self.remote.branch)
            .finish_non_exhaustive()
    }
}

impl Copy {
    /// The copy of `remote` in `folder`, which may hold copies of other repositories too.
    /// Nothing is fetched yet.
    pub fn open(
        folder: &Path,
        runtime: Handle,
        remote: Remote,
        limits: Limits,
    ) -> Result<Self, Error> {
        let name = Sha256::digest(remote.at.url().as_bytes());
        let name = format!(
            "{:016x}",
            name.iter()
                .take(8)
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        );
        let held = held(folder, &name, &runtime, limits.time)?;
        let known_hosts = folder.join(format!("{name}.known_hosts"));
        let depth_file = folder.join(format!("{name}.depth"));
        let folder = folder.join(name);
        let repository = open_or_make(&folder, remote.at.url())?;
        if let Credentials::Ssh {
            known_hosts: lines, ..
        } = &remote.credentials
        {
            fs::write(&known_hosts, lines).map_err(|source| Error::Local {
                doing: format!("writing {}", known_hosts.display()),
                source,
            })?;
        }
        let line = Line::new(runtime, remote.clone(), known_hosts, limits)?;
        Ok(Self {
            folder,
            repository,
            line,
            remote,
            depth: kept_depth(&depth_file),
            depth_file,
            _held: held,
        })
    }

    /// The objects.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The branch's name.
    pub fn branch(&self) -> &str {
        &self.remote.branch
    }

    /// Fetches the branch and says its head.
    pub fn fetch(&self) -> Result<Oid, Error> {
        self.fetch_branch(&self.remote.branch, self.depth)?
            .ok_or_else(|| Error::NoBranch {
                at: self.remote.at.clone(),
                branch: self.remote.branch.clone(),
            })
    }

    /// The branches of the server whose names begin so.
    pub fn others(&self, begin: &str) -> Result<Vec<String>, Error> {
        let begin = format!("refs/heads/{begin}");
        self.line.over("listing the branches", || {
            let mut remote = self.repository.remote_anonymous(self.remote.at.url())?;
            remote.connect(git2::Direction::Fetch)?;
            let heads = remote.list()?.iter();
            let names = heads.map(git2::RemoteHead::name);
            let names = names.filter(|name| name.starts_with(&begin));
            let names = names.filter_map(|name| name.strip_prefix("refs/heads/"));
            Ok(names.map(str::to_owned).collect())
        })
    }

    /// The head of another branch, if the server has it.
    pub fn fetch_other(&self, branch: &str) -> Result<Option<Oid>, Error> {
        self.fetch_branch(branch, 1)
    }

    /// Fetches more of the branch's past. Since libgit2 cannot deepen a copy, it is made anew.
    /// False if all of it is there already, or as much as is ever looked at.
    pub fn deepen(&mut self) -> Result<bool, Error> {
        let deeper = self.depth * DEEPER;
        if !self.repository.is_shallow() || deeper > DEEPEST {
            return Ok(false);
        }
        self.depth = deeper;
        throw_away(&self.folder)?;
        self.repository = open_or_make(&self.folder, self.remote.at.url())?;
        self.fetch()?;
        let kept = fs::write(&self.depth_file, deeper.to_string());
        kept.map_err(|source| Error::Local {
            doing: format!("writing {}", self.depth_file.display()),
            source,
        })?;
        Ok(true)
    }

    /// Pushes `commit` to `branch`, never forced.
    pub fn push(&self, commit: Oid, branch: &str) -> Result<Pushed, Error> {
        let ours = format!("refs/sluice/push/{commit}");
        let (repository, line) = (&self.repository, &self.line);
        repository
            .reference(&ours, commit, true, "to be pushed")
            .doing("naming the commit")?;
        let (answer, said) = (RefCell::new(None), RefCell::new(Vec::new()));
        let pushed = line.over("pushing", || {
            let mut callbacks = RemoteCallbacks::new();
            callbacks.push_update_reference(|_, status| {
                *answer.borrow_mut() = status.map(str::to_owned);
                Ok(())
            });
            callbacks.sideband_progress(|text| {
                said.borrow_mut().extend_from_slice(text);
                true
            });
            let mut options = PushOptions::new();
            options.remote_callbacks(callbacks);
            let mut remote = repository.remote_anonymous(self.remote.at.url())?;
            let refspec = format!("{ours}:refs/heads/{branch}");
            remote.push(&[refspec], Some(&mut options))
        });
        match (pushed, answer.into_inner()) {
            (Ok(()), None) => Ok(Pushed::Done),
            (Ok(()), Some(status)) => self.rejected(branch, &status, &said.into_inner()),
            (Err(Error::Git { source, .. }), _)
                if source.code() == git2::ErrorCode::NotFastForward =>
            {
                Ok(Pushed::Moved)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn rejected(&self, branch: &str, status: &str, said: &[u8]) -> Result<Pushed, Error> {
        const MOVED: [&str; 6] = [
            "non-fast-forward",
            "fetch first",
            "stale info",
            "cannot lock ref",
            "failed to update ref",
            "reference already exists",
        ];
        if MOVED.iter().any(|word| status.contains(word)) {
            return Ok(Pushed::Moved);
        }
        let said = String::from_utf8_lossy(said);
        let why = match said.trim() {
            "" => status.to_owned(),
            said => format!("{status}: {}", said.lines().next().unwrap_or_default()),
        };
        Err(Error::Protected {
            at: self.remote.at.clone(),
            branch: branch.to_owned(),
            why,
            found: Vec::new(),
        })
    }

    fn fetch_branch(&self, branch: &str, depth: usize) -> Result<Option<Oid>, Error> {
        let from = format!("refs/heads/{branch}");
        let kept = format!("refs/remotes/origin/{branch}");
        // Of a local repository libgit2 fetches all or nothing.
        let depth = if self.remote.at.is_local() {
            0
        } else {
            i32::try_from(depth).unwrap_or(i32::MAX)
        };
        let there = self.line.over("fetching", || {
            let mut options = FetchOptions::new();
            options
                .depth(depth)
                .download_tags(git2::AutotagOption::None)
                .update_fetchhead(false);
            let mut remote = self.repository.remote_anonymous(self.remote.at.url())?;
            let refspec = format!("+{from}:{kept}");
            remote.fetch(&[refspec], Some(&mut options), None)?;
            Ok(remote.list()?.iter().any(|head| head.name() == from))
        })?;
        if !there {
            return Ok(None);
        }
        let head = self.repository.refname_to_id(&kept);
        head.doing("reading the branch").map(Some)
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is there.
    Done,
    /// Somebody else pushed first.
    Moved,
}

/// How deep a copy was made last; as at first, where that is not known.
fn kept_depth(file: &Path) -> usize {
    let text = fs::read_to_string(file).unwrap_or_default();
    let depth = text.trim().parse().unwrap_or(SHALLOW);
    depth.clamp(SHALLOW, DEEPEST)
}

fn open_or_make(folder: &Path, url: &str) -> Result<Repository, Error> {
    let repository = match Repository::open_bare(folder) {
        Ok(repository) if packs(folder) <= PACKS => repository,
        _ => make(folder)?,
    };
    stay_at(&repository, url).doing("configuring the copy")?;
    Ok(repository)
}

/// How many fetches lie in a copy: each one adds a pack.
fn packs(folder: &Path) -> usize {
    let files = fs::read_dir(folder.join("objects/pack"));
    let names = files.into_iter().flatten().flatten();
    names
        .filter(|file| file.path().extension().is_some_and(|end| end == "pack"))
        .count()
}

fn make(folder: &Path) -> Result<Repository, Error> {
    if folder.exists() {
        throw_away(folder)?;
    }
    fs::create_dir_all(folder).map_err(|source| Error::Local {
        doing: format!("making {}", folder.display()),
        source,
    })?;
    Repository::init_bare(folder).doing("making a copy")
}

/// Of all that an address may be put in place of, the longest counts: that is the whole of it, so it
/// stays what it is.
fn stay_at(repository: &Repository, url: &str) -> Result<(), git2::Error> {
    let mut config = repository.config()?.open_level(ConfigLevel::Local)?;
    for instead in ["insteadOf", "pushInsteadOf"] {
        config.set_str(&format!("url.{url}.{instead}"), url)?;
    }
    Ok(())
}

fn throw_away(folder: &Path) -> Result<(), Error> {
    fs::remove_dir_all(folder).map_err(|source| Error::Local {
        doing: format!("throwing away {}", folder.display()),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_many_fetches_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let url = "https://git.example/shop";
        let copy = folder.path().join("copy");
        drop(open_or_make(&copy, url).unwrap());
        let pack = |number: usize| copy.join(format!("objects/pack/pack-{number}.pack"));
        for number in 0..PACKS {
            fs::write(pack(number), "").unwrap();
        }
        drop(open_or_make(&copy, url).unwrap());
        assert!(pack(0).exists());
        fs::write(pack(PACKS), "").unwrap();
        drop(open_or_make(&copy, url).unwrap());
        assert!(!pack(0).exists());
    }

    #[test]
    fn an_address_is_not_replaced_by_what_git_is_configured_to() {
        let folder = tempfile::tempdir().unwrap();
        let url = "https://git.example/team/shop.git";
        let repository = Repository::init_bare(folder.path()).unwrap();
        let mut config = repository.config().unwrap();
        for instead in ["insteadOf", "pushInsteadOf"] {
            let key = format!("url.http://elsewhere.example/.{instead}");
            config.set_str(&key, "https://git.example/").unwrap();
        }
        let leads = |repository: &Repository| {
            let remote = repository.remote_anonymous(url).unwrap();
            let push = remote.pushurl().map(|it| it.map(str::to_owned));
            let push = push.unwrap_or_default();
            (remote.url().unwrap().to_owned(), push)
        };
        assert!(leads(&repository).0.starts_with("http://elsewhere"));
        let repository = open_or_make(folder.path(), url).unwrap();
        let (fetch, push) = leads(&repository);
        assert_eq!(fetch, url);
        assert!(push.is_none_or(|push| push == url));
    }
}
