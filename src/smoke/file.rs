//! Files with smoke tests: a list of tests as YAML.
//!
//! Each mistake names file, test, field, what was found and what would be right; all of a file's
//! are told at once, save that of a test which is of the wrong shape only the first is.

use std::time::Duration;

use jsonpath_rust::parser::parse_json_path;
use regex::Regex;
use serde::Deserialize;

use crate::rollout::smoke::{
    FromCronJob, Http, JsonCheck, Pattern, Probe, Synced, SyncedKind, Test,
};
use crate::yaml;

/// Tries at most, of all tests.
const ATTEMPTS: u32 = 100;
/// The namespace of the Rollout that names a test.
const THEIRS: &str = "{{namespace}}";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    name: String,
    http: Option<WireHttp>,
    tcp: Option<WireTcp>,
    grpc: Option<WireGrpc>,
    job: Option<WireJob>,
    attempts: Option<u32>,
    successes: Option<u32>,
    timeout: Option<String>,
    backoff: Option<String>,
    after: Option<WireAfter>,
    namespaces: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireHttp {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: Option<String>,
    status: Option<Statuses>,
    matches: Option<String>,
    #[serde(default)]
    json: Vec<WireJson>,
    within: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireJson {
    path: String,
    /// `is: null` is a wish too.
    #[serde(default, deserialize_with = "some")]
    is: Option<serde_json::Value>,
}

fn some<'de, D: serde::Deserializer<'de>>(
    reader: D,
) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(reader).map(Some)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Statuses {
    One(u16),
    Some(Vec<u16>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTcp {
    address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireGrpc {
    address: String,
    #[serde(default)]
    service: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireJob {
    cron_job: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAfter {
    kind: String,
    namespace: String,
    name: String,
}

/// The tests of a file, or everything that is wrong with it.
pub fn read(file: &str, text: &str) -> Result<Vec<Test>, Vec<String>> {
    let documents = yaml::documents(text).map_err(|error| vec![format!("{file}: {error}")])?;
    let mut tests = Vec::new();
    let mut problems = Vec::new();
    for document in &documents {
        let json = document.to_json();
        let Some(items) = json.as_array() else {
            problems.push(format!(
                "{file}: found {}, wanted a list of tests",
                kind(&json)
            ));
            continue;
        };
        for (index, item) in items.iter().enumerate() {
            let name = item["name"].as_str().map(str::to_owned);
            let place = match name {
                Some(name) => format!("{file}: {name}"),
                None => format!("{file}: test {}", index + 1),
            };
            let mut reader = Reader {
                place,
                problems: &mut problems,
            };
            match serde_json::from_value::<Wire>(item.clone()) {
                Ok(wire) => tests.extend(reader.test(wire)),
                Err(error) => reader.problems.push(format!("{}: {error}", reader.place)),
            }
        }
    }
    if problems.is_empty() {
        Ok(tests)
    } else {
        Err(problems)
    }
}

fn kind(json: &serde_json::Value) -> &'static str {
    match json {
        serde_json::Value::Null => "nothing",
        serde_json::Value::Object(_) => "a mapping",
        _ => "a value",
    }
}

struct Reader<'a> {
    place: String,
    problems: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn wrong(&mut self, field: &str, found: &str, wanted: &str) {
        let place = &self.place;
        let problem = format!("{place}: {field}: found {found}, wanted {wanted}");
        self.problems.push(problem);
    }

    fn test(&mut self, wire: Wire) -> Option<Test> {
        if wire.name.trim().is_empty() {
            self.wrong("name", "nothing", "a name");
        }
        let attempts = wire.attempts.unwrap_or(3);
        if !(1..=ATTEMPTS).contains(&attempts) {
            self.wrong("attempts", &attempts.to_string(), "1 to 100");
        }
        let successes = wire.successes.unwrap_or(1);
        if !(1..=attempts.max(1)).contains(&successes) {
            let wanted = format!("1 to attempts, {attempts}");
            self.wrong("successes", &successes.to_string(), &wanted);
        }
        let usual = if wire.job.is_some() { 300 } else { 5 };
        let usual = Duration::from_secs(usual);
        let timeout = self.duration("timeout", wire.timeout.as_deref(), usual);
        let backoff = self.duration("backoff", wire.backoff.as_deref(), Duration::from_secs(1));
        let after = wire.after.and_then(|after| self.after(after));
        let namespaces = wire.namespaces;
        let probe = match (wire.http, wire.tcp, wire.grpc, wire.job) {
            (Some(http), None, None, None) => self.http(http),
            (None, Some(tcp), None, None) => Probe::Tcp {
                address: tcp.address,
            },
            (None, None, Some(grpc), None) => Probe::Grpc {
                address: grpc.address,
                service: grpc.service,
            },
            (None, None, None, Some(job)) => Probe::Job(FromCronJob {
                namespace: job.namespace.unwrap_or_else(|| THEIRS.to_owned()),
                name: job.cron_job,
            }),
            (http, tcp, grpc, job) => {
                let given = [http.is_some(), tcp.is_some(), grpc.is_some(), job.is_some()];
                let given = given.into_iter().filter(|given| *given).count();
                let found = format!("{given} of them");
                self.wrong("probe", &found, "exactly one of: http, tcp, grpc, job");
                return None;
            }
        };
        let namespaces = self.namespaces(&probe, namespaces);
        Some(Test {
            name: wire.name,
            probe,
            attempts,
            successes,
            timeout,
            backoff,
            after,
            namespaces,
        })
    }

    /// The namespaces whose Rollouts may name a test; none for all. Where whoever names it chooses who gets a
    /// credential, or what runs in a namespace that is not theirs, somebody must have said so.
    fn namespaces(&mut self, probe: &Probe, given: Option<Vec<String>>) -> Option<Vec<String>> {
        if let Some(given) = given {
            if given.is_empty() {
                self.wrong("namespaces", "none", r#"namespaces, or "*" for all"#);
            }
            return (!given.iter().any(|one| one == "*")).then_some(given);
        }
        let wanted = r#"the namespaces whose Rollouts may name it, or "*" for all"#;
        match probe {
            Probe::Http(http) if http.url.contains("{{") => {
                let mut names = http.headers.iter().map(|(name, _)| name);
                if let Some(name) = names.find(|name| is_credential(name)) {
                    let found = format!("none, and {name} is sent to where a Rollout says");
                    self.wrong("namespaces", &found, wanted);
                }
                None
            }
            Probe::Job(from) if from.namespace == THEIRS => None,
            Probe::Job(from) if from.namespace.contains("{{") => {
                let found = format!("none, and the Job runs in {}", from.namespace);
                self.wrong("namespaces", &found, wanted);
                None
            }
            Probe::Job(from) => Some(vec![from.namespace.clone()]),
            Probe::Http(_) | Probe::Tcp { .. } | Probe::Grpc { .. } => None,
        }
    }

    fn http(&mut self, http: WireHttp) -> Probe {
        if !http.url.starts_with("http://") && !http.url.starts_with("https://") {
            self.wrong(
                "http.url",
                &format!("{:?}", http.url),
                "an http or https URL",
            );
        }
        let method = http.method.unwrap_or_else(|| "GET".to_owned());
        if !method.bytes().all(|byte| byte.is_ascii_uppercase()) || method.is_empty() {
            self.wrong(
                "http.method",
                &format!("{method:?}"),
                "a method such as GET",
            );
        }
        let status = match http.status {
            None => vec![200],
            Some(Statuses::One(status)) => vec![status],
            Some(Statuses::Some(all)) => all,
        };
        if status.is_empty() || status.iter().any(|status| !(100..600).contains(status)) {
            self.wrong(
                "http.status",
                &format!("{status:?}"),
                "statuses, 100 to 599",
            );
        }
        let matches = http.matches.and_then(|text| {
            let pattern = Regex::new(&text);
            pattern
                .map_err(|error| {
                    let found = format!("{text:?} ({error})");
                    self.wrong("http.matches", &found, "a regular expression");
                })
                .ok()
                .map(Pattern)
        });
        let json = http.json.into_iter();
        let json = json.filter_map(|check| self.json(check)).collect();
        let within = http.within.as_deref();
        let within = within.map(|text| self.duration("http.within", Some(text), Duration::ZERO));
        Probe::Http(Http {
            method,
            url: http.url,
            headers: http.headers.into_iter().collect(),
            body: http.body,
            status,
            matches,
            json,
            within,
        })
    }

    fn after(&mut self, after: WireAfter) -> Option<Synced> {
        let kind = match after.kind.as_str() {
            "Kustomization" => SyncedKind::Kustomization,
            "HelmRelease" => SyncedKind::HelmRelease,
            other => {
                let wanted = "Kustomization or HelmRelease";
                self.wrong("after.kind", &format!("{other:?}"), wanted);
                return None;
            }
        };
        Some(Synced {
            kind,
            namespace: after.namespace,
            name: after.name,
        })
    }

    fn json(&mut self, check: WireJson) -> Option<JsonCheck> {
        let query = parse_json_path(&check.path).map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim();
            let found = format!("{:?} ({why})", check.path);
            self.wrong("http.json.path", &found, "a JSONPath such as $.status");
        });
        Some(JsonCheck {
            query: query.ok()?,
            path: check.path,
            is: check.is,
        })
    }

    fn duration(&mut self, field: &str, text: Option<&str>, usual: Duration) -> Duration {
        let Some(text) = text else {
            return usual;
        };
        let read = humantime::parse_duration(text).ok();
        let read = read.filter(|read| *read > Duration::ZERO && *read <= Duration::from_secs(600));
        read.unwrap_or_else(|| {
            let wanted = "a duration such as 5s, above 0 and at most 10m";
            self.wrong(field, &format!("{text:?}"), wanted);
            usual
        })
    }
}

/// Whether servers take a header of this name for a credential.
fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["auth", "cookie", "token", "secret", "password", "key"];
    words.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_name_a_test_is_said_where_it_matters() {
        let http =
            |url: &str, header: &str| format!("http: {{url: '{url}', headers: {{{header}: x}}}}");
        let (own, fixed) = ("http://{{service}}.{{namespace}}/", "https://shop.example/");
        let job = |namespace: &str| format!("job: {{cronJob: probe, namespace: '{namespace}'}}");
        let here: Result<_, &str> = Ok(Some(vec!["shop".to_owned()]));
        let cases = [
            (http(own, "x-probe"), Ok(None)),
            (http(fixed, "Authorization"), Ok(None)),
            (
                http(own, "Authorization"),
                Err("found none, and Authorization is sent to"),
            ),
            (
                http(own, "x-api-key"),
                Err("found none, and x-api-key is sent to"),
            ),
            (http(own, "Cookie") + "\n  namespaces: [shop]", here.clone()),
            (http(own, "Cookie") + "\n  namespaces: ['*']", Ok(None)),
            (
                http(own, "x-probe") + "\n  namespaces: []",
                Err("found none, wanted namespaces"),
            ),
            (job("{{namespace}}"), Ok(None)),
            (job("shop"), here),
            (
                job("{{rollout}}-probes"),
                Err("the Job runs in {{rollout}}-probes"),
            ),
        ];
        for (probe, wanted) in cases {
            let read = read("smoke/a.yaml", &format!("- name: a\n  {probe}\n"));
            match (read, wanted) {
                (Ok(tests), Ok(wanted)) => assert_eq!(tests[0].namespaces, wanted, "{probe}"),
                (Err(told), Err(wanted)) => assert!(told[0].contains(wanted), "{told:?}"),
                (found, _) => panic!("{probe}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_file_gives_its_tests_with_what_is_usual() {
        let text = r#"
- name: health
  http: {url: "http://{{service}}.{{namespace}}:{{port}}/healthz"}
- name: shop
  after: {kind: Kustomization, namespace: flux-system, name: shop}
  http:
    url: https://shop.example.com/
    method: HEAD
    headers: {x-probe: sluice}
    status: [200, 204]
    matches: "up"
    json: [{path: "$.status", is: up}, {path: "$.error", is: null}, {path: "$.items[0]"}]
    within: 800ms
  attempts: 5
  successes: 3
  timeout: 2s
  backoff: 500ms
- {name: db, tcp: {address: "db:5432"}}
- {name: cart, grpc: {address: "cart:9000", service: shop.Cart}}
- {name: orders, job: {cronJob: probe-orders}}
"#;
        let tests = read("smoke/shop.yaml", text).unwrap();
        let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["health", "shop", "db", "cart", "orders"]);
        let orders = tests.last().unwrap();
        assert_eq!(orders.timeout, Duration::from_secs(300));
        assert_eq!(
            orders.probe.to_string(),
            "Job of CronJob {{namespace}}/probe-orders"
        );
        let seconds = Duration::from_secs;
        let health = &tests[0];
        assert_eq!((health.attempts, health.successes), (3, 1));
        assert_eq!((health.timeout, health.backoff), (seconds(5), seconds(1)));
        let shop = &tests[1];
        let after = shop.after.as_ref().map(ToString::to_string);
        assert_eq!(after.as_deref(), Some("Kustomization flux-system/shop"));
        let Probe::Http(http) = &shop.probe else {
            panic!("{:?}", shop.probe);
        };
        assert_eq!(http.status, [200, 204]);
        assert_eq!(http.within, Some(Duration::from_millis(800)));
        let wanted = http.json.iter().map(|check| check.is.clone());
        let wanted: Vec<Option<serde_json::Value>> = wanted.collect();
        let null = serde_json::Value::Null;
        assert_eq!(wanted, [Some("up".into()), Some(null), None]);
    }

    #[test]
    fn all_mistakes_are_told_with_their_test() {
        let text = r"
- name: a
  http: {url: 'ftp://x', method: get, status: 42, matches: '(', within: 0s, json: [{path: '$.['}]}
  attempts: 2
  successes: 3
- name: b
  after: {kind: GitRepository, namespace: a, name: b}
  tcp: {address: a}
  grpc: {address: b}
- name: c
  ping: {}
- {tcp: {address: a}}
";
        let found = read("f.yaml", text).unwrap_err();
        let wanted = [
            "f.yaml: a: successes: found 3, wanted 1 to attempts, 2",
            "f.yaml: a: http.url: found \"ftp://x\", wanted an http or https URL",
            "f.yaml: a: http.method: found \"get\", wanted a method such as GET",
            "f.yaml: a: http.status: found [42], wanted statuses, 100 to 599",
            "f.yaml: a: http.matches: found \"(\"",
            "f.yaml: a: http.json.path: found \"$.[\"",
            "f.yaml: a: http.within: found \"0s\", wanted a duration",
            "f.yaml: b: after.kind: found \"GitRepository\", wanted Kustomization or HelmRelease",
            "f.yaml: b: probe: found 2 of them, wanted exactly one of: http, tcp, grpc, job",
            "f.yaml: c: unknown field `ping`",
            "f.yaml: test 4: missing field `name`",
        ];
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.starts_with(wanted), "{found}\nwanted {wanted}");
        }
        assert!(read("f.yaml", "a: b").unwrap_err()[0].contains("a mapping, wanted a list"));
        assert!(read("f.yaml", "- [").is_err());
    }
}
