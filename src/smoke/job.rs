//! A Kubernetes Job as a smoke test: made from the template of a `CronJob`, as `kubectl create job --from` does.
//!
//! What runs is said by whoever may write `CronJobs` in that namespace, not by the daemon's files; a
//! `CronJob` that is suspended is a template and nothing else. The Job belongs to its `CronJob`, runs once
//! for each try, and goes an hour after its end, or at once when it takes too long. Of one that
//! fails the end of a pod's log is quoted, with what looks like a secret masked.
//!
//! Not here: how often it is tried (`rollout::smoke`).

use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::{EnvVar, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ListParams, LogParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};

use super::{Failure, excerpt};
use crate::causes;
use crate::clock::Clock;
use crate::rollout::smoke::{Attempt, FromCronJob, Words};

/// Time between two looks at a Job.
const EVERY: Duration = Duration::from_secs(1);
/// For one request.
const DEADLINE: Duration = Duration::from_secs(10);
/// For which a Job that ended is kept, in seconds.
const KEPT: i32 = 3600;
/// What is read of a log's end, in lines,
const LINES: i64 = 20;
/// and in bytes.
const BYTES: i64 = 4096;
/// The field manager of what is made.
const MANAGER: &str = "sluice-smoke";

/// Makes one Job and waits for its end.
pub struct Jobs<'a> {
    client: &'a Client,
    clock: Clock,
    words: &'a Words,
}

impl<'a> Jobs<'a> {
    /// By this client; the words become variables of the Job's containers.
    pub fn new(client: &'a Client, clock: Clock, words: &'a Words) -> Self {
        Self {
            client,
            clock,
            words,
        }
    }

    /// The template; the error says why there is none.
    pub async fn template(&self, from: &FromCronJob) -> Result<CronJob, String> {
        let api: Api<CronJob> = self.api(&from.namespace);
        let what = format!("reading CronJob {}/{}", from.namespace, from.name);
        self.within(&what, api.get(&from.name)).await
    }

    /// One try, ended after `timeout`; the error says why nothing is known of it.
    pub async fn attempt(&self, template: &CronJob, timeout: Duration) -> Result<Attempt, String> {
        let began = self.clock.ticks();
        let result = self.run(template, timeout).await?;
        Ok(Attempt {
            took: self.clock.ticks().saturating_sub(began),
            failure: result.err(),
        })
    }

    /// Runs it to its end. The outer error is the cluster's, which did not make the Job or did not say how it
    /// ended; the inner one is the Job's.
    async fn run(
        &self,
        template: &CronJob,
        timeout: Duration,
    ) -> Result<Result<(), Failure>, String> {
        let namespace = template.namespace().unwrap_or_default();
        let api: Api<Job> = self.api(&namespace);
        let job = job(template, self.words, timeout);
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made = self.within("making the Job", api.create(&params, &job));
        let prefix = job.metadata.generate_name.as_deref().unwrap_or_default();
        // What is told again must be told in the same words, and each Job has another name.
        let of_any = |why: String| unnamed(&why, prefix);
        let name = made.await.map_err(of_any)?.name_any();
        let began = self.clock.ticks();
        let mut unseen = None;
        while self.clock.ticks().saturating_sub(began) < timeout {
            self.clock.sleep(EVERY).await;
            match self.within("reading the Job", api.get(&name)).await {
                // One look that fails is not the Job's fault.
                Err(why) => unseen = Some(why),
                Ok(job) => {
                    unseen = None;
                    if let Some(ended) = end(&job) {
                        return Ok(self.told(&namespace, &name, ended).await);
                    }
                }
            }
        }
        let log = self.log(&namespace, &name).await;
        let gone = DeleteParams::background();
        // It ends by its own deadline as well.
        let _ = self
            .within("removing the Job", api.delete(&name, &gone))
            .await;
        if let Some(why) = unseen {
            let cron_job = template.name_any();
            return Err(of_any(format!(
                "how a Job of {cron_job} ended is not known: {why}"
            )));
        }
        let timeout = humantime::format_duration(timeout);
        Ok(Err(format!("Job {name} did not end within {timeout}{log}")))
    }

