//! Does what people ask in Slack, with the rights that they have in the cluster, and answers them.
//!
//! The settings say who a person of Slack's is in the cluster; the API server says whether that user may patch
//! the Rollout (or read it, for `status`), as it does for tokens. What is allowed becomes the same annotation that
//! the page and the command line write. Only who asked sees the answer; what it leads to, everybody sees in the
//! run's message.
//!
//! Not here: what Slack sends (the door), what an act does (`rollout::decide`).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::Either;
use kube::ResourceExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::socket::Socket;
use super::{Desk, Job};
use crate::causes;
use crate::clock::Clock;
use crate::daemon::acts::{Acts, Asker};
use crate::daemon::connect::Error;
use crate::daemon::settings::{Settings, SlackApp};
use crate::kubernetes::crd::Rollout;
use crate::people::sender::Sender;
use crate::people::slack::asked::Wish;
use crate::rollout::request::{Act, Request};

/// The field manager of what is asked.
const MANAGER: &str = "sluice-slack";
/// Jobs at one time.
const AT_ONCE: usize = 8;
/// Rollouts that one answer names, and namespaces that are looked at for it.
const NAMED: usize = 30;
const NAMESPACES: usize = 50;

type All = dyn Fn() -> Vec<Arc<Rollout>> + Send + Sync;

/// Does what comes in at the door.
pub struct Clerk {
    office: Office,
    jobs: mpsc::Receiver<Job>,
    socket: Option<Socket>,
}

/// What each job needs. Cheap to clone.
#[derive(Clone)]
struct Office {
    app: Arc<SlackApp>,
    environment: Arc<str>,
    acts: Acts,
    sender: Sender,
    clock: Clock,
}

impl Clerk {
    /// The door and its clerk, where the settings have one.
    pub fn employ(
        settings: &Settings,
        clock: Clock,
        acts: &Acts,
    ) -> Result<Option<(Desk, Self)>, Error> {
        let Some(app) = settings.slack.clone() else {
            return Ok(None);
        };
        let office = Office {
            app: Arc::new(app.clone()),
            environment: settings.environment.as_str().into(),
            acts: acts.clone(),
            sender: Sender::new().map_err(Error::Notify)?,
            clock,
        };
        let (desk, jobs) = Desk::open(app, clock);
        let has_socket = desk.0.app.app_token_file.is_some();
        let socket = has_socket.then(|| Socket::new(desk.clone(), office.sender.clone()));
        let clerk = Self {
            office,
            jobs,
            socket,
        };
        Ok(Some((desk, clerk)))
    }

    /// Works for ever; `all` are the Rollouts that are known.
    pub async fn keep_up(mut self, all: Arc<All>) {
        let listens = match self.socket.take() {
            Some(socket) => Either::Left(socket.keep_up()),
            None => Either::Right(std::future::pending()),
        };
        tokio::select! {
            () = listens => {}
            () = self.work(all) => {}
        }
    }

    async fn work(mut self, all: Arc<All>) {
        let mut at_work = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = at_work.join_next(), if !at_work.is_empty() => {}
                job = self.jobs.recv(), if at_work.len() < AT_ONCE => {
                    let Some(job) = job else { return };
                    let (office, all) = (self.office.clone(), Arc::clone(&all));
                    at_work.spawn(async move { office.serve(&job, &*all).await });
                }
            }
        }
    }
}

impl Office {
    async fn serve(&self, job: &Job, all: &All) {
        let words = self.done(job, all).await;
        let reply = &job.asked.reply;
        if let Err(error) = self
            .sender
            .reply(&self.app.api, reply, &words, self.clock.now())
            .await
        {
            let why = causes::told(&error);
            tracing::warn!(
                person = job.asked.person,
                why,
                "an answer does not reach Slack"
            );
        }
    }

