//! What the operator makes of a gateway, and how it keeps it that way.

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    cluster::cluster,
    gateway::{World, managed},
};

#[tokio::test]
async fn everything_is_made_and_owned() {
    let world = World::new("made").await;
    let gateway = world.create("cache", json!({ "config": managed(), "replicas": 2 })).await.unwrap();
    world.programmed("cache").await;
    let uid = gateway.uid().unwrap();
    let owned = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        owners.iter().any(|owner| owner.uid == uid && owner.controller == Some(true))
    };
    assert!(owned(world.api::<ServiceAccount>().get("cache").await.unwrap().owner_references()));
    assert!(owned(world.api::<Service>().get("cache").await.unwrap().owner_references()));
    assert!(owned(world.api::<Service>().get("cache-redis").await.unwrap().owner_references()));
    assert!(owned(world.api::<PodDisruptionBudget>().get("cache").await.unwrap().owner_references()));
    assert!(owned(world.api::<StatefulSet>().get("cache-redis").await.unwrap().owner_references()));
    let claim = world.api::<PersistentVolumeClaim>().get("cache-redis-data").await.unwrap();
    assert_eq!(claim.owner_references(), [], "a volume outlives its gateway");
    let secret = world.api::<Secret>().get("cache-redis-auth").await.unwrap();
    assert!(owned(secret.owner_references()));
    let data = secret.data.unwrap();
    assert_eq!(data["password"].0.len(), 64);
    let acl = String::from_utf8(data["users.acl"].0.clone()).unwrap();
    assert!(acl.contains("user default off") && !acl.contains(std::str::from_utf8(&data["password"].0).unwrap()));

    let deployment = world.api::<Deployment>().get("cache").await.unwrap();
    assert!(owned(deployment.owner_references()));
    let status = world.status("cache").await;
    let hash = status.config_hash.unwrap();
    let map = world.api::<ConfigMap>().get(&format!("cache-config-{hash}")).await.unwrap();
    assert_eq!(map.immutable, Some(true));
    assert!(map.data.unwrap()["config.yaml"].contains("redis://cache-redis:6379"));
    assert_eq!(status.url.as_deref(), Some("http://cache.made.svc:3000"));
    assert_eq!(status.databases_ready.as_deref(), Some("0/1"));
    assert_eq!(status.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    world.condition("cache", "BackendReachable", "Unknown", "NoAnswer").await;
    world.condition("cache", "Ready", "False", "NotObserved").await;
}

#[tokio::test]
async fn a_serving_gateway_is_ready_and_then_left_alone() {
    let world = World::new("serving").await;
    world.create("cache", json!({ "config": managed(), "replicas": 2 })).await.unwrap();
    world.programmed("cache").await;
    let complete = json!({ "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "conditions": [{ "type": "Available", "status": "True", "reason": "MinimumReplicasAvailable" }] });
    world.pretend("cache", complete).await;
    world.condition("cache", "Ready", "True", "Ready").await;
    world.condition("cache", "Progressing", "False", "Complete").await;
    assert_eq!(world.status("cache").await.ready_replicas, Some(2));

    let writes = cluster().writes("serving").len();
    let version = world.api::<Deployment>().get("cache").await.unwrap().resource_version();
    for look in ["1", "2"] {
        world.patch("cache", json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": look } } })).await.unwrap();
        // Long enough for the look, and for a few of those that ask the pods.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    }
    let after = cluster().writes("serving");
    assert_eq!(after.len(), writes, "writes without news: {:#?}", &after[writes..]);
    assert_eq!(world.api::<Deployment>().get("cache").await.unwrap().resource_version(), version);
}

#[tokio::test]
async fn what_is_changed_or_deleted_comes_back() {
    let world = World::new("drift").await;
    world.create("cache", json!({ "config": managed(), "replicas": 2 })).await.unwrap();
    world.programmed("cache").await;

    world.api::<Service>().delete("cache", &DeleteParams::default()).await.unwrap();
    world.until("the Service being back", async || world.exists::<Service>("cache").await).await;
    world.api::<StatefulSet>().delete("cache-redis", &DeleteParams::background()).await.unwrap();
    world.until("the StatefulSet being back", async || world.exists::<StatefulSet>("cache-redis").await).await;

    let scale = json!({ "spec": { "replicas": 7, "template": { "spec": { "enableServiceLinks": true } } } });
    world.api::<Deployment>().patch("cache", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
    world
        .until("the Deployment being as before", async || {
            let spec = world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap();
            spec.replicas == Some(2) && spec.template.spec.unwrap().enable_service_links == Some(false)
        })
        .await;

    let labels = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "somebody" } } });
    world.api::<ServiceAccount>().patch("cache", &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    world
        .until("the label being back", async || {
            world.api::<ServiceAccount>().get("cache").await.unwrap().labels()["app.kubernetes.io/managed-by"] == "dbx-operator"
        })
        .await;

    world.api::<Secret>().delete("cache-redis-auth", &DeleteParams::default()).await.unwrap();
    world.patch("cache", json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "now" } } })).await.unwrap();
    world.until("the Secret being back", async || world.exists::<Secret>("cache-redis-auth").await).await;
    let uid = world.api::<Secret>().get("cache-redis-auth").await.unwrap().uid().unwrap();
    world
        .until("Redis being restarted with it", async || {
            let set = world.api::<StatefulSet>().get("cache-redis").await.unwrap();
            set.spec.unwrap().template.metadata.unwrap().annotations.unwrap()["dbx.dev/auth"] == uid
        })
        .await;
}

