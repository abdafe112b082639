//! What a forge answers, read: one pull request, those of a branch, or a refusal.
//!
//! Sources: the REST references of GitHub (2022-11-28), GitLab (v4), Gitea (v1) and Azure DevOps
//! (7.1).
//!
//! Not here: the requests (`ask`).

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::error::Error;
use super::{Kind, Place, Pull, State};
use crate::retry_after::retry_after;

/// How much of a refusal is quoted, in characters.
const QUOTED: usize = 300;

impl Place {
    /// One pull request.
    pub(super) fn pull(&self, answer: &Value) -> Result<Pull, Error> {
        let (number, url, state) = match self.kind {
            Kind::GitHub | Kind::Gitea => (
                answer["number"].as_u64(),
                text(&answer["html_url"]),
                hub_state(answer),
            ),
            Kind::GitLab => (
                answer["iid"].as_u64(),
                text(&answer["web_url"]),
                lab_state(answer),
            ),
            Kind::AzureDevOps => {
                let number = answer["pullRequestId"].as_u64();
                (
                    number,
                    number.map(|number| self.page(number)),
                    azure_state(answer),
                )
            }
        };
        match (number, url, state) {
            (Some(number), Some(url), Some(state)) => Ok(Pull { number, url, state }),
            (None, ..) => Err(self.unreadable("a pull request without a number")),
            (_, None, _) => Err(self.unreadable("a pull request without a page")),
            (.., None) => Err(self.unreadable("a pull request without a state")),
        }
    }

    /// The pull request of a branch, if there is one; one that is open before others.
    pub(super) fn found(&self, branch: &str, answer: &Value) -> Result<Option<Pull>, Error> {
        let listed = match self.kind {
            Kind::GitHub | Kind::GitLab => answer.as_array(),
            Kind::AzureDevOps => answer["value"].as_array(),
            Kind::Gitea => return self.pull(answer).map(Some),
        };
        let listed = listed.ok_or_else(|| self.unreadable("no list of pull requests"))?;
        let of_branch = listed.iter().filter(|item| {
            let from = match self.kind {
                Kind::GitHub | Kind::Gitea => &item["head"]["ref"],
                Kind::GitLab => &item["source_branch"],
                Kind::AzureDevOps => &item["sourceRefName"],
            };
            let from = from.as_str().unwrap_or_default();
            from.strip_prefix("refs/heads/").unwrap_or(from) == branch
        });
        let pulls: Vec<Pull> = of_branch
            .map(|item| self.pull(item))
            .collect::<Result<_, _>>()?;
        let open = pulls.iter().position(|pull| pull.state == State::Open);
        Ok(pulls.into_iter().nth(open.unwrap_or(0)))
    }

    /// Where Azure DevOps shows it to people, which its API does not say.
    fn page(&self, number: u64) -> String {
        let folder = self.api.replace(' ', "%20");
        let repository = self.repository.replace(' ', "%20");
        format!("{folder}/_git/{repository}/pullrequest/{number}")
    }

    fn unreadable(&self, why: &str) -> Error {
        Error::Unreadable {
            at: self.api.clone(),
            why: why.to_owned(),
        }
    }

