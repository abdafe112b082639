//! `promote`, `hold`, `resume`, `abort`, `rollback`, `retry`, `restart`, `approve`.
//!
//! A request is an annotation that names the act and the revision that the person saw, so a
//! request that comes too late cannot hit another revision. The daemon answers in the status. A
//! request that nobody answers in time is withdrawn: it must not act hours later.
//!
//! `promote` and `rollback` also move versions between environments (`way`): with `--from`, and
//! with a second name.
//!
//! Not here: what an act does; the daemon decides.

use std::time::Duration;

use super::between::Between;
use super::connect::Cluster;
use super::{Error, Format, Global, Screen, text, way};
use crate::clock::Clock;
use crate::kubernetes::ask;
use crate::kubernetes::crd::Answer;
use crate::rollout::request::{Act, Request};
use clap::Args;

/// The field manager of requests.
const MANAGER: &str = "sluice-cli";
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The Rollout; between environments the service, or for `rollback` the environment
    name: String,
    /// The revision that is meant [default: the one that is under trial or failed now]
    #[arg(long, value_name = "HASH")]
    revision: Option<String>,
    /// Ask and do not wait for the answer
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Arguments {
    /// The name that was given.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Arguments of `promote`.
#[derive(Debug, Args)]
pub struct Promote {
    #[command(flatten)]
    request: Arguments,
    #[command(flatten)]
    between: Between,
    /// Between environments: go on in spite of a freeze; the commit keeps the reason
    #[arg(long, value_name = "REASON", requires = "from", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    despite_freeze: Option<String>,
    #[command(flatten)]
    how: way::How,
}

/// Brings a revision through, or a version to the next environment.
pub async fn promote(
    global: &Global,
    screen: &mut Screen,
    arguments: &Promote,
) -> Result<(), Error> {
    let name = &arguments.request.name;
    let Some((from, to)) = arguments.between.ends() else {
        arguments.how.unused("--from and --to")?;
        return ask_for(global, screen, Act::Promote, &arguments.request, None).await;
    };
    let despite = arguments.despite_freeze.as_deref();
    let what = (arguments.between.version(), despite);
    way::promote(global, screen, (name, from, to), what, &arguments.how).await
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    #[command(flatten)]
    request: Arguments,
    /// Between environments: the service; the first name is the environment then
    #[arg(conflicts_with_all = ["revision", "no_wait"])]
    service: Option<String>,
    /// Between runs: the revision to go back to, by its number (`kubectl rollout history`), tag, image or hash
    /// [default: the last good one]. Between environments: the version [default: the one before]
    #[arg(long, value_name = "REVISION|TAG", value_parser = one_word)]
    to: Option<String>,
    #[command(flatten)]
    how: way::How,
}

fn one_word(text: &str) -> Result<String, &'static str> {
    let word = !text.is_empty() && !text.contains([' ', '\t', '\n', '{']);
    word.then(|| text.to_owned())
        .ok_or("a number, a tag, an image or a hash")
}

/// Asks for the way back, or goes it in an environment.
pub async fn roll_back(
    global: &Global,
    screen: &mut Screen,
    arguments: &Rollback,
) -> Result<(), Error> {
    let to = arguments.to.as_deref();
    let Some(service) = &arguments.service else {
        arguments.how.unused("ENVIRONMENT SERVICE")?;
        return ask_for(global, screen, Act::Rollback, &arguments.request, to).await;
    };
    let version = to.map(str::parse).transpose().map_err(Error::Usage)?;
    let place = (arguments.request.name.as_str(), service.as_str());
    way::roll_back(screen, place, version.as_ref(), &arguments.how)
}

/// Asks, waits for the answer and prints it.
pub async fn ask(
    global: &Global,
    screen: &mut Screen,
    act: Act,
    arguments: &Arguments,
) -> Result<(), Error> {
    ask_for(global, screen, act, arguments, None).await
}

