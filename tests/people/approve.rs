//! `sluice approve` from the command line, by way of the API server, to a daemon that promotes.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;

use crate::process;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// The command line as this user.
pub fn sluice(world: &World, user: &str, arguments: &[&str]) -> Output {
    let kubeconfig = process::file(user, "kube");
    let to = world.cluster.api_address.unwrap();
    let token = format!("user: {{token: \"{user}\"}}");
    let text = world.cluster.api.kubeconfig(to).replace("user: {}", &token);
    std::fs::write(&kubeconfig, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .args(["--namespace", "default", "--kubeconfig"])
        .arg(kubeconfig)
        .output()
        .unwrap()
}

pub fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_approve_by_the_command_line_and_the_release_is_promoted() {
    let world = World::listening().await;
    let daemon = world.process("approve", world.cluster.api_address.unwrap(), "");
    world.app("shop", 50, "20s").await;
    world
        .apply(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"namespace": "default", "name": "shop"},
            "spec": {
                "target": {"name": "shop"}, "route": {"ingressNginx": {"ingress": "shop"}},
                "strategy": {"blueGreen": {"approval": true, "hold": "5s"}},
                "analysis": {"within": "30s", "blastMax": "5%"},
                "approvals": {"required": 2, "from": ["alice", "bob", "carol"]},
            },
        }))
        .await;
    let guarded = || world.guarded("shop");
    world.until("shop is guarded", SECOND * 60, guarded).await;
    world.release("shop", "2", "0").await;
    let waits = || async { world.phase("shop").await == "AwaitingApproval" };
    world.until("it waits", SECOND * 120, waits).await;

    let cases = [
        ("mallory", false, "none of those who may approve"),
        ("alice", true, "approved, 1 of 2"),
        ("alice", false, "counts once"),
        ("bob", true, "approved"),
    ];
    for (user, done, wanted) in cases {
        let output = sluice(&world, user, &["approve", "shop"]);
        let told = said(&output);
        assert!(told.contains(wanted), "{user}: {told}\n{}", daemon.told());
        assert_eq!(output.status.success(), done, "{user}: {told}");
    }
    let until = ["watch", "shop", "--until", "promoted", "--timeout", "180s"];
    let output = sluice(&world, "alice", &until);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(world.outcome("shop").await.as_deref(), Some("Promoted"));
    let status = world.rollout("shop").await.status.unwrap();
    let by: Vec<_> = status
        .answers
        .iter()
        .filter(|a| a.done)
        .filter_map(|a| a.by.as_deref())
        .collect();
    assert_eq!(by, ["alice", "bob"]);
}
