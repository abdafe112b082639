//! What is read of the pods themselves.

use super::*;

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
