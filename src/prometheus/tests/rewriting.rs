//! Rules and series that change under way: edited, restarted, doubled, out of order.

use super::*;

/// The shipped rule for errors, with something replaced.
fn edited(what: &str, by: &str) -> Arc<Rule> {
    let text = include_str!("../../../rules/ingress-nginx.yaml").replace(what, by);
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
