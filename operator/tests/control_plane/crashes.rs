//! The operator is killed after every single write of a life. The next one brings it to the same end: nothing is left behind,
//! nothing is made twice, no pod is rolled twice.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dbx_crds::{api_key::DbxApiKey, gateway::DbxGateway};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Secret, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    cluster::{DEADLINE, quiet},
    gateway::{World, conditions},
    handover::Operator,
    proxy::Proxy,
};

/// A gateway with all that is made in steps, and one from which most of it is taken away again.
fn specs() -> [Value; 2] {
    let config = |database: Value| json!({ "databases": [{ "name": "redis", "redis": database }], "auth": { "mode": "required" } });
    let autoscaling = json!({ "minReplicas": 2, "maxReplicas": 3 });
    [
        json!({ "config": config(json!({ "managed": {} })), "autoscaling": autoscaling }),
        json!({ "config": config(json!({ "url": "redis://elsewhere" })), "replicas": 1 }),
    ]
}

async fn names(world: &World) -> BTreeMap<&'static str, Vec<String>> {
    fn all<K: ResourceExt + Clone>(list: kube::core::ObjectList<K>) -> Vec<String> {
        list.items.iter().map(ResourceExt::name_any).collect()
    }
    let params = Default::default();
    BTreeMap::from([
        ("Deployment", all(world.api::<Deployment>().list(&params).await.unwrap())),
        ("StatefulSet", all(world.api::<StatefulSet>().list(&params).await.unwrap())),
        ("Service", all(world.api::<Service>().list(&params).await.unwrap())),
        ("ConfigMap", all(world.api::<ConfigMap>().list(&params).await.unwrap())),
        ("Secret", all(world.api::<Secret>().list(&params).await.unwrap())),
        ("PodDisruptionBudget", all(world.api::<PodDisruptionBudget>().list(&params).await.unwrap())),
        ("HorizontalPodAutoscaler", all(world.api::<HorizontalPodAutoscaler>().list(&params).await.unwrap())),
    ])
}

/// Whether an operator has done all there is to do.
async fn is_settled(world: &World) -> bool {
    let gateway = world.api::<DbxGateway>().get("cache").await.unwrap();
    let current = gateway.status.as_ref().is_some_and(|status| status.observed_generation == gateway.metadata.generation);
    let programmed = conditions(&gateway).iter().any(|(condition, status, ..)| condition == "Programmed" && status == "True");
    let key = world.api::<DbxApiKey>().get("web").await.unwrap().status.unwrap_or_default();
    let ready = key.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    current && programmed && ready && key.keys.len() == 1
}

async fn settled(world: &World) {
    world.until("all being done", async || is_settled(world).await).await;
}

/// Lives the two halves of a life, killed after a number of writes of one of them; says whether there were so many.
async fn live(half: usize, writes: usize) -> bool {
    let name = format!("crash-{half}-{writes}");
    let world = World::on(quiet(), &name).await;
    let proxy = Proxy::start(world.client.clone()).await;
    let arguments = ["--watch-namespace", &name, "--lease", &name];
    let [first, second] = specs();
    let key = json!({ "gatewayRef": { "name": "cache" }, "access": ["read"], "secretName": "web-secret" });
    world.create("cache", first).await.unwrap();
    let key: DbxApiKey = serde_json::from_value(json!({ "metadata": { "name": "web" }, "spec": key })).unwrap();
    world.api::<DbxApiKey>().create(&Default::default(), &key).await.unwrap();
    if half == 1 {
        let mut operator = Operator::start("admin", &arguments);
        settled(&world).await;
        // One that ends well gives the Lease back.
        assert!(operator.signal("-TERM"));
        let patch = json!({ "spec": { "config": { "databases": second["config"]["databases"] }, "replicas": 1, "autoscaling": null } });
        world.patch("cache", patch).await.unwrap();
    }
    let mut victim = Operator::through(&proxy.kubeconfig, &arguments);
    proxy.kill_after(writes, victim.id());
    let start = Instant::now();
    let killed = loop {
        if victim.is_gone() {
            break true;
        }
        if is_settled(&world).await {
            let before = proxy.writes().len();
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !victim.is_gone() && proxy.writes().len() == before {
                break false;
            }
        }
        assert!(start.elapsed() < DEADLINE, "it neither ends nor settles: {:#?}", proxy.writes());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    drop(victim);
    let lease = kube::Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(world.client.clone(), "dbx-system");
    // Nobody need wait until it runs out.
    let _ = lease.delete(&name, &Default::default()).await;
    let _operator = Operator::start("admin", &arguments);
    settled(&world).await;
    let wanted: BTreeMap<&str, &[&str]> = match half {
        0 => BTreeMap::from([
            ("StatefulSet", &["cache-redis"][..]),
            ("Service", &["cache", "cache-redis"]),
            ("Secret", &["cache-redis-auth", "web-secret"]),
            ("PodDisruptionBudget", &["cache"]),
            ("HorizontalPodAutoscaler", &["cache"]),
        ]),
        _ => BTreeMap::from([
            ("StatefulSet", &[][..]),
            ("Service", &["cache"]),
            ("Secret", &["web-secret"]),
            ("PodDisruptionBudget", &[]),
            ("HorizontalPodAutoscaler", &[]),
        ]),
    };
    world
        .until(&format!("nothing being left behind by a crash after {:#?}", proxy.writes()), async || {
            let there = names(&world).await;
            wanted.iter().all(|(kind, wanted)| there[kind] == *wanted)
        })
        .await;
    let deployment = world.api::<Deployment>().get("cache").await.unwrap();
    if half == 0 {
        let set = world.api::<StatefulSet>().get("cache-redis").await.unwrap();
        let generations = (deployment.metadata.generation, set.metadata.generation);
        assert_eq!(generations, (Some(1), Some(1)), "rolled twice after {:#?}", proxy.writes());
    }
    let replicas = deployment.spec.unwrap().replicas;
    assert_eq!(replicas, Some(if half == 0 { 2 } else { 1 }), "{:#?}", proxy.writes());
    assert_eq!(world.entries().await.len(), 1, "{:#?}", proxy.writes());
    assert_eq!(world.entries().await[0]["sha256"], crate::keys::sha256(&world.token("web-secret").await));
    killed
}

#[tokio::test]
async fn a_crash_after_any_write_of_a_beginning_is_gone_on_from() {
    let mut writes = 1;
    while live(0, writes).await {
        writes += 1;
    }
    assert!(writes > 12, "it was over after {writes} writes");
}

#[tokio::test]
async fn a_crash_after_any_write_of_a_change_is_gone_on_from() {
    let mut writes = 1;
    while live(1, writes).await {
        writes += 1;
    }
    assert!(writes > 6, "it was over after {writes} writes");
}
