//! Which version is where, and what stands between it and the next environment, as the daemon read it last.
//!
//! Whoever looks wakes the daemon's reading of the pipeline and is shown what is known by then: no page waits
//! for Git, a registry or another cluster. Not here: the reading (the daemon), how it looks (`view::versions`).

use std::sync::{Arc, PoisonError, RwLock};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Notify;

use super::routes::Web;
use super::view::frame::Page;
use super::view::versions::versions;
use crate::environments::survey::Place;

const NONE: &str = "no pipeline is named in the settings (pipeline)";

/// What is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Known {
    /// When it was read; `None` before that was done once.
    pub read: Option<Timestamp>,
    /// Each service in each environment.
    pub places: Vec<Place>,
    /// Why it could not be read since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
}

/// Between those who look and the daemon. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    wanted: Arc<Notify>,
    known: Arc<RwLock<Arc<Known>>>,
}

impl Versions {
    /// What is known; something newer is wanted.
    pub fn look(&self) -> Arc<Known> {
        self.wanted.notify_one();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&known)
    }

    /// Waits until somebody has looked.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// What was read just now. Where that failed, what was known stays, and why is said beside it.
    pub fn set(&self, now: Timestamp, read: Result<Vec<Place>, String>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::new(match read {
            Ok(places) => Known {
                read: Some(now),
                places,
                wrong: None,
            },
            Err(why) => Known {
                wrong: Some(why),
                ..Known::clone(&known)
            },
        });
    }
}

/// `GET /environments`.
pub async fn page(State(web): State<Web>) -> Response {
    if !web.place.has_pipeline {
        return (StatusCode::NOT_FOUND, format!("{NONE}\n")).into_response();
    }
    let page = Page {
        place: &web.place,
        title: "Environments",
        events: Some(""),
    };
    let main = versions(&web.versions.look(), web.clock.now());
    Html(page.html(&main).into_string()).into_response()
}

/// `GET /api/pipeline`.
pub async fn list(State(web): State<Web>) -> Response {
    if !web.place.has_pipeline {
        return (StatusCode::NOT_FOUND, Json(json!({"error": NONE}))).into_response();
    }
    Json(web.versions.look().as_ref()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_wakes_the_reading_and_a_failure_leaves_what_was_known() {
        let versions = Versions::default();
        assert_eq!(*versions.look(), Known::default());
        // Who looked before anybody waited is not forgotten.
        versions.wanted().await;
        let at = Timestamp::UNIX_EPOCH;
        versions.set(at, Ok(Vec::new()));
        versions.set(at, Err("it does not answer".to_owned()));
        let known = versions.look();
        assert_eq!(
            (known.read, known.wrong.as_deref()),
            (Some(at), Some("it does not answer"))
        );
        versions.set(at, Ok(Vec::new()));
        assert_eq!(versions.look().wrong, None);
    }
}