    /// Why a request was not answered as it should be.
    pub(super) fn refused(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Error {
        let at = self.api.clone();
        let why = format!("HTTP {} {}", status.as_u16(), quoted(body));
        let why = why.trim_end().to_owned();
        let wait = wait(headers, now);
        match status.as_u16() {
            429 => Error::Limited { at, wait },
            403 if wait.is_some() => Error::Limited { at, wait },
            // Azure DevOps shows its page for signing in instead of an answer.
            203 | 302 | 401 | 403 => Error::Unauthorized { at, why },
            404 => Error::Hidden {
                at,
                what: self.repository.clone(),
                why,
            },
            500.. => Error::Unreachable { at, why },
            _ => Error::Refused { at, why },
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// GitHub's lists do not say `merged`, only when.
fn hub_state(item: &Value) -> Option<State> {
    let merged = item["merged"] == true || item["merged_at"].is_string();
    match item["state"].as_str()? {
        _ if merged => Some(State::Merged(text(&item["merge_commit_sha"]))),
        "open" => Some(State::Open),
        "closed" => Some(State::Closed),
        _ => None,
    }
}

fn lab_state(item: &Value) -> Option<State> {
    let commit = || text(&item["merge_commit_sha"]).or_else(|| text(&item["squash_commit_sha"]));
    match item["state"].as_str()? {
        // Locked while it is being merged.
        "opened" | "locked" => Some(State::Open),
        "merged" => Some(State::Merged(commit())),
        "closed" => Some(State::Closed),
        _ => None,
    }
}

fn azure_state(item: &Value) -> Option<State> {
    match item["status"].as_str()? {
        "active" | "notSet" => Some(State::Open),
        "completed" => Some(State::Merged(text(&item["lastMergeCommit"]["commitId"]))),
        "abandoned" => Some(State::Closed),
        _ => None,
    }
}

/// How long the forge wants to be left alone: `Retry-After`, or that no request is left until a
/// time.
fn wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if headers.contains_key("retry-after") {
        return retry_after(headers, now);
    }
    let none_left = ["x-ratelimit-remaining", "ratelimit-remaining"]
        .iter()
        .any(|name| header(name) == Some("0"));
    let reset = header("x-ratelimit-reset").or_else(|| header("ratelimit-reset"))?;
    let reset = Timestamp::from_second(reset.parse().ok()?).ok()?;
    let left = Duration::try_from(reset.duration_since(now)).unwrap_or_default();
    none_left.then_some(left)
}

/// The message of a refusal, if it is text that people can read.
fn quoted(body: &[u8]) -> String {
    let parsed = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let said = if parsed.is_object() {
        let keys = ["message", "error_description", "error"];
        let message = keys.map(|key| flat(&parsed[key]));
        let message = message.into_iter().find(|text| !text.is_empty());
        let errors = Some(flat(&parsed["errors"])).filter(|text| !text.is_empty());
        let both: Vec<String> = message.into_iter().chain(errors).collect();
        both.join(": ")
    } else {
        let text = String::from_utf8_lossy(body);
        let line = text.lines().find(|line| !line.trim().is_empty());
        let line = line.filter(|line| !line.trim_start().starts_with('<'));
        line.unwrap_or_default().to_owned()
    };
    said.chars()
        .filter(|char| !char.is_control())
        .take(QUOTED)
        .collect()
}

/// Texts of a value, whatever holds them.
fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .get("message")
            .map_or_else(|| value.to_string(), flat),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Status, headers and body of an answer; the wait and words of the refusal.
    type Row = (
        u16,
        &'static [(&'static str, &'static str)],
        &'static str,
        Option<u64>,
        &'static str,
    );

    fn place(kind: Kind) -> Place {
        Place {
            kind,
            api: "https://forge.example/org/My Team".to_owned(),
            repository: "shop".to_owned(),
        }
    }

    fn state(kind: Kind, item: Value) -> State {
        place(kind).pull(&item).unwrap().state
    }

    #[test]
    fn each_forges_states_are_told_apart() {
        let hub = |state: &str, merged: Value| json!({"number": 7, "html_url": "u", "state": state, "merged_at": merged, "merge_commit_sha": "c"});
        let merged = || State::Merged(Some("c".to_owned()));
        assert_eq!(state(Kind::GitHub, hub("open", Value::Null)), State::Open);
        assert_eq!(
            state(Kind::GitHub, hub("closed", Value::Null)),
            State::Closed
        );
        assert_eq!(
            state(Kind::Gitea, hub("closed", json!("2026-01-01T00:00:00Z"))),
            merged()
        );
        let lab = |state: &str| json!({"iid": 7, "web_url": "u", "state": state, "merge_commit_sha": null, "squash_commit_sha": "c"});
        assert_eq!(state(Kind::GitLab, lab("opened")), State::Open);
        assert_eq!(state(Kind::GitLab, lab("merged")), merged());
        assert_eq!(state(Kind::GitLab, lab("closed")), State::Closed);
        let azure = |status: &str| json!({"pullRequestId": 7, "status": status, "lastMergeCommit": {"commitId": "c"}});
        assert_eq!(state(Kind::AzureDevOps, azure("active")), State::Open);
        assert_eq!(state(Kind::AzureDevOps, azure("completed")), merged());
        assert_eq!(state(Kind::AzureDevOps, azure("abandoned")), State::Closed);
        let page = place(Kind::AzureDevOps).pull(&azure("active")).unwrap().url;
        assert_eq!(
            page,
            "https://forge.example/org/My%20Team/_git/shop/pullrequest/7"
        );
    }

    #[test]
    fn of_a_branchs_requests_the_open_one_counts_and_others_branches_do_not() {
        let item = |number: u64, branch: &str, state: &str| json!({"number": number, "html_url": "u", "state": state, "merged_at": null, "head": {"ref": branch}});
        let list = json!([
            item(9, "other", "open"),
            item(8, "ours", "closed"),
            item(7, "ours", "open")
        ]);
        let found = place(Kind::GitHub).found("ours", &list).unwrap().unwrap();
        assert_eq!(found.number, 7);
        assert_eq!(place(Kind::GitHub).found("theirs", &list).unwrap(), None);
        assert!(place(Kind::GitHub).found("ours", &json!({})).is_err());
    }

    #[test]
    fn a_refusal_says_what_a_person_can_mend_and_when_to_come_back() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let said = |status: u16, headers: &[(&'static str, &'static str)], body: &str| {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let status = StatusCode::from_u16(status).unwrap();
            let error = place(Kind::GitHub).refused(status, &headers, body.as_bytes(), now);
            (error.wait().map(|wait| wait.as_secs()), error.to_string())
        };
        let table: [Row; 8] = [
            (
                401,
                &[],
                r#"{"message": "Bad credentials"}"#,
                None,
                "does not accept the token: HTTP 401 Bad credentials",
            ),
            (
                404,
                &[],
                r#"{"message": "Not Found"}"#,
                None,
                "shows no shop to this token",
            ),
            (
                429,
                &[("retry-after", "30")],
                "",
                Some(30),
                "limits requests for 30s",
            ),
            (
                403,
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1800000060"),
                ],
                "",
                Some(60),
                "for 1m",
            ),
            (
                403,
                &[
                    ("x-ratelimit-remaining", "9"),
                    ("x-ratelimit-reset", "1800000060"),
                ],
                "no",
                None,
                "HTTP 403 no",
            ),
            (503, &[], "<html>", None, "cannot reach"),
            (
                422,
                &[],
                r#"{"message": "Validation Failed", "errors": [{"message": "No commits"}]}"#,
                None,
                "refuses: HTTP 422 Validation Failed: No commits",
            ),
            (
                429,
                &[("retry-after", "Fri, 15 Jan 2027 08:01:00 GMT")],
                "",
                Some(60),
                "limits",
            ),
        ];
        for (status, headers, body, wait, words) in table {
            let (waits, told) = said(status, headers, body);
            assert_eq!(waits, wait, "{told}");
            assert!(told.contains(words), "{told}");
        }
    }
}
