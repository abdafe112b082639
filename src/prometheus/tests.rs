//! The source against a server on the loopback interface, on its good and its bad days.
//!
//! A small HTTP server plays Prometheus or a router's pod; what it answers is set by each test.
//! Not here: the pure halves, which are tested beside their code.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::sorting::tests::{shipped, subject};
use super::tally::Class;
use super::*;
use crate::rollout::evidence::ArmCounts;
use crate::rollout::rule::{Rule, lint};

#[derive(Clone, Default)]
struct Said {
    method: String,
    query: String,
    authorization: Option<String>,
}

/// What the server answers.
#[derive(Clone)]
enum Answer {
    Body(u16, String),
    Never,
    Redirect,
    /// What this says to a query.
    To(fn(&str) -> String),
}

#[derive(Clone)]
struct Scene {
    answer: Arc<Mutex<Answer>>,
    said: Arc<Mutex<Vec<Said>>>,
}

struct Server {
    url: String,
    scene: Scene,
    _tasks: JoinSet<()>,
}

async fn handle(State(scene): State<Scene>, headers: HeaderMap, request: Request) -> Response {
    let method = request.method().to_string();
    let in_url = request.uri().query().unwrap_or_default().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let query = format!("{in_url}{}", String::from_utf8_lossy(&body));
    let authorization = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    scene.said.lock().unwrap().push(Said {
        method,
        query: query.clone(),
        authorization,
    });
    let answer = scene.answer.lock().unwrap().clone();
    match answer {
        Answer::Body(code, body) => (StatusCode::from_u16(code).unwrap(), body).into_response(),
        Answer::To(reply) => reply(&query).into_response(),
        Answer::Redirect => (StatusCode::FOUND, [(header::LOCATION, "/login")]).into_response(),
        Answer::Never => std::future::pending().await,
    }
}

