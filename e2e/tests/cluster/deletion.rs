//! Deleting a gateway takes away everything it was made of, but for its data.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use crate::{case::case, suite::say, world::managed};

/// All that a gateway can own, directly or not.
const KINDS: &str = "deployments,replicasets,statefulsets,pods,services,endpointslices,configmaps,secrets,serviceaccounts,poddisruptionbudgets,persistentvolumeclaims";
/// Pods stop accepting calls only after `drain.propagation`, and the garbage collector goes from owner to owned.
const GONE_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_deleted_gateway_leaves_its_volume_and_nothing_else() {
    case("deletion", async |world| {
        world.create("cache", &json!({ "replicas": 2, "config": managed() }))?;
        world.settled("cache").await;
        world.set_and_get("cache", "a", "1").await?;
        let start = Instant::now();
        world.kubectl(&["delete", "dbxgateway/cache", "--timeout=60s"])?;
        world
            .until("everything but the volume is gone", GONE_WITHIN, async || {
                let left = world.names(KINDS)?;
                ensure!(left == ["persistentvolumeclaim/cache-redis-data"], "{left:?}");
                Ok(())
            })
            .await;
        say(&format!("a deleted gateway is gone after {:.1?}", start.elapsed()));
        Ok(())
    });
}
