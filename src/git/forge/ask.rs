//! What is asked of a forge: to find, to open and to show a pull request.
//!
//! Sources: the REST references of GitHub (2022-11-28), GitLab (v4), Gitea (v1) and Azure DevOps
//! (7.1).
//!
//! Not here: who asks (`client`), and what is answered (`answer`).

use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::error::Error;
use super::{Kind, Place, Proposal};

/// The version of Azure DevOps' API.
const AZURE: (&str, &str) = ("api-version", "7.1");
/// Azure DevOps takes no longer texts, in UTF-16 units; so that other forges say the same, none
/// is given more.
const TITLE: usize = 250;
const TEXT: usize = 3_900;

/// One request without its credentials.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    pub method: Method,
    pub url: Url,
    pub body: Option<Value>,
    /// Whether 404 means that there is none, instead of no repository.
    pub may_be_absent: bool,
}

impl Place {
    /// For the pull requests of a branch, open or not.
    pub(super) fn find(&self, wanted: &Proposal) -> Result<Ask, Error> {
        let (branch, onto) = (wanted.branch.as_str(), wanted.onto.as_str());
        let mut ask = match self.kind {
            Kind::Gitea => {
                let mut ask = self.ask(Method::GET, &[onto])?;
                extend(&mut ask.url, branch.split('/'));
                ask
            }
            Kind::GitHub | Kind::GitLab | Kind::AzureDevOps => self.ask(Method::GET, &[])?,
        };
        ask.may_be_absent = self.kind == Kind::Gitea;
        let (from, to) = (format!("refs/heads/{branch}"), format!("refs/heads/{onto}"));
        let owner = self.repository.split('/').next().unwrap_or_default();
        let head = format!("{owner}:{branch}");
        let filters: &[(&str, &str)] = match self.kind {
            Kind::GitHub => &[("head", &head), ("base", onto), ("state", "all")],
            Kind::GitLab => &[
                ("source_branch", branch),
                ("target_branch", onto),
                ("state", "all"),
            ],
            Kind::Gitea => &[],
            Kind::AzureDevOps => &[
                ("searchCriteria.sourceRefName", &from),
                ("searchCriteria.targetRefName", &to),
                ("searchCriteria.status", "all"),
            ],
        };
        if !filters.is_empty() {
            ask.url.query_pairs_mut().extend_pairs(filters);
        }
        Ok(ask)
    }

    /// To open one.
    pub(super) fn open(&self, wanted: &Proposal) -> Result<Ask, Error> {
        let mut ask = self.ask(Method::POST, &[])?;
        let (title, text) = (cut(&wanted.title, TITLE), cut(&wanted.text, TEXT));
        let (branch, onto) = (&wanted.branch, &wanted.onto);
        ask.body = Some(match self.kind {
            Kind::GitHub | Kind::Gitea => {
                json!({"title": title, "head": branch, "base": onto, "body": text})
            }
            Kind::GitLab => json!({
                "title": title, "source_branch": branch, "target_branch": onto,
                "description": text, "remove_source_branch": true,
            }),
            Kind::AzureDevOps => json!({
                "title": title, "description": text,
                "sourceRefName": format!("refs/heads/{branch}"),
                "targetRefName": format!("refs/heads/{onto}"),
            }),
        });
        Ok(ask)
    }

    /// For one by its number.
    pub(super) fn show(&self, number: u64) -> Result<Ask, Error> {
        self.ask(Method::GET, &[&number.to_string()])
    }

    /// Below the list of the repository's pull requests.
    fn ask(&self, method: Method, below: &[&str]) -> Result<Ask, Error> {
        let unreadable = |why: String| Error::Unreachable {
            at: self.api.clone(),
            why,
        };
        let mut url = Url::parse(&self.api).map_err(|error| unreadable(error.to_string()))?;
        let repository = self.repository.as_str();
        match self.kind {
            Kind::GitHub | Kind::Gitea => {
                extend(&mut url, ["repos"].into_iter().chain(repository.split('/')));
                extend(&mut url, ["pulls"]);
            }
            Kind::GitLab => extend(&mut url, ["projects", repository, "merge_requests"]),
            Kind::AzureDevOps => extend(
                &mut url,
                ["_apis", "git", "repositories", repository, "pullrequests"],
            ),
        }
        extend(&mut url, below.iter().copied());
        if self.kind == Kind::AzureDevOps {
            url.query_pairs_mut().append_pair(AZURE.0, AZURE.1);
        }
        Ok(Ask {
            method,
            url,
            body: None,
            may_be_absent: false,
        })
    }
}

/// Appends segments, each escaped.
fn extend<'a>(url: &mut Url, segments: impl IntoIterator<Item = &'a str>) {
    // Fails for URLs without a host only, which the settings refuse.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
}

/// At most so many characters, which are counted as UTF-16 has them.
fn cut(text: &str, most: usize) -> String {
    let mut left = most;
    let fits = |char: &char| {
        let fits = char.len_utf16() <= left;
        left = left.saturating_sub(char.len_utf16());
        fits
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal() -> Proposal {
        Proposal {
            branch: "sluice/revert/a-b-1".to_owned(),
            onto: "release/1".to_owned(),
            title: "Revert".to_owned(),
            text: "Why".to_owned(),
        }
    }

    fn place(kind: Kind, api: &str, repository: &str) -> Place {
        Place {
            kind,
            api: api.to_owned(),
            repository: repository.to_owned(),
        }
    }

    fn places() -> [Place; 4] {
        [
            place(Kind::GitHub, "https://api.github.com", "team/shop"),
            place(Kind::GitLab, "https://lab.example/api/v4", "team/sub/shop"),
            place(Kind::Gitea, "https://tea.example/api/v1", "team/shop"),
            place(
                Kind::AzureDevOps,
                "https://dev.azure.com/org/My Team",
                "shop",
            ),
        ]
    }

    #[test]
    fn each_forge_is_asked_for_a_branch_in_its_own_way() {
        let wanted = [
            "https://api.github.com/repos/team/shop/pulls?head=team%3Asluice%2Frevert%2Fa-b-1&base=release%2F1&state=all",
            "https://lab.example/api/v4/projects/team%2Fsub%2Fshop/merge_requests?source_branch=sluice%2Frevert%2Fa-b-1&target_branch=release%2F1&state=all",
            "https://tea.example/api/v1/repos/team/shop/pulls/release%2F1/sluice/revert/a-b-1",
            "https://dev.azure.com/org/My%20Team/_apis/git/repositories/shop/pullrequests?api-version=7.1&searchCriteria.sourceRefName=refs%2Fheads%2Fsluice%2Frevert%2Fa-b-1&searchCriteria.targetRefName=refs%2Fheads%2Frelease%2F1&searchCriteria.status=all",
        ];
        for (place, wanted) in places().iter().zip(wanted) {
            assert_eq!(place.find(&proposal()).unwrap().url.as_str(), wanted);
        }
    }

    #[test]
    fn each_forge_shows_one_by_its_number() {
        let wanted = [
            "https://api.github.com/repos/team/shop/pulls/7",
            "https://lab.example/api/v4/projects/team%2Fsub%2Fshop/merge_requests/7",
            "https://tea.example/api/v1/repos/team/shop/pulls/7",
            "https://dev.azure.com/org/My%20Team/_apis/git/repositories/shop/pullrequests/7?api-version=7.1",
        ];
        for (place, wanted) in places().iter().zip(wanted) {
            assert_eq!(place.show(7).unwrap().url.as_str(), wanted);
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        assert_eq!(cut("a𝄞b", 3), "a𝄞");
        assert_eq!(cut("a𝄞b", 2), "a");
    }
}
