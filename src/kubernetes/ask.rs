//! Asking something of a Rollout's daemon: an annotation that names the act, the revision that is
//! meant, and who asks why.
//!
//! `request.sluice.dev/ID: ACT [REVISION] [to=GOAL] [service=NAME] [{"by": …, "why": …}]`. The API server's RBAC decides
//! who may write it; the daemon answers in the status and clears it. An id that was asked before
//! is the same request.
//!
//! Not here: what is answered (`rollout::decide`).

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::crd::{LastRun, PROMOTION_PREFIX, REQUEST_PREFIX, Rollout, RolloutStatus};
use crate::clock::Clock;
use crate::rollout::request::{Act, Request};
use crate::rollout::words::{self, MOST};

/// The most groups.
const GROUPS: usize = 100;
/// Before the word that says what to go back to.
const GOAL: &str = "to=";
/// Before the word that says which service of a pipeline is meant.
const SERVICE: &str = "service=";

/// The revision that a person who asks now has in mind.
pub fn meant(act: Act, status: &RolloutStatus) -> Option<String> {
    let running = status.run.as_ref().map(|run| run.revision.hash.clone());
    match act {
        Act::Retry => status
            .last_run
            .as_ref()
            .and_then(LastRun::failed)
            .map(|failed| failed.hash.clone()),
        Act::Restart => status.stable.as_ref().map(|stable| stable.hash.clone()),
        Act::Promote
        | Act::Approve
        | Act::Hold
        | Act::Resume
        | Act::Abort
        | Act::Rollback
        | Act::Alert
        | Act::Smoke => {
            let serves = || status.stable.as_ref().map(|stable| stable.hash.clone());
            running.or_else(serves)
        }
    }
}

/// Unique among the requests of a Rollout, and in their order.
pub fn id(act: Act, clock: Clock) -> String {
    let now = clock.now().as_millisecond();
    let salt = RandomState::new().hash_one(now) & 0xff_ffff;
    format!("{act}-{now}-{salt:06x}")
}

/// When it was asked, as its id says; those that somebody wrote by hand come after all others.
pub fn asked_at(id: &str) -> u64 {
    let millis = id.split('-').nth(1);
    millis
        .and_then(|millis| millis.parse().ok())
        .unwrap_or(u64::MAX)
}

/// What the annotation says beside act and revision.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Asker {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Why nothing was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A word that would be read as something else.
    #[error(
        "{field}: {found:?} is no word of letters, digits and -_.:/@+, of at most {MOST} characters"
    )]
    NotOneWord {
        /// Which of the request's words.
        field: &'static str,
        /// What it is.
        found: String,
    },
    /// The API server refused it, or does not answer.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Whether revision, goal and service are words that are read as they are written: whoever chooses one must not choose
/// who asks.
fn words_of(request: &Request) -> Result<(), Error> {
    let words = [
        ("revision", &request.revision),
        ("to", &request.goal),
        ("service", &request.service),
    ];
    for (field, word) in words {
        let Some(word) = word else { continue };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+".contains(c);
        if word.is_empty() || word.len() > MOST || !word.chars().all(plain) {
            return Err(Error::NotOneWord {
                field,
                found: word.chars().take(MOST).collect(),
            });
        }
    }
    Ok(())
}

