//! The memory of answers that wait for their readers.
//!
//! Guarantees: whoever asks for what and reads it how slowly, the larger answers that are there at one time hold no
//! more than [`ALL`] bytes together; one that finds no room is refused.
//!
//! Caveat: an answer counts once it is written, before it is compressed. Not here: how long a reader may take
//! (`patient`), and how many runs a list has (`archive`).

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most bytes of larger answers at one time.
pub const ALL: usize = 32 * 1024 * 1024;
/// What is not counted: as many as there are connections are no harm.
const SMALL: u64 = 16 * 1024;

/// What all answers share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Purse(Arc<Semaphore>);

impl Purse {
    /// Answers of at most `all` bytes together.
    pub fn new(all: usize) -> Self {
        Self(Arc::new(Semaphore::new(all)))
    }
}

/// Bytes that count until nobody has them any more: the connection keeps them after the body has ended.
struct Counted {
    bytes: Bytes,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Refuses an answer for which there is no memory.
pub async fn counted(State(purse): State<Purse>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let bytes = response.body().size_hint().lower();
    if bytes <= SMALL {
        return response;
    }
    let permits = u32::try_from(bytes).ok();
    let permits = permits.and_then(|bytes| purse.0.try_acquire_many_owned(bytes).ok());
    let Some(permit) = permits.map(Arc::new) else {
        let text = "other answers take all the memory that there is for them\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let counted = move |bytes: Bytes| {
        Bytes::from_owner(Counted {
            bytes,
            _permit: Arc::clone(&permit),
        })
    };
    response.map(|body| Body::new(body.map_frame(move |frame| frame.map_data(&counted))))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn answers_share_bytes_until_they_are_read() {
        let large = || async { "x".repeat(20 * 1024) };
        let routes = Router::new()
            .route("/large", get(large))
            .route("/small", get(|| async { "x" }))
            .layer(from_fn_with_state(Purse::new(50 * 1024), counted));
        let ask = |path: &'static str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let routes = routes.clone();
            async { routes.oneshot(request).await.unwrap() }
        };
        let first = ask("/large").await.into_body();
        let second = ask("/large")
            .await
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        assert_eq!(second.len(), 20 * 1024);
        assert_eq!(ask("/large").await.status(), 503);
        assert_eq!(ask("/small").await.status(), 200);
        drop(second);
        assert_eq!(ask("/large").await.status(), 200);
        drop(first);
    }
}
