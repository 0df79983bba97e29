//! A managed Redis: what a change of it changes, and what it leaves alone.

use dbx_crds::gateway::DbxGateway;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, PersistentVolumeClaim},
};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::gateway::{World, managed};

/// A change of the one managed database.
fn change(managed: Value) -> Value {
    json!({ "spec": { "config": { "databases": [{ "name": "redis", "redis": { "managed": managed } }] } } })
}

#[tokio::test]
async fn another_version_replaces_the_pod_and_keeps_the_volume() {
    let world = World::new("redis").await;
    world.create("cache", json!({ "config": managed() })).await.unwrap();
    world.programmed("cache").await;
    let template = async || world.api::<StatefulSet>().get("cache-redis").await.unwrap().spec.unwrap().template;
    let before = template().await;
    let claim = world.api::<PersistentVolumeClaim>().get("cache-redis-data").await.unwrap();
    let hash = world.status("cache").await.config_hash;

    // The default said aloud is no change.
    world.patch("cache", change(json!({ "persistence": "aof" }))).await.unwrap();
    world.programmed("cache").await;
    assert_eq!(template().await, before);

    let asked = json!({ "version": "7.2", "maxmemoryPolicy": "volatile-ttl", "resources": { "limits": { "memory": "64Mi" } } });
    world.patch("cache", change(asked)).await.unwrap();
    world.programmed("cache").await;
    let after = template().await;
    let container = after.spec.unwrap().containers.remove(0);
    assert_eq!(container.image.as_deref(), Some("docker.io/library/redis:7.2"));
    assert_eq!(container.resources.unwrap().limits.unwrap()["memory"].0, "64Mi");
    assert_ne!(after.metadata, before.metadata, "its file is another one");
    let map = world.api::<ConfigMap>().get("cache-redis").await.unwrap();
    assert!(map.data.unwrap()["redis.conf"].ends_with("maxmemory 50331600\nmaxmemory-policy volatile-ttl\n"));
    assert_eq!(world.api::<PersistentVolumeClaim>().get("cache-redis-data").await.unwrap().uid(), claim.uid());
    assert_eq!(world.status("cache").await.config_hash, hash, "the gateway's own pods stay");

    let refused = world.patch("cache", change(json!({ "persistence": "rdb" }))).await.unwrap_err();
    assert!(refused.to_string().contains("persistence cannot be changed"), "{refused}");
}

#[tokio::test]
async fn one_that_keeps_nothing_has_no_volume() {
    let world = World::new("redis-none").await;
    let database = json!({ "name": "redis", "redis": { "managed": { "persistence": "none" } } });
    world.create("cache", json!({ "config": { "databases": [database], "auth": { "mode": "none" } } })).await.unwrap();
    world.programmed("cache").await;
    assert!(!world.exists::<PersistentVolumeClaim>("cache-redis-data").await);
    let pod = world.api::<StatefulSet>().get("cache-redis").await.unwrap().spec.unwrap().template.spec.unwrap();
    assert!(pod.volumes.unwrap().iter().any(|volume| volume.name == "data" && volume.empty_dir.is_some()));
    world.api::<DbxGateway>().delete("cache", &Default::default()).await.unwrap();
}
