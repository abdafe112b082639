//! What daemons read of the routers' metrics, and how that fails: a router that is missing, that
//! does not answer, that repeats what it said before.
//!
//! The routers themselves know some more ways to fail (`Exposed`).
//!
//! Not here: when that happens (`schedule`).

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use sluice::prometheus::{Answers, Error, Targets};
use sluice::sandbox::router::Router;
use tokio::time::sleep;

use crate::world::lock;

/// How long the daemon's reader waits for an answer.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// The pages of all routers. Clones share them.
#[derive(Clone)]
pub struct Pages(Arc<Mutex<Vec<Page>>>);

pub struct Page {
    router: Router,
    pub hidden: bool,
    pub hangs: bool,
    repeats: bool,
    /// What it repeats.
    said: Option<String>,
}

impl Pages {
    pub fn new(routers: &[Router]) -> Self {
        let page = |router: &Router| Page {
            router: router.clone(),
            hidden: false,
            hangs: false,
            repeats: false,
            said: None,
        };
        Self(Arc::new(Mutex::new(routers.iter().map(page).collect())))
    }

    pub fn all(&self) -> MutexGuard<'_, Vec<Page>> {
        lock(&self.0)
    }

    /// From now on all repeat what they say now, or do so no more.
    pub fn repeat(&self, repeats: bool) {
        for page in &mut *self.all() {
            page.repeats = repeats;
            page.said = page.router.metrics_text();
        }
    }

    /// What a daemon's scraper is given.
    pub fn targets(&self) -> Targets {
        let pages = self.clone();
        Targets::Answers(Arc::new(move || pages.answers()))
    }

    /// All are asked at once; whoever does not answer keeps the reader until its deadline.
    fn answers(&self) -> Answers {
        let pages = self.all();
        let shown = pages.iter().enumerate().filter(|(_, page)| !page.hidden);
        let answers: Vec<_> = shown
            .filter_map(|(n, page)| Some((format!("router-{n}"), page.answer()?)))
            .collect();
        let late = answers.iter().any(|(_, answer)| answer.is_err());
        async move {
            if late {
                sleep(DEADLINE).await;
            }
            answers
        }
        .boxed()
    }
}

impl Page {
    fn answer(&self) -> Option<Result<String, Error>> {
        if self.hangs {
            return Some(Err(Error::Timeout));
        }
        let said = if self.repeats {
            self.said.clone()
        } else {
            self.router.metrics_text()
        };
        said.map(Ok)
    }
}