/// What a request says of who asks. Groups matter to those who approve only; and a name that JSON writes otherwise
/// than it is cannot be checked by the policy of `components/approvals`, so that it refuses it: only an approval
/// needs one.
fn said_of(act: Act, by: Option<String>, groups: Vec<String>) -> (Option<String>, Vec<String>) {
    if act == Act::Approve {
        return (by, groups);
    }
    let plain = |name: &String| !name.contains(['\\', '"', '{']);
    (by.filter(plain), Vec::new())
}

async fn ask_for(
    global: &Global,
    screen: &mut Screen,
    act: Act,
    arguments: &Arguments,
    to: Option<&str>,
) -> Result<(), Error> {
    let cluster = Cluster::connect(global).await?;
    let clock = Clock::machine();
    let rollout = cluster.rollout(&arguments.name).await?;
    let status = rollout.status.clone().unwrap_or_default();
    let revision = arguments.revision.clone();
    let revision = revision.or_else(|| ask::meant(act, &status));
    let (by, groups) = ask::who(&cluster.client).await;
    let (by, groups) = said_of(act, by, groups);
    let request = Request {
        revision,
        goal: to.map(str::to_owned),
        by,
        groups,
        ..Request::new(ask::id(act, clock), Ok(act))
    };
    let id = &request.id;
    let doing = || {
        let (namespace, name) = (&cluster.namespace, &arguments.name);
        format!("ask something of the Rollout {namespace}/{name}")
    };
    let failed = |error: ask::Error| Error::asking(doing(), &error);
    let asked = ask::ask(&cluster.client, &rollout, &request, MANAGER).await;
    asked.map_err(failed)?;
    if arguments.no_wait {
        return screen.print(&format!("asked for {} ({id})\n", act.name()));
    }
    let mut unread = None;
    let waiting = answer(&cluster, &arguments.name, id, clock, &mut unread);
    if let Ok(answer) = clock.timeout(arguments.timeout, waiting).await {
        return told(screen, &answer);
    }
    let withdrawn = ask::withdraw(&cluster.client, &rollout, id, MANAGER).await;
    withdrawn.map_err(|error| Error::api(doing(), &error))?;
    Err(unread.unwrap_or(Error::NoAnswer(arguments.timeout)))
}

/// Waits for the answer. A look that fails is made again: the request stands meanwhile. `unread` is why the last one
/// did.
async fn answer(
    cluster: &Cluster,
    name: &str,
    id: &str,
    clock: Clock,
    unread: &mut Option<Error>,
) -> Answer {
    loop {
        match cluster.rollout(name).await {
            Ok(rollout) => {
                *unread = None;
                let answers = rollout.status.unwrap_or_default().answers;
                if let Some(answer) = answers.into_iter().find(|answer| answer.id == id) {
                    return answer;
                }
            }
            Err(error) => *unread = Some(error),
        }
        clock.sleep(LOOK_EVERY).await;
    }
}

fn told(screen: &mut Screen, answer: &Answer) -> Result<(), Error> {
    if answer.done || screen.format() != Format::Text {
        screen.value(answer, |answer| {
            let act = text::styled(text::STRONG, &answer.act);
            format!("{act}: {}\n", answer.message)
        })?;
    }
    if answer.done {
        Ok(())
    } else {
        Err(Error::Refused(format!(
            "{} was refused: {}",
            answer.act, answer.message
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_approval_names_who_cannot_be_compared() {
        let asked = |act, name: &str| said_of(act, Some(name.to_owned()), vec!["sre".to_owned()]);
        let nobody = (None, Vec::new());
        assert_eq!(asked(Act::Abort, r"CORP\alice"), nobody);
        assert_eq!(asked(Act::Hold, "a{b"), nobody);
        assert_eq!(
            asked(Act::Hold, "alice"),
            (Some("alice".to_owned()), vec![])
        );
        let (by, groups) = asked(Act::Approve, r"CORP\alice");
        assert_eq!(by.as_deref(), Some(r"CORP\alice"));
        assert_eq!(groups, ["sre"]);
    }
}
