//! Queries whose number is sampled.

use super::*;

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
