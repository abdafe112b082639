//! From a repository's address to the forge that it is on, the API of that, and what the API
//! calls the repository.
//!
//! A token is sent to the API that the settings name, or to one that belongs to a well-known
//! host, and nowhere else: whoever may write a `GitRepository` chooses its URL, and must not be
//! able to collect tokens with it.
//!
//! Not here: the requests (`ask`).

use super::error::Error;
use super::{Account, Kind};
use crate::git::remote::Address;

/// One repository on one forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which API is spoken.
    pub kind: Kind,
    /// Its base URL, without a slash at the end; for Azure DevOps with organisation and project.
    pub api: String,
    /// What it calls the repository: `owner/name`, or the name for Azure DevOps.
    pub repository: String,
}

/// Hosts whose forge is certain, and the API of each.
const KNOWN: [(&str, Kind, &str); 8] = [
    ("github.com", Kind::GitHub, "https://api.github.com"),
    ("ssh.github.com", Kind::GitHub, "https://api.github.com"),
    ("gitlab.com", Kind::GitLab, "https://gitlab.com/api/v4"),
    (
        "altssh.gitlab.com",
        Kind::GitLab,
        "https://gitlab.com/api/v4",
    ),
    ("codeberg.org", Kind::Gitea, "https://codeberg.org/api/v1"),
    ("gitea.com", Kind::Gitea, "https://gitea.com/api/v1"),
    ("dev.azure.com", Kind::AzureDevOps, "https://dev.azure.com"),
    (
        "ssh.dev.azure.com",
        Kind::AzureDevOps,
        "https://dev.azure.com",
    ),
];

impl Place {
    /// Where pull requests for the repository at `address` are opened.
    ///
    /// # Errors
    /// If that cannot be told, or the account is for another host.
    pub fn of(address: &Address, account: &Account) -> Result<Self, Error> {
        let host = address.host().to_ascii_lowercase();
        let known = KNOWN.iter().find(|(name, ..)| *name == host);
        let unknown = || Error::Unknown { host: host.clone() };
        let (kind, api) = match (&account.api, known) {
            (Some(api), _) => {
                only(&host, api, account)?;
                let kind = account.kind.or_else(|| kind_of(api));
                (kind.ok_or_else(unknown)?, api.clone())
            }
            (None, Some((_, kind, api))) if account.kind.is_none_or(|said| said == *kind) => {
                (*kind, (*api).to_owned())
            }
            (None, _) => return Err(unknown()),
        };
        let path = decoded(address.path());
        let known_path = || Error::Path { path: path.clone() };
        let (api, repository) = match kind {
            Kind::AzureDevOps => azure(&api, &path).ok_or_else(known_path)?,
            Kind::GitHub | Kind::GitLab | Kind::Gitea => {
                let repository = below(&api, &path).to_owned();
                let whole = repository.split('/').all(|part| !part.is_empty());
                if !(whole && repository.contains('/')) {
                    return Err(known_path());
                }
                (api, repository)
            }
        };
        Ok(Self {
            kind,
            api,
            repository,
        })
    }
}

/// That the account's token is for this host.
fn only(host: &str, api: &str, account: &Account) -> Result<(), Error> {
    let of_api = authority(api);
    let wanted = match &account.host {
        Some(host) => host.to_ascii_lowercase(),
        None => of_api.strip_prefix("api.").unwrap_or(&of_api).to_owned(),
    };
    let ssh = ["ssh.", "altssh."]
        .iter()
        .any(|before| host.strip_prefix(before).is_some_and(|rest| rest == wanted));
    if host == wanted || host == of_api || ssh {
        Ok(())
    } else {
        let host = host.to_owned();
        Err(Error::Elsewhere { host, wanted })
    }
}

fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.to_ascii_lowercase()
}

/// What an API's path gives away.
fn kind_of(api: &str) -> Option<Kind> {
    let host = authority(api);
    let known = KNOWN.iter().find(|(.., known)| authority(known) == host);
    let by_path = [
        ("/api/v3", Kind::GitHub),
        ("/api/v4", Kind::GitLab),
        ("/api/v1", Kind::Gitea),
    ];
    let by_path = by_path.iter().find(|(path, _)| api.ends_with(path));
    known
        .map(|(_, kind, _)| *kind)
        .or(by_path.map(|(_, kind)| *kind))
}

/// The repository's path below the folder in which the forge is served.
fn below<'a>(api: &str, path: &'a str) -> &'a str {
    let rest = api.split_once("://").map_or("", |(_, rest)| rest);
    let folder = rest.split_once('/').map_or("", |(_, folder)| folder);
    let folder = folder.rsplit_once("api/").map_or("", |(before, _)| before);
    path.strip_prefix(folder).unwrap_or(path)
}

