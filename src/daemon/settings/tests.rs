//! Settings that are read in full, by defaults, by variables; and all that can be wrong with them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::git::forge::{Account, Kind, Token};
use crate::history::Place;
use crate::people::oidc::Oidc;
use crate::people::proxy::Proxy;
use crate::people::sender::Kind as To;
use crate::people::slack::Slack;
use crate::people::teams::Teams;
use crate::people::webhook::Webhook;
use crate::rollout::freeze::Until;
use axum::http::HeaderName;
use jiff::tz::TimeZone;

type Variables = &'static [(&'static str, &'static str)];

const LEAST: &str = "evidence: {prometheus: {url: 'http://prometheus:9090'}}\n";

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let variables: Vec<(String, String)> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    match Settings::parse(text, Path::new("etc/sluice.yaml"), &variables) {
        Ok(settings) => Ok(settings),
        Err(Error::Invalid(problems)) => Err(problems.iter().map(ToString::to_string).collect()),
        Err(Error::Read { .. }) => unreachable!("nothing is read"),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_least_settings_have_the_documented_defaults() {
    let wanted = Settings {
        environment: "default".to_owned(),
        cluster: Cluster::default(),
        gate: Gate::Auto,
        webhook: None,
        account: None,
        election: Election::default(),
        git: Git::default(),
        alerts: None,
        access: Access::default(),
        history: History::default(),
        evidence: Evidence {
            every: seconds(2),
            source: Source::Prometheus {
                url: "http://prometheus:9090".to_owned(),
                token_file: None,
                matching: Vec::new(),
            },
            block: seconds(2),
            settle: seconds(3),
        },
        flux_secret_file: None,
        notify: Vec::new(),
        slack: None,
        approvals: Approvals::default(),
        freeze: Vec::new(),
        pipeline: None,
        page_url: None,
        rules: Vec::new(),
        smoke: Vec::new(),
        listen: "127.0.0.1:8095".parse().unwrap(),
        traces: None,
        log: Log {
            format: LogFormat::Text,
            level: "info".to_owned(),
        },
    };
    assert_eq!(parse(LEAST, &[]), Ok(wanted));
}

/// Every key of `notify`, as below.
fn notify_in_full() -> Vec<Destination> {
    let to = |name: &str, kind| Destination {
        name: name.to_owned(),
        kind,
    };
    let slack = Slack {
        channel: "C1".to_owned(),
        token_file: "etc/bot".into(),
        api: "http://slack/api".to_owned(),
        buttons: true,
    };
    let webhook = Webhook {
        url: "https://b/c".to_owned(),
        secret_file: "etc/key".into(),
    };
    let teams = Teams {
        url_file: "etc/url".into(),
    };
    vec![
        to("a", To::Slack(slack)),
        to("b", To::Webhook(webhook)),
        to("c", To::Teams(teams)),
    ]
}

/// Every key of `slack`, as below.
fn slack_in_full() -> SlackApp {
    let person = |user: &str, groups: &[&str]| slack::Person {
        user: user.to_owned(),
        groups: groups.iter().map(ToString::to_string).collect(),
    };
    let users = [
        ("U1".to_owned(), person("alice", &["dev", "ops"])),
        ("U2".to_owned(), person("bob", &["dev"])),
    ];
    SlackApp {
        signing_secret_file: Some("etc/signing".into()),
        app_token_file: Some("etc/app-token".into()),
        api: "http://slack/api".to_owned(),
        users: users.into(),
    }
}

/// Every key of `access`, as below.
fn access_in_full() -> Access {
    Access {
        token_review: true,
        token_file: Some("etc/token".into()),
        session_key_file: Some("etc/session-key".into()),
        proxy: Some(Proxy {
            from: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            user_header: HeaderName::from_static("x-user"),
            groups_header: Some(HeaderName::from_static("x-groups")),
        }),
        oidc: Some(Oidc {
            issuer: "https://id/a/".to_owned(),
            client_id: "b".to_owned(),
            client_secret_file: Some("etc/c".into()),
            ca_file: Some("etc/d".into()),
            scopes: vec!["e".to_owned()],
            user_claim: "f".to_owned(),
            user_prefix: "g:".to_owned(),
            groups_claim: "h".to_owned(),
            groups_prefix: "i:".to_owned(),
            session: seconds(300),
        }),
    }
}

#[test]
fn mistakes_in_access_are_said() {
    let text = format!(
        "{LEAST}access:\n  proxy: {{from: [10.0.0.0/33], userHeader: 'a b'}}\n  oidc: {{issuer: 'http://id.example', clientID: x}}\n"
    );
    let problems = parse(&text, &[]).unwrap_err().join("\n");
    for wanted in [
        "access.proxy.from: found \"10.0.0.0/33\"",
        "access.proxy.userHeader: found \"a b\"",
        "access.oidc.clientID: found an unknown key",
        "access.oidc.clientId: found nothing",
        "access.oidc.issuer: found \"http://id.example\", wanted an https URL",
        "pageUrl: found nothing",
    ] {
        assert!(problems.contains(wanted), "{wanted}\nin\n{problems}");
    }
}

/// Every key of `freeze`, as below.
fn freeze_in_full() -> Vec<Window> {
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let window = |name: &str, from: &str, until, zone| Window {
        name: name.to_owned(),
        from: from.parse().unwrap(),
        until,
        zone,
    };
    let monday = Until::At("Mon 08:00".parse().unwrap());
    vec![
        window("weekend", "Fri 16:00", monday, berlin),
        window(
            "nights",
            "22:00",
            Until::After(seconds(9 * 3600)),
            TimeZone::UTC,
        ),
    ]
}

#[test]
fn mistakes_in_a_freeze_are_said() {
    let text = format!(
        "{LEAST}freeze:\n- {{name: a, from: 'Fry 16:00', to: '08:00'}}\n- {{name: b, from: '22:00'}}\n- {{name: c, from: '22:00', to: '2026-01-01'}}\n- {{from: '22:00', for: 90d, zone: Nowhere/Land}}\n"
    );
    let problems = parse(&text, &[]).unwrap_err().join("\n");
    for wanted in [
        "freeze[0].from: found \"Fry 16:00\"",
        "freeze[1]: found neither, wanted exactly one of: to, for",
        "freeze[2].to: found one that does not fit",
        "freeze[3].name: found nothing",
        "freeze[3].for: found \"90d\"",
        "freeze[3].zone: found \"Nowhere/Land\"",
    ] {
        assert!(problems.contains(wanted), "{wanted}\nin\n{problems}");
    }
}

#[test]
fn mistakes_in_a_list_of_destinations_are_placed() {
    let text = format!(
        "{LEAST}notify:\n- {{name: a, slack: {{channel: x}}, teams: {{urlFile: y}}}}\n- {{name: a}}\n- {{name: b, slack: {{chanel: x, tokenFile: t}}}}\n- c\n"
    );
    let problems = parse(&text, &[]).unwrap_err().join("\n");
    for wanted in [
        "notify[0]: found slack and teams, wanted exactly one of: slack, webhook, teams",
        "notify[1].name: found \"a\" a second time",
        "notify[1]: found neither",
        "notify[2].slack.chanel: found an unknown key, wanted one of: channel, tokenFile, api",
        "notify[2].slack.channel: found nothing",
        "notify[3]: found \"c\", wanted a mapping",
    ] {
        assert!(problems.contains(wanted), "{wanted}\nin\n{problems}");
    }
}

/// Every key of `git`, as below.
fn git_in_full() -> Git {
    Git {
        folder: "etc/copies".into(),
        name: "Bot".to_owned(),
        email: "bot@a".to_owned(),
        signing_key_file: Some("etc/key".into()),
        timeout: Duration::from_secs(30),
        max_download: 64,
        forge: Some(Account {
            kind: Some(Kind::Gitea),
            api: Some("https://git.example/api/v1".to_owned()),
            host: Some("code.example".to_owned()),
            token: Token::File("etc/token".into()),
        }),
        local: true,
        image_automation: ImageAutomation::Suspend,
        authors: BTreeMap::from([("ada@old.example".to_owned(), "ada".to_owned())]),
    }
}

const FULL: &str = "
environment: production
cluster: {kubeconfig: kube.yaml, context: prod, namespaces: [shop, pay]}
gate: webhook
webhook: {listen: '127.0.0.1:9443', name: gate, namespace: b, url: 'https://gate.example/'}
account: system:serviceaccount:a:b
leaderElection:
  enabled: true
  name: a
  namespace: b
  identity: c
  leaseDuration: 9s
  renewDeadline: 6s
  retryPeriod: 500ms
git:
  folder: copies
  name: Bot
  email: bot@a
  signingKeyFile: key
  timeout: 30s
  maxDownload: 64
  imageAutomation: suspend
  authors: [{email: Ada@Old.example, user: ada}]
  local: true
  forge: {kind: gitea, api: 'https://git.example/api/v1/', host: code.example, tokenFile: token}
alerts: {tokenFile: alerts-token, matchers: ['severity=critical']}
evidence:
  every: 5s
  block: 10s
  settle: 0s
  scrape: {selector: 'a=b', namespace: ingress-nginx, port: 1234}
access:
  tokenReview: true
  tokenFile: token
  sessionKeyFile: session-key
  proxy: {from: [10.0.0.0/8, '::1'], userHeader: X-User, groupsHeader: X-Groups}
  oidc: {issuer: 'https://id/a/', clientId: b, clientSecretFile: c, caFile: d, scopes: [e], userClaim: f, userPrefix: 'g:', groupsClaim: h, groupsPrefix: 'i:', session: 5m}
history: sqlite:runs.db
historyKeep: 30d
flux: {secretFile: flux-key}
notify:
- {name: a, slack: {channel: C1, tokenFile: bot, api: 'http://slack/api/'}}
- {name: b, webhook: {url: 'https://b/c', secretFile: key}}
- {name: c, teams: {urlFile: url}}
freeze:
- {name: weekend, from: 'Fri 16:00', to: 'Mon 08:00', zone: 'CET-1CEST,M3.5.0,M10.5.0/3'}
- {name: nights, from: '22:00', for: 9h}
slack:
  signingSecretFile: signing
  appTokenFile: app-token
  api: http://slack/api
  users:
  - {id: U1, user: alice, groups: [dev, ops]}
  - {id: U2, user: bob, groups: [dev]}
approvals: {required: 2, from: [sre], expires: 4h, notAuthor: true, everyRun: true}
pageUrl: https://page/
rules: [rules, /etc/rules]
smoke: [smoke]
pipeline: environments.yaml
listen: '[::1]:80'
telemetry: {otlp: {endpoint: 'http://collector:4318/', headersFile: h}}
log: {format: json, level: 'info,sluice=debug'}
";

#[test]
fn every_key_can_be_set_in_the_file() {
    let text = FULL;
    let wanted = Settings {
        environment: "production".to_owned(),
        cluster: Cluster {
            kubeconfig: Some("etc/kube.yaml".into()),
            context: Some("prod".to_owned()),
            namespaces: vec!["shop".to_owned(), "pay".to_owned()],
        },
        gate: Gate::Webhook,
        webhook: Some(super::Webhook {
            listen: "127.0.0.1:9443".parse().unwrap(),
            name: "gate".to_owned(),
            namespace: Some("b".to_owned()),
            url: Some("https://gate.example".to_owned()),
        }),
        account: Some("system:serviceaccount:a:b".to_owned()),
        election: Election {
            enabled: true,
            name: "a".to_owned(),
            namespace: Some("b".to_owned()),
            identity: Some("c".to_owned()),
            lease: seconds(9),
            renew: seconds(6),
            retry: Duration::from_millis(500),
        },
        git: git_in_full(),
        alerts: Some(Alerts {
            token_file: "etc/alerts-token".into(),
            matchers: Some(vec!["severity=critical".parse().unwrap()]),
        }),
        access: access_in_full(),
        history: History {
            place: Place::Sqlite("etc/runs.db".into()),
            keep: seconds(30 * 86_400),
        },
        evidence: Evidence {
            every: seconds(5),
            source: Source::Scrape(Scrape::Pods {
                selector: "a=b".to_owned(),
                namespace: "ingress-nginx".to_owned(),
                port: 1234,
            }),
            block: seconds(10),
            settle: seconds(0),
        },
        flux_secret_file: Some("etc/flux-key".into()),
        slack: Some(slack_in_full()),
        notify: notify_in_full(),
        approvals: Approvals {
            approvals: crate::rollout::approval::Approvals {
                required: 2,
                from: vec![vec!["sre".to_owned()]],
                expires: Some(seconds(14_400)),
                not_author: true,
            },
            every_run: true,
        },
        freeze: freeze_in_full(),
        pipeline: Some("etc/environments.yaml".into()),
        page_url: Some("https://page".to_owned()),
        rules: vec!["etc/rules".into(), "/etc/rules".into()],
        smoke: vec!["etc/smoke".into()],
        listen: "[::1]:80".parse().unwrap(),
        traces: Some(Collector {
            endpoint: "http://collector:4318".to_owned(),
            headers_file: Some("etc/h".into()),
        }),
        log: Log {
            format: LogFormat::Json,
            level: "info,sluice=debug".to_owned(),
        },
    };
    assert_eq!(parse(text, &[]), Ok(wanted));
}

#[test]
fn variables_override_the_file() {
    let variables = [
        ("SLUICE_EVIDENCE__EVERY", "7s"),
        ("SLUICE_EVIDENCE__PROMETHEUS__TOKENFILE", "/run/token"),
        ("SLUICE_CLUSTER__NAMESPACES", "a, b"),
        ("SLUICE_ENVIRONMENT", "5"),
        ("PATH", "/bin"),
        ("SLUICE_CONFIG", "sluice.yaml"),
        ("SLUICE_SERVICE_HOST", "10.0.0.1"),
        ("SLUICE_PORT_8095_TCP_ADDR", "10.0.0.1"),
        ("SLUICE_PAGE_SERVICE_PORT_HTTP", "80"),
    ];
    let settings = parse(LEAST, &variables).unwrap();
    assert_eq!(settings.evidence.every, seconds(7));
    assert_eq!(settings.evidence.block, seconds(7));
    assert_eq!(settings.cluster.namespaces, ["a", "b"]);
    assert_eq!(settings.environment, "5");
    let wanted = Source::Prometheus {
        url: "http://prometheus:9090".to_owned(),
        token_file: Some("/run/token".into()),
        matching: Vec::new(),
    };
    assert_eq!(settings.evidence.source, wanted);
}

#[test]
fn settings_with_three_mistakes_report_all_three() {
    let text = "gate: always\nevidence:\n  every: soon\n  prometheus: {url: 'ftp://x'}\n";
    let wanted = [
        "etc/sluice.yaml:1:1: gate: found \"always\", wanted auto, policy, webhook or paused",
        "etc/sluice.yaml:3:3: evidence.every: found \"soon\", wanted a duration such as 30s or 5m, at most 1h",
        "etc/sluice.yaml:4:16: evidence.prometheus.url: found \"ftp://x\", wanted an http or https URL",
    ];
    assert_eq!(parse(text, &[]).unwrap_err(), wanted);
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn each_mistake_says_where_it_is_and_what_is_wanted() {
    let cases: &[(&str, Variables, &str)] = &[
        (
            "",
            &[],
            "etc/sluice.yaml: evidence: found neither, wanted exactly one of: prometheus, scrape",
        ),
        (
            &format!("{LEAST}gate: paused\nwebhook: {{name: a}}\n"),
            &[],
            "etc/sluice.yaml:3:1: webhook: found a webhook that holds nothing, wanted gate: webhook, or gate: auto",
        ),
        (
            &format!("{LEAST}gate: webhook\nwebhook: {{url: 'http://a'}}\n"),
            &[],
            "etc/sluice.yaml:3:11: webhook.url: found \"http://a\", wanted an https URL",
        ),
        (
            "- a\n",
            &[],
            "etc/sluice.yaml:1:1: settings: found a list, wanted a mapping",
        ),
        (
            "evidence: {prometheus: {url: 'http://a'}, scrape: {targets: ['http://b']}}",
            &[],
            "etc/sluice.yaml:1:1: evidence: found prometheus and scrape, wanted exactly one of: prometheus, scrape",
        ),
        (
            &format!("{LEAST}gates: auto\n"),
            &[],
            "etc/sluice.yaml:2:1: gates: found an unknown key, wanted one of: environment, cluster, gate, webhook, account, leaderElection, evidence, git, alerts, access, history, historyKeep, historyPasswordFile, historyCaFile, flux, notify, slack, approvals, freeze, pipeline, pageUrl, rules, smoke, listen, telemetry, log",
        ),
        (
            "evidence: {every: 2m, prometheus: {url: 'http://a'}}",
            &[],
            "etc/sluice.yaml:1:12: evidence.every: found 2m, wanted at most 1m",
        ),
        (
            "evidence: {prometheus: {url: 'http://a', token: x}}",
            &[],
            "etc/sluice.yaml:1:42: evidence.prometheus.token: found an unknown key, wanted one of: url, tokenFile, match",
        ),
        (
            "evidence: {prometheus: {url: 'http://me:secret@a'}}",
            &[],
            "etc/sluice.yaml:1:25: evidence.prometheus.url: found a URL with a password, wanted a URL without one, and tokenFile",
        ),
        (
            "evidence: {prometheus: {}}",
            &[],
            "etc/sluice.yaml:1:12: evidence.prometheus.url: found nothing, wanted the base URL of a Prometheus server",
        ),
        (
            "evidence: {scrape: {targets: []}}",
            &[],
            "etc/sluice.yaml:1:21: evidence.scrape.targets: found no URL, wanted at least one URL",
        ),
        (
            "evidence: {scrape: {targets: ['http://b'], port: 1}}",
            &[],
            "etc/sluice.yaml:1:12: evidence.scrape: found targets and port, wanted either targets, or selector, namespace and port",
        ),
        (
            "evidence: {scrape: {selector: a, namespace: b, port: 70000}}",
            &[],
            "etc/sluice.yaml:1:48: evidence.scrape.port: found 70000, wanted a port, 1 to 65535",
        ),
        (
            "evidence: {every: 3s, block: 2s, prometheus: {url: 'http://a'}}",
            &[],
            "etc/sluice.yaml:1:23: evidence.block: found 2s, wanted at least evidence.every",
        ),
        (
            &format!("{LEAST}history: sqlite\n"),
            &[],
            "etc/sluice.yaml:2:1: history: found \"sqlite\", wanted memory, off, sqlite: and a file's path, or a postgres:// URL",
        ),
        (
            &format!("{LEAST}history: 'postgres://me:secret@db/sluice'\n"),
            &[],
            "etc/sluice.yaml:2:1: history: found a URL with a password, wanted a URL without one, and historyPasswordFile",
        ),
        (
            &format!("{LEAST}historyKeep: long\n"),
            &[],
            "etc/sluice.yaml:2:1: historyKeep: found \"long\", wanted a duration such as 90d",
        ),
        (
            &format!("{LEAST}rules: rules\n"),
            &[],
            "etc/sluice.yaml:2:1: rules: found \"rules\", wanted a list of texts",
        ),
        (
            &format!("{LEAST}environment: 5\n"),
            &[],
            "etc/sluice.yaml:2:1: environment: found 5, wanted text",
        ),
        (
            &format!("{LEAST}log: {{level: loud}}\n"),
            &[],
            "etc/sluice.yaml:2:7: log.level: found \"loud\", wanted error, warn, info, debug, trace, or directives such as info,sluice=debug",
        ),
        (
            &format!("{LEAST}log: {{level: loud=loud=loud}}\n"),
            &[],
            "etc/sluice.yaml:2:7: log.level: found \"loud=loud=loud\", wanted error, warn, info, debug, trace, or directives such as info,sluice=debug",
        ),
        (
            LEAST,
            &[("SLUICE_LISTEN", "here")],
            "SLUICE_LISTEN: listen: found \"here\", wanted an IP address and port such as 127.0.0.1:8095",
        ),
        (
            LEAST,
            &[("SLUICE_EVIDENCE__EVRY", "2s")],
            "SLUICE_EVIDENCE__EVRY: evidence.evry: found an unknown variable, wanted a key of the settings with __ between its parts",
        ),
    ];
    for (text, variables, wanted) in cases {
        assert_eq!(parse(text, variables).unwrap_err(), [*wanted], "{text}");
    }
}

#[test]
fn alerts_need_a_token_and_matchers_that_can_be_read() {
    let text = format!("{LEAST}alerts: {{matchers: [severity]}}\n");
    let wanted = [
        "etc/sluice.yaml:2:1: alerts.tokenFile: found nothing, wanted a file with the bearer token that Alertmanager sends",
        "etc/sluice.yaml:2:10: alerts.matchers: found \"severity\" (no =, !=, =~ or !~), wanted matchers, e.g. severity=\"critical\"",
    ];
    assert_eq!(parse(&text, &[]).unwrap_err(), wanted);
}

#[test]
fn labels_to_match_are_given_with_their_values() {
    let text = |label| format!("evidence: {{prometheus: {{url: 'http://a', match: ['{label}']}}}}");
    let settings = parse(&text("cluster=production"), &[]).unwrap();
    let Source::Prometheus { matching, .. } = settings.evidence.source else {
        panic!("no Prometheus");
    };
    assert_eq!(matching, [("cluster".to_owned(), "production".to_owned())]);
    for label in ["cluster", "a b=c", "a="] {
        let problems = parse(&text(label), &[]).unwrap_err();
        let want = format!(
            "etc/sluice.yaml:1:42: evidence.prometheus.match: found {label:?}, wanted label=value, such as cluster=production"
        );
        assert_eq!(problems, [want]);
    }
}

#[test]
fn an_election_whose_times_do_not_fit_is_refused() {
    let cases = [
        (
            "enabled: maybe",
            "enabled: found \"maybe\", wanted true or false",
        ),
        (
            "leaseDuration: 1500ms, renewDeadline: 1s, retryPeriod: 200ms",
            "leaseDuration: found 1s 500ms, wanted whole seconds",
        ),
        (
            "renewDeadline: 13s",
            "renewDeadline: found 13s, wanted at most leaseDuration / 1.2",
        ),
        (
            "retryPeriod: 6s",
            "retryPeriod: found 6s, wanted at most half of renewDeadline",
        ),
    ];
    for (given, wanted) in cases {
        let text = format!("{LEAST}leaderElection: {{{given}}}\n");
        let wanted = format!("etc/sluice.yaml:2:18: leaderElection.{wanted}");
        assert_eq!(parse(&text, &[]).unwrap_err(), [wanted], "{text}");
    }
}

#[test]
fn text_that_is_not_yaml_is_one_problem_with_its_line() {
    let problems = parse("a: 1\nb: [1, 2\nc: 3\n", &[]).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("etc/sluice.yaml:3:"),
        "{problems:?}"
    );
}

#[test]
fn every_key_is_in_the_reference() {
    let reference = include_str!("../../../docs/reference/settings.md");
    for (key, _) in KEYS {
        assert!(reference.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn a_missing_file_names_itself() {
    let error = Settings::load(Path::new("/nowhere/sluice.yaml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the settings /nowhere/sluice.yaml"
    );
}
