//! The data of a managed Redis: what it survives, and when it goes.

use anyhow::ensure;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::api::DeleteParams;
use serde_json::json;

use crate::{
    case::case,
    world::{DEADLINE, managed},
};

#[test]
fn data_survives_its_gateway_unless_told_otherwise() {
    case("storage", async |world| {
        world.create("cache", &json!({ "replicas": 1, "config": managed() }))?;
        world.settled("cache").await;
        world.set_and_get("cache", "kept", "yes").await?;

        // A server that is killed at once, not asked to stop.
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        world.api::<Pod>().delete("cache-redis-0", &params).await?;
        world
            .until("the value after the server was killed", DEADLINE, async || {
                ensure!(world.read("cache", "kept").await? == Some("yes".into()), "it is gone");
                Ok(())
            })
            .await;

        world.kubectl(&["delete", "dbxgateway/cache", "--timeout=60s"])?;
        world.gone::<StatefulSet>("cache-redis", DEADLINE).await;
        world.gone::<Pod>("cache-redis-0", DEADLINE).await;
        world.get::<PersistentVolumeClaim>("cache-redis-data").await?;

        world.create("cache", &json!({ "replicas": 1, "config": managed() }))?;
        world.settled("cache").await;
        ensure!(world.read("cache", "kept").await? == Some("yes".into()), "the new gateway of the same name has no data");

        let redis = json!({ "managed": { "storage": "16Mi", "deleteStorage": true } });
        world.patch("cache", json!({ "spec": { "config": { "databases": [{ "name": "redis", "redis": redis }] } } })).await?;
        world
            .until("the volume belongs to the gateway", DEADLINE, async || {
                let claim: PersistentVolumeClaim = world.get("cache-redis-data").await?;
                ensure!(claim.metadata.owner_references.is_some_and(|owners| !owners.is_empty()), "it has no owner");
                Ok(())
            })
            .await;
        world.settled("cache").await;
        world.kubectl(&["delete", "dbxgateway/cache", "--timeout=60s"])?;
        world.gone::<PersistentVolumeClaim>("cache-redis-data", DEADLINE).await;
        Ok(())
    });
}
