//! Pages as text: what is on them, and that nothing of what the cluster says becomes markup.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::acts::Viewer;
use super::rollout::Shown;
use super::{overview, past, run};
use crate::history::samples;
use crate::kubernetes::conversion;
use crate::kubernetes::crd::{Answer, Rollout};
use crate::kubernetes::pods::PodRow;
use crate::web::session::{LASTS, Lasts, Peer, Proof};
use crate::web::{Around, Entry, Place, Pod};

const NASTY: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>";

fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_720).unwrap()
}

fn entry(name: &str, phase: &str) -> Entry {
    let mut run = samples::run("one");
    run.next = Some("25% at the earliest in 1m".to_owned());
    Entry {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        target: name.to_owned(),
        phase: phase.to_owned(),
        message: "is tried at 5%".to_owned(),
        stable: None,
        run: (phase != "Idle").then_some(run.into()),
        last_run: None,
        git: None,
        updated: now(),
    }
}

/// Two pods, three steps, and what somebody asked for.
fn around(who: &str) -> Around {
    let rollout: Rollout = serde_json::from_value(json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "backend", "namespace": "shop", "uid": "u", "generation": 1},
        "spec": {
            "target": {"kind": "Deployment", "name": "backend"}, "bake": "10m",
            "route": {"ingressNginx": {"ingress": "backend"}},
            "strategy": {"canary": {"steps": [{"weight": 5}, {"weight": 25, "approval": true}, {"weight": 50}]}},
            "analysis": {"rules": ["error-rate"]},
        },
    }))
    .unwrap();
    let rules = ["error-rate".to_owned()].into();
    let answer = json!({
        "id": "approve-1", "act": "approve", "by": who, "done": true, "message": "approved", "at": now(),
    });
    let answer: Answer = serde_json::from_value(answer).unwrap();
    let pod = |name: &str, canary: bool| Pod {
        row: Arc::new(PodRow {
            name: format!("{name}-{who}"),
            kind: "ReplicaSet",
            set: "backend-6d4".to_owned(),
            ready: !canary,
            restarts: 0,
            images: vec![who.to_owned()],
            created: Some(now()),
            why: canary.then(|| "CrashLoopBackOff".to_owned()),
        }),
        canary,
        revision: Some("91bc03aa17".to_owned()),
    };
    Around {
        pods: vec![pod("one", false), pod("two", true)],
        plan: Some(conversion::plan(&rollout, &rules).unwrap()),
        answers: vec![answer],
    }
}

fn nothing_is_markup(html: &str) {
    assert!(!html.contains("<script>"), "{html}");
    assert!(!html.contains("<img"), "{html}");
    assert!(html.contains("&lt;script&gt;"), "{html}");
}

#[test]
fn who_needs_somebody_comes_first() {
    let phases = ["Idle", "Stepping", "Held", "Failed"];
    let entries = phases.map(|phase| Arc::new(entry(&phase.to_lowercase(), phase)));
    let html = overview::overview(&entries, &Place::root("test"), now()).into_string();
    let place = |name: &str| html.find(&format!("shop/{name}<")).unwrap();
    let places = ["failed", "held", "stepping", "idle"].map(place);
    assert!(places.is_sorted(), "{places:?}");
    for wanted in [
        "5%",
        "error-rate",
        "Undecided",
        "<strong>1</strong> under way",
    ] {
        assert!(html.contains(wanted), "{wanted}\n{html}");
    }
}

#[test]
fn a_rollout_tells_where_it_stands_why_and_what_comes_next() {
    let record = samples::record("backend", "one", 60);
    let (mut entry, around) = (entry("backend", "Stepping"), around("alice"));
    entry.run.as_mut().unwrap().authors = vec!["eve@example.com".to_owned()];
    let shown = Shown {
        entry: &entry,
        live: Some(&record),
        around: &around,
        place: &Place::root("test"),
        past: Some(std::slice::from_ref(&record.summary)),
        viewer: Viewer::Reader,
        now: now(),
    };
    let html = shown.html().into_string();
    for wanted in [
        "<h1>shop/backend</h1>",
        "Stepping",
        "step 1/3",
        "<strong>Next: </strong>25% at the earliest in 1m",
        "<dt>Author</dt><dd>eve@example.com</dd>",
        "shop:v2",
        "canary 3 of 612",
        "aria-label=\"Weight: at most 5%\"",
        "Timeline",
        "/runs/shop/backend/one",
        "Plan",
        "<li class=\"now\" aria-current=\"step\"><strong>5%</strong>",
        "then a person approves",
        "watched for 10m",
        "1 of 2 ready",
        "CrashLoopBackOff",
        "approve by alice",
    ] {
        assert!(html.contains(wanted), "{wanted}\n{html}");
    }
}

