//! A checkpoint that this version cannot read: nothing goes on, that is said, and it is let go.

use std::time::Duration;

use serde_json::{Value, json};

use super::daemons::Daemon;
use super::world::{World, virtually};

const MINUTE: Duration = Duration::from_secs(60);

async fn steps(world: &World) {
    let weight = || async { world.weight("shop").await == 5 };
    world.until("traffic", MINUTE, weight).await;
}

async fn stands_still(world: &World) {
    let off = || async { world.weight("shop").await == 0 };
    world.until("weight 0", Duration::from_secs(5), off).await;
    let said = || async {
        let status = world.rollout("shop").await.status.unwrap();
        let mut conditions = status.conditions.iter();
        conditions.any(|it| it.type_ == "Stalled" && it.reason == "CheckpointUnreadable")
    };
    world
        .until("it is said", Duration::from_secs(5), said)
        .await;
}

#[test]
fn a_rollout_whose_checkpoint_cannot_be_read_stands_still_without_traffic_until_it_begins_anew_or_goes()
 {
    virtually(async {
        let world = World::new().await;
        world.app("shop", 100, "3600s").await;
        let _daemon = Daemon::start(&world, &json!({}));
        let guarded = || world.guarded("shop");
        world.until("it is guarded", MINUTE, guarded).await;
        world.release("shop", "2", "0").await;
        steps(&world).await;
        world.checkpoint("shop", json!("{")).await;
        stands_still(&world).await;
        world.checkpoint("shop", Value::Null).await;
        steps(&world).await;
        world.checkpoint("shop", json!("{")).await;
        stands_still(&world).await;
        world.delete_rollout("shop").await;
        let released = || async {
            let deployment = world.deployment("shop").await;
            let spec = &deployment["spec"];
            let image = &spec["template"]["spec"]["containers"][0]["image"];
            deployment["metadata"]["labels"]["sluice.dev/guarded"].is_null()
                && spec["paused"] != true
                && image == "shop:1"
        };
        world.until("it is let go", MINUTE, released).await;
        let gone = || async { !world.has_rollout("shop").await };
        world.until("it is gone", MINUTE, gone).await;
    });
}
