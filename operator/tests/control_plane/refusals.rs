//! What the operator refuses, and how it says so.

use std::io::{Read, Write};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret, Service},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::gateway::{World, managed};

#[tokio::test]
async fn an_invalid_configuration_changes_nothing() {
    let world = World::new("invalid").await;
    world.create("cache", json!({ "config": managed(), "replicas": 1 })).await.unwrap();
    world.programmed("cache").await;
    let before = world.api::<Deployment>().get("cache").await.unwrap();
    world
        .patch("cache", json!({ "spec": { "replicas": 3, "config": { "hosts": ["http://a"], "cors": { "origins": ["x"] } } } }))
        .await
        .unwrap();
    let message = world.condition("cache", "Accepted", "False", "InvalidConfig").await;
    assert!(message.contains("spec.config.hosts[0]: ") && message.contains("; spec.config.cors.origins[0]: "), "{message}");
    world.condition("cache", "Programmed", "False", "NotAccepted").await;
    world.condition("cache", "Ready", "False", "InvalidConfig").await;
    assert_eq!(world.api::<Deployment>().get("cache").await.unwrap().resource_version(), before.resource_version());
    world.patch("cache", json!({ "spec": { "config": { "hosts": null, "cors": null } } })).await.unwrap();
    world.programmed("cache").await;
    world.condition("cache", "Accepted", "True", "Accepted").await;
}

#[tokio::test]
async fn a_foreign_object_is_not_taken_over() {
    let world = World::new("conflict").await;
    let foreign: Service =
        serde_json::from_value(json!({ "metadata": { "name": "cache" }, "spec": { "ports": [{ "port": 1 }] } })).unwrap();
    world.api::<Service>().create(&PostParams::default(), &foreign).await.unwrap();
    world.create("cache", json!({ "config": managed() })).await.unwrap();
    let message = world.condition("cache", "Accepted", "False", "NameConflict").await;
    assert!(message.contains("Service conflict/cache"), "{message}");
    assert!(!world.exists::<Deployment>("cache").await && !world.exists::<Secret>("cache-redis-auth").await, "nothing is touched");
    assert_eq!(world.api::<Service>().get("cache").await.unwrap().labels().len(), 0);

    world.api::<Service>().delete("cache", &DeleteParams::default()).await.unwrap();
    world.patch("cache", json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "now" } } })).await.unwrap();
    world.programmed("cache").await;

    let world = World::new("conflict-secret").await;
    let foreign: Secret = serde_json::from_value(json!({ "metadata": { "name": "cache-redis-auth" } })).unwrap();
    world.api::<Secret>().create(&PostParams::default(), &foreign).await.unwrap();
    world.create("cache", json!({ "config": managed() })).await.unwrap();
    let message = world.condition("cache", "Accepted", "False", "NameConflict").await;
    assert!(message.contains("Secret conflict-secret/cache-redis-auth"), "{message}");
    assert!(!world.exists::<Deployment>("cache").await);
}

#[tokio::test]
async fn a_missing_secret_is_named_until_it_exists() {
    let world = World::new("refs").await;
    let redis = json!({ "url": "redis://elsewhere", "passwordFrom": { "secretKeyRef": { "name": "credentials", "key": "password" } } });
    let config = json!({ "databases": [{ "name": "redis", "redis": redis }], "auth": { "mode": "none" } });
    world.create("cache", json!({ "config": config })).await.unwrap();
    let message = world.condition("cache", "ResolvedRefs", "False", "SecretNotFound").await;
    assert_eq!(message, "spec.config.databases[0].redis.passwordFrom.secretKeyRef: Secret refs/credentials does not exist");
    world.condition("cache", "Ready", "False", "SecretNotFound").await;
    let secret: Secret =
        serde_json::from_value(json!({ "metadata": { "name": "credentials" }, "stringData": { "password": "x" } })).unwrap();
    world.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    world.condition("cache", "ResolvedRefs", "True", "ResolvedRefs").await;
}

#[tokio::test]
async fn what_the_api_server_refuses_is_told() {
    let world = World::new("refused").await;
    let affinity = json!({ "nodeAffinity": { "noSuchField": true } });
    world.create("cache", json!({ "config": managed(), "affinity": affinity })).await.unwrap();
    let message = world.condition("cache", "Programmed", "False", "ApplyFailed").await;
    assert!(message.starts_with("Deployment refused/cache: ") && message.contains("noSuchField"), "{message}");
    world.patch("cache", json!({ "spec": { "affinity": null } })).await.unwrap();
    world.programmed("cache").await;
}

#[tokio::test]
async fn what_pods_say_is_passed_on() {
    let world = World::new("pods").await;
    world.create("cache", json!({ "config": managed(), "replicas": 1 })).await.unwrap();
    world.programmed("cache").await;
    // A pod that answers on the operations port, as far as the operator can tell.
    let listener = std::net::TcpListener::bind("127.91.0.7:9090").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            assert!(String::from_utf8_lossy(&request[..length]).starts_with("GET /readyz?verbose HTTP/1.1\r\n"));
            let body =
                r#"{"ready":false,"draining":false,"databases":[{"name":"redis","kind":"redis","reachable":false,"message":"refused"}]}"#;
            let _ = write!(stream, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    let labels = world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().template.metadata.unwrap().labels;
    let pod: Pod = serde_json::from_value(
        json!({ "metadata": { "name": "cache-1", "labels": labels }, "spec": { "containers": [{ "name": "gateway", "image": "x" }] } }),
    )
    .unwrap();
    world.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap();
    let status = json!({ "status": { "phase": "Running", "podIP": "127.91.0.7", "podIPs": [{ "ip": "127.91.0.7" }], "conditions": [{ "type": "Ready", "status": "False" }] } });
    world.api::<Pod>().patch_status("cache-1", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let unavailable = json!({ "replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1, "conditions": [{ "type": "Available", "status": "False" }] });
    world.pretend("cache", unavailable).await;

    world.condition("cache", "BackendReachable", "False", "Unreachable").await;
    let message = world.condition("cache", "Progressing", "True", "PodFailing").await;
    assert_eq!(message, "pod cache-1 is not ready: database redis (spec.config.databases[0]): refused");
    world.condition("cache", "Available", "False", "NotAvailable").await;
    let status = world.status("cache").await;
    assert_eq!((status.databases_ready.as_deref(), status.databases[0].reachable), (Some("0/1"), false));

    let crashed = json!({ "status": { "podIP": null, "podIPs": null, "containerStatuses": [{ "name": "gateway", "image": "x", "imageID": "x", "ready": false, "restartCount": 1,
        "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": { "terminated": { "exitCode": 1, "message": "cannot bind 0.0.0.0:3000" } } }] } });
    world.api::<Pod>().patch_status("cache-1", &PatchParams::default(), &Patch::Merge(crashed)).await.unwrap();
    let late = json!({ "replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1, "conditions": [
        { "type": "Available", "status": "False" }, { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }] });
    world.pretend("cache", late).await;
    let message = world.condition("cache", "Progressing", "False", "DeadlineExceeded").await;
    assert!(message.contains("pod cache-1: exited with code 1: cannot bind 0.0.0.0:3000"), "{message}");
}
