//! Where one request goes: stable or canary, and to which pod.
//!
//! The controller's order: session affinity, header, cookie, weight. A stable side without
//! endpoints answers 503 before the canary is looked at; a canary without endpoints does not
//! exist. Pure: the draw is an argument. Not here: sending.

use std::sync::atomic::Ordering;

use hyper::HeaderMap;

use super::annotations::Shaping;
use super::table::{Table, Upstream};

/// The upstream that a request goes to.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    pub upstream: &'a Upstream,
    pub canary: bool,
    /// The part (0 to 1) of the traffic that this side gets by weight.
    pub share: f64,
}

/// Chooses between the upstream `name` and its alternative; `draw(n)` gives 1 to n. None if
/// there is nothing that could serve.
pub fn choose<'a>(
    table: &'a Table,
    name: &str,
    headers: &HeaderMap,
    draw: impl FnOnce(u32) -> u32,
) -> Option<Choice<'a>> {
    let stable = table
        .upstreams
        .get(name)
        .filter(|upstream| !upstream.endpoints.is_empty())?;
    let canary = stable
        .alternatives
        .first()
        .and_then(|name| table.upstreams.get(name));
    let canary = canary.filter(|upstream| !upstream.endpoints.is_empty());
    let shaping = canary.and_then(|canary| canary.shaping.as_ref());
    let (Some(canary), Some(shaping)) = (canary, shaping) else {
        return Some(Choice {
            upstream: stable,
            canary: false,
            share: 1.0,
        });
    };
    let share = f64::from(shaping.weight.min(shaping.total())) / f64::from(shaping.total());
    if takes_canary(stable, canary, shaping, headers, draw) {
        return Some(Choice {
            upstream: canary,
            canary: true,
            share,
        });
    }
    Some(Choice {
        upstream: stable,
        canary: false,
        share: 1.0 - share,
    })
}

fn takes_canary(
    stable: &Upstream,
    canary: &Upstream,
    shaping: &Shaping,
    headers: &HeaderMap,
    draw: impl FnOnce(u32) -> u32,
) -> bool {
    if sticky(stable, headers).is_some() {
        return false;
    }
    if sticky(canary, headers).is_some() {
        return true;
    }
    let header = Some(&shaping.header)
        .filter(|name| !name.is_empty())
        .and_then(|name| headers.get(name.as_str()));
    if let Some(decided) =
        header.and_then(|value| by_header(shaping, value.to_str().unwrap_or_default()))
    {
        return decided;
    }
    match Some(&shaping.cookie)
        .filter(|name| !name.is_empty())
        .and_then(|name| cookie(headers, name))
    {
        Some("always") => return true,
        Some("never") => return false,
        _ => {}
    }
    draw(shaping.total()) <= shaping.weight
}

fn by_header(shaping: &Shaping, value: &str) -> Option<bool> {
    if !shaping.header_value.is_empty() {
        return (shaping.header_value == value).then_some(true);
    }
    if let Some(pattern) = &shaping.header_pattern {
        return pattern.is_match(value).then_some(true);
    }
    match value {
        "always" => Some(true),
        "never" => Some(false),
        _ => None,
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers
        .get_all("cookie")
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The pod that the request's session sticks to, if it is of this upstream.
fn sticky<'a>(upstream: &Upstream, headers: &'a HeaderMap) -> Option<&'a str> {
    let value = cookie(headers, upstream.affinity.as_deref()?)?;
    let (pod, of) = value.split_once('|')?;
    (of == upstream.name).then_some(pod)
}

/// The pods to try in order: the session's first, then in turn. And the cookie to set.
pub fn peers(upstream: &Upstream, headers: &HeaderMap) -> (Vec<String>, Option<String>) {
    let turn = upstream.turn.fetch_add(1, Ordering::Relaxed);
    let mut peers = upstream.endpoints.clone();
    let count = peers.len().max(1);
    peers.rotate_left(turn % count);
    let Some(name) = &upstream.affinity else {
        return (peers, None);
    };
    let session =
        sticky(upstream, headers).and_then(|pod| peers.iter().position(|peer| peer == pod));
    if let Some(position) = session {
        peers.swap(0, position);
        return (peers, None);
    }
    let first = peers.first().cloned().unwrap_or_default();
    let cookie = format!("{name}={first}|{}; Path=/; HttpOnly", upstream.name);
    (peers, Some(cookie))
}