impl Server {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let scene = Scene {
            answer: Arc::new(Mutex::new(answer)),
            said: Arc::default(),
        };
        let router = axum::Router::new()
            .fallback(handle)
            .with_state(scene.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            scene,
            _tasks: tasks,
        }
    }

    fn answers(&self, body: &str) {
        *self.scene.answer.lock().unwrap() = Answer::Body(200, body.to_owned());
    }

    fn said(&self) -> Vec<Said> {
        std::mem::take(&mut *self.scene.said.lock().unwrap())
    }

    fn source(&self) -> Source {
        Prometheus::new(&self.url, None, Duration::from_millis(300))
            .unwrap()
            .with_limit(4_000)
            .into()
    }

    fn scraper(&self) -> Source {
        let url = format!("{}/metrics", self.url);
        Scrape::new(Targets::Urls(vec![url]), Duration::from_millis(300))
            .unwrap()
            .into()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn errors(name: &str) -> Subject {
    subject("shop", name, &[shipped("error-rate")])
}

/// Status, canary label, values with their times in seconds.
type Series<'a> = (&'a str, &'a str, &'a [(i64, &'a str)]);

/// A reply with these series of `shop/api`.
fn matrix(series: &[Series<'_>]) -> String {
    let one = |(status, canary, values): &Series<'_>| {
        serde_json::json!({
            "metric": {
                "__name__": "nginx_ingress_controller_requests", "exported_namespace": "shop", "ingress": "api",
                "exported_service": "api", "instance": "10.0.0.1:10254", "status": status, "canary": canary,
            },
            "values": values,
        })
    };
    let result: Vec<_> = series.iter().map(one).collect();
    serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
        .to_string()
}

/// Samples as (from, to, canary total, canary bad, stable total, stable bad).
fn rows(reading: &Reading) -> Vec<(i64, i64, f64, f64, f64, f64)> {
    let numbers = |counts: &ArmCounts| match counts {
        ArmCounts::Proportion { total, bad } => (*total, *bad),
        _ => panic!("not a proportion"),
    };
    let row = |sample: &Sample| {
        let ((ct, cb), (st, sb)) = (numbers(&sample.canary), numbers(&sample.stable));
        (
            sample.from.as_second(),
            sample.to.as_second(),
            ct,
            cb,
            st,
            sb,
        )
    };
    reading.samples.iter().map(row).collect()
}

async fn read(source: &mut Source, subject: &Subject, second: i64) -> Reading {
    let readings = source.read(std::slice::from_ref(subject), at(second)).await;
    readings[&subject.key()].clone()
}

const CANARY: &str = "shop-api-canary-80";

#[tokio::test]
async fn nothing_is_asked_when_there_is_no_subject() {
    let server = Server::start(Answer::Body(500, String::new())).await;
    assert_eq!(server.source().read(&[], at(0)).await, Readings::new());
    assert_eq!(server.scraper().read(&[], at(0)).await, Readings::new());
    assert!(server.said().is_empty());
}

#[tokio::test]
async fn queries_grow_with_the_rules_and_not_with_the_subjects() {
    let server = Server::start(Answer::Body(200, matrix(&[]))).await;
    let rules = [shipped("error-rate"), shipped("latency-p99")];
    for count in [1, 10, 100] {
        let subjects: Vec<Subject> = (0..count)
            .map(|n| subject("shop", &format!("service-number-{n}"), &rules))
            .collect();
        let mut source = server.source();
        // The first look also finds out how often is scraped.
        let readings = source.read(&subjects, at(998)).await;
        assert_eq!(readings.len(), count);
        server.said();
        source.read(&subjects, at(1000)).await;
        let said = server.said();
        assert_eq!(said.len(), 2);
        let method = if count == 100 { "POST" } else { "GET" };
        assert!(
            said.iter()
                .all(|said| said.method == method && said.query.contains("time=1000.000"))
        );
    }
}

#[tokio::test]
async fn samples_come_once_and_again_from_an_older_cursor() {
    let server = Server::start(Answer::Body(
        200,
        matrix(&[("200", "", &[(100, "10"), (105, "20")])]),
    ))
    .await;
    let mut source = server.source();
    let mut api = Subject {
        since: at(90),
        ..errors("api")
    };
    let first = read(&mut source, &api, 106).await;
    assert_eq!(rows(&first), [(100, 105, 0.0, 0.0, 10.0, 0.0)]);
    assert_eq!((first.newest, &first.absent), (Some(at(105)), &None));

    api.cursor = Some(first.cursor.clone());
    assert_eq!(rows(&read(&mut source, &api, 107).await), [], "nothing new");

    let longer: &[(i64, &str)] = &[(100, "10"), (105, "20"), (110, "25")];
    server.answers(&matrix(&[
        ("200", "", longer),
        ("503", CANARY, &[(110, "3")]),
    ]));
    let second = read(&mut source, &api, 111).await;
    assert_eq!(rows(&second), [(105, 110, 3.0, 3.0, 5.0, 0.0)]);
    assert_eq!(second.cursor.until(), Some(at(110)));

    // The caller lost its state: the same again, by the same source and by a new one.
    assert_eq!(read(&mut source, &api, 111).await, second);
    let cursor = serde_json::to_string(&first.cursor).unwrap();
    api.cursor = Some(serde_json::from_str(&cursor).unwrap());
    let mut restarted = server.source();
    assert_eq!(read(&mut restarted, &api, 111).await, second);

    // Without a cursor, all since the beginning.
    let all = read(
        &mut source,
        &Subject {
            cursor: None,
            ..api.clone()
        },
        111,
    )
    .await;
    assert_eq!(
        rows(&all),
        [
            (100, 105, 0.0, 0.0, 10.0, 0.0),
            (105, 110, 3.0, 3.0, 5.0, 0.0)
        ]
    );

    // No canary series in a live scrape is no canary request, not absence.
    assert_eq!(all.absent, None);
}

#[tokio::test]
async fn a_bad_day_makes_a_reading_absent_and_loses_nothing() {
    let server = Server::start(Answer::Body(
        200,
        matrix(&[("200", "", &[(100, "10"), (105, "20")])]),
    ))
    .await;
    let mut source = server.source();
    let mut api = errors("api");
    let good = read(&mut source, &api, 106).await;
    api.cursor = Some(good.cursor.clone());
    let partial = matrix(&[]).replacen('{', r#"{"warnings":["store 3 is unavailable"],"#, 1);
    let days = [
        (Answer::Never, "error-rate: no answer in time"),
        (
            Answer::Redirect,
            "error-rate: the server answered 302: nothing",
        ),
        (
            Answer::Body(
                500,
                r#"{"status":"error","errorType":"internal","error":"disk"}"#.into(),
            ),
            "error-rate: the query failed (internal): disk",
        ),
        (
            Answer::Body(200, "<html>Log in".into()),
            "error-rate: the answer is not a Prometheus reply (expected value at line 1 column 1): `<html>Log in`",
        ),
        (
            Answer::Body(200, partial),
            "error-rate: the answer is incomplete: store 3 is unavailable",
        ),
        (
            Answer::Body(200, "x".repeat(4_001)),
            "error-rate: the answer is larger than 0 MiB; it was not read to its end",
        ),
    ];
    for (answer, absent) in days {
        *server.scene.answer.lock().unwrap() = answer;
        let bad = read(&mut source, &api, 107).await;
        assert_eq!(bad.absent.as_deref(), Some(absent));
        assert_eq!(
            (bad.samples.len(), bad.newest, &bad.cursor),
            (0, Some(at(105)), &good.cursor)
        );
    }
    server.answers(&matrix(&[(
        "200",
        "",
        &[(105, "20"), (110, "NaN"), (115, "21")],
    )]));
    let after = read(&mut source, &api, 116).await;
    assert_eq!(rows(&after), [(105, 115, 0.0, 0.0, 1.0, 0.0)]);
    assert_eq!(after.problems.len(), 1, "{:?}", after.problems);
}

/// How many seconds a query asks for.
fn seconds(query: &str) -> i64 {
    let range = query
        .split("%5B")
        .nth(1)
        .and_then(|rest| rest.split("s%5D").next());
    range.and_then(|range| range.parse().ok()).unwrap()
}

/// Reads as the daemon does, which goes on from where it was.
async fn go_on(source: &mut Source, subjects: &mut [Subject], second: i64) -> Readings {
    let readings = source.read(subjects, at(second)).await;
    for subject in subjects {
        subject.cursor = Some(readings[&subject.key()].cursor.clone());
    }
    readings
}

/// A server's series of `api`, scraped each five seconds, and of `web`, whose past is large.
fn two_of_them(query: &str) -> String {
    let time = query.split("time=").nth(1).unwrap();
    let now: i64 = time.split('.').next().unwrap().parse().unwrap();
    let of = |ingress: &str, newest: i64| {
        let first = (now - seconds(query)).div_euclid(5) * 5 + 5;
        let values = (first..=newest).step_by(5);
        let values: Vec<_> = values.map(|at| (at, format!("{at}.000000"))).collect();
        serde_json::json!({
            "metric": {
                "exported_namespace": "shop", "ingress": ingress, "exported_service": ingress,
                "instance": "10.0.0.1:10254", "status": "200",
            },
            "values": values,
        })
    };
    // `web` is gone from then on.
    let mut all = vec![of("web", now.min(20_000))];
    all.retain(|_| query.contains("web"));
    all.extend(query.contains("api").then(|| of("api", now)));
    serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": all}})
        .to_string()
}

#[tokio::test]
async fn one_whose_past_is_too_large_costs_the_others_nothing() {
    let server = Server::start(Answer::To(two_of_them)).await;
    let mut source = server.source();
    let mut api = Subject {
        since: at(9_980),
        ..errors("api")
    };
    api.cursor = Some(read(&mut source, &api, 10_000).await.cursor);
    server.said();
    // It begins: half an hour of it is more than what is read (4 kB here).
    let web = Subject {
        since: at(10_004),
        ..errors("web")
    };
    let mut both = [api.clone(), web.clone()];
    let readings = go_on(&mut source, &mut both, 10_006).await;
    assert_eq!(
        rows(&readings[&api.key()]),
        [(10_000, 10_005, 0.0, 0.0, 5.0, 0.0)]
    );
    let begun = &readings[&web.key()];
    assert_eq!(
        (begun.absent.as_deref(), begun.newest),
        (None, Some(at(10_005)))
    );
    assert!(
        begun
            .problems
            .iter()
            .any(|said| said.contains("larger than")),
        "{:?}",
        begun.problems
    );
    assert!(readings[&api.key()].problems.is_empty());
    let (own, others): (Vec<Said>, Vec<Said>) = server
        .said()
        .into_iter()
        .partition(|said| said.query.contains("api"));
    assert!(
        own.len() == 1 && seconds(&own[0].query) <= 25,
        "{}",
        own[0].query
    );
    assert!(others.len() > 1 && others.iter().all(|said| seconds(&said.query) > 25));
    // From then on one query serves both.
    go_on(&mut source, &mut both, 10_008).await;
    let said = server.said();
    assert!(said.len() == 1 && seconds(&said[0].query) <= 25);
}

#[tokio::test]
async fn one_whose_series_are_gone_is_asked_apart_and_seldom() {
    let server = Server::start(Answer::To(two_of_them)).await;
    let mut source = server.source();
    let mut both = ["api", "web"].map(|name| Subject {
        since: at(19_980),
        ..errors(name)
    });
    for now in [19_998, 20_000, 20_300] {
        go_on(&mut source, &mut both, now).await;
    }
    server.said();
    let mut apart = 0;
    for now in (20_302..20_336).step_by(2) {
        let readings = go_on(&mut source, &mut both, now).await;
        assert_eq!(readings[&both[0].key()].absent, None);
        assert_eq!(readings[&both[1].key()].newest, Some(at(20_000)));
        let said = server.said();
        let (own, others): (Vec<Said>, Vec<Said>) = said
            .into_iter()
            .partition(|said| said.query.contains("api"));
        assert!(own.len() == 1 && seconds(&own[0].query) <= 25, "{now}");
        apart += others.len();
    }
    assert_eq!(apart, 2);
}

#[tokio::test]
async fn a_server_that_is_down_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let mut source: Source = Prometheus::new(&url, None, Duration::from_secs(1))
        .unwrap()
        .into();
    let absent = read(&mut source, &errors("api"), 100).await.absent.unwrap();
    assert!(
        absent.starts_with("error-rate: could not reach the server: "),
        "{absent}"
    );
    assert!(Prometheus::new("not a url", None, Duration::from_secs(1)).is_err());
}

#[tokio::test]
async fn an_ingress_without_series_is_absent_with_what_was_looked_for() {
    let server = Server::start(Answer::Body(200, matrix(&[("200", "", &[(100, "10")])]))).await;
    let absent = read(&mut server.source(), &errors("web"), 101)
        .await
        .absent
        .unwrap();
    assert!(absent.starts_with("error-rate: no series of nginx_ingress_controller_requests has exported_namespace|namespace=\"shop\", ingress=\"web\""), "{absent}");
    assert!(absent.contains("host-less"), "{absent}");
}

#[tokio::test]
async fn the_token_is_read_anew_for_each_look() {
    let path = std::env::temp_dir().join(format!("sluice-token-{}", std::process::id()));
    let server = Server::start(Answer::Body(200, matrix(&[]))).await;
    let mut source: Source =
        Prometheus::new(&server.url, Some(path.clone()), Duration::from_secs(1))
            .unwrap()
            .into();
    for token in ["one", "two"] {
        std::fs::write(&path, format!("{token}\n")).unwrap();
        read(&mut source, &errors("api"), 100).await;
        assert_eq!(
            server.said()[0].authorization,
            Some(format!("Bearer {token}"))
        );
    }
    std::fs::remove_file(&path).unwrap();
    let absent = read(&mut source, &errors("api"), 100).await.absent.unwrap();
    assert!(absent.contains("could not read the token file"), "{absent}");
    assert!(server.said().is_empty());
}

#[tokio::test]
async fn subjects_that_are_no_longer_asked_for_are_forgotten() {
    let server = Server::start(Answer::Body(
        200,
        matrix(&[("200", "", &[(100, "10"), (105, "20")])]),
    ))
    .await;
    let mut source = server.source();
    let api = errors("api");
    let first = read(&mut source, &api, 106).await;
    read(&mut source, &errors("web"), 106).await;
    assert_eq!(read(&mut source, &api, 106).await, first);
}

fn text(ok: u32, bad: u32, canary: u32) -> String {
    let line = |status, canary, count| {
        format!(
            "nginx_ingress_controller_requests{{namespace=\"shop\",ingress=\"api\",service=\"api\",status=\"{status}\",canary=\"{canary}\"}} {count}\n"
        )
    };
    format!(
        "# TYPE nginx_ingress_controller_requests counter\n{}{}{}",
        line(200, "", ok),
        line(500, "", bad),
        line(200, CANARY, canary)
    )
}

/// Process names and their texts.
type Shown = Arc<Mutex<Vec<(String, String)>>>;

/// A scraper of texts that a test sets.
fn texts() -> (Source, Shown) {
    let now = Shown::default();
    let shown = Arc::clone(&now);
    let targets = Targets::Texts(Arc::new(move || shown.lock().unwrap().clone()));
    (
        Scrape::new(targets, Duration::from_secs(1)).unwrap().into(),
        now,
    )
}

#[tokio::test(start_paused = true)]
async fn several_pods_become_one_sample_and_a_restarted_one_counts_from_zero() {
    let (mut source, now) = texts();
    let mut api = errors("api");
    let mut look = async |second, pods: &[(&str, String)]| {
        *now.lock().unwrap() = pods
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.clone()))
            .collect();
        let reading = read(&mut source, &api, second).await;
        api.cursor = Some(reading.cursor.clone());
        rows(&reading)
    };
    assert_eq!(
        look(10, &[("a", text(100, 0, 0)), ("b", text(50, 1, 1))]).await,
        []
    );
    assert_eq!(
        look(11, &[("a", text(110, 2, 0)), ("b", text(55, 1, 3))]).await,
        [(10, 11, 2.0, 0.0, 17.0, 2.0)]
    );
    assert_eq!(
        look(12, &[("a", text(3, 0, 1)), ("b", text(56, 1, 3))]).await,
        [(11, 12, 1.0, 0.0, 4.0, 0.0)]
    );
    // A pod that is away is caught up with when it is back; a new one starts where it stands.
    assert_eq!(
        look(13, &[("b", text(57, 1, 3)), ("c", text(1000, 9, 9))]).await,
        [(12, 13, 0.0, 0.0, 1.0, 0.0)]
    );
    assert_eq!(
        look(
            14,
            &[
                ("a", text(5, 0, 1)),
                ("b", text(57, 1, 3)),
                ("c", text(1001, 9, 9))
            ]
        )
        .await,
        [(12, 14, 0.0, 0.0, 3.0, 0.0)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_scraper_whose_clock_was_set_back_goes_on_from_there() {
    let pods = |text: String| vec![("a".to_owned(), text)];
    for (restarted, back) in [(false, 3_600), (true, 3_600), (false, 7)] {
        let (mut source, now) = texts();
        let mut api = errors("api");
        for (second, text) in [(10_000, text(100, 0, 0)), (10_001, text(110, 0, 0))] {
            *now.lock().unwrap() = pods(text);
            api.cursor = Some(read(&mut source, &api, second).await.cursor);
        }
        if restarted {
            let shown = Arc::clone(&now);
            let targets = Targets::Texts(Arc::new(move || shown.lock().unwrap().clone()));
            source = Scrape::new(targets, Duration::from_secs(1)).unwrap().into();
        }
        // What came before the new time is known to be counted only by the old one.
        let then = 10_002 - back;
        *now.lock().unwrap() = pods(text(115, 0, 2));
        let reading = read(&mut source, &api, then).await;
        assert_eq!(rows(&reading), [], "{back} s");
        api.cursor = Some(reading.cursor);
        *now.lock().unwrap() = pods(text(120, 1, 4));
        let reading = read(&mut source, &api, then + 1).await;
        let expected = [(then, then + 1, 2.0, 0.0, 6.0, 1.0)];
        assert_eq!(rows(&reading), expected, "{back} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scraper_waits_for_a_clock_that_was_set_back_a_little() {
    let (mut source, now) = texts();
    let mut api = errors("api");
    let mut look = async |second, text: String| {
        *now.lock().unwrap() = vec![("a".to_owned(), text)];
        let reading = read(&mut source, &api, second).await;
        api.cursor = Some(reading.cursor.clone());
        rows(&reading)
    };
    assert_eq!(look(100, text(100, 0, 0)).await, []);
    assert_eq!(look(97, text(105, 1, 0)).await, []);
    let all = [(100, 101, 0.0, 0.0, 10.0, 2.0)];
    assert_eq!(look(101, text(108, 2, 0)).await, all);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_scraper_counts_what_came_meanwhile() {
    let (mut source, now) = texts();
    let rules = [shipped("error-rate"), shipped("latency-p99")];
    let histogram = |up_to: [u32; 3]| {
        let line = |(le, count)| {
            format!(
                "nginx_ingress_controller_request_duration_seconds_bucket{{namespace=\"shop\",ingress=\"api\",service=\"api\",status=\"200\",canary=\"\",le=\"{le}\"}} {count}\n"
            )
        };
        ["0.1", "1", "+Inf"]
            .into_iter()
            .zip(up_to)
            .map(line)
            .collect::<String>()
    };
    let show = |text: String| *now.lock().unwrap() = vec![("a".to_owned(), text)];
    let mut api = subject("shop", "api", &rules);
    show(text(1, 0, 0) + &histogram([1, 2, 3]));
    api.cursor = Some(read(&mut source, &api, 10).await.cursor);
    show(text(5, 1, 1) + &histogram([2, 4, 6]));
    let saved = read(&mut source, &api, 11).await.cursor;
    api.cursor = Some(saved.clone());
    show(text(6, 1, 2) + &histogram([3, 5, 7]));
    read(&mut source, &api, 12).await;

    let saved = serde_json::to_string(&saved).unwrap();
    assert!(saved.len() < 300, "{} bytes: {saved}", saved.len());
    api.cursor = Some(serde_json::from_str(&saved).unwrap());
    show(text(60, 2, 9) + &histogram([10, 20, 40]));
    let (mut restarted, shown) = texts();
    shown.lock().unwrap().clone_from(&now.lock().unwrap());
    for source in [&mut restarted, &mut source] {
        let reading = read(source, &api, 20).await;
        let ArmCounts::Buckets { counts, .. } = &reading
            .samples
            .iter()
            .find(|sample| sample.rule == "latency-p99")
            .unwrap()
            .stable
        else {
            panic!("no buckets");
        };
        assert_eq!(counts, &[8.0, 8.0, 18.0]);
        let errors = Reading {
            samples: reading
                .samples
                .into_iter()
                .filter(|sample| sample.rule == "error-rate")
                .collect(),
            ..Reading::default()
        };
        assert_eq!(rows(&errors), [(11, 20, 8.0, 0.0, 56.0, 1.0)]);
    }
}

#[tokio::test]
async fn a_target_that_fails_is_told_and_all_that_fail_are_absence() {
    let good = Server::start(Answer::Body(200, text(1, 0, 0))).await;
    let bad = Server::start(Answer::Body(503, "starting".into())).await;
    let urls = [&good, &bad]
        .map(|server| format!("{}/metrics", server.url))
        .to_vec();
    let found = urls.clone();
    let mut source: Source = Scrape::new(
        Targets::Found(Arc::new(move || found.clone())),
        Duration::from_secs(1),
    )
    .unwrap()
    .into();
    let reading = read(&mut source, &errors("api"), 10).await;
    assert_eq!((reading.absent, reading.newest), (None, Some(at(10))));
    assert_eq!(
        reading.problems,
        [format!("{}: the server answered 503: `starting`", urls[1])]
    );

    *good.scene.answer.lock().unwrap() = Answer::Never;
    let absent = read(&mut source, &errors("api"), 11).await.absent.unwrap();
    assert!(
        absent.contains("no target answered") && absent.contains("no answer in time"),
        "{absent}"
    );

    let mut empty: Source = Scrape::new(Targets::Urls(Vec::new()), Duration::from_secs(1))
        .unwrap()
        .into();
    let absent = read(&mut empty, &errors("api"), 11).await.absent.unwrap();
    assert!(absent.contains("there is no target to scrape"), "{absent}");
}

#[tokio::test]
async fn ten_megabytes_of_other_metrics_are_passed_over() {
    let mut body = "some_other_metric{with=\"a label\",and=\"another\"} 12345\n".repeat(200_000);
    body.push_str(&text(7, 0, 0));
    let server = Server::start(Answer::Body(200, body)).await;
    let target = Targets::Urls(vec![server.url.clone()]);
    let mut source: Source = Scrape::new(target, Duration::from_secs(10)).unwrap().into();
    let reading = read(&mut source, &errors("api"), 10).await;
    assert_eq!((reading.absent, reading.newest), (None, Some(at(10))));
}

/// The shipped rule for errors, with something replaced.
fn edited(what: &str, by: &str) -> Arc<Rule> {
    let text = include_str!("../../rules/ingress-nginx.yaml").replace(what, by);
    let rules = lint(&text, "r").unwrap();
    Arc::new(rules.into_iter().next().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_was_edited_while_nobody_looked_counts_nothing_of_the_past() {
    let (mut source, now) = texts();
    let show = |text: String| *now.lock().unwrap() = vec![("a".to_owned(), text)];
    let mut api = errors("api");
    show(text(1000, 40, 9));
    api.cursor = Some(read(&mut source, &api, 10).await.cursor);
    show(text(1010, 40, 10));
    api.cursor = Some(read(&mut source, &api, 11).await.cursor);

    // What was good is bad now: sums of the one mean nothing for the other.
    api.rules = vec![edited("5..", "2..")];
    let (mut restarted, shown) = texts();
    let show = |text: String| *shown.lock().unwrap() = vec![("a".to_owned(), text)];
    show(text(1020, 41, 11));
    let first = read(&mut restarted, &api, 20).await;
    assert_eq!(rows(&first), []);
    api.cursor = Some(first.cursor);
    show(text(1025, 43, 12));
    let next = read(&mut restarted, &api, 21).await;
    assert_eq!(rows(&next), [(20, 21, 1.0, 1.0, 7.0, 5.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_gone_for_a_look_is_counted_on_from_where_it_was() {
    let (mut source, now) = texts();
    let show = |text: String| *now.lock().unwrap() = vec![("a".to_owned(), text)];
    let mut api = errors("api");
    show(text(1000, 40, 9));
    api.cursor = Some(read(&mut source, &api, 10).await.cursor);
    let rules = std::mem::take(&mut api.rules);
    show(text(1010, 41, 10));
    api.cursor = Some(read(&mut source, &api, 12).await.cursor);
    api.rules = rules;
    show(text(1020, 43, 12));
    let back = read(&mut source, &api, 14).await;
    assert_eq!(rows(&back), [(10, 14, 3.0, 0.0, 23.0, 3.0)]);
}

#[tokio::test]
async fn a_pod_that_began_anew_behind_a_collector_leaves_the_others_alone() {
    let rule = "
- name: errors
  proportion:
    metric: http_requests_total
    select: {exported_namespace: '{{namespace}}'}
    arm: {label: k8s_pod_name, canary: '{{canaryPods}}', stable: '{{stablePods}}'}
    bad: {status: '5..'}
  worseBy: {ratio: 1.2, absolute: 0.1%}
";
    let rule = lint(rule, "r").unwrap().remove(0);
    let pod = |name| serde_json::json!({"k8s_pod_name": name});
    let server = Server::start(Answer::Body(
        200,
        labelled(&[
            (pod("api-7d-a1"), &[(100, "1000"), (115, "1010")]),
            (pod("api-7d-b2"), &[(100, "2000"), (115, "5")]),
            (pod("api-canary-9f-c3"), &[(100, "20"), (115, "21")]),
        ]),
    ))
    .await;
    let api = subject("shop", "api", &[Arc::new(rule)]);
    let reading = read(&mut server.source(), &api, 116).await;
    assert_eq!(rows(&reading), [(100, 115, 1.0, 0.0, 15.0, 0.0)]);
}

/// A reply whose series have these values and these labels beside the usual ones.
fn labelled(series: &[(serde_json::Value, &[(i64, &str)])]) -> String {
    let one = |(more, values): &(serde_json::Value, &[(i64, &str)])| {
        let mut metric = serde_json::json!({
            "exported_namespace": "shop", "ingress": "api", "exported_service": "api",
            "instance": "10.0.0.1:10254", "status": "200", "canary": "",
        });
        json_patch::merge(&mut metric, more);
        serde_json::json!({"metric": metric, "values": values})
    };
    let result: Vec<_> = series.iter().map(one).collect();
    serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
        .to_string()
}

#[tokio::test]
async fn samples_out_of_order_and_twice_at_one_time_count_once() {
    let values: &[(i64, &str)] = &[
        (110, "25"),
        (100, "10"),
        (105, "20"),
        (105, "20"),
        (110, "25"),
    ];
    let server = Server::start(Answer::Body(
        200,
        labelled(&[(serde_json::json!({}), values)]),
    ))
    .await;
    let reading = read(&mut server.source(), &errors("api"), 111).await;
    assert_eq!(
        rows(&reading),
        [
            (100, 105, 0.0, 0.0, 10.0, 0.0),
            (105, 110, 0.0, 0.0, 5.0, 0.0)
        ]
    );
}

#[tokio::test]
async fn a_second_replica_is_refused_and_counts_nothing_before() {
    let replica = |name| serde_json::json!({"prometheus_replica": name});
    let server = Server::start(Answer::Body(
        200,
        labelled(&[(replica("a"), &[(100, "1000"), (110, "1010")])]),
    ))
    .await;
    let mut source = server.source();
    let mut api = errors("api");
    api.cursor = Some(read(&mut source, &api, 111).await.cursor);
    // It comes up: its first value is where counting starts.
    server.answers(&labelled(&[
        (replica("a"), &[(110, "1010"), (120, "1020")]),
        (replica("b"), &[(123, "1023")]),
    ]));
    let reading = read(&mut source, &api, 124).await;
    assert_eq!(rows(&reading), [(110, 120, 0.0, 0.0, 10.0, 0.0)]);
    api.cursor = Some(reading.cursor);
    server.answers(&labelled(&[
        (replica("a"), &[(110, "1010"), (120, "1020"), (130, "1030")]),
        (replica("b"), &[(123, "1023"), (133, "1033")]),
    ]));
    let reading = read(&mut source, &api, 134).await;
    assert_eq!(rows(&reading), []);
    let absent = reading.absent.unwrap_or_default();
    assert!(
        absent.contains("the same series come twice, with prometheus_replica=\"a\""),
        "{absent}"
    );
}

#[tokio::test]
async fn series_that_all_others_gave_way_to_start_where_they_stand() {
    let read_by = |name| serde_json::json!({"read_by": name});
    let server = Server::start(Answer::Body(
        200,
        labelled(&[
            (read_by("a"), &[(100, "1000"), (110, "1010")]),
            (read_by("b"), &[(115, "1015"), (125, "1025")]),
        ]),
    ))
    .await;
    let reading = read(&mut server.source(), &errors("api"), 126).await;
    assert_eq!(
        rows(&reading),
        [
            (100, 110, 0.0, 0.0, 10.0, 0.0),
            (110, 115, 0.0, 0.0, 0.0, 0.0),
            (115, 125, 0.0, 0.0, 10.0, 0.0)
        ]
    );
}

#[tokio::test]
async fn a_clock_that_is_apart_is_said_and_the_samples_count() {
    let server = Server::start(Answer::Body(200, String::new())).await;
    let machine = crate::clock::Clock::machine().now();
    for (ahead, apart) in [(0, false), (10, true), (-10, true)] {
        let ours = machine - jiff::SignedDuration::from_secs(ahead);
        let (early, late) = (ours.as_second() - 10, ours.as_second() - 5);
        server.answers(&matrix(&[("200", "", &[(early, "10"), (late, "20")])]));
        let mut source: Source = Prometheus::new(&server.url, None, Duration::from_secs(5))
            .unwrap()
            .with_clock(crate::clock::Clock::scaled(ours, 1.0))
            .into();
        let reading = read(&mut source, &errors("api"), ours.as_second()).await;
        assert_eq!(reading.samples.len(), 1, "{ahead}");
        let said = reading.absent.unwrap_or_default();
        assert_eq!(said.contains("clock"), apart, "{ahead}: {said}");
    }
}

/// Two rules that ask queries.
fn sampling() -> Subject {
    let text = "- name: queue\n  compare: {query: 'avg(depth{pod=~\"{{pods}}\"})', worse: higher, every: 10s}\n- name: success\n  value: {query: 'ok{ns=\"{{namespace}}\"}', min: 0.97, every: 20s}\n";
    let rules = lint(text, "r").unwrap();
    let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
    Subject {
        since: at(1_000),
        ..subject("shop", "api", &rules)
    }
}

fn numbers(values: &[(i64, &str)]) -> String {
    serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}})
        .to_string()
}

#[tokio::test]
async fn queries_are_asked_at_their_times_and_once() {
    let server = Server::start(Answer::Body(200, numbers(&[(1_010, "1.5"), (1_020, "2")]))).await;
    let mut source = server.source();
    let mut asking = sampling();
    let reading = source
        .read(std::slice::from_ref(&asking), at(1_021))
        .await
        .remove(&asking.key());
    let reading = reading.unwrap();
    let mut bodies: Vec<String> = server.said().into_iter().map(|said| said.query).collect();
    bodies.sort();
    assert_eq!(bodies.len(), 3, "{bodies:?}");
    let compared = bodies
        .iter()
        .filter(|body| body.contains("start=1010&end=1020&step=10"));
    assert_eq!(compared.count(), 2, "{bodies:?}");
    assert!(
        bodies
            .iter()
            .any(|body| body.contains("start=1020&end=1020&step=20"))
    );
    let told: Vec<_> = reading
        .samples
        .iter()
        .map(|sample| (&*sample.rule, sample.to, sample.canary.clone()))
        .collect();
    let of = |number: f64| ArmCounts::Numbers(vec![number]);
    assert!(
        told.contains(&("queue", at(1_010), of(1.5)))
            && told.contains(&("success", at(1_020), of(2.0)))
    );
    assert_eq!(
        (reading.absent.as_deref(), reading.newest),
        (None, Some(at(1_020)))
    );

    // Not before the next time, from the same place or from a saved one.
    asking.cursor = Some(reading.cursor.clone());
    for mut source in [source, server.source()] {
        let reading = source
            .read(std::slice::from_ref(&asking), at(1_029))
            .await
            .remove(&asking.key());
        assert_eq!(reading.unwrap().samples, []);
    }
    assert_eq!(server.said().len(), 0);
}

#[tokio::test]
async fn a_query_without_one_number_is_absent_until_it_has_one() {
    let two = serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": [{"values": []}, {"values": []}]}});
    let server = Server::start(Answer::Body(200, two.to_string())).await;
    let mut source = server.source();
    let mut asking = sampling();
    let mut read = async |asking: &mut Subject, now| {
        let reading = source
            .read(std::slice::from_ref(asking), at(now))
            .await
            .remove(&asking.key())
            .unwrap();
        asking.cursor = Some(reading.cursor.clone());
        reading.absent
    };
    let said = read(&mut asking, 1_021).await.unwrap();
    assert!(
        said.contains("queue: the query failed") && said.contains("2 series where one is needed"),
        "{said}"
    );
    // It is said as long as it is so, also between the times of the queries.
    server.answers(&numbers(&[(1_020, "NaN")]));
    let said = read(&mut asking, 1_022).await.unwrap();
    assert!(
        said.contains("success: no number for the canary from ok{ns=\"shop\"}"),
        "{said}"
    );
    assert_eq!(read(&mut asking, 1_024).await, Some(said));
    server.answers(&numbers(&[(1_030, "1"), (1_040, "1")]));
    assert_eq!(read(&mut asking, 1_041).await, None);
}

#[tokio::test]
async fn a_query_needs_a_prometheus() {
    let server = Server::start(Answer::Body(200, String::new())).await;
    let asking = sampling();
    let reading = server
        .scraper()
        .read(std::slice::from_ref(&asking), at(1_021))
        .await
        .remove(&asking.key());
    let said = reading.unwrap().absent.unwrap();
    assert!(
        said.contains("success: is a query, which only a Prometheus answers"),
        "{said}"
    );
    assert_eq!(server.said().len(), 0);
}

#[tokio::test]
async fn the_shipped_rules_for_pods_count_events_and_the_time_of_each_pod() {
    let file = include_str!("../../rules/kubernetes.yaml");
    // As a Prometheus names what it read from kube-state-metrics without `honor_labels`, too.
    let page = r#"
kube_pod_container_status_restarts_total{namespace="shop",pod="api-canary-5d4f-x1",container="app"} 0 2
kube_pod_container_status_restarts_total{namespace="shop",pod="api-canary-5d4f-x1",container="sidecar"} 1 1
kube_pod_container_status_restarts_total{namespace="shop",pod="api-7c9b-a1",container="app"} 7 7
kube_pod_container_status_restarts_total{exported_namespace="shop",namespace="monitoring",exported_pod="api-7c9b-a2",pod="ksm-0",container="app"} 3 4
kube_pod_container_status_restarts_total{namespace="shop",pod="web-7c9b-a1",container="app"} 0 50
kube_pod_container_status_restarts_total{namespace="bank",pod="api-7c9b-a1",container="app"} 0 50
"#;
    // Looks are two seconds apart: one pod of the canary, two of stable.
    assert_eq!(counted(file, "restarts", page).await, (2.0, 2.0, 4.0, 1.0));
    let page = r#"
container_oom_events_total{namespace="shop",pod="api-canary-5d4f-x1",container="app"} 0 1
container_oom_events_total{namespace="shop",pod="api-canary-5d4f-x1",container=""} 0 1
container_oom_events_total{namespace="shop",pod="api-7c9b-a1",container="app"} 2 2
"#;
    assert_eq!(counted(file, "oom-kills", page).await, (2.0, 1.0, 2.0, 0.0));
}

/// What a rule counts between two looks at a page whose lines end with both values: the canary's
/// requests and bad ones, and stable's.
async fn counted(file: &str, name: &str, page: &str) -> (f64, f64, f64, f64) {
    let rules = lint(file, "r").unwrap();
    let rule = rules.into_iter().find(|rule| rule.name == name).unwrap();
    let subject = Subject {
        port: "http".into(),
        ..subject("shop", "api", &[Arc::new(rule)])
    };
    let column = |which: usize| {
        let line = |line: &str| {
            let (series, values) = line.trim().split_once("} ").unwrap();
            let value = values.split(' ').nth(which).unwrap();
            format!("{series}}} {value}\n")
        };
        page.trim().lines().map(line).collect::<String>()
    };
    let text = Arc::new(Mutex::new(column(0)));
    let read = Arc::clone(&text);
    let texts = move || vec![("one".to_owned(), read.lock().unwrap().clone())];
    let scrape = Scrape::new(Targets::Texts(Arc::new(texts)), Duration::from_secs(1)).unwrap();
    let mut source = Source::from(scrape);
    let mut asking = subject.clone();
    let first = source.read(std::slice::from_ref(&asking), at(1_000)).await;
    asking.cursor = Some(first[&asking.key()].cursor.clone());
    *text.lock().unwrap() = column(1);
    let reading = source
        .read(std::slice::from_ref(&asking), at(1_002))
        .await
        .remove(&asking.key())
        .unwrap();
    assert_eq!(
        (reading.absent, reading.problems),
        (None, Vec::<String>::new())
    );
    let arm = |arm: &ArmCounts| match arm {
        ArmCounts::Proportion { total, bad } => (*total, *bad),
        ArmCounts::Buckets { counts, .. } => (counts.iter().sum(), counts[counts.len() - 1]),
        ArmCounts::Events { seconds, events } => (*seconds, *events),
        ArmCounts::Numbers(_) => panic!("no counts"),
    };
    let sample = &reading.samples[0];
    let (canary, stable) = (arm(&sample.canary), arm(&sample.stable));
    (canary.0, canary.1, stable.0, stable.1)
}

#[tokio::test]
async fn shipped_rules_read_the_pages_that_they_are_for() {
    let traefik = include_str!("../../rules/traefik.yaml");
    let page = r#"
        traefik_service_requests_total{code="200",method="GET",protocol="http",service="shop-api-api-http@kubernetesingressnginx"} 10 109
        traefik_service_requests_total{code="502",method="GET",protocol="http",service="shop-api-api-http@kubernetesingressnginx"} 1 2
        traefik_service_requests_total{code="200",method="GET",protocol="http",service="shop-api-api-http-canary@kubernetesingressnginx"} 0 8
        traefik_service_requests_total{code="500",method="POST",protocol="http",service="shop-api-api-http-canary@kubernetesingressnginx"} 0 2
        traefik_service_requests_total{code="200",method="GET",protocol="http",service="shop-web-web-http@kubernetesingressnginx"} 0 70
    "#;
    assert_eq!(
        counted(traefik, "traefik-error-rate", page).await,
        (10.0, 2.0, 100.0, 1.0)
    );
    let page = r#"
        traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="shop-api-api-http@kubernetesingressnginx",le="0.3"} 0 90
        traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="shop-api-api-http@kubernetesingressnginx",le="+Inf"} 0 100
        traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="shop-api-api-http-canary@kubernetesingressnginx",le="0.3"} 0 5
        traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="shop-api-api-http-canary@kubernetesingressnginx",le="+Inf"} 0 10
    "#;
    assert_eq!(
        counted(traefik, "traefik-latency-p99", page).await,
        (10.0, 5.0, 100.0, 10.0)
    );
    // Behind an HTTPRoute, by the names from Traefik 3.7.6 on and by those before.
    let place = "httproute-shop-api-gw-edge-public-ep-web-1-799bcbf0c2317c5d1c93-svc-shop";
    for (api, canary) in [
        (format!("{place}-api-0"), format!("{place}-api-canary-1")),
        (
            "shop-api-http-http".into(),
            "shop-api-canary-http-http".into(),
        ),
    ] {
        let page = format!(
            r#"
            traefik_service_requests_total{{code="200",service="{api}@kubernetesgateway"}} 5 104
            traefik_service_requests_total{{code="502",service="{api}@kubernetesgateway"}} 0 1
            traefik_service_requests_total{{code="200",service="{canary}@kubernetesgateway"}} 0 8
            traefik_service_requests_total{{code="500",service="{canary}@kubernetesgateway"}} 0 2
            traefik_service_requests_total{{code="500",service="{place}-web-0@kubernetesgateway"}} 0 50
        "#
        );
        assert_eq!(
            counted(traefik, "traefik-gateway-error-rate", &page).await,
            (10.0, 2.0, 100.0, 1.0)
        );
    }
    let istio = include_str!("../../rules/istio.yaml");
    let page = r#"
        istio_requests_total{reporter="source",source_workload="gateway-istio",destination_service_name="api",destination_service_namespace="shop",destination_workload="api",response_code="200",response_flags="-"} 5 104
        istio_requests_total{reporter="source",source_workload="gateway-istio",destination_service_name="api",destination_service_namespace="shop",destination_workload="api",response_code="503",response_flags="UF"} 0 1
        istio_requests_total{reporter="source",source_workload="gateway-istio",destination_service_name="api-canary",destination_service_namespace="shop",destination_workload="api-canary",response_code="200",response_flags="-"} 0 10
        istio_requests_total{reporter="source",source_workload="gateway-istio",destination_service_name="api-canary",destination_service_namespace="shop",destination_workload="api-canary",response_code="0",response_flags="DC"} 0 4
        istio_requests_total{reporter="destination",source_workload="gateway-istio",destination_service_name="api",destination_service_namespace="shop",destination_workload="api",response_code="200",response_flags="-"} 5 104
    "#;
    assert_eq!(
        counted(istio, "istio-error-rate", page).await,
        (10.0, 0.0, 100.0, 1.0)
    );
    let page = r#"
        istio_request_duration_milliseconds_bucket{reporter="source",destination_service_name="api",destination_service_namespace="shop",response_code="200",le="250"} 0 90
        istio_request_duration_milliseconds_bucket{reporter="source",destination_service_name="api",destination_service_namespace="shop",response_code="200",le="+Inf"} 0 100
        istio_request_duration_milliseconds_bucket{reporter="source",destination_service_name="api-canary",destination_service_namespace="shop",response_code="200",le="250"} 0 5
        istio_request_duration_milliseconds_bucket{reporter="source",destination_service_name="api-canary",destination_service_namespace="shop",response_code="200",le="+Inf"} 0 10
    "#;
    assert_eq!(
        counted(istio, "istio-latency-p99", page).await,
        (10.0, 5.0, 100.0, 10.0)
    );
    let server = include_str!("../../rules/http-server.yaml");
    for (name, label) in [
        ("http-error-rate", "code"),
        ("http-error-rate-status", "status"),
    ] {
        let page = r#"
            http_requests_total{namespace="shop",pod="api-5d4c8-x2x4z",code="200",method="get"} 7 106
            http_requests_total{namespace="shop",pod="api-5d4c8-x2x4z",code="500",method="get"} 0 1
            http_requests_total{namespace="shop",pod="api-canary-7b9f6-bcd2f",code="200",method="get"} 0 9
            http_requests_total{namespace="shop",pod="api-canary-7b9f6-bcd2f",code="503",method="get"} 0 1
            http_requests_total{namespace="bank",pod="api-5d4c8-x2x4z",code="500",method="get"} 0 50
        "#;
        let page = page.replace("code=", &format!("{label}="));
        assert_eq!(counted(server, name, &page).await, (10.0, 1.0, 100.0, 1.0));
    }
}

/// The metrics of implementations of the Gateway API, in the shapes that their documentation and source give.
#[tokio::test]
async fn shipped_rules_for_gateways_tell_two_services_apart() {
    let cilium = include_str!("../../rules/cilium.yaml");
    let page = r#"
        hubble_http_requests_total{destination_namespace="shop",destination_workload="api",method="GET",protocol="HTTP/1.1",reporter="server",status="200"} 5 104
        hubble_http_requests_total{destination_namespace="shop",destination_workload="api",method="GET",protocol="HTTP/1.1",reporter="server",status="503"} 0 1
        hubble_http_requests_total{destination_namespace="shop",destination_workload="api",method="GET",protocol="HTTP/1.1",reporter="client",status="200"} 5 104
        hubble_http_requests_total{destination_namespace="shop",destination_workload="api-canary",method="GET",protocol="HTTP/1.1",reporter="server",status="200"} 0 8
        hubble_http_requests_total{destination_namespace="shop",destination_workload="api-canary",method="GET",protocol="HTTP/1.1",reporter="server",status="500"} 0 2
        hubble_http_requests_total{destination_namespace="bank",destination_workload="api",method="GET",protocol="HTTP/1.1",reporter="server",status="500"} 0 50
    "#;
    assert_eq!(
        counted(cilium, "cilium-error-rate", page).await,
        (10.0, 2.0, 100.0, 1.0)
    );
    let page = r#"
        hubble_http_request_duration_seconds_bucket{destination_namespace="shop",destination_workload="api",method="GET",reporter="server",le="0.25"} 0 90
        hubble_http_request_duration_seconds_bucket{destination_namespace="shop",destination_workload="api",method="GET",reporter="server",le="+Inf"} 0 100
        hubble_http_request_duration_seconds_bucket{destination_namespace="shop",destination_workload="api-canary",method="GET",reporter="server",le="0.25"} 0 5
        hubble_http_request_duration_seconds_bucket{destination_namespace="shop",destination_workload="api-canary",method="GET",reporter="server",le="+Inf"} 0 10
    "#;
    assert_eq!(
        counted(cilium, "cilium-latency-p99", page).await,
        (10.0, 5.0, 100.0, 10.0)
    );
    let envoy = include_str!("../../rules/envoy-gateway.yaml");
    for name in [
        |service: &str| format!("service/shop/{service}/http/http"),
        |service: &str| format!("backend/service/shop/{service}/http"),
    ] {
        let (api, canary) = (name("api"), name("api-canary"));
        let page = format!(
            r#"
            envoy_cluster_upstream_rq{{envoy_response_code="200",envoy_cluster_name="{api}"}} 5 104
            envoy_cluster_upstream_rq{{envoy_response_code="503",envoy_cluster_name="{api}"}} 0 1
            envoy_cluster_upstream_rq{{envoy_response_code="200",envoy_cluster_name="{canary}"}} 0 8
            envoy_cluster_upstream_rq{{envoy_response_code="500",envoy_cluster_name="{canary}"}} 0 2
            envoy_cluster_upstream_rq{{envoy_response_code="500",envoy_cluster_name="httproute/shop/api/rule/0"}} 0 50
        "#
        );
        assert_eq!(
            counted(envoy, "envoy-gateway-error-rate", &page).await,
            (10.0, 2.0, 100.0, 1.0)
        );
        let page = format!(
            r#"
            envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name="{api}",le="250"}} 0 90
            envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name="{api}",le="+Inf"}} 0 100
            envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name="{canary}",le="250"}} 0 5
            envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name="{canary}",le="+Inf"}} 0 10
        "#
        );
        assert_eq!(
            counted(envoy, "envoy-gateway-latency-p99", &page).await,
            (10.0, 5.0, 100.0, 10.0)
        );
    }
    let nginx = include_str!("../../rules/nginx-gateway-fabric.yaml");
    let page = r#"
        nginx_http_upstream_peer_responses_total{nginx_peer_address="10.0.0.1:8080",nginx_peer_name="10.0.0.1:8080",nginx_status_range="2xx",nginx_upstream_name="shop_api_http",nginx_zone_name="shop_api_http"} 5 104
        nginx_http_upstream_peer_responses_total{nginx_peer_address="10.0.0.1:8080",nginx_peer_name="10.0.0.1:8080",nginx_status_range="5xx",nginx_upstream_name="shop_api_http",nginx_zone_name="shop_api_http"} 0 1
        nginx_http_upstream_peer_responses_total{nginx_peer_address="10.0.0.2:8080",nginx_peer_name="10.0.0.2:8080",nginx_status_range="2xx",nginx_upstream_name="shop_api-canary_http",nginx_zone_name="shop_api-canary_http"} 0 8
        nginx_http_upstream_peer_responses_total{nginx_peer_address="10.0.0.2:8080",nginx_peer_name="10.0.0.2:8080",nginx_status_range="5xx",nginx_upstream_name="shop_api-canary_http",nginx_zone_name="shop_api-canary_http"} 0 2
        nginx_http_upstream_peer_responses_total{nginx_peer_address="10.0.0.3:8080",nginx_peer_name="10.0.0.3:8080",nginx_status_range="5xx",nginx_upstream_name="shop_web_http",nginx_zone_name="shop_web_http"} 0 50
    "#;
    assert_eq!(
        counted(nginx, "nginx-gateway-fabric-error-rate", page).await,
        (10.0, 2.0, 100.0, 1.0)
    );
}