/// The API with organisation and project, and the repository: from `organisation/project/_git/name`,
/// `organisation/_git/name` (of the project of that name) or SSH's `v3/organisation/project/name`.
fn azure(api: &str, path: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().position(|part| *part == "_git");
    let (organisation, project, name) = match (at, parts.as_slice()) {
        (Some(at), _) => {
            let name = *parts.get(at + 1)?;
            let before = &parts[..at];
            match before {
                [.., organisation, project] => (*organisation, *project, name),
                [organisation] => (*organisation, name, name),
                [] => return None,
            }
        }
        (None, ["v3", organisation, project, name]) => (*organisation, *project, *name),
        (None, _) => return None,
    };
    // One's own server, and an API that names its organisation, go without it.
    let hosted = api.ends_with("://dev.azure.com");
    let api = if hosted {
        format!("{api}/{organisation}/{project}")
    } else {
        format!("{api}/{project}")
    };
    Some((api, name.to_owned()))
}

/// Without `%20` and the like.
fn decoded(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        if let (b'%', Some(byte)) = (first, byte) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Token;
    use super::*;

    fn account(kind: Option<Kind>, api: Option<&str>, host: Option<&str>) -> Account {
        Account {
            kind,
            api: api.map(str::to_owned),
            host: host.map(str::to_owned),
            token: Token::File("token".into()),
        }
    }

    fn place(url: &str, account: &Account) -> Result<(Kind, String, String), String> {
        let (address, _) = Address::parse(url).unwrap();
        Place::of(&address, account)
            .map(|place| (place.kind, place.api, place.repository))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn well_known_hosts_need_only_a_token() {
        let cases = [
            (
                "https://github.com/team/shop.git",
                Kind::GitHub,
                "https://api.github.com",
                "team/shop",
            ),
            (
                "git@github.com:team/shop.git",
                Kind::GitHub,
                "https://api.github.com",
                "team/shop",
            ),
            (
                "ssh://git@ssh.github.com:443/team/shop",
                Kind::GitHub,
                "https://api.github.com",
                "team/shop",
            ),
            (
                "https://gitlab.com/team/apps/shop.git",
                Kind::GitLab,
                "https://gitlab.com/api/v4",
                "team/apps/shop",
            ),
            (
                "https://codeberg.org/team/shop",
                Kind::Gitea,
                "https://codeberg.org/api/v1",
                "team/shop",
            ),
            (
                "https://dev.azure.com/org/My%20Team/_git/shop",
                Kind::AzureDevOps,
                "https://dev.azure.com/org/My Team",
                "shop",
            ),
            (
                "https://dev.azure.com/org/_git/shop",
                Kind::AzureDevOps,
                "https://dev.azure.com/org/shop",
                "shop",
            ),
            (
                "git@ssh.dev.azure.com:v3/org/team/shop",
                Kind::AzureDevOps,
                "https://dev.azure.com/org/team",
                "shop",
            ),
        ];
        for (url, kind, api, repository) in cases {
            let wanted = Ok((kind, api.to_owned(), repository.to_owned()));
            assert_eq!(place(url, &account(None, None, None)), wanted, "{url}");
        }
    }

    #[test]
    fn ones_own_forge_is_told_by_its_api() {
        let gitlab = account(None, Some("https://git.example/lab/api/v4"), None);
        let wanted = (
            Kind::GitLab,
            "https://git.example/lab/api/v4".to_owned(),
            "team/shop".to_owned(),
        );
        assert_eq!(
            place("https://git.example/lab/team/shop.git", &gitlab),
            Ok(wanted)
        );
        let server = account(
            Some(Kind::AzureDevOps),
            Some("https://tfs.example/tfs/Main"),
            None,
        );
        let wanted = (
            Kind::AzureDevOps,
            "https://tfs.example/tfs/Main/team".to_owned(),
            "shop".to_owned(),
        );
        assert_eq!(
            place("https://tfs.example/tfs/Main/team/_git/shop", &server),
            Ok(wanted)
        );
        let apart = account(
            None,
            Some("https://forge.example/api/v1"),
            Some("git.example"),
        );
        assert!(place("ssh://git@git.example:2222/team/shop.git", &apart).is_ok());
    }

    #[test]
    fn a_token_goes_to_no_host_that_a_repositorys_url_alone_names() {
        let gitea = account(None, Some("https://git.example/api/v1"), None);
        let said = place("https://evil.example/team/shop", &gitea).unwrap_err();
        assert!(
            said.contains("evil.example") && said.contains("git.example"),
            "{said}"
        );
        for kind in [None, Some(Kind::Gitea)] {
            let said =
                place("https://evil.example/team/shop", &account(kind, None, None)).unwrap_err();
            assert!(said.contains("git.forge.api"), "{said}");
        }
        let github = account(Some(Kind::GitHub), None, None);
        assert!(place("https://gitlab.com/team/shop", &github).is_err());
    }

    #[test]
    fn a_path_that_names_no_repository_is_refused() {
        for url in [
            "https://github.com/shop",
            "https://dev.azure.com/org/team/shop",
        ] {
            let said = place(url, &account(None, None, None)).unwrap_err();
            assert!(said.contains("no repository's path"), "{said}");
        }
    }
}
