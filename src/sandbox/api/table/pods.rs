//! How kubectl sums up a pod: ready containers, a status in one word, restarts.

use jiff::Timestamp;
use serde_json::Value;

use super::age;

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten()
}

/// `ready/all` containers.
pub fn ready(pod: &Value) -> String {
    let all = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let ready = statuses(pod)
        .filter(|status| status["ready"] == true)
        .count();
    format!("{ready}/{all}")
}

/// The status in one word.
pub fn status(pod: &Value) -> String {
    let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
    let mut word = pod["status"]["reason"].as_str().unwrap_or(phase).to_owned();
    for status in statuses(pod) {
        let state = &status["state"];
        let reason = |part: &Value| {
            part["reason"]
                .as_str()
                .filter(|reason| !reason.is_empty())
                .map(str::to_owned)
        };
        if let Some(reason) = reason(&state["waiting"]).or_else(|| reason(&state["terminated"])) {
            word = reason;
        } else if let Some(code) = state["terminated"]["exitCode"].as_i64() {
            word = format!("ExitCode:{code}");
        }
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        word = "Terminating".into();
    }
    word
}

/// The number of restarts, and when the last one was.
pub fn restarts(pod: &Value, now: Timestamp) -> String {
    let count: i64 = statuses(pod)
        .filter_map(|status| status["restartCount"].as_i64())
        .sum();
    let last = statuses(pod)
        .filter_map(|status| status["lastState"]["terminated"]["finishedAt"].as_str())
        .max();
    match last {
        Some(last) if count > 0 => format!("{count} ({} ago)", age::since(&Value::from(last), now)),
        _ => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_is_the_reason_that_people_look_for() {
        let with =
            |status: Value| json!({"metadata": {}, "spec": {"containers": [{}]}, "status": status});
        for (status_of, want) in [
            (
                json!({"phase": "Running", "containerStatuses": [{"ready": true, "state": {"running": {}}}]}),
                "Running",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                "CrashLoopBackOff",
            ),
            (json!({"phase": "Pending"}), "Pending"),
            (
                json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}),
                "ExitCode:3",
            ),
        ] {
            assert_eq!(status(&with(status_of)), want);
        }
    }
}
