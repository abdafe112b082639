//! Where a daemon's page is served: at a listener of its own, or at a hub's.
//!
//! Not here: what is served (`web`).

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::tree::Tree;
use crate::web::{self, Place, Seat, Streams, Web};

/// Where the page is served.
#[derive(Debug, Default)]
pub enum Front {
    /// Nowhere.
    #[default]
    None,
    /// At the root of a listener.
    Listener(TcpListener),
    /// At a hub's listener, beneath the environment's name.
    Hub(Seat),
}

impl Front {
    /// Whose pages they are, and where they lie.
    pub(super) fn place(&self, environment: &str) -> Place {
        match self {
            Self::Hub(seat) => seat.place().clone(),
            Self::None | Self::Listener(_) => Place::root(environment),
        }
    }

    /// Streams of open pages, until `stop`.
    pub(super) fn streams(&self, stop: &CancellationToken) -> Streams {
        match self {
            Self::Hub(seat) => seat.streams().and_until(stop.clone()),
            Self::None | Self::Listener(_) => Streams::until(stop.clone()),
        }
    }

    /// Serves page, API, metrics and health.
    pub(super) fn show(self, web: Web, tree: &mut Tree) {
        match self {
            Self::None => {}
            Self::Hub(seat) => seat.open(web),
            Self::Listener(listener) => {
                let stop = tree.stop.clone();
                tree.tasks.spawn(async move {
                    if let Err(error) = web::serve(listener, web::router(web), stop).await {
                        tracing::error!(%error, "the page's listener failed");
                    }
                });
            }
        }
    }
}
