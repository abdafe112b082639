//! An HTTP request.
//!
//! One connection for one request; HTTPS certificates are checked as the system's roots say.

use std::net::SocketAddr;

use jsonpath_rust::query::js_path_process;
use reqwest::Method;
use serde_json::Value;

use super::{Failure, excerpt, is_link_local};
use crate::causes;
use crate::clock::Clock;
use crate::http_client;
use crate::rollout::smoke::{Http, JsonCheck, Pattern};

/// What is read of an answer, in bytes.
const BYTES: usize = 1 << 20;

/// Asks, and compares the answer.
pub async fn ask(http: &Http, clock: Clock) -> Result<(), Failure> {
    let began = clock.ticks();
    let method = Method::from_bytes(http.method.as_bytes());
    let method = method.map_err(|_| format!("{:?} is no method", http.method))?;
    let url = reqwest::Url::parse(&http.url).map_err(|error| format!("{}: {error}", http.url))?;
    let (host, addresses) = looked_up(&url).await?;
    let client = client(&host, &addresses).map_err(|error| causes::told(&error))?;
    let mut request = client.request(method, url);
    for (name, value) in &http.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &http.body {
        request = request.body(body.clone());
    }
    let answer = request.send().await;
    let mut answer = answer.map_err(|error| causes::told(&error.without_url()))?;
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| causes::told(&error))? {
        body.extend_from_slice(&part);
        if body.len() > BYTES {
            return Err(format!("answered {status} with more than {BYTES} bytes"));
        }
    }
    compare(http, status, &body)?;
    let took = clock.ticks().saturating_sub(began);
    match http.within {
        Some(within) if took > within => {
            let within = humantime::format_duration(within);
            Err(format!(
                "answered {status} after {took:.0?}, wanted within {within}"
            ))
        }
        _ => Ok(()),
    }
}

/// A client that goes to these addresses for the host: what its name stands for is not asked again, since whoever
/// answers that may answer otherwise the second time.
fn client(host: &str, addresses: &[SocketAddr]) -> Result<reqwest::Client, reqwest::Error> {
    http_client::builder()
        .pool_max_idle_per_host(0)
        .no_proxy()
        .resolve_to_addrs(host, addresses)
        .build()
}

/// The host and its addresses, none of which is link-local.
async fn looked_up(url: &reqwest::Url) -> Result<(String, Vec<SocketAddr>), Failure> {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(format!("{url} has no host"));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| format!("{host} is not found: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    match found.iter().find(|address| is_link_local(address.ip())) {
        Some(address) => Err(format!(
            "{address} is a link-local address, which is not asked"
        )),
        None => Ok((host.to_owned(), found)),
    }
}

fn compare(http: &Http, status: u16, body: &[u8]) -> Result<(), Failure> {
    if !http.status.contains(&status) {
        let wanted: Vec<String> = http.status.iter().map(u16::to_string).collect();
        let wanted = wanted.join(" or ");
        return Err(format!(
            "answered {status}, wanted {wanted}: {}",
            excerpt(body)
        ));
    }
    if let Some(Pattern(pattern)) = &http.matches
        && !pattern.is_match(&String::from_utf8_lossy(body))
    {
        let said = excerpt(body);
        return Err(format!("answered {status} without {pattern}: {said}"));
    }
    compare_json(http, body).map_err(|why| format!("answered {status}, {why}"))
}

fn compare_json(http: &Http, body: &[u8]) -> Result<(), Failure> {
    if http.json.is_empty() {
        return Ok(());
    }
    let document: Value = serde_json::from_slice(body)
        .map_err(|error| format!("wanted JSON ({error}): {}", excerpt(body)))?;
    http.json
        .iter()
        .try_for_each(|check| holds(check, &document))
}

/// Whether something is at the path, and all of it is what is wanted.
fn holds(check: &JsonCheck, document: &Value) -> Result<(), Failure> {
    let path = &check.path;
    let found =
        js_path_process(&check.query, document).map_err(|error| format!("{path}: {error}"))?;
    if found.is_empty() {
        return Err(format!("nothing at {path}"));
    }
    let Some(wanted) = &check.is else {
        return Ok(());
    };
    match found.iter().find(|found| !same(found.val, wanted)) {
        Some(other) => {
            let found = excerpt(other.val.to_string().as_bytes());
            Err(format!("{path} is {found}, wanted {wanted}"))
        }
        None => Ok(()),
    }
}