#[test]
fn nothing_that_the_cluster_says_becomes_markup() {
    let mut record = samples::record(NASTY, NASTY, 60);
    record.summary.message = NASTY.to_owned();
    record.summary.environment = NASTY.to_owned();
    record.summary.revision.images = vec![NASTY.to_owned()];
    record.rules[0].name = NASTY.to_owned();
    record.rules[0].sentence = NASTY.to_owned();
    record.rules[0].verdict = NASTY.to_owned();
    record.curve.rules[0].name = NASTY.to_owned();
    record.decisions[0].message = NASTY.to_owned();
    record.decisions[0].reason = NASTY.to_owned();
    nothing_is_markup(&run::report(&record).into_string());
    nothing_is_markup(&past::one(&record, &Place::root("test")).into_string());
    let mut entry = entry(NASTY, NASTY);
    entry.message = NASTY.to_owned();
    let run = entry.run.as_mut().unwrap();
    run.rules[0].name = NASTY.to_owned();
    (run.step, run.next) = (Some(NASTY.to_owned()), Some(NASTY.to_owned()));
    let entries = [Arc::new(entry)];
    nothing_is_markup(&overview::overview(&entries, &Place::root("test"), now()).into_string());
    let around = around(NASTY);
    let shown = Shown {
        entry: &entries[0],
        live: Some(&record),
        around: &around,
        place: &Place::root("test"),
        past: None,
        viewer: Viewer::Stranger,
        now: now(),
    };
    nothing_is_markup(&shown.html().into_string());
}

#[test]
fn a_report_loads_nothing_and_runs_nothing() {
    let html = run::report(&samples::record("backend", "one", 60)).into_string();
    for absent in ["<script", "<link", " src=", "url(", "@import", " style="] {
        assert!(!html.contains(absent), "{absent}");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn what_a_browser_loads_is_small() {
    let files = super::frame::STYLE.len() + super::frame::SCRIPT.len();
    assert!(files < 20_000, "{files}");
}

/// The relative luminance of a colour such as `#1b1f23`, by WCAG 2.2.
fn luminance(colour: &str) -> f64 {
    let part = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
}

#[test]
fn text_has_enough_contrast_in_both_themes() {
    let pair =
        regex::Regex::new(r"--([a-z]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)").unwrap();
    let colours: std::collections::BTreeMap<&str, [&str; 2]> = pair
        .captures_iter(super::frame::STYLE)
        .map(|found| {
            let (_, [name, light, dark]) = found.extract();
            (name, [light, dark])
        })
        .collect();
    for name in ["front", "faint", "bad", "attention", "moving", "calm"] {
        for behind in ["back", "card"] {
            for theme in [0, 1] {
                let [a, b] = [colours[name][theme], colours[behind][theme]].map(luminance);
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(
                    contrast >= 4.5,
                    "{name} on {behind}, theme {theme}: {contrast:.2}"
                );
            }
        }
    }
}

#[test]
fn pictures_and_fields_have_names_for_those_who_do_not_see_them() {
    let record = samples::record("backend", "one", 60);
    let pages = [
        run::report(&record).into_string(),
        super::acts::login(
            &Place::root("test"),
            "/",
            super::acts::Ways {
                token: true,
                provider: true,
            },
            Some("no"),
        )
        .into_string(),
    ];
    let tag = regex::Regex::new(r"<(svg|input|table|th)\b[^>]*>").unwrap();
    for page in &pages {
        for found in tag.find_iter(page) {
            let tag = found.as_str();
            let named = match &tag[1..4] {
                "svg" => tag.contains("aria-label=") || tag.contains("aria-hidden"),
                "inp" => tag.contains("hidden") || page.contains("<label for=\"token\""),
                "th " => tag.contains("scope="),
                _ => true,
            };
            assert!(named, "{tag}");
        }
        assert_eq!(page.matches("<h1").count(), 1);
    }
}

#[test]
fn between_runs_one_can_go_back_from_what_serves() {
    let (mut entry, around) = (entry("backend", "Idle"), around("alice"));
    entry.stable = Some(samples::run("one").revision);
    let sessions = crate::web::session::Sessions::default();
    let lasts = Lasts {
        time: LASTS,
        secure: true,
    };
    let proof = Proof::Token(secrecy::SecretString::from("t"));
    let cookie = sessions.begin("alice", proof, lasts, now()).unwrap();
    let (pair, _) = cookie.split_once(';').unwrap();
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("cookie", pair.parse().unwrap());
    let session = sessions.of(&headers, Peer::default(), now()).unwrap();
    let shown = Shown {
        entry: &entry,
        live: None,
        around: &around,
        place: &Place::root("test"),
        past: None,
        viewer: Viewer::Known(&session),
        now: now(),
    };
    let html = shown.html().into_string();
    let hash = &entry.stable.as_ref().unwrap().hash;
    for wanted in [
        "action=\"/rollouts/shop/backend/rollback\"",
        &format!("name=\"revision\" value=\"{hash}\""),
        "of the next run",
    ] {
        assert!(html.contains(wanted), "{wanted}\n{html}");
    }
    assert!(!html.contains("aria-current"), "{html}");
}
