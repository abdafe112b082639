//! `sluice open`, with the daemon down: what is held rolls out, and the gate can be shut again.

use std::time::Duration;

use crate::approve::{said, sluice};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_goes_out_in_an_emergency_with_the_daemon_down_and_the_gate_shuts_again() {
    let world = World::listening().await;
    let daemon = world.process("open", world.cluster.api_address.unwrap(), "");
    world.app("shop", 50, "20s").await;
    let guarded = || world.guarded("shop");
    world.until("shop is guarded", SECOND * 60, guarded).await;
    drop(daemon);
    world.release("shop", "2", "0").await;
    let held = world.deployment("shop").await;
    assert_eq!(held["spec"]["paused"], true, "{held}");

    let output = sluice(&world, "open", &["open", "shop"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let open = ["open", "shop", "--reason", "incident 4711"];
    let output = sluice(&world, "open", &open);
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("what was held rolls out now, unproven"),
        "{told}"
    );
    let rolled = || async {
        let found = world.deployment("shop").await;
        let status = &found["status"];
        status["observedGeneration"] == found["metadata"]["generation"]
            && status["updatedReplicas"] == found["spec"]["replicas"]
    };
    world
        .until("the new version rolls", SECOND * 60, rolled)
        .await;
    let opened = world.deployment("shop").await;
    assert_eq!(
        opened["metadata"]["annotations"]["sluice.dev/open"],
        "incident 4711"
    );

    let close = ["open", "shop", "--close"];
    let output = sluice(&world, "open", &close);
    assert!(said(&output).contains("is shut again"), "{}", said(&output));
    world.release("shop", "3", "0").await;
    let held = world.deployment("shop").await;
    assert_eq!(held["spec"]["paused"], true, "{held}");
}