/// The annotation's value.
pub fn written(request: &Request) -> Result<String, Error> {
    words_of(request)?;
    let asker = Asker {
        by: request.by.as_deref().map(words::name),
        groups: groups(&request.groups),
        why: request.why.as_deref().map(words::line),
    };
    let asker = (asker.by.is_some() || asker.why.is_some()).then(|| written_in_order(&asker));
    let goal = request.goal.as_ref().map(|goal| format!("{GOAL}{goal}"));
    let service = request.service.as_ref();
    let service = service.map(|service| format!("{SERVICE}{service}"));
    let words = [
        Some(request.word().to_owned()),
        request.revision.clone(),
        goal,
        service,
        asker,
    ];
    Ok(words.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// All or none: the policy that checks who asks wants all.
fn groups(all: &[String]) -> Vec<String> {
    let few = Some(all).filter(|groups| groups.len() <= GROUPS);
    let few = few.into_iter().flatten();
    few.map(|group| words::name(group)).collect()
}

/// In the order of its fields: the policy that checks who asks reads the beginning.
fn written_in_order(asker: &Asker) -> String {
    serde_json::to_string(asker).unwrap_or_default()
}

/// What an annotation's value asks. What follows the words and is no JSON is left out: people
/// write such annotations by hand. Whoever may patch a Rollout may write anything here, and it goes into the
/// status and the log: each word is bounded and of one line.
pub fn read(id: &str, value: &str) -> Request {
    let (words, asker) = match value.find('{') {
        Some(at) => value.split_at(at),
        None => (value, "{}"),
    };
    let asker: Asker = serde_json::from_str(asker).unwrap_or_default();
    let mut words = words.split_whitespace();
    let act = words::name(words.next().unwrap_or_default()).parse();
    let (mut revision, mut goal, mut service) = (None, None, None);
    for word in words {
        let (field, word) = if let Some(named) = word.strip_prefix(GOAL) {
            (&mut goal, named)
        } else if let Some(named) = word.strip_prefix(SERVICE) {
            (&mut service, named)
        } else {
            (&mut revision, word)
        };
        field.get_or_insert_with(|| words::name(word));
    }
    Request {
        id: id.to_owned(),
        act,
        revision,
        goal,
        service,
        by: asker.by.as_deref().map(words::name),
        groups: groups(&asker.groups),
        why: asker.why.as_deref().map(words::line),
    }
}

/// Asks. The Rollout must be the one that was seen, not one made since under its name.
pub async fn ask(
    client: &Client,
    rollout: &Rollout,
    request: &Request,
    manager: &str,
) -> Result<(), Error> {
    let value = written(request)?;
    annotate(client, rollout, &request.id, Some(&value), manager).await?;
    Ok(())
}

/// Who we are, as the API server says, and our groups; nobody where it does not say.
pub async fn who(client: &Client) -> (Option<String>, Vec<String>) {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = SelfSubjectReview::default();
    let reviewed = reviews.create(&PostParams::default(), &review).await;
    let status = reviewed.ok().and_then(|review| review.status);
    let user = status.and_then(|status| status.user_info);
    user.map_or_else(Default::default, |user| {
        (user.username, user.groups.unwrap_or_default())
    })
}

/// Takes a request back that nobody answered.
pub async fn withdraw(
    client: &Client,
    rollout: &Rollout,
    id: &str,
    manager: &str,
) -> Result<(), kube::Error> {
    annotate(client, rollout, id, None, manager).await
}

/// Lets a version (the revision) of a service go on to an environment (the goal), in place of what the same person
/// said of both before, or of that environment without a service. The id's number is the time, in milliseconds.
pub async fn let_on(
    client: &Client,
    rollout: &Rollout,
    request: &Request,
    manager: &str,
) -> Result<(), Error> {
    let mut annotations = Map::new();
    for (_, before) in let_on_already(rollout) {
        let same_way = (&before.by, &before.goal) == (&request.by, &request.goal);
        if same_way && (before.service.is_none() || before.service == request.service) {
            annotations.insert(format!("{PROMOTION_PREFIX}{}", before.id), Value::Null);
        }
    }
    let key = format!("{PROMOTION_PREFIX}{}", request.id);
    annotations.insert(key, Value::String(written(request)?));
    patch(client, rollout, &Value::Object(annotations), manager).await?;
    Ok(())
}

/// Who let which version go on, and when.
pub fn let_on_already(rollout: &Rollout) -> Vec<(Timestamp, Request)> {
    let annotations = rollout.annotations().iter();
    let all = annotations.filter_map(|(key, value)| {
        let id = key.strip_prefix(PROMOTION_PREFIX)?;
        let millis = id.split('-').nth(1)?.parse().ok()?;
        let at = Timestamp::from_millisecond(millis).ok()?;
        Some((at, read(id, value)))
    });
    all.collect()
}

async fn annotate(
    client: &Client,
    rollout: &Rollout,
    id: &str,
    value: Option<&str>,
    manager: &str,
) -> Result<(), kube::Error> {
    let key = format!("{REQUEST_PREFIX}{id}");
    patch(client, rollout, &json!({key: value}), manager).await
}

async fn patch(
    client: &Client,
    rollout: &Rollout,
    annotations: &Value,
    manager: &str,
) -> Result<(), kube::Error> {
    let namespace = rollout.namespace().unwrap_or_default();
    let api: Api<Rollout> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({"metadata": {"uid": rollout.uid(), "annotations": annotations}});
    let parameters = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let (name, patch) = (rollout.name_any(), Patch::Merge(&patch));
    api.patch_metadata(&name, &parameters, &patch)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::crd::RevisionStatus;

    #[test]
    fn what_is_written_is_read() {
        let mut request = Request {
            id: "promote-1".to_owned(),
            act: Ok(Act::Promote),
            revision: None,
            goal: None,
            service: None,
            groups: Vec::new(),
            by: None,
            why: None,
        };
        assert_eq!(written(&request).unwrap(), "promote");
        assert_eq!(read("promote-1", "promote"), request);
        request.revision = Some("91bc03aa17".to_owned());
        assert_eq!(written(&request).unwrap(), "promote 91bc03aa17");
        assert_eq!(read("promote-1", &written(&request).unwrap()), request);
        request.goal = Some("v1.2.2".to_owned());
        assert_eq!(written(&request).unwrap(), "promote 91bc03aa17 to=v1.2.2");
        assert_eq!(read("promote-1", &written(&request).unwrap()), request);
        request.service = Some("shop".to_owned());
        let both = "promote 91bc03aa17 to=v1.2.2 service=shop";
        assert_eq!(written(&request).unwrap(), both);
        request.by = Some("alice {x}".to_owned());
        request.why = Some("said \"go\"".to_owned());
        assert_eq!(read("promote-1", &written(&request).unwrap()), request);
    }

    #[test]
    fn of_each_word_the_first_counts_in_any_order() {
        let request = read("x", "approve service=web to=prod v1 service=api to=dev v2");
        let words = [&request.revision, &request.goal, &request.service];
        assert_eq!(words.map(Option::as_deref), ["v1", "prod", "web"].map(Some));
    }

    #[test]
    fn what_people_write_by_hand_is_read_as_far_as_it_goes() {
        for (value, act, revision) in [
            ("", "", None),
            ("  hold  ", "hold", None),
            ("abort 91 {oops", "abort", Some("91")),
            ("abort 91 now please", "abort", Some("91")),
        ] {
            let request = read("x", value);
            assert_eq!(request.word(), act, "{value}");
            assert_eq!(request.revision.as_deref(), revision, "{value}");
            assert_eq!(request.by, None, "{value}");
        }
    }

    /// The policy that checks who asks reads the beginning only.
    #[test]
    fn who_names_two_askers_names_nobody() {
        for twice in [
            r#"approve 1.3.0 {"by":"alice","by":"bob"}"#,
            r#"approve 1.3.0 {"by":"alice","groups":["dev"],"groups":["sre"]}"#,
        ] {
            let request = read("x", twice);
            assert_eq!((request.by, request.groups), (None, Vec::new()), "{twice}");
        }
    }

    #[test]
    fn whoever_chooses_a_word_does_not_choose_who_asks() {
        let words = [
            r#"{"by":"alice","groups":["sre"]}"#,
            r#"91bc {"by":"alice"}"#,
            "{",
            "x to=production",
            "x service=web",
            "to=production",
            "",
            "a\nb",
        ];
        for word in words {
            let mut request = read("x", "approve");
            request.revision = Some(word.to_owned());
            let refused = written(&request).unwrap_err().to_string();
            assert!(refused.starts_with("revision: "), "{word}: {refused}");
            request.goal = request.revision.take();
            let refused = written(&request).unwrap_err().to_string();
            assert!(refused.starts_with("to: "), "{word}: {refused}");
            request.service = request.goal.take();
            let refused = written(&request).unwrap_err().to_string();
            assert!(refused.starts_with("service: "), "{word}: {refused}");
        }
        for word in [
            "91bc03aa17",
            "v1.2.2-rc.1+build",
            "web@sha256:9f86d081",
            "team/web:1.2",
        ] {
            let mut request = read("x", "approve");
            request.revision = Some(word.to_owned());
            assert_eq!(read("x", &written(&request).unwrap()), request, "{word}");
        }
    }

    #[test]
    fn long_words_are_cut() {
        let request = Request {
            id: String::new(),
            act: Ok(Act::Alert),
            revision: None,
            goal: None,
            service: None,
            groups: Vec::new(),
            by: None,
            why: Some("ä".repeat(1000)),
        };
        let read = read("", &written(&request).unwrap());
        assert_eq!(read.why.unwrap().chars().count(), MOST);
    }

    /// The annotation is written by anybody who may patch the Rollout, and `written` is not asked.
    #[test]
    fn what_is_read_is_of_one_line_and_bounded() {
        let long = "w".repeat(100_000);
        let asker = json!({"by": format!("x\nforged {long}"), "why": format!("y\nforged {long}"), "groups": [long]});
        let request = read(
            "x",
            &format!("{long} {long} to={long} service={long} {asker}"),
        );
        let words = [
            Some(request.word()),
            request.revision.as_deref(),
            request.goal.as_deref(),
            request.service.as_deref(),
            request.by.as_deref(),
            request.why.as_deref(),
            request.groups.first().map(String::as_str),
        ];
        for word in words.map(Option::unwrap) {
            assert_eq!(word.chars().count(), MOST, "{word}");
            assert!(!word.contains(char::is_control), "{word}");
        }
        let crowd = json!({"by": "x", "groups": vec!["g"; GROUPS + 1]});
        assert_eq!(read("x", &format!("hold {crowd}")).groups.len(), 0);
    }

    #[test]
    fn a_request_names_the_revision_that_the_person_saw() {
        let running: RolloutStatus = serde_json::from_value(json!({
            "revision": "91bc03aa17",
            "run": {
                "id": "one", "revision": {"hash": "91bc03aa17", "images": []}, "weight": 5,
                "started": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z",
                "verdict": "Undecided",
            },
            "lastRun": {
                "id": "zero", "revision": {"hash": "77aa77aa77", "images": []},
                "outcome": "RolledBack", "reason": "Worse", "message": "",
                "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:00Z",
            },
        }))
        .unwrap();
        let mut failed = running.clone();
        failed.run = None;
        failed.stable = Some(RevisionStatus {
            hash: "55ee55ee55".to_owned(),
            images: Vec::new(),
        });
        let mut promoted = failed.clone();
        promoted.last_run.as_mut().unwrap().outcome = "Promoted".to_owned();
        let none = RolloutStatus::default();
        let cases = [
            (Act::Promote, &running, Some("91bc03aa17")),
            (Act::Retry, &failed, Some("77aa77aa77")),
            (Act::Retry, &promoted, None),
            (Act::Restart, &failed, Some("55ee55ee55")),
            (Act::Hold, &none, None),
        ];
        for (act, status, wanted) in cases {
            assert_eq!(meant(act, status).as_deref(), wanted, "{act}");
        }
    }

    #[test]
    fn an_id_is_the_name_of_an_annotation() {
        let id = id(Act::Rollback, Clock::machine());
        assert!(id.len() <= 63, "{id}");
        assert!(
            id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "{id}"
        );
        assert_ne!(id, super::id(Act::Rollback, Clock::machine()));
    }
}