/// Boundaries in milliseconds are seconds for all that reads them.
#[test]
fn boundaries_in_milliseconds_are_read_as_seconds() {
    let text = include_str!("../../rules/istio.yaml");
    let rule = lint(text, "r").unwrap();
    let rule = rule
        .into_iter()
        .find(|rule| rule.name == "istio-latency-p99");
    let rule = Arc::new(rule.unwrap());
    let ask = super::sorting::tests::ask(&rule, &[subject("shop", "api", &[])]);
    let labels: Vec<(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)> = [
        ("reporter", "source"),
        ("destination_service_namespace", "shop"),
        ("destination_service_name", "api"),
        ("response_code", "200"),
        ("le", "250"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec();
    let places = ask.places(&labels);
    let Class::UpTo { le, .. } = places[0].class else {
        panic!("no boundary: {places:?}")
    };
    assert!((le - 0.25).abs() < 1e-9, "{le}");
}

/// Why a rule could not be read from a page.
async fn absence(file: &str, name: &str, page: &str) -> Option<String> {
    let rules = lint(file, "r").unwrap();
    let rule = rules.into_iter().find(|rule| rule.name == name).unwrap();
    let mut asking = subject("shop", "api", &[Arc::new(rule)]);
    let text = Arc::new(Mutex::new(page.to_owned()));
    let read = Arc::clone(&text);
    let texts = move || vec![("one".to_owned(), read.lock().unwrap().clone())];
    let scrape = Scrape::new(Targets::Texts(Arc::new(texts)), Duration::from_secs(1)).unwrap();
    let mut source = Source::from(scrape);
    let first = source.read(std::slice::from_ref(&asking), at(1_000)).await;
    asking.cursor = Some(first[&asking.key()].cursor.clone());
    *text.lock().unwrap() = page.replace("} 7", "} 9");
    let mut readings = source.read(std::slice::from_ref(&asking), at(1_002)).await;
    let reading = readings.remove(&asking.key()).unwrap();
    assert_eq!(reading.absent.is_none(), reading.samples.len() == 1);
    reading.absent
}

/// Every answer is a 500, and the rule looks at a label that the server does not write.
#[tokio::test]
async fn an_arm_whose_bad_requests_cannot_be_told_is_absent_and_not_good() {
    let server = include_str!("../../rules/http-server.yaml");
    let line = |pod: &str, label: &str| {
        format!("http_requests_total{{namespace=\"shop\",pod=\"{pod}\",{label}=\"500\"}} 7\n")
    };
    let stable = |label: &str| line("api-5d4c8-x2x4z", label);
    let canary = |label: &str| line("api-canary-7b9f6-bcd2f", label);
    let absent = |page: String| async move { absence(server, "http-error-rate", &page).await };
    assert_eq!(absent(stable("code") + &canary("code")).await, None);
    let told = absent(stable("status") + &canary("status")).await.unwrap();
    assert!(
        told.contains("that is the canary's has the label `code`")
            && told.contains("that is stable's has the label `code`"),
        "{told}"
    );
    // The release renames its label.
    let told = absent(stable("code") + &canary("status")).await.unwrap();
    assert!(
        told.contains("the canary's") && !told.contains("stable's"),
        "{told}"
    );
    // Only what failed has a label: it is asked for, whatever it says.
    let text = server.replace("bad: {code: \"5..\"}", "bad: {code: .+}");
    assert_eq!(
        absence(&text, "http-error-rate", &stable("status")).await,
        None
    );
}

/// One Service behind two paths and two hosts of one Ingress, answered by two controllers.
#[test]
fn several_hosts_paths_and_methods_of_one_ingress_are_counted_together() {
    let rule = shipped("error-rate");
    let ask = super::sorting::tests::ask(&rule, &[subject("shop", "api", &[])]);
    let labels = |host: &str,
                  path: &str,
                  method: &str|
     -> Vec<(
        std::borrow::Cow<'static, str>,
        std::borrow::Cow<'static, str>,
    )> {
        [
            ("namespace", "shop"),
            ("ingress", "api"),
            ("service", "api"),
            ("status", "200"),
            ("host", host),
            ("path", path),
            ("method", method),
        ]
        .map(|(name, value)| (name.into(), value.to_owned().into()))
        .to_vec()
    };
    let mut series = std::collections::BTreeSet::new();
    for host in ["a.example", "b.example"] {
        for path in ["/", "/api"] {
            for method in ["GET", "POST"] {
                let places = ask.places(&labels(host, path, method));
                assert_eq!(places.len(), 1);
                series.insert(places[0].series);
            }
        }
    }
    assert_eq!(series.len(), 8, "each is a series of its own, counted once");
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_histogram_has_other_buckets_is_told_and_not_passed_over() {
    let (mut source, now) = texts();
    let rules = [shipped("latency-p99")];
    let page = |arm: &str, le: &str, count: u32| {
        ["+Inf", le]
            .map(|le| {
                format!(
                    "nginx_ingress_controller_request_duration_seconds_bucket{{namespace=\"shop\",ingress=\"api\",service=\"api\",status=\"200\",canary=\"{arm}\",le=\"{le}\"}} {count}\n"
                )
            })
            .concat()
    };
    let show = |canary: &str, count: u32| {
        let pod = |name: &str, text| (name.to_owned(), text);
        let [one, other] = [("", "0.1"), (CANARY, canary)].map(|(arm, le)| page(arm, le, count));
        *now.lock().unwrap() = vec![pod("one", one), pod("other", other)];
    };
    let mut api = subject("shop", "api", &rules);
    show("0.1", 1);
    api.cursor = Some(read(&mut source, &api, 10).await.cursor);
    show("0.1", 5);
    let alike = read(&mut source, &api, 11).await;
    assert_eq!((alike.samples.len(), alike.absent), (1, None));
    show("0.3", 9);
    read(&mut source, &api, 12).await;
    show("0.3", 20);
    let reading = read(&mut source, &api, 13).await;
    let absent = reading.absent.unwrap_or_default();
    let wanted = "histograms without a boundary in common";
    assert!(absent.starts_with("latency-p99: "), "{absent}");
    assert!(absent.ends_with(wanted), "{absent}");
}
