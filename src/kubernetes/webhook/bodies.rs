//! The memory that reviews may take: of one, and of all that are there at the same time.
//!
//! Guarantees: whoever sends what, the bodies together hold no more than [`ALL`] bytes, those from one address no more
//! than [`SHARE`], so that one stranger does not keep API servers out; and what they are parsed into no more than [`PARSED`]; one review is parsed at a time. A body counts as it comes,
//! so that a length which is only claimed keeps nobody out.
//!
//! Why parsing has a price of its own: a `Value` of `{"":0}` takes a hundred times what its text does.
//! So a container's 256 MiB are not in reach of strangers, who can open connections.
//!
//! Not here: connections and the answer's status (`listener`), what the answer says (`review`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex as Shared, PoisonError};

use axum::body::{Body, HttpBody};
use futures::StreamExt as _;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};

/// The most bytes of a review: two objects of the size that etcd takes (1.5 MiB), and what is around them.
pub const ONE: usize = 4 * 1024 * 1024;
/// The most bytes of all reviews that are there at one time.
pub const ALL: usize = 24 * 1024 * 1024;
/// The most bytes of those that come from one address.
pub const SHARE: usize = 8 * 1024 * 1024;
/// The most bytes that a review may take when it is parsed, as `price` reckons.
pub const PARSED: usize = 64 * 1024 * 1024;
/// For a map that is not empty: the first leaf of its tree.
const MAP: usize = 640;
/// For a list that is not empty: its first four values.
const LIST: usize = 144;
/// For each further value: its share of a list that doubles, or of a leaf that is half full, and its
/// key.
const VALUE: usize = 144;

/// Why a body is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More than [`ONE`].
    #[error("the review is over {ONE} bytes")]
    Large,
    /// More than [`PARSED`].
    #[error("the review would take over {PARSED} bytes in memory")]
    Dense,
    /// The others have all of [`ALL`], or those from the same address all of [`SHARE`].
    #[error("other reviews take all the memory that there is for them")]
    Busy,
    /// The sender went away, or sent no HTTP.
    #[error("reading the review")]
    Read(#[source] axum::Error),
}

/// What all bodies share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bodies {
    bytes: Arc<Semaphore>,
    parser: Arc<Mutex<()>>,
    shares: Arc<Shared<HashMap<IpAddr, usize>>>,
}

/// A body that is there whole; its bytes are others' again when it goes.
#[derive(Debug)]
pub struct Held {
    /// What was sent.
    pub bytes: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
    _share: Share,
}

/// What one body has of its address' share.
#[derive(Debug)]
struct Share {
    of: Bodies,
    from: IpAddr,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let mut shares = self
            .of
            .shares
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all = shares.entry(self.from).or_default();
        if *all + bytes > SHARE {
            return Err(Error::Busy);
        }
        *all += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self
            .of
            .shares
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let left = shares
            .get(&self.from)
            .map_or(0, |all| all.saturating_sub(self.bytes));
        if left == 0 {
            shares.remove(&self.from);
        } else {
            shares.insert(self.from, left);
        }
    }
}

impl Bodies {
    /// Bodies of at most `all` bytes together.
    pub fn new(all: usize) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(all)),
            parser: Arc::default(),
            shares: Arc::default(),
        }
    }

    /// Reads a body, taking bytes as they come.
    pub async fn read(&self, from: IpAddr, body: Body) -> Result<Held, Error> {
        let known = HttpBody::size_hint(&body);
        if known.lower() > ONE as u64 {
            return Err(Error::Large);
        }
        // Pages that nothing is written to take no memory.
        let exact = known.exact().and_then(|bytes| usize::try_from(bytes).ok());
        let mut bytes = Vec::with_capacity(exact.unwrap_or(0));
        let mut permit: Option<OwnedSemaphorePermit> = None;
        let mut share = Share {
            of: self.clone(),
            from,
            bytes: 0,
        };
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(Error::Read)?;
            if bytes.len() + chunk.len() > ONE {
                return Err(Error::Large);
            }
            share.grow(chunk.len())?;
            let more = self.take(chunk.len())?;
            match &mut permit {
                Some(permit) => permit.merge(more),
                None => permit = Some(more),
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Held {
            bytes,
            _permit: permit,
            _share: share,
        })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let bytes = u32::try_from(bytes).map_err(|_| Error::Large)?;
        let permits = Arc::clone(&self.bytes).try_acquire_many_owned(bytes);
        permits.map_err(|_| Error::Busy)
    }

    /// Waits for the turn to parse a review; kept until what came of it is gone.
    pub async fn turn(&self, held: &Held) -> Result<MutexGuard<'_, ()>, Error> {
        if price(&held.bytes) > PARSED {
            return Err(Error::Dense);
        }
        Ok(self.parser.lock().await)
    }
}

