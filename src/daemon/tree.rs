//! The daemon's tasks: all in one set, with one end.
//!
//! Guarantees: a task that ends early ends everything, with an error; the lease is freed when the last is written; what
//! hangs is ended in time. Not here: which tasks there are (`daemon`).

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::conductor::PassLost;
use crate::telemetry::otlp;
use crate::web::Readiness;

/// Time for the tasks to end after the conductor: the lease is freed, and connections are closed.
pub(super) const LAST_TASKS: Duration = Duration::from_millis(900);
/// The same where there is somebody to send the last spans to.
pub(super) const LAST_SPANS: Duration = otlp::LAST.saturating_add(Duration::from_millis(500));

/// All tasks, what ends them, and how they stand.
pub(super) struct Tree {
    pub(super) tasks: JoinSet<()>,
    pub(super) stop: CancellationToken,
    pub(super) ready: Readiness,
    /// The passes are over: the lease is freed, the last is told.
    pub(super) free: CancellationToken,
    /// The time for that.
    pub(super) last: Duration,
}

impl Tree {
    /// Runs a task until the end.
    pub(super) fn until(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }

    /// Runs the conductor; a task that ends before it, or a pass that panics, ends everything. The
    /// lease is freed when the conductor has written its last.
    pub(super) async fn watch_over(
        self,
        conductor: impl Future<Output = Result<(), PassLost>>,
    ) -> Result<(), Error> {
        let Self {
            mut tasks,
            stop,
            free,
            last,
            ..
        } = self;
        let freed = free.drop_guard();
        tokio::pin!(conductor);
        let ended = tokio::select! {
            biased;
            ended = &mut conductor => Some(ended),
            Some(_) = tasks.join_next(), if !stop.is_cancelled() => None,
        };
        let early = ended.is_none() && !stop.is_cancelled();
        stop.cancel();
        let lost = match ended {
            Some(ended) => ended.is_err(),
            None => conductor.await.is_err(),
        };
        drop(freed);
        let rest = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(last, rest).await.is_err() {
            tracing::warn!("some tasks did not end in time and are ended");
        }
        if early || lost {
            Err(Error::TaskEnded)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::conductor::LAST_CHECKPOINTS;

    #[test]
    fn the_end_takes_no_longer_than_the_documents_say() {
        assert!(LAST_CHECKPOINTS + LAST_TASKS < Duration::from_secs(2));
        assert!(LAST_CHECKPOINTS + LAST_SPANS < Duration::from_secs(3));
    }

    async fn ends(conductor: Result<(), PassLost>, task: bool) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        if task {
            tasks.spawn(std::future::ready(()));
        }
        let stopped = stop.clone();
        let conductor = async move {
            if task {
                stopped.cancelled().await;
            }
            conductor
        };
        let ready = Readiness::waiting_for(&[]);
        let free = CancellationToken::new();
        let tree = Tree {
            tasks,
            stop,
            ready,
            free,
            last: LAST_TASKS,
        };
        tree.watch_over(conductor).await
    }

    #[tokio::test]
    async fn a_lost_pass_or_task_ends_the_daemon_with_an_error() {
        assert!(ends(Ok(()), false).await.is_ok());
        assert!(matches!(
            ends(Err(PassLost), false).await,
            Err(Error::TaskEnded)
        ));
        assert!(matches!(ends(Ok(()), true).await, Err(Error::TaskEnded)));
    }
}
