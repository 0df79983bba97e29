//! The order of work: what somebody changed does not wait behind what is only looked at again, and what waits keeps nobody.

use dbx_crds::{api_key::DbxApiKey, gateway::DbxGateway};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Secret, Service},
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::{cluster::quiet, gateway::World, handover::Operator, keys::sha256, proxy::Proxy};

const GATEWAYS: usize = 25;

fn name(index: usize) -> String {
    format!("g{index:02}")
}

/// The gateways in the order in which something of them was written.
fn order(writes: &[String]) -> Vec<String> {
    let mut order = Vec::new();
    for write in writes {
        let gateway = (0..GATEWAYS).map(name).find(|name| write.ends_with(&format!("/{name}")));
        order.extend(gateway.filter(|gateway| !order.contains(gateway)));
    }
    order
}

/// A namespace of gateways that are all as they should be, and no operator.
async fn settled(namespace: &str) -> (World, Proxy) {
    let world = World::on(quiet(), namespace).await;
    let proxy = Proxy::start(world.client.clone()).await;
    let config = json!({ "databases": [{ "name": "redis", "redis": { "url": "redis://elsewhere" } }], "auth": { "mode": "none" } });
    for index in 0..GATEWAYS {
        world.create(&name(index), json!({ "config": config, "replicas": 1 })).await.unwrap();
    }
    let mut operator = Operator::start("admin", &["--watch-namespace", namespace, "--lease", namespace]);
    for index in 0..GATEWAYS {
        world.programmed(&name(index)).await;
    }
    assert!(operator.signal("-TERM"));
    (world, proxy)
}

/// Waits until an operator, which has forgotten everything, has begun to look at all of them.
async fn begun(world: &World, proxy: &Proxy) {
    world.until("the first looks", async || order(&proxy.writes()).len() >= 3).await;
}

#[tokio::test]
async fn what_changed_overtakes_what_did_not() {
    let (world, proxy) = settled("queue").await;
    let arguments = ["--watch-namespace", "queue", "--lease", "queue", "--concurrency", "1"];
    let operator = Operator::through(&proxy.kubeconfig, &arguments);
    begun(&world, &proxy).await;
    // The last ones of the line.
    let (changed, drifted) = (name(GATEWAYS - 1), name(GATEWAYS - 2));
    world.patch(&changed, json!({ "spec": { "replicas": 2 } })).await.unwrap();
    world.api::<Service>().delete(&drifted, &DeleteParams::default()).await.unwrap();
    world.until("all being looked at", async || order(&proxy.writes()).len() == GATEWAYS).await;
    let order = order(&proxy.writes());
    for gateway in [&changed, &drifted] {
        let place = order.iter().position(|name| name == gateway).unwrap();
        assert!(place < GATEWAYS / 2, "{gateway} came {place} of\n{order:?}");
    }
    world.programmed(&changed).await;
    world.until("the Service being there again", async || world.exists::<Service>(&drifted).await).await;
    drop(operator);
}

#[tokio::test]
async fn it_ends_without_what_waits() {
    let (world, proxy) = settled("queue-end").await;
    let arguments = ["--watch-namespace", "queue-end", "--lease", "queue-end", "--concurrency", "2"];
    let mut operator = Operator::through(&proxy.kubeconfig, &arguments);
    begun(&world, &proxy).await;
    let process = operator.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    let before = order(&proxy.writes()).len();
    world.until("its end", || std::future::ready(operator.is_gone())).await;
    let after = order(&proxy.writes()).len();
    assert!(after < GATEWAYS && after <= before + 8, "{before} gateways were looked at when it was told to end, then {after}");
    assert_eq!(world.api::<DbxGateway>().list(&Default::default()).await.unwrap().items.len(), GATEWAYS);
}

/// What is revoked is revoked, whatever else the gateway's author wants to be left alone.
#[tokio::test]
async fn a_paused_gateway_follows_its_keys() {
    let world = World::on(quiet(), "paused-keys").await;
    let config = json!({ "databases": [{ "name": "redis", "redis": { "url": "redis://elsewhere" } }], "auth": { "mode": "required" } });
    world.create("cache", json!({ "config": config, "replicas": 1 })).await.unwrap();
    for name in ["web", "jobs"] {
        let spec = json!({ "gatewayRef": { "name": "cache" }, "access": ["read"], "secretName": format!("{name}-secret") });
        let key = serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap();
        world.api::<DbxApiKey>().create(&PostParams::default(), &key).await.unwrap();
    }
    let _operator = Operator::start("admin", &["--watch-namespace", "paused-keys", "--lease", "paused-keys"]);
    world.programmed("cache").await;
    for name in ["web-secret", "jobs-secret"] {
        world.until(&format!("{name} being handed over"), async || world.exists::<Secret>(name).await).await;
    }
    world.patch("cache", json!({ "spec": { "paused": true, "replicas": 5 } })).await.unwrap();
    world.condition("cache", "Programmed", "Unknown", "Paused").await;

    world.api::<DbxApiKey>().delete("web", &DeleteParams::default()).await.unwrap();
    world.until("one being taken no more", async || world.entries().await.len() == 1).await;
    assert_eq!(world.entries().await[0]["name"], "paused-keys/jobs");
    let first = world.token("jobs-secret").await;
    world.api::<Secret>().delete("jobs-secret", &DeleteParams::default()).await.unwrap();
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "now" } } }));
    world.api::<DbxApiKey>().patch("jobs", &PatchParams::default(), &patch).await.unwrap();
    world
        .until("another one being taken instead", async || {
            world.entries().await.iter().all(|entry| entry["sha256"] != sha256(&first)) && world.exists::<Secret>("jobs-secret").await
        })
        .await;
    assert_eq!(world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().replicas, Some(1), "nothing else is changed");
}
