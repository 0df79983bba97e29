//! Whoever changes or deletes what the operator made: it is put back. What others add to it is theirs, and nobody fights.

use std::collections::BTreeMap;

use dbx_crds::api_key::DbxApiKey;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::cluster,
    gateway::{World, managed},
};

/// The kinds that a gateway's children have, and one thing that is said of each: where it is, and what somebody makes of it. A
/// volume is not given back, and a configuration cannot be changed.
fn edits() -> Vec<(&'static str, &'static str, &'static str, &'static str, Value)> {
    vec![
        ("v1", "ServiceAccount", "cache", "/automountServiceAccountToken", json!(true)),
        ("v1", "ConfigMap", "cache-keys", "/data/keys.yaml", json!("keys: [mine]\n")),
        ("v1", "ConfigMap", "cache-redis", "/data/redis.conf", json!("port 1\n")),
        ("v1", "Service", "cache", "/spec/ports/0/targetPort", json!(1)),
        ("v1", "Service", "cache", "/spec/selector/app.kubernetes.io~1instance", json!("other")),
        ("v1", "Service", "cache-redis", "/spec/ports/0/targetPort", json!(1)),
        ("apps/v1", "StatefulSet", "cache-redis", "/spec/template/spec/containers/0/image", json!("redis:1")),
        ("apps/v1", "StatefulSet", "cache-redis", "/spec/replicas", json!(3)),
        ("apps/v1", "Deployment", "cache", "/spec/template/spec/containers/0/image", json!("nginx")),
        ("apps/v1", "Deployment", "cache", "/spec/template/spec/containers/0/args", json!(["--help"])),
        ("apps/v1", "Deployment", "cache", "/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem", json!(false)),
        ("apps/v1", "Deployment", "cache", "/spec/strategy/rollingUpdate/maxUnavailable", json!(1)),
        ("policy/v1", "PodDisruptionBudget", "cache", "/spec/maxUnavailable", json!(5)),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "cache", "/spec/maxReplicas", json!(99)),
        ("networking.k8s.io/v1", "Ingress", "cache", "/spec/rules/0/host", json!("evil.example.com")),
        ("networking.k8s.io/v1", "NetworkPolicy", "cache", "/spec/policyTypes", json!(["Ingress", "Egress"])),
    ]
}

