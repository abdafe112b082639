//! What is asked of a Prometheus, and what its answers come to.

use super::*;

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