    /// How a Job ended, with its log where it failed.
    async fn told(
        &self,
        namespace: &str,
        name: &str,
        ended: Result<(), String>,
    ) -> Result<(), Failure> {
        let Err(why) = ended else {
            return Ok(());
        };
        let log = self.log(namespace, name).await;
        Err(format!("Job {name} failed: {why}{log}"))
    }

    /// The end of a pod's log, to be put behind a sentence; the last pod's where there are several.
    async fn log(&self, namespace: &str, job: &str) -> String {
        let api: Api<Pod> = self.api(namespace);
        let all = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        let pods = match self.within("finding its pods", api.list(&all)).await {
            Ok(pods) => pods.items,
            Err(why) => return format!(" (no log: {why})"),
        };
        let newest = pods
            .iter()
            .max_by_key(|pod| pod.creation_timestamp().map(|at| at.0));
        let Some(pod) = newest.map(ResourceExt::name_any) else {
            return " (no log: it had no pod)".to_owned();
        };
        let params = LogParams {
            tail_lines: Some(LINES),
            limit_bytes: Some(BYTES),
            ..LogParams::default()
        };
        match self
            .within("reading the log", api.logs(&pod, &params))
            .await
        {
            Ok(log) => format!("; pod {pod} said: {}", quoted(&log)),
            Err(why) => format!(" (no log: {why})"),
        }
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn within<T>(
        &self,
        doing: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, String> {
        match self.clock.timeout(DEADLINE, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("{doing}: {}", causes::told(&error))),
            Err(_) => Err(format!("{doing}: no answer within 10 s")),
        }
    }
}

/// A text without what the API server put behind this prefix of names.
fn unnamed(text: &str, prefix: &str) -> String {
    if prefix.is_empty() {
        return text.to_owned();
    }
    let mut parts = text.split(prefix);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |told, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        told + prefix + "…" + rest
    })
}

