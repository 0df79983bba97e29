//! The chart's rights, held to what the operator asks for: no right is missing, and none is there that is not used.

use dbx_crds::{api_key::DbxApiKey, gateway::DbxGateway};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    broken::{loosen, store},
    cluster::{apply, complete, repository},
    definitions::optional_apis,
    gateway::{World, managed},
    handover::Operator,
    roles,
};

/// Lives a life in which everything is made, changed and taken away.
async fn live(world: &World) {
    let look = Patch::Merge(json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "now" } } }));
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(json!({ "metadata": { "name": "password" } })).unwrap();
    world.api().create(&PostParams::default(), &secret).await.unwrap();
    let mut config = managed();
    config["databases"][0]["redis"]["managed"]["deleteStorage"] = json!(true);
    config["auth"]["mode"] = json!("required");
    let everything = json!({
        "config": config,
        "autoscaling": { "minReplicas": 2, "maxReplicas": 4 },
        "expose": { "ingress": { "hosts": ["api.example.com"] }, "httpRoute": { "parentRefs": [{ "name": "web" }], "hostnames": ["a.example.com"] } },
        "networkPolicy": {},
        "monitoring": { "serviceMonitor": {} },
        "certificate": { "secretName": "cache-tls", "issuerRef": { "name": "letsencrypt" } },
    });
    world.create("cache", everything).await.unwrap();
    world.programmed("cache").await;
    let spec = json!({ "gatewayRef": { "name": "cache" }, "access": ["read"], "secretName": "web" });
    let key: DbxApiKey = serde_json::from_value(json!({ "metadata": { "name": "web" }, "spec": spec })).unwrap();
    let _pod = world.pod("127.91.0.9").await;
    world.pretend("cache", json!({ "replicas": 1, "unavailableReplicas": 1 })).await;
    world.api::<DbxApiKey>().create(&PostParams::default(), &key).await.unwrap();
    world
        .until("the key waiting for the pod", async || {
            let status = world.api::<DbxApiKey>().get("web").await.unwrap().status.unwrap_or_default();
            status.conditions.iter().any(|found| found.type_ == "Programmed" && found.message.contains("cache-1"))
        })
        .await;
    let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    world.api::<k8s_openapi::api::core::v1::Pod>().delete("cache-1", &params).await.unwrap();
    world
        .until("the key being handed over", async || {
            let status = world.api::<DbxApiKey>().get("web").await.unwrap().status.unwrap_or_default();
            status.conditions.iter().any(|found| found.type_ == "Ready" && found.status == "True")
        })
        .await;
    let again = Patch::Merge(json!({ "metadata": { "annotations": { "dbx.dev/rotate-at": "now" } } }));
    world.api::<DbxApiKey>().patch("web", &PatchParams::default(), &again).await.unwrap();
    world
        .until("the key being replaced", async || {
            world.api::<DbxApiKey>().get("web").await.unwrap().status.is_some_and(|status| status.keys.len() == 2)
        })
        .await;
    // The same again within minutes is another count of the same event.
    for _ in 0..2 {
        world.patch("cache", json!({ "spec": { "config": { "hosts": ["http://a"] } } })).await.unwrap();
        world.condition("cache", "Accepted", "False", "InvalidConfig").await;
        world.patch("cache", json!({ "spec": { "config": { "hosts": null } } })).await.unwrap();
        world.condition("cache", "Accepted", "True", "Accepted").await;
    }
    // A pod that waits for a volume, which events alone tell of.
    let waiting = json!({ "phase": "Pending", "containerStatuses": [{ "name": "gateway", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ContainerCreating" } } }] });
    world.pod_that_is("cache-2", waiting).await;
    world.pretend("cache", json!({ "replicas": 2, "unavailableReplicas": 2 })).await;
    let small = json!({ "spec": {
        "config": { "databases": [{ "name": "redis", "redis": { "url": "redis://elsewhere" } }], "auth": { "mode": "none" } },
        "replicas": 1, "autoscaling": null, "expose": null, "networkPolicy": null, "monitoring": null, "certificate": null,
        "serviceAccount": { "name": "default" },
    } });
    world.patch("cache", small).await.unwrap();
    world.programmed("cache").await;
    world.pretend("cache", json!({ "replicas": 1 })).await;
    world.api::<DbxGateway>().patch("cache", &PatchParams::default(), &look).await.unwrap();
}

/// Objects that nobody can read, of which only metadata is watched.
async fn unreadable(world: &World) {
    let broken = [
        (ApiResource::erase::<DbxGateway>(&()), json!({ "config": { "databases": {} } })),
        (ApiResource::erase::<DbxApiKey>(&()), json!({ "gatewayRef": "cache" })),
    ];
    for (resource, spec) in broken {
        loosen(&world.client, &format!("{}.dbx.dev", resource.plural)).await;
        let api: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), "rights", &resource);
        let object = json!({ "apiVersion": resource.api_version, "kind": resource.kind, "metadata": { "name": "broken" }, "spec": spec });
        store(world, &api, &object).await;
    }
}

#[tokio::test]
async fn no_right_is_missing_and_none_is_unused() {
    let world = World::on(complete(), "rights").await;
    for definition in optional_apis() {
        apply(&world.client, &definition).await;
    }
    let _operator = Operator::on(complete(), "operator", &["--discover", "1"]);
    live(&world).await;
    unreadable(&world).await;
    let given = roles::given(&std::fs::read_to_string(repository().join("manifests/operator.yaml")).unwrap());
    assert!(given.len() > 60, "{given:#?}");
    let start = std::time::Instant::now();
    loop {
        let (asked, denied) = roles::asked(&complete().requests());
        assert_eq!(denied, [""; 0], "rights are missing");
        let unused: Vec<&String> = given.difference(&asked).collect();
        if unused.is_empty() {
            break;
        }
        assert!(start.elapsed() < crate::cluster::DEADLINE, "rights that nothing uses: {unused:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}
