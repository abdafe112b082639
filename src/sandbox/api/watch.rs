//! Watches: a stream of what happens to the objects that a client asked for.
//!
//! A watch starts with the present objects, or after a revision, and then reads the store's
//! log whenever it changes. It wakes only for its own resource. Bookmarks tell quiet watches
//! how far they are. It ends at its timeout, or by a fault; from too far back it gets 410.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Sleep;

use super::Api;
use super::answer::{Answer, View};
use super::call::{Call, Target};
use super::faults::Disturbance;
use super::kinds::Kind;
use super::options;
use super::read::selector;
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::{Event, Object, Stored, TooOld};

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

struct Watch {
    api: Api,
    kind: Arc<Kind>,
    namespace: Option<String>,
    selector: Selector,
    view: View,
    bookmarks: bool,
    cursor: u64,
    waiting: VecDeque<Bytes>,
    changed: Arc<Notify>,
    seen: Disturbance,
    bookmark: Pin<Box<Sleep>>,
    end: Pin<Box<Sleep>>,
    ended: bool,
}

/// Answers a watch.
pub fn start(api: &Api, kind: &Arc<Kind>, target: &Target, call: &Call) -> Result<Answer, Refusal> {
    options::list(call, true)?;
    options::fields(kind, call)?;
    let mut watch = Watch::new(api, kind, target, call)?;
    watch.begin(call)?;
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((Ok::<_, Infallible>(chunk), watch))
    });
    Ok(Answer::json(200, Body::from_stream(stream)))
}

impl Watch {
    fn new(api: &Api, kind: &Arc<Kind>, target: &Target, call: &Call) -> Result<Self, Refusal> {
        let seconds = call
            .param("timeoutSeconds")
            .and_then(|text| text.parse().ok());
        let timeout = seconds.map_or(LONGEST, Duration::from_secs);
        let clock = api.clock();
        let seen = api.faults().disturbance();
        Ok(Self {
            api: api.clone(),
            kind: kind.clone(),
            namespace: target.namespace.clone(),
            selector: selector(target, call)?,
            view: View::of(call),
            bookmarks: call.flag("allowWatchBookmarks"),
            cursor: 0,
            waiting: VecDeque::new(),
            changed: api.store().changes(&kind.storage),
            seen,
            bookmark: Box::pin(tokio::time::sleep(clock.real(BOOKMARK_EVERY))),
            end: Box::pin(tokio::time::sleep(clock.real(timeout))),
            ended: false,
        })
    }

    /// Decides where the stream starts.
    fn begin(&mut self, call: &Call) -> Result<(), Refusal> {
        let from = call.param("resourceVersion").unwrap_or("0");
        let from: u64 = from
            .parse()
            .map_err(|_| {
                let message = format!("resourceVersion: Invalid value: \"{from}\": strconv.ParseUint: parsing \"{from}\": invalid syntax");
                Refusal::new(500, "", message)
            })?;
        let initial = call.flag("sendInitialEvents");
        if from > 0 && !initial {
            self.cursor = from;
            return Ok(());
        }
        let (objects, revision) = self
            .api
            .store()
            .list(&self.kind.storage, self.namespace.as_deref());
        for object in objects
            .iter()
            .filter(|object| self.selector.matches(&object.value))
        {
            let line = self.line("ADDED", object);
            self.waiting.push_back(line);
        }
        self.cursor = revision;
        if initial && self.bookmarks {
            let line = self.bookmark_line(true);
            self.waiting.push_back(line);
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.waiting.is_empty() {
                return Some(self.drain());
            }
            if self.ended {
                return None;
            }
            // Asked for before the store is read, so that no change is missed.
            let (changed, faults) = (self.changed.clone(), self.api.clone());
            let mut changed = pin!(changed.notified());
            changed.as_mut().enable();
            let mut disturbed = pin!(faults.faults().disturbed());
            disturbed.as_mut().enable();
            if self.disturb() {
                continue;
            }
            match self.api.store().since(&self.kind.storage, self.cursor) {
                Err(too_old) => self.expire(too_old),
                Ok((events, revision)) => {
                    for event in &events {
                        self.see(event);
                    }
                    self.cursor = self.cursor.max(revision);
                    if self.waiting.is_empty() {
                        self.wait(changed, disturbed).await;
                    }
                }
            }
        }
    }

    /// Ends the watch if it was disturbed.
    fn disturb(&mut self) -> bool {
        let now = self.api.faults().disturbance();
        if now == self.seen {
            return false;
        }
        if now.expired > self.seen.expired {
            self.expire(TooOld {
                asked: self.cursor,
                oldest: self.api.store().revision(),
            });
        }
        self.seen = now;
        self.ended = true;
        true
    }

    async fn wait(&mut self, changed: Pin<&mut Notified<'_>>, disturbed: Pin<&mut Notified<'_>>) {
        tokio::select! {
            biased;
            () = changed => {}
            () = disturbed => {
                self.disturb();
            }
            () = &mut self.end => self.ended = true,
            () = &mut self.bookmark => {
                let next = self.api.clock().real(BOOKMARK_EVERY);
                self.bookmark.as_mut().reset(tokio::time::Instant::now() + next);
                if self.bookmarks {
                    let line = self.bookmark_line(false);
                    self.waiting.push_back(line);
                }
            }
        }
    }

    fn see(&mut self, event: &Event) {
        if self
            .namespace
            .as_deref()
            .is_some_and(|ns| event.object.value["metadata"]["namespace"] != ns)
        {
            return;
        }
        let before = event
            .previous
            .as_ref()
            .is_some_and(|object| self.selector.matches(&object.value));
        let after = !event.removed && self.selector.matches(&event.object.value);
        let what = match (before, after) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return,
        };
        let line = match &event.previous {
            Some(before) if what == "DELETED" && !event.removed => self.left(before, &event.object),
            _ => self.line(what, &event.object),
        };
        self.waiting.push_back(line);
    }

    /// An object left the selection: its watcher sees it as it was, with the version of the change.
    fn left(&self, before: &Stored, now: &Stored) -> Bytes {
        let mut value = before.value.clone();
        value["metadata"]["resourceVersion"] = now.value["metadata"]["resourceVersion"].clone();
        self.line("DELETED", &Object::detached(value))
    }

    fn drain(&mut self) -> Bytes {
        if self.waiting.len() == 1 {
            return self.waiting.pop_front().unwrap_or_default();
        }
        let all: Vec<Bytes> = self.waiting.drain(..).collect();
        Bytes::from(all.concat())
    }

    fn expire(&mut self, too_old: TooOld) {
        let message = format!(
            "too old resource version: {} ({})",
            too_old.asked, too_old.oldest
        );
        let status = Refusal::expired(message).status();
        self.waiting
            .push_back(framed("ERROR", status.to_string().as_bytes()));
        self.ended = true;
    }

    fn line(&self, what: &str, object: &Stored) -> Bytes {
        framed(
            what,
            &self.view.object(&self.kind, object, self.api.clock().now()),
        )
    }

    fn bookmark_line(&self, initial_end: bool) -> Bytes {
        let mut object = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": self.cursor.to_string()},
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.view {
            View::Plain => object,
            View::Metadata => super::answer::partial(&object),
            View::Table(_) => table_bookmark(&object),
        };
        framed("BOOKMARK", object.to_string().as_bytes())
    }
}

fn table_bookmark(object: &Value) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": [],
        "metadata": {"resourceVersion": object["metadata"]["resourceVersion"]},
        "rows": [{"cells": [], "object": object}],
    })
}

fn framed(what: &str, object: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(object.len() + 40);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(what.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}