/// The Job of a template: one try, ended by its own deadline, cleared away by Kubernetes.
fn job(template: &CronJob, words: &Words, timeout: Duration) -> Job {
    let from = template.spec.job_template.clone();
    let meta = from.metadata.unwrap_or_default();
    let mut spec = from.spec.unwrap_or_default();
    limit(&mut spec, timeout);
    if let Some(pod) = &mut spec.template.spec {
        tell(pod, words);
    }
    // A name of a pod must hold it, with what is appended.
    let name: String = template.name_any().chars().take(40).collect();
    let name = name.trim_end_matches(['-', '.']);
    Job {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-sluice-")),
            namespace: template.namespace(),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: Some(vec![OwnerReference {
                api_version: "batch/v1".to_owned(),
                kind: "CronJob".to_owned(),
                name: template.name_any(),
                uid: template.uid().unwrap_or_default(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

fn limit(spec: &mut JobSpec, timeout: Duration) {
    let seconds = i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX);
    spec.backoff_limit = Some(0);
    spec.active_deadline_seconds = Some(seconds);
    spec.ttl_seconds_after_finished = spec.ttl_seconds_after_finished.or(Some(KEPT));
    spec.suspend = None;
}

/// Gives the words to each container: `SLUICE_SERVICE`, `SLUICE_NAMESPACE` and so on.
fn tell(pod: &mut PodSpec, words: &Words) {
    let init = pod.init_containers.iter_mut().flatten();
    for container in pod.containers.iter_mut().chain(init) {
        let env = container.env.get_or_insert_default();
        for (word, value) in words {
            let name = format!("SLUICE_{}", word.to_uppercase());
            env.retain(|variable| variable.name != name);
            env.push(EnvVar {
                name,
                value: Some(value.clone()),
                value_from: None,
            });
        }
    }
}

/// How a Job ended, if it did.
fn end(job: &Job) -> Option<Result<(), String>> {
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    let mut met = conditions.filter(|condition| condition.status == "True");
    met.find_map(|condition| match condition.type_.as_str() {
        "Complete" => Some(Ok(())),
        "Failed" => {
            let reason = condition.reason.clone().unwrap_or_default();
            let message = condition.message.clone().unwrap_or_default();
            Some(Err(format!("{reason}: {message}")))
        }
        _ => None,
    })
}

/// The last lines, as many as an excerpt can hold.
fn last(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut kept = String::new();
    for line in lines.iter().rev() {
        if !kept.is_empty() && kept.len() + line.len() > 110 {
            break;
        }
        kept = if kept.is_empty() {
            (*line).to_owned()
        } else {
            format!("{line} | {kept}")
        };
    }
    kept
}

/// The end of a log as it is told on.
fn quoted(log: &str) -> String {
    let end = last(whole(log));
    let plain = |c: &char| !c.is_control() || c.is_whitespace();
    let end: String = end.chars().filter(plain).collect();
    excerpt(end.as_bytes())
}

/// A log without its last line where that was cut off.
fn whole(log: &str) -> &str {
    let is_cut = i64::try_from(log.len()).is_ok_and(|length| length >= BYTES);
    match log.trim_end().rsplit_once('\n') {
        Some((before, _)) if is_cut => before,
        _ => log,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_password_is_not_quoted_in_half() {
        let url = format!("postgres://app:{}@db/shop", "hunter2".repeat(30));
        for before in [0, 60, 90, 100, 110] {
            let log = format!("{} {url} is away\n", "x".repeat(before));
            let told = quoted(&log);
            assert!(!told.contains("hunter2"), "{told}");
        }
        let length = usize::try_from(BYTES).unwrap();
        let mut log = format!("{}\n{url}", "x ".repeat(length / 2 - 30));
        log.truncate(length);
        assert!(!quoted(&log).contains("hunter2"));
    }

    #[test]
    fn what_a_job_was_called_is_left_out() {
        let told = "making the Job: jobs.batch \"a-sluice-x7k2p\" is forbidden: no a-sluice-x7k2p";
        let wanted = "making the Job: jobs.batch \"a-sluice-…\" is forbidden: no a-sluice-…";
        assert_eq!(unnamed(told, "a-sluice-"), wanted);
        assert_eq!(unnamed("no answer", "a-sluice-"), "no answer");
    }

    fn template() -> CronJob {
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": "checkout-probe", "uid": "u-1"},
            "spec": {"schedule": "0 0 31 2 *", "suspend": true, "jobTemplate": {
                "metadata": {"labels": {"team": "shop"}},
                "spec": {"suspend": true, "backoffLimit": 5, "template": {"spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "probe", "image": "probe:1", "env": [{"name": "SLUICE_SERVICE", "value": "old"}]}],
                }}},
            }},
        }))
        .unwrap()
    }

    fn words() -> Words {
        Words::from([("service", "shop-canary".to_owned())])
    }

    #[test]
    fn a_job_runs_the_template_once_and_knows_what_it_tests() {
        let made = job(&template(), &words(), Duration::from_secs(90));
        let made = serde_json::to_value(made).unwrap();
        assert_eq!(
            made["metadata"],
            json!({
                "generateName": "checkout-probe-sluice-", "namespace": "shop", "labels": {"team": "shop"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "checkout-probe", "uid": "u-1"}],
            })
        );
        let spec = &made["spec"];
        let limits = [
            "backoffLimit",
            "activeDeadlineSeconds",
            "ttlSecondsAfterFinished",
            "suspend",
        ];
        let limits = limits.map(|key| spec[key].clone());
        assert_eq!(limits, [json!(0), json!(90), json!(3600), Value::Null]);
        let env = &spec["template"]["spec"]["containers"][0]["env"];
        assert_eq!(
            *env,
            json!([{"name": "SLUICE_SERVICE", "value": "shop-canary"}])
        );
    }

    #[test]
    fn the_end_of_a_log_is_told() {
        assert_eq!(last("a\n\nb\n"), "a | b");
        let long = format!("{}\nthe end\n", "x".repeat(200));
        assert_eq!(last(&long), "the end");
        assert_eq!(last(""), "");
    }

    /// An API server that says this: first how the Job stands, then its pods and a log.
    fn client(stands: Value) -> Client {
        client_that_refuses("nothing", stands)
    }

    /// The same, but requests for Jobs by this method are refused.
    fn client_that_refuses(refused: &'static str, stands: Value) -> Client {
        use http_body_util::Full;
        let answer = move |request: hyper::Request<kube::client::Body>| {
            let stands = stands.clone();
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let path = if method == refused && path.contains("/jobs") {
                    format!("{path}?quota")
                } else {
                    path
                };
                let job = json!({"metadata": {"namespace": "shop", "name": "checkout-probe-sluice-x"}, "status": stands});
                let json = |value: Value| value.to_string();
                let text = match (method.as_str(), path.as_str()) {
                    ("GET", "/apis/batch/v1/namespaces/shop/cronjobs/checkout-probe") => {
                        json(serde_json::to_value(template()).unwrap())
                    }
                    ("POST", "/apis/batch/v1/namespaces/shop/jobs")
                    | (
                        "GET" | "DELETE",
                        "/apis/batch/v1/namespaces/shop/jobs/checkout-probe-sluice-x",
                    ) => json(job),
                    ("GET", "/api/v1/namespaces/shop/pods") => json(json!({
                        "metadata": {}, "items": [{"metadata": {"name": "probe-1"}}],
                    })),
                    ("GET", "/api/v1/namespaces/shop/pods/probe-1/log") => {
                        "starting\ncart is empty, token=abc\n".to_owned()
                    }
                    (_, path) => {
                        let text = json(json!({
                            "kind": "Status", "code": 404, "status": "Failure",
                            "reason": "NotFound", "message": format!("{path} not found"),
                        }));
                        let answer = hyper::Response::builder().status(404);
                        return Ok::<_, std::convert::Infallible>(
                            answer.body(Full::new(bytes::Bytes::from(text))).unwrap(),
                        );
                    }
                };
                Ok(hyper::Response::new(Full::new(bytes::Bytes::from(text))))
            }
        };
        Client::new(tower::service_fn(answer), "shop")
    }

    fn from(name: &str) -> FromCronJob {
        FromCronJob {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_fails_is_told_with_the_end_of_its_log() {
        let is = |kind: &str| {
            json!({"conditions": [{
                "type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "it failed",
            }]})
        };
        let failed = "Job checkout-probe-sluice-x failed: BackoffLimitExceeded: it failed; pod probe-1 said: starting | cart is empty, token=***";
        let late = "Job checkout-probe-sluice-x did not end within 5s; pod probe-1 said: starting | cart is empty, token=***";
        let cases = [
            (is("Complete"), Ok(())),
            (is("Failed"), Err(failed.to_owned())),
            (json!({"active": 1}), Err(late.to_owned())),
        ];
        for (stands, wanted) in cases {
            let client = client(stands);
            let words = words();
            let clock = Clock::scaled(jiff::Timestamp::UNIX_EPOCH, 1.0);
            let jobs = Jobs::new(&client, clock, &words);
            let template = jobs.template(&from("checkout-probe")).await.unwrap();
            let found = jobs.run(&template, Duration::from_secs(5)).await;
            assert_eq!(found, Ok(wanted));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_of_the_cluster_is_no_verdict_of_a_job() {
        let cases = [
            ("POST", "making the Job: "),
            (
                "GET",
                "how a Job of checkout-probe ended is not known: reading the Job: ",
            ),
        ];
        for (refused, wanted) in cases {
            let client = client_that_refuses(refused, json!({"active": 1}));
            let words = words();
            let clock = Clock::scaled(jiff::Timestamp::UNIX_EPOCH, 1.0);
            let jobs = Jobs::new(&client, clock, &words);
            let tried = jobs.attempt(&template(), Duration::from_secs(5)).await;
            let why = tried.unwrap_err();
            assert!(why.starts_with(wanted), "{why}");
        }
    }

    #[tokio::test]
    async fn a_template_that_is_not_there_is_named() {
        let client = client(json!({}));
        let words = words();
        let jobs = Jobs::new(&client, Clock::machine(), &words);
        let why = jobs.template(&from("other")).await.unwrap_err();
        assert!(why.starts_with("reading CronJob shop/other: "), "{why}");
    }
}