#[tokio::test]
async fn a_restart_by_kubectl_survives() {
    let world = World::new("restart").await;
    world.create("cache", json!({ "config": managed() })).await.unwrap();
    world.programmed("cache").await;
    let restart = json!({ "spec": { "template": { "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": "now" } } } } });
    world.api::<Deployment>().patch("cache", &PatchParams::default(), &Patch::Merge(restart)).await.unwrap();
    world.patch("cache", json!({ "spec": { "podAnnotations": { "team": "shop" } } })).await.unwrap();
    world.programmed("cache").await;
    world
        .until("the new annotation", async || {
            let annotations =
                world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().template.metadata.unwrap().annotations.unwrap();
            assert_eq!(annotations["kubectl.kubernetes.io/restartedAt"], "now");
            annotations.contains_key("team")
        })
        .await;
}

#[tokio::test]
async fn what_is_switched_off_is_taken_away() {
    let world = World::new("prune").await;
    world.create("cache", json!({ "config": managed(), "replicas": 2 })).await.unwrap();
    world.programmed("cache").await;
    let existing = json!([{ "name": "redis", "redis": { "url": "redis://elsewhere:6379" } }]);
    world.patch("cache", json!({ "spec": { "replicas": 1, "config": { "databases": existing } } })).await.unwrap();
    world.programmed("cache").await;
    world.until("the budget being gone", async || !world.exists::<PodDisruptionBudget>("cache").await).await;
    world.until("the StatefulSet being gone", async || !world.exists::<StatefulSet>("cache-redis").await).await;
    world.until("the Secret being gone", async || !world.exists::<Secret>("cache-redis-auth").await).await;
    world.until("its Service being gone", async || !world.exists::<Service>("cache-redis").await).await;
    assert!(world.exists::<PersistentVolumeClaim>("cache-redis-data").await, "data is not deleted silently");
}

#[tokio::test]
async fn configurations_stay_while_a_replica_set_needs_them() {
    let world = World::new("rollback").await;
    world.create("cache", json!({ "config": managed() })).await.unwrap();
    world.programmed("cache").await;
    let first = world.configurations().await;
    let hash = world.status("cache").await.config_hash.unwrap();
    let template = world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap();
    let labels = template.template.metadata.as_ref().unwrap().labels.clone();
    let set: ReplicaSet = serde_json::from_value(json!({
        "metadata": { "name": "cache-1", "labels": labels },
        "spec": { "replicas": 0, "selector": template.selector, "template": template.template },
    }))
    .unwrap();
    world.api::<ReplicaSet>().create(&PostParams::default(), &set).await.unwrap();

    world.patch("cache", json!({ "spec": { "config": { "limits": { "callTimeout": "1s" } } } })).await.unwrap();
    world.programmed("cache").await;
    assert_eq!(world.configurations().await.len(), 2, "until the Deployment is observed nothing goes");
    world.pretend("cache", json!({ "replicas": 1 })).await;
    world.patch("cache", json!({ "spec": { "config": { "limits": { "callTimeout": "2s" } } } })).await.unwrap();
    world.programmed("cache").await;
    world.pretend("cache", json!({ "replicas": 1 })).await;
    world.until("the middle one being gone", async || world.configurations().await.len() == 2).await;
    assert!(world.configurations().await.contains(&first[0]), "{hash} is needed");

    world.api::<ReplicaSet>().delete("cache-1", &DeleteParams::background()).await.unwrap();
    world.patch("cache", json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "now" } } })).await.unwrap();
    world.until("the first one being gone", async || world.configurations().await.len() == 1).await;
}

#[tokio::test]
async fn a_paused_gateway_is_not_touched() {
    let world = World::new("paused").await;
    world.create("cache", json!({ "config": managed() })).await.unwrap();
    world.programmed("cache").await;
    world.patch("cache", json!({ "spec": { "paused": true, "replicas": 5 } })).await.unwrap();
    world.condition("cache", "Programmed", "Unknown", "Paused").await;
    assert_eq!(world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().replicas, Some(1));
    world.patch("cache", json!({ "spec": { "paused": false } })).await.unwrap();
    world.programmed("cache").await;
    assert_eq!(world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().replicas, Some(5));
}

#[tokio::test]
async fn the_scale_subresource_works() {
    let world = World::new("scale").await;
    world.create("cache", json!({ "config": managed(), "replicas": 1 })).await.unwrap();
    world.programmed("cache").await;
    let gateways = world.api::<dbx_crds::gateway::DbxGateway>();
    gateways.patch_scale("cache", &PatchParams::default(), &Patch::Merge(json!({ "spec": { "replicas": 3 } }))).await.unwrap();
    world.programmed("cache").await;
    world
        .until("the Deployment being scaled", async || {
            world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().replicas == Some(3)
        })
        .await;
    let selector = gateways.get_scale("cache").await.unwrap().status.unwrap().selector.unwrap();
    assert!(selector.contains("app.kubernetes.io/instance=cache"), "{selector}");
}
