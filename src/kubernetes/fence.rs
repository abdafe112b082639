//! What stands between a daemon and the API server: requests pass only while its lease holds.
//!
//! Guarantees: whether the lease holds is asked right before each request is sent, by the local
//! clocks alone; a request that was sent is given up when the lease runs out. A wall clock that
//! jumps ahead shuts the fence too: after a machine slept, the monotonic clock may not know.
//!
//! Caveat: a request that has left may still be taken by the API server after that. What must not
//! happen twice therefore also carries the version that it was decided for.
//!
//! Not here: who gets the lease (`daemon::leader`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;

use crate::clock::{Clock, elapsed};

/// A fence. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Fence {
    clock: Clock,
    grant: Arc<Mutex<Option<Grant>>>,
}

/// For how long requests may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grant {
    ticks: Duration,
    wall: Timestamp,
    length: Duration,
}

/// A request did not pass, or was given up, since the lease does not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this daemon does not lead any more")]
pub struct Shut;

impl Fence {
    /// Shut until something is granted.
    pub fn shut(clock: Clock) -> Self {
        Self {
            clock,
            grant: Arc::default(),
        }
    }

    /// Lets requests pass for `length` from the moment that `ticks` and `wall` name.
    pub fn grant(&self, ticks: Duration, wall: Timestamp, length: Duration) {
        let grant = Grant {
            ticks,
            wall,
            length,
        };
        *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = Some(grant);
    }

    /// Lets nothing pass any more.
    pub fn close(&self) {
        *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// For how long requests may pass from now on.
    pub fn left(&self) -> Result<Duration, Shut> {
        let grant = *self.grant.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = grant.ok_or(Shut)?;
        let by_ticks = self.clock.ticks().saturating_sub(grant.ticks);
        let by_wall = elapsed(grant.wall, self.clock.now());
        let left = grant.length.saturating_sub(by_ticks.max(by_wall));
        if left.is_zero() { Err(Shut) } else { Ok(left) }
    }

    /// The same client behind this fence.
    pub fn before(&self, client: &Client) -> Client {
        let (fence, inner) = (self.clone(), client.clone());
        let service = tower::service_fn(move |request| {
            let (fence, inner) = (fence.clone(), inner.clone());
            async move { fence.pass(&inner, request).await }
        });
        Client::new(service, client.default_namespace())
    }

    async fn pass(
        &self,
        client: &Client,
        request: Request<Body>,
    ) -> Result<Response<Body>, tower::BoxError> {
        let left = self.left()?;
        match self.clock.timeout(left, client.send(request)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Shut.into()),
        }
    }
}

/// Whether a request failed since the lease does not hold.
pub fn is_shut(error: &kube::Error) -> bool {
    match error {
        kube::Error::Service(source) => source.is::<Shut>(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn client() -> Client {
        let answers = tower::service_fn(|_: Request<Body>| async {
            tokio::time::sleep(SECOND).await;
            Ok::<_, std::io::Error>(Response::new(Body::from(b"{}".to_vec())))
        });
        Client::new(answers, "default")
    }

    async fn ask(client: &Client) -> Result<(), kube::Error> {
        let request = Request::get("/").body(Body::empty()).unwrap();
        client.send(request).await.map(drop)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_pass_while_the_grant_lasts() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        let fence = Fence::shut(clock);
        let client = fence.before(&client());
        assert!(is_shut(&ask(&client).await.unwrap_err()));
        fence.grant(clock.ticks(), clock.now(), SECOND * 2);
        ask(&client).await.unwrap();
        // One second is left, which is when the answer would come: it is given up before.
        tokio::time::sleep(SECOND / 2).await;
        assert_eq!(fence.left(), Ok(SECOND / 2));
        assert!(is_shut(&ask(&client).await.unwrap_err()));
        assert_eq!(fence.left(), Err(Shut));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_that_jumps_ahead_shuts_it_and_one_that_steps_back_does_not() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        let fence = Fence::shut(clock);
        let (ticks, now) = (clock.ticks(), clock.now());
        fence.grant(ticks, now - SECOND * 60, SECOND * 10);
        assert_eq!(fence.left(), Err(Shut));
        fence.grant(ticks, now + SECOND * 60, SECOND * 10);
        assert_eq!(fence.left(), Ok(SECOND * 10));
        tokio::time::advance(SECOND * 10).await;
        assert_eq!(fence.left(), Err(Shut));
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_fence_lets_nothing_pass() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        let fence = Fence::shut(clock);
        fence.grant(clock.ticks(), clock.now(), SECOND * 10);
        fence.clone().close();
        assert!(is_shut(&ask(&fence.before(&client())).await.unwrap_err()));
    }
}
