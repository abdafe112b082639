//! What every remedy works with, made from the settings once.
//!
//! Not here: the settings' text (`settings`), and what is done with it (`undo`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::daemon::connect::Error;
use crate::daemon::settings::{Git, ImageAutomation};
use crate::git::forge::Account;
use crate::git::{Signer, Tokens};

/// What every remedy works with, from the settings.
#[derive(Debug, Clone)]
pub struct Means {
    /// Where copies of repositories are kept.
    pub folder: PathBuf,
    /// Who commits.
    pub name: String,
    /// The committer's e-mail address.
    pub email: String,
    /// Signs commits.
    pub signer: Option<Arc<Signer>>,
    /// For all of one remedy.
    pub timeout: Duration,
    /// Bytes that are received for one.
    pub most: u64,
    /// Where pull requests are opened, if anywhere.
    pub forge: Option<Account>,
    /// Whether repositories in our own file system are worked on.
    pub local: bool,
    /// Those of GitHub Apps.
    pub tokens: Tokens,
    /// What becomes of image automation that would write the bad tag again.
    pub image_automation: ImageAutomation,
    /// Who the authors of commits are in the cluster, by their e-mail addresses in lower case.
    pub people: Arc<BTreeMap<String, String>>,
}

impl Means {
    /// As the settings say; fails where the key that signs commits cannot be read.
    pub fn of(git: &Git) -> Result<Self, Error> {
        let signer = git.signing_key_file.as_deref().map(signer).transpose()?;
        Ok(Self {
            folder: git.folder.clone(),
            name: git.name.clone(),
            email: git.email.clone(),
            signer,
            timeout: git.timeout,
            most: u64::from(git.max_download) << 20,
            forge: git.forge.clone(),
            local: git.local,
            tokens: Tokens::default(),
            image_automation: git.image_automation,
            people: Arc::new(git.authors.clone()),
        })
    }
}

fn signer(path: &Path) -> Result<Arc<Signer>, Error> {
    let key = std::fs::read_to_string(path).map_err(|source| Error::SigningKey {
        path: path.to_owned(),
        source,
    })?;
    let signer = Signer::new(&SecretString::from(key), None).map_err(Error::Signer)?;
    Ok(Arc::new(signer))
}
