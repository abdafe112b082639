//! The shipped rules on the pages that they are for.

use super::*;

#[tokio::test]
async fn the_shipped_rules_for_pods_count_events_and_the_time_of_each_pod() {
    let file = include_str!("../../../rules/kubernetes.yaml");
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
    let traefik = include_str!("../../../rules/traefik.yaml");
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
    let istio = include_str!("../../../rules/istio.yaml");
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
    let server = include_str!("../../../rules/http-server.yaml");
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
    let cilium = include_str!("../../../rules/cilium.yaml");
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
    let envoy = include_str!("../../../rules/envoy-gateway.yaml");
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
    let nginx = include_str!("../../../rules/nginx-gateway-fabric.yaml");
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
    let text = include_str!("../../../rules/istio.yaml");
    let rule = lint(text, "r").unwrap();
    let rule = rule
        .into_iter()
        .find(|rule| rule.name == "istio-latency-p99");
    let rule = Arc::new(rule.unwrap());
    let ask = super::super::sorting::tests::ask(&rule, &[subject("shop", "api", &[])]);
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
    let server = include_str!("../../../rules/http-server.yaml");
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
    let ask = super::super::sorting::tests::ask(&rule, &[subject("shop", "api", &[])]);
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