/// The most bytes that this JSON can take as a `Value`, together with its text. What is no JSON is
/// refused where it stops to be one, so it takes no more.
fn price(json: &[u8]) -> usize {
    let (mut price, mut text, mut escaped) = (json.len(), false, false);
    let nexts = json.iter().skip(1).chain(std::iter::once(&b' '));
    for (byte, next) in json.iter().zip(nexts) {
        if text {
            text = *byte != b'"' || escaped;
            escaped = *byte == b'\\' && !escaped;
            continue;
        }
        price = price.saturating_add(match (byte, next) {
            (b'{', b'}') | (b'[', b']') => 0,
            (b'{', _) => MAP,
            (b'[', _) => LIST,
            (b',', _) => VALUE,
            _ => 0,
        });
        text = *byte == b'"';
    }
    price
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn one_address_does_not_keep_others_out() {
        let bodies = Bodies::new(ALL);
        let read = |from: IpAddr, bytes: usize| bodies.read(from, Body::from(vec![b' '; bytes]));
        let there = IpAddr::from([192, 0, 2, 1]);
        let first = read(there, ONE).await.unwrap();
        let second = read(there, ONE).await.unwrap();
        assert!(matches!(read(there, 1).await, Err(Error::Busy)));
        read(HERE, ONE).await.unwrap();
        drop(first);
        read(there, ONE).await.unwrap();
        drop(second);
        assert!(bodies.shares.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn bodies_share_bytes_and_give_them_back() {
        let bodies = Bodies::new(10);
        let read = |bytes: usize| bodies.read(HERE, Body::from(vec![b' '; bytes]));
        let first = read(6).await.unwrap();
        assert!(matches!(read(6).await, Err(Error::Busy)));
        let second = read(4).await.unwrap();
        assert!(matches!(read(1).await, Err(Error::Busy)));
        drop(first);
        let third = read(6).await.unwrap();
        assert_eq!((second.bytes.len(), third.bytes.len()), (4, 6));
    }

    #[tokio::test]
    async fn a_body_that_tells_no_length_is_counted_as_it_comes() {
        let streamed = |chunks: usize| {
            let chunk = || Ok::<_, std::io::Error>(vec![b' '; 1 << 20]);
            Body::from_stream(futures::stream::iter((0..chunks).map(move |_| chunk())))
        };
        let bodies = Bodies::new(2 << 20);
        assert!(matches!(
            bodies.read(HERE, streamed(3)).await,
            Err(Error::Busy)
        ));
        assert_eq!(
            bodies.read(HERE, streamed(2)).await.unwrap().bytes.len(),
            2 << 20
        );
        let bodies = Bodies::new(ALL);
        assert!(matches!(
            bodies.read(HERE, streamed(5)).await,
            Err(Error::Large)
        ));
    }

    #[tokio::test]
    async fn small_text_of_many_values_is_not_parsed() {
        let bodies = Bodies::new(ALL);
        let good = |text: String| async {
            let held = bodies.read(HERE, Body::from(text)).await.unwrap();
            bodies.turn(&held).await.is_ok()
        };
        let list = |item: &str| format!("[{}0]", item.repeat(ONE / (item.len() + 1)));
        let variable = r#"{"name": "SOME_VARIABLE", "value": "and what it says"},"#;
        for (text, wanted) in [
            (list("{\"\":0},"), false),
            (list("[0],"), false),
            (list("0,"), false),
            (format!("[{}0]", variable.repeat(50_000)), true),
            (format!("\"{}\"", "\\\",[{".repeat(ONE / 8)), true),
        ] {
            assert_eq!(good(text.clone()).await, wanted, "{}", &text[..20]);
        }
    }

    #[test]
    fn each_value_has_its_price() {
        for (text, wanted) in [
            ("{}", 2),
            ("[]", 2),
            ("[0, 0]", 6 + LIST + VALUE),
            (r#"{"a": {"b,": []}}"#, 17 + 2 * MAP),
            (r#""\\" , """#, 9 + VALUE),
        ] {
            assert_eq!(price(text.as_bytes()), wanted, "{text}");
        }
    }
}