    /// Does it; the answer in words.
    async fn done(&self, job: &Job, all: &All) -> String {
        let person = &job.asked.person;
        let Some(user) = self.app.users.get(person) else {
            return format!(
                "Your Slack user {person} is not known here, so nothing was done. Whoever runs Sluice adds you to \
                 `slack.users` in its settings, with your name in the cluster: `- {{id: {person}, user: NAME}}`."
            );
        };
        let asker = Asker::person(&user.user, &user.groups);
        match &job.asked.wish {
            Wish::Help(strange) => help(strange.as_deref()),
            Wish::Status(Some((namespace, name))) => self.one(&asker, namespace, name).await,
            Wish::Status(None) => self.all(&asker, all()).await,
            Wish::Button { act, aim } if *aim.environment == *self.environment => {
                let place = (aim.namespace.as_str(), aim.name.as_str(), *act);
                self.act(&asker, job, place, Some(aim.revision.clone()))
                    .await
            }
            Wish::Button { aim, .. } => format!(
                "Nothing was done: the message is of environment {}, but its app's requests come to {}. Each \
                 environment needs an app of its own.",
                aim.environment, self.environment
            ),
            Wish::Command {
                act,
                namespace,
                name,
            } => {
                let place = (namespace.as_str(), name.as_str(), *act);
                self.act(&asker, job, place, None).await
            }
        }
    }

    async fn act(
        &self,
        asker: &Asker,
        job: &Job,
        (namespace, name, act): (&str, &str, Act),
        revision: Option<String>,
    ) -> String {
        let id = format!("{act}-slack-{}", job.id);
        let request = Request {
            revision,
            ..Request::new(id, Ok(act))
        };
        let asked = self
            .acts
            .ask_for(asker, (namespace, name), request, MANAGER);
        match asked.await {
            Ok(answer) if answer.done => format!("{act} {namespace}/{name}: {}", answer.message),
            Ok(answer) => format!("Not done: {act} {namespace}/{name}: {}", answer.message),
            Err(denial) => format!("Not done: {act} {namespace}/{name}: {denial}"),
        }
    }

    async fn one(&self, asker: &Asker, namespace: &str, name: &str) -> String {
        match self.acts.look(asker, namespace, name).await {
            Ok(rollout) => line(&rollout),
            Err(denial) => format!("{namespace}/{name}: {denial}"),
        }
    }

    /// Those that the person may list.
    async fn all(&self, asker: &Asker, rollouts: Vec<Arc<Rollout>>) -> String {
        let mut by_namespace: BTreeMap<String, Vec<Arc<Rollout>>> = BTreeMap::new();
        for rollout in rollouts {
            let namespace = rollout.namespace().unwrap_or_default();
            by_namespace.entry(namespace).or_default().push(rollout);
        }
        let (mut lines, mut more) = (Vec::new(), by_namespace.len().saturating_sub(NAMESPACES));
        for (namespace, mut rollouts) in by_namespace.into_iter().take(NAMESPACES) {
            if self.acts.may(asker, "list", &namespace, "").await.is_err() {
                continue;
            }
            rollouts.sort_by_key(|rollout| rollout.name_any());
            for rollout in rollouts {
                if lines.len() < NAMED {
                    lines.push(line(&rollout));
                } else {
                    more += 1;
                }
            }
        }
        if lines.is_empty() {
            return "There is no Rollout that you may list.".to_owned();
        }
        if more > 0 {
            lines.push(format!(
                "… and {more} more: `/sluice status NAMESPACE/NAME` shows one"
            ));
        }
        lines.join("\n")
    }
}

fn line(rollout: &Rollout) -> String {
    let at = format!(
        "{}/{}",
        rollout.namespace().unwrap_or_default(),
        rollout.name_any()
    );
    let status = rollout.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let message = status.and_then(|status| status.message.as_deref());
    format!(
        "*{at}* {}: {}",
        phase.unwrap_or("Adopting"),
        message.unwrap_or("not looked at yet")
    )
}

fn help(strange: Option<&str>) -> String {
    let known = Act::OF_PEOPLE.map(Act::name).join("|");
    let help = format!(
        "`/sluice status [NAMESPACE/NAME]` says how Rollouts stand; `/sluice {known} NAMESPACE/NAME` acts on one, as the \
         command line does, with the rights that you have in the cluster."
    );
    match strange {
        Some(strange) => format!("\"{strange}\" is not understood. {help}"),
        None => help,
    }
}
