//! What scheduler and kubelets would do, through the API, when a conversation says so.
//!
//! Pods become ready one by one, and end only when told, so that both controllers are seen in
//! the same states however fast they are.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::player::{PATIENCE, Player};
use super::servers::Answer;

fn done(body: Value) -> Answer {
    Answer {
        status: 200,
        media: String::new(),
        warnings: Vec::new(),
        body,
    }
}

fn in_vain(what: &str, seen: Value) -> Answer {
    Answer {
        status: 0,
        ..done(json!({"waited in vain for": what, "seen": seen}))
    }
}

async fn items(player: &Player<'_>, path: &str) -> Vec<Value> {
    let list = player.get(path).await;
    list["items"].as_array().cloned().unwrap_or_default()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn is_ending(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

fn is_observed(object: &Value) -> bool {
    object["metadata"]["generation"] == object["status"]["observedGeneration"]
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn revision(set: &Value) -> i64 {
    let revision = &set["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    revision
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Waits until the `ReplicaSets` have these sizes, wanted and actual, and the controllers have
/// said all there is to say: what comes next must not meet half of a change before it.
pub async fn sizes(player: &Player<'_>, want: &[i64]) -> Answer {
    let started = Instant::now();
    loop {
        let mut sets = items(player, "replicasets").await;
        sets.sort_by_key(revision);
        let seen: Vec<i64> = sets
            .iter()
            .filter_map(|set| set["spec"]["replicas"].as_i64())
            .collect();
        let deployments = items(player, "deployments").await;
        let settled = deployments.iter().chain(&sets).all(is_observed)
            && sets
                .iter()
                .all(|set| set["spec"]["replicas"] == set["status"]["replicas"]);
        if settled && seen == want {
            return done(json!(seen));
        }
        if started.elapsed() > PATIENCE {
            let pods = items(player, "pods").await.len();
            return in_vain(
                "sizes",
                json!({"sets": seen, "settled": settled, "pods": pods}),
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes so many pods ready: the oldest first.
pub async fn ready(player: &mut Player<'_>, count: usize) -> Answer {
    let pods = match awaited(player, count, |pod| !is_ready(pod) && !is_ending(pod)).await {
        Ok(pods) => pods,
        Err(answer) => return answer,
    };
    for pod in pods.iter().take(count) {
        let answer = make_ready(player, pod).await;
        if answer.status != 200 {
            return answer;
        }
    }
    done(json!(count))
}

/// Ends so many pods that are being deleted.
pub async fn finish(player: &Player<'_>, count: usize) -> Answer {
    let pods = match awaited(player, count, is_ending).await {
        Ok(pods) => pods,
        Err(answer) => return answer,
    };
    for pod in pods.iter().take(count) {
        end(player, pod).await;
    }
    done(json!(count))
}

async fn awaited(
    player: &Player<'_>,
    count: usize,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Vec<Value>, Answer> {
    let started = Instant::now();
    loop {
        let mut pods = items(player, "pods").await;
        pods.retain(&wanted);
        pods.sort_by_key(|pod| pod["metadata"]["creationTimestamp"].to_string());
        if pods.len() >= count {
            return Ok(pods);
        }
        if started.elapsed() > PATIENCE {
            return Err(in_vain(
                "pods",
                json!({"wanted": count, "seen": pods.len()}),
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn make_ready(player: &mut Player<'_>, pod: &Value) -> Answer {
    let name = name(pod);
    if !pod["spec"]["nodeName"].is_string() {
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node"}});
        let answer = player
            .change(Method::POST, &format!("pods/{name}/binding"), binding)
            .await;
        if answer.status != 201 {
            return answer;
        }
    }
    player.pods += 1;
    let address = format!("10.0.{}.{}", player.pods / 250, player.pods % 250 + 1);
    // The Deployment controller counts whole seconds, so all are ready since long.
    let since = "2020-01-01T00:00:00Z";
    let conditions: Vec<Value> = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .iter()
        .map(|name| json!({"type": name, "status": "True", "lastTransitionTime": since}))
        .collect();
    let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "hostIP": "10.0.0.1", "startTime": since, "conditions": conditions}});
    player
        .change(Method::PATCH, &format!("pods/{name}/status"), status)
        .await
}

async fn end(player: &Player<'_>, pod: &Value) {
    let options = json!({"gracePeriodSeconds": 0});
    player
        .change(Method::DELETE, &format!("pods/{}", name(pod)), options)
        .await;
}

/// Lets a Deployment roll out: all pods become ready and end. Says the worst that was seen.
pub async fn roll(player: &mut Player<'_>, deployment: &str) -> Answer {
    let started = Instant::now();
    loop {
        let object = player.get(&format!("deployments/{deployment}")).await;
        let pods = items(player, "pods").await;
        if is_complete(&object) && pods.iter().all(|pod| is_ready(pod) && !is_ending(pod)) {
            return done(json!("rolled out"));
        }
        for pod in &pods {
            if is_ending(pod) {
                end(player, pod).await;
            } else if !is_ready(pod) {
                make_ready(player, pod).await;
            }
        }
        if started.elapsed() > PATIENCE {
            return in_vain(
                "the roll",
                json!({"status": object["status"], "pods": pods.len()}),
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_complete(deployment: &Value) -> bool {
    let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
    let count = |name: &str| status[name].as_i64().unwrap_or(0);
    let wanted = wanted.as_i64().unwrap_or(0);
    deployment["metadata"]["generation"] == status["observedGeneration"]
        && status["terminatingReplicas"] == 0
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|name| count(name) == wanted)
}
