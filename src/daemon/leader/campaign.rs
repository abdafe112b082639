//! The task that keeps a candidate in the election: asks, waits, tells who leads.
//!
//! Guarantees: it uses a client of its own, so that a renewal waits for no other request; no
//! request outlasts half of the renewal deadline, nor the time for which this candidate leads; that
//! it does not lead any more is told at that very moment, also while a request hangs.
//!
//! Not here: what follows from what (`decide`).

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::decide::{Act, Knows, Timing, decide};
use super::{Role, Tells};
use crate::clock::Clock;
use crate::kubernetes::fence::Fence;
use crate::kubernetes::lease::{Error, Record, Requests, Stored};

/// The release on the way out takes no longer.
const RELEASE: Duration = Duration::from_millis(300);

/// A candidate.
#[derive(Debug)]
pub struct Campaign {
    pub me: String,
    pub timing: Timing,
    pub requests: Requests,
    pub clock: Clock,
    pub fence: Fence,
    pub role: watch::Sender<Role>,
    pub tells: Tells,
}

/// A candidate on its way.
struct Run {
    campaign: Campaign,
    knows: Knows,
    /// When the newest request was sent, by the wall clock.
    wall: Timestamp,
    changes: Option<BoxStream<'static, ()>>,
    trouble: Option<String>,
}

impl Campaign {
    /// Runs until `end`, then frees the lease if it is ours.
    pub async fn run(self, end: CancellationToken) {
        let mut run = Run {
            wall: self.clock.now(),
            knows: Knows::default(),
            changes: None,
            trouble: None,
            campaign: self,
        };
        end.run_until_cancelled(run.for_ever()).await;
        run.release().await;
    }
}

impl Run {
    async fn for_ever(&mut self) {
        loop {
            let now = self.campaign.clock.ticks();
            self.tell(now);
            match decide(&self.knows, &self.campaign.me, &self.campaign.timing, now) {
                Act::Wait { until } => self.wait(until.saturating_sub(now)).await,
                Act::Look => self.look(now, false).await,
                Act::Make => self.look(now, true).await,
                Act::Write { record, over } => self.write(&record, over, now).await,
            }
        }
    }

    /// Waits, or until the lease changes.
    async fn wait(&mut self, wait: Duration) {
        let sleep = self.campaign.clock.sleep(wait);
        let Some(changes) = &mut self.changes else {
            return sleep.await;
        };
        tokio::select! {
            biased;
            () = sleep => {}
            change = changes.next() => match change {
                Some(()) => self.knows.hinted(),
                None => self.changes = None,
            }
        }
    }

    /// Reads the lease, or makes it.
    async fn look(&mut self, sent: Duration, make: bool) {
        let patience = self.knows.patience(&self.campaign.timing, sent);
        let requests = &self.campaign.requests;
        let answer = if make {
            requests.make(patience).await.map(Some)
        } else {
            requests.read(patience).await
        };
        let now = self.campaign.clock.ticks();
        match answer {
            Ok(stored) => {
                let Campaign { me, timing, .. } = &self.campaign;
                self.knows.saw(me, timing, stored, now);
                self.recovered();
                self.listen(now);
            }
            Err(Error::Overtaken) => self.knows.overtaken(now, &self.campaign.timing),
            Err(error) => self.failed(sent, &error),
        }
    }

    async fn write(&mut self, record: &Record, over: Option<String>, sent: Duration) {
        self.wall = self.campaign.clock.now();
        self.knows.writes(over.as_deref());
        let patience = self.knows.patience(&self.campaign.timing, sent);
        let requests = &self.campaign.requests;
        let answer = requests.write(record, over.as_deref(), patience).await;
        let now = self.campaign.clock.ticks();
        match answer {
            Ok(stored) => self.wrote(stored, sent, now),
            Err(Error::Overtaken) => self.knows.overtaken(now, &self.campaign.timing),
            Err(error) => self.failed(sent, &error),
        }
    }

    fn wrote(&mut self, stored: Stored, sent: Duration, now: Duration) {
        let timing = &self.campaign.timing;
        self.knows.wrote(stored, sent, timing, now);
        self.campaign.fence.grant(sent, self.wall, timing.renew);
        self.changes = None;
        self.recovered();
    }

    /// Follows the lease's changes while another leads.
    fn listen(&mut self, now: Duration) {
        let version = self.knows.version();
        if self.changes.is_none()
            && self.knows.leads(&self.campaign.timing, now).is_none()
            && let Some(version) = version
        {
            self.changes = Some(self.campaign.requests.changes(version.to_owned()));
        }
    }

    fn failed(&mut self, sent: Duration, error: &Error) {
        self.knows.failed(sent, &self.campaign.timing);
        let why = error.to_string();
        if self.trouble.as_ref() != Some(&why) {
            tracing::warn!(error = why, "the lease cannot be read or written");
            self.campaign.tells.trouble(&why);
            self.trouble = Some(why);
        }
    }

    fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!("the lease can be read and written again");
            self.campaign.tells.role(&self.role_now());
        }
    }

    fn role_now(&self) -> Role {
        let now = self.campaign.clock.ticks();
        if self.knows.leads(&self.campaign.timing, now).is_some() {
            Role::Leads {
                term: Some(self.knows.term()),
            }
        } else {
            Role::Follows {
                holder: self.knows.holder().map(str::to_owned),
            }
        }
    }

    /// Tells a change of who leads, once.
    fn tell(&mut self, now: Duration) {
        let leads = self.knows.leads(&self.campaign.timing, now).is_some();
        if !leads {
            self.campaign.fence.close();
        }
        let role = self.role_now();
        let before = self.campaign.role.borrow().clone();
        if role == before {
            return;
        }
        let silent = self.knows.holder() == Some(self.campaign.me.as_str());
        match (&before, &role) {
            (_, Role::Leads { term }) => tracing::info!(?term, "leads"),
            (Role::Leads { .. }, Role::Follows { .. }) if silent => tracing::error!(
                "leads no more: the lease could not be renewed; weights stay as they are"
            ),
            (_, Role::Follows { holder }) => tracing::info!(?holder, "follows"),
        }
        self.campaign.tells.changed(&before, &role);
        if let Some(why) = &self.trouble {
            self.campaign.tells.trouble(why);
        }
        self.campaign.role.send_replace(role);
    }

    /// Frees the lease, so that another need not wait.
    async fn release(&mut self) {
        self.campaign.fence.close();
        let clock = self.campaign.clock;
        let work = async {
            while let Some(record) = self.knows.release(&self.campaign.me) {
                let over = self.knows.version().map(str::to_owned);
                let requests = &self.campaign.requests;
                let answer = requests.write(&record, over.as_deref(), RELEASE).await;
                let Err(Error::Overtaken) = answer else {
                    return answer.map(drop);
                };
                let stored = requests.read(RELEASE).await?;
                let Campaign { me, timing, .. } = &self.campaign;
                self.knows.saw(me, timing, stored, clock.ticks());
            }
            Ok(())
        };
        match tokio::time::timeout(RELEASE, work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = crate::causes::told(&error);
                tracing::warn!(error, "the lease was not released");
            }
            Err(_) => tracing::warn!("the lease was not released in time; others wait for its end"),
        }
    }
}