/// `1` is `1.0`: how a number is written says nothing.
fn same(found: &Value, wanted: &Value) -> bool {
    match (found.as_f64(), wanted.as_f64()) {
        (Some(found), Some(wanted)) => (found - wanted).abs() <= f64::EPSILON * wanted.abs(),
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::extract::Request;
    use axum::routing::any;

    use super::*;

    async fn server() -> (String, tokio::task::JoinSet<()>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let say = |request: Request| async move {
            let from = request.headers().get("x-from").cloned();
            let from = from.map_or(String::new(), |from| from.to_str().unwrap().to_owned());
            format!("{} says\n{from} is \"up\"", request.method())
        };
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            "late"
        };
        let json = || async {
            axum::Json(
                serde_json::json!({"status": "up", "parts": [{"ok": true, "lag": 1.0}, {"ok": true, "lag": 1}]}),
            )
        };
        let moved = || async { axum::response::Redirect::to("/") };
        let routes = Router::new()
            .route("/", any(say))
            .route("/slow", any(slow))
            .route("/json", any(json))
            .route("/moved", any(moved));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (format!("http://{address}"), tasks)
    }

    fn http(url: String) -> Http {
        Http {
            method: "GET".to_owned(),
            url,
            headers: vec![("x-from".to_owned(), "shop".to_owned())],
            body: None,
            status: vec![200],
            matches: None,
            json: Vec::new(),
            within: None,
        }
    }

    #[tokio::test]
    async fn an_answer_is_looked_into_by_json_paths() {
        let (base, _tasks) = server().await;
        let check = |path: &str, is: Option<Value>| JsonCheck {
            path: path.to_owned(),
            query: jsonpath_rust::parser::parse_json_path(path).unwrap(),
            is,
        };
        let cases = [
            ("/json", "$.status", Some(Value::from("up")), None),
            ("/json", "$.parts[*].ok", Some(Value::from(true)), None),
            ("/json", "$.parts[*].lag", Some(Value::from(1)), None),
            ("/json", "$.parts[?@.ok == true]", None, None),
            (
                "/json",
                "$.status",
                Some(Value::from("down")),
                Some("answered 200, $.status is \"up\", wanted \"down\""),
            ),
            (
                "/json",
                "$.parts[?@.ok == false]",
                None,
                Some("answered 200, nothing at $.parts"),
            ),
            ("/", "$", None, Some("answered 200, wanted JSON (")),
        ];
        for (place, path, is, wanted) in cases {
            let http = Http {
                json: vec![check(path, is)],
                ..http(format!("{base}{place}"))
            };
            let found = ask(&http, Clock::machine()).await;
            match wanted {
                None => assert_eq!(found, Ok(()), "{path}"),
                Some(part) => {
                    let failure = found.unwrap_err();
                    assert!(failure.starts_with(part), "{path}: {failure}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once() {
        let (base, _tasks) = server().await;
        let url = reqwest::Url::parse(&base).unwrap();
        let (host, addresses) = looked_up(&url).await.unwrap();
        assert_eq!(host, "127.0.0.1");
        // Nobody answers for this name.
        let client = client("shop.invalid", &addresses).unwrap();
        let there = format!("http://shop.invalid:{}/", addresses[0].port());
        let answer = client.get(there).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    #[tokio::test]
    async fn an_answer_is_compared_with_what_is_wanted() {
        let (base, _tasks) = server().await;
        let pattern = |text: &str| Some(Pattern(regex::Regex::new(text).unwrap()));
        let cases = [
            (http(format!("{base}/")), None),
            (
                Http {
                    matches: pattern("POST says\\s+shop is \"up\""),
                    method: "POST".to_owned(),
                    ..http(format!("{base}/"))
                },
                None,
            ),
            (
                Http {
                    matches: pattern("down"),
                    ..http(format!("{base}/"))
                },
                Some("answered 200 without down: GET says shop is \"up\""),
            ),
            (
                http(format!("{base}/nowhere")),
                Some("answered 404, wanted 200"),
            ),
            (
                http(format!("{base}/moved")),
                Some("answered 303, wanted 200"),
            ),
            (
                Http {
                    within: Some(Duration::from_millis(5)),
                    ..http(format!("{base}/slow"))
                },
                Some("wanted within 5ms"),
            ),
            (
                http("http://169.254.169.254/latest".to_owned()),
                Some("link-local"),
            ),
            (http("http://[fe80::1]/".to_owned()), Some("link-local")),
            (http("nonsense".to_owned()), Some("nonsense: relative URL")),
        ];
        for (http, wanted) in cases {
            let found = ask(&http, Clock::machine()).await;
            match wanted {
                None => assert_eq!(found, Ok(()), "{}", http.url),
                Some(part) => {
                    let failure = found.unwrap_err();
                    assert!(failure.contains(part), "{}: {failure}", http.url);
                }
            }
        }
    }
}