fn api(world: &World, version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    Api::namespaced_with(world.client.clone(), &world.namespace, &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
}

/// A gateway with everything that a cluster always has.
async fn everything(name: &str) -> World {
    let world = World::new(name).await;
    let mut config = managed();
    config["auth"]["mode"] = json!("required");
    let spec = json!({
        "config": config,
        "autoscaling": { "minReplicas": 2, "maxReplicas": 4 },
        "expose": { "ingress": { "hosts": ["api.example.com"] } },
        "networkPolicy": {},
    });
    world.create("cache", spec).await.unwrap();
    world.programmed("cache").await;
    world
}

/// Waits until the operator has done what it had to do: nothing is written for a while.
async fn quiet(world: &World) -> usize {
    loop {
        let before = cluster().writes(&world.namespace).len();
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        if cluster().writes(&world.namespace).len() == before {
            return before;
        }
    }
}

#[tokio::test]
async fn every_edit_is_undone() {
    let world = everything("tug-edit").await;
    let mut kinds: BTreeMap<(&str, &str), ()> = BTreeMap::new();
    for (version, kind, name, path, theirs) in edits() {
        kinds.insert((version, kind), ());
        let api = api(&world, version, kind);
        let ours = json!(api.get(name).await.unwrap()).pointer(path).cloned();
        assert!(ours.is_some(), "{kind} {name} has no {path}");
        // As `kubectl edit` does it: the whole object, by whoever happens to come last.
        world
            .until(&format!("{kind} {name} being edited"), async || {
                let mut edited = json!(api.get(name).await.unwrap());
                *edited.pointer_mut(path).unwrap() = theirs.clone();
                api.replace(name, &PostParams::default(), &serde_json::from_value(edited).unwrap()).await.is_ok()
            })
            .await;
        world
            .until(&format!("{path} of {kind} {name} being as before"), async || {
                json!(api.get(name).await.unwrap()).pointer(path).cloned() == ours
            })
            .await;
    }
    for ((version, kind), ()) in kinds {
        let api = api(&world, version, kind);
        let name = if kind == "StatefulSet" { "cache-redis" } else { "cache" };
        let name = if kind == "ConfigMap" { "cache-keys" } else { name };
        let label = "app.kubernetes.io/component";
        let ours = api.get(name).await.unwrap().labels()[label].clone();
        let theirs = Patch::Merge(json!({ "metadata": { "labels": { label: "theirs" } } }));
        api.patch(name, &PatchParams::default(), &theirs).await.unwrap();
        world.until(&format!("the label of {kind} being back"), async || api.get(name).await.unwrap().labels()[label] == ours).await;
    }
}

#[tokio::test]
async fn every_child_that_is_deleted_is_made_again() {
    let world = everything("tug-delete").await;
    let mut deleted = 0;
    let kinds: std::collections::BTreeSet<(&str, &str)> = edits().into_iter().map(|(version, kind, ..)| (version, kind)).collect();
    for (version, kind) in kinds {
        let api = api(&world, version, kind);
        let children = api.list(&ListParams::default().labels("app.kubernetes.io/managed-by=dbx-operator")).await.unwrap();
        assert!(!children.items.is_empty(), "there is no {kind}");
        for child in children {
            let name = child.name_any();
            api.delete(&name, &DeleteParams::background()).await.unwrap();
            world
                .until(&format!("{kind} {name} being back"), async || {
                    api.get_opt(&name).await.unwrap().is_some_and(|again| again.uid() != child.uid())
                })
                .await;
            deleted += 1;
        }
    }
    assert!(deleted >= 12, "{deleted} children");
    world.programmed("cache").await;
    let replicas = world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().replicas;
    assert_eq!(replicas, Some(2), "a Deployment that is made again begins with the fewest pods");
}

#[tokio::test]
async fn what_others_add_is_theirs_and_nobody_fights() {
    let world = everything("tug-others").await;
    let deployments: Api<Deployment> = world.api();
    let sidecar = json!({ "name": "sidecar", "image": "sidecar:1" });
    let container = json!({ "name": "gateway", "env": [{ "name": "THEIRS", "value": "1" }] });
    let body = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "cache", "annotations": { "example.com/note": "kept" }, "labels": { "example.com/team": "shop" } },
        "spec": { "template": { "spec": { "containers": [container, sidecar] } } },
    });
    deployments.patch("cache", &PatchParams::apply("somebody"), &Patch::Apply(body)).await.unwrap();
    world.patch("cache", json!({ "spec": { "podAnnotations": { "ours": "too" } } })).await.unwrap();
    world.programmed("cache").await;
    world
        .until("our annotation", async || {
            let template = deployments.get("cache").await.unwrap().spec.unwrap().template;
            template.metadata.unwrap().annotations.is_some_and(|annotations| annotations.contains_key("ours"))
        })
        .await;
    let live = deployments.get("cache").await.unwrap();
    assert_eq!((live.annotations()["example.com/note"].as_str(), live.labels()["example.com/team"].as_str()), ("kept", "shop"));
    let pod = live.spec.clone().unwrap().template.spec.unwrap();
    assert_eq!(pod.containers.len(), 2, "what injects containers is let be");
    assert!(pod.containers[0].env.as_ref().unwrap().iter().any(|variable| variable.name == "THEIRS"));

    // Another manager that insists on what is ours: a write for each of its own, and none after.
    let before = quiet(&world).await;
    for round in 0..5 {
        let theirs = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "cache" },
            "spec": { "template": { "spec": { "containers": [{ "name": "gateway", "image": format!("theirs:{round}") }] } } },
        });
        deployments.patch("cache", &PatchParams::apply("rival").force(), &Patch::Apply(theirs)).await.unwrap();
        world
            .until("our image being back", async || {
                let pod = deployments.get("cache").await.unwrap().spec.unwrap().template.spec.unwrap();
                !pod.containers[0].image.as_ref().unwrap().starts_with("theirs")
            })
            .await;
    }
    let after = quiet(&world).await;
    assert!(after - before <= 10, "{:#?}", &cluster().writes(&world.namespace)[before..]);
}

#[tokio::test]
async fn secrets_of_keys_come_back_and_foreign_ones_are_let_be() {
    let world = everything("tug-secrets").await;
    let spec = json!({ "gatewayRef": { "name": "cache" }, "access": ["read"], "secretName": "web" });
    let key: DbxApiKey = serde_json::from_value(json!({ "metadata": { "name": "web" }, "spec": spec })).unwrap();
    world.api::<DbxApiKey>().create(&PostParams::default(), &key).await.unwrap();
    let secrets: Api<Secret> = world.api();
    world.until("the key", async || secrets.get_opt("web").await.unwrap().is_some()).await;
    let first = secrets.get("web").await.unwrap();
    secrets.delete("web", &DeleteParams::default()).await.unwrap();
    // Somebody is faster with another one of the name.
    let theirs: Secret = serde_json::from_value(json!({ "metadata": { "name": "web" }, "stringData": { "theirs": "1" } })).unwrap();
    secrets.create(&PostParams::default(), &theirs).await.unwrap();
    let look = Patch::Merge(json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "now" } } }));
    world.api::<DbxApiKey>().patch("web", &PatchParams::default(), &look).await.unwrap();
    world
        .until("the conflict being told", async || {
            let status = world.api::<DbxApiKey>().get("web").await.unwrap().status.unwrap_or_default();
            status.conditions.iter().any(|found| found.type_ == "Ready" && found.reason == "SecretConflict")
        })
        .await;
    let data = secrets.get("web").await.unwrap().data.unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["theirs"]);
    secrets.delete("web", &DeleteParams::default()).await.unwrap();
    let look = Patch::Merge(json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "again" } } }));
    world.api::<DbxApiKey>().patch("web", &PatchParams::default(), &look).await.unwrap();
    world
        .until("the key being made anew", async || secrets.get_opt("web").await.unwrap().is_some_and(|again| again.uid() != first.uid()))
        .await;
}
