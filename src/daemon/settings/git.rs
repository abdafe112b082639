//! The settings of remedies in Git.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Reader, Section};
use crate::git::forge::{Account, Kind, Token};

/// How commits are undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// Where copies of repositories are kept. Default `sluice-git` in the system's folder for
    /// temporary files.
    pub folder: PathBuf,
    /// Who commits. Default `Sluice`.
    pub name: String,
    /// The committer's e-mail address. Default `sluice@localhost`.
    pub email: String,
    /// A private key as `ssh-keygen` writes it, by which commits are signed. Default: not signed.
    pub signing_key_file: Option<PathBuf>,
    /// For all of one remedy. Default `2m`.
    pub timeout: Duration,
    /// MiB that are received for one. Default 512.
    pub max_download: u16,
    /// Where pull requests are opened. Default: nowhere.
    pub forge: Option<Account>,
    /// Whether repositories in the daemon's own file system (`file:///...`) are worked on: for the
    /// sandbox. Default false.
    pub local: bool,
    /// What becomes of image automation that would write the bad tag again. Default: it is left.
    pub image_automation: ImageAutomation,
    /// Who the authors of commits are in the cluster, by their e-mail addresses in lower case. Others are taken for
    /// the user of that name.
    pub authors: BTreeMap<String, String>,
}

impl Default for Git {
    fn default() -> Self {
        Self {
            folder: std::env::temp_dir().join("sluice-git"),
            name: "Sluice".to_owned(),
            email: "sluice@localhost".to_owned(),
            signing_key_file: None,
            timeout: Duration::from_secs(120),
            max_download: 512,
            forge: None,
            local: false,
            image_automation: ImageAutomation::Leave,
            authors: BTreeMap::new(),
        }
    }
}

/// What becomes of Flux's image automation during a remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageAutomation {
    /// It goes on.
    Leave,
    /// It is suspended until a newer template has passed.
    Suspend,
    /// The commit excludes the failed tag in its policy; it is suspended until the policy on the cluster
    /// chooses another one, or, where the tag cannot be excluded, as with `Suspend`.
    ExcludeTag,
}

/// Reads `git`.
pub fn git(reader: &mut Reader, root: &Section) -> Git {
    let section = reader.section(root, "git");
    let usual = Git::default();
    Git {
        folder: reader.path(&section, "folder").unwrap_or(usual.folder),
        name: reader.text(&section, "name").unwrap_or(usual.name),
        email: reader.text(&section, "email").unwrap_or(usual.email),
        signing_key_file: reader.path(&section, "signingKeyFile"),
        timeout: reader.duration(&section, "timeout", usual.timeout),
        max_download: reader.number(
            &section,
            "maxDownload",
            usual.max_download,
            "MiB, 1 to 65535",
        ),
        forge: forge(reader, &section),
        local: reader.flag(&section, "local", usual.local),
        image_automation: image_automation(reader, &section),
        authors: authors(reader, &section),
    }
}

fn authors(reader: &mut Reader, git: &Section) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for section in reader.sections(git, "authors") {
        let email = reader.required(&section, "email", "the address that the commits name");
        let user = reader.required(&section, "user", "the person's name in the cluster");
        let (Some(email), Some(user)) = (email, user) else {
            continue;
        };
        if all.insert(email.to_lowercase(), user).is_some() {
            let found = format!("{email:?} a second time");
            reader.wrong(&section, "email", &found, "each address once");
        }
    }
    all
}

fn image_automation(reader: &mut Reader, git: &Section) -> ImageAutomation {
    match reader.text(git, "imageAutomation").as_deref() {
        None | Some("leave") => ImageAutomation::Leave,
        Some("suspend") => ImageAutomation::Suspend,
        Some("excludeTag") => ImageAutomation::ExcludeTag,
        Some(other) => {
            let found = format!("{other:?}");
            reader.wrong(
                git,
                "imageAutomation",
                &found,
                "leave, suspend or excludeTag",
            );
            ImageAutomation::Leave
        }
    }
}

fn forge(reader: &mut Reader, git: &Section) -> Option<Account> {
    let section = reader.section(git, "forge");
    if !section.given() {
        return None;
    }
    let token = token(reader, &section)?;
    let kind = reader.text(&section, "kind");
    let api = reader.text(&section, "api");
    Some(Account {
        kind: kind.and_then(|kind| kind_named(reader, &section, &kind)),
        api: api.and_then(|api| reader.url(&section, "api", &api)),
        host: reader.text(&section, "host"),
        token,
    })
}

/// A token in a file, or a GitHub App.
fn token(reader: &mut Reader, forge: &Section) -> Option<Token> {
    let app = reader.section(forge, "app");
    if !app.given() {
        let wanted = "a file with the token by which pull requests are opened, or app";
        let file = reader.required(forge, "tokenFile", wanted)?;
        return Some(Token::File(reader.folder.join(file)));
    }
    if forge.has("tokenFile") {
        reader.wrong(forge, "tokenFile", "both", "either tokenFile or app");
    }
    let id = reader.required(&app, "id", "the GitHub App's ID");
    let installation = reader.required(&app, "installation", "the installation's ID");
    let wanted = "a file with the GitHub App's private key";
    let key_file = reader.required(&app, "privateKeyFile", wanted)?;
    Some(Token::App {
        id: id?,
        installation: installation?,
        key_file: reader.folder.join(key_file),
    })
}

fn kind_named(reader: &mut Reader, section: &Section, name: &str) -> Option<Kind> {
    let found = Kind::ALL.iter().find(|(known, _)| *known == name);
    if found.is_none() {
        let names = Kind::ALL.map(|(name, _)| name).join(", ");
        let wanted = format!("one of: {names}");
        reader.wrong(section, "kind", &format!("{name:?}"), &wanted);
    }
    found.map(|(_, kind)| *kind)
}
