//! APIs that a cluster need not have, by the definitions that their projects publish: what the operator and the charts make
//! for them is taken, with nothing that they do not know.

use std::{path::PathBuf, process::Command};

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::{apply, complete, quiet, repository},
    gateway::{World, managed},
    handover::Operator,
};

/// The definitions of HTTPRoute, Certificate, ServiceMonitor and PrometheusRule.
pub(crate) fn optional_apis() -> Vec<Value> {
    let folder = std::env::var_os("DBXDEV_DEFINITIONS").map(PathBuf::from).filter(|folder| folder.is_dir());
    let folder = folder.expect(
        "DBXDEV_DEFINITIONS has to name a folder of definitions; `export DBXDEV_DEFINITIONS=$(e2e/cluster/cluster definitions)` makes it",
    );
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let definitions: Vec<Value> = files.map(|text| serde_yaml::from_str(&text).unwrap()).collect();
    assert!(definitions.len() > 3 && definitions.iter().all(|definition| definition["kind"] == "CustomResourceDefinition"));
    definitions
}

/// Objects of an API that the client's types do not know.
fn objects(client: &Client, namespace: &str, group: &str, kind: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind)))
}

/// What a Gateway says about a route.
fn verdict(status: &str) -> Patch<Value> {
    let condition = json!({
        "type": "Accepted", "status": status, "reason": "Tested", "message": "no listener takes it",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let parent = json!({
        "parentRef": { "name": "web", "namespace": "edge", "sectionName": "https", "port": 443 },
        "controllerName": "example.com/test", "conditions": [condition],
    });
    Patch::Merge(json!({ "status": { "parents": [parent] } }))
}

#[tokio::test]
async fn apis_are_used_once_they_are_there() {
    let world = World::on(quiet(), "apis").await;
    let _operator = Operator::start("admin", &["--watch-namespace", "apis", "--lease", "apis", "--discover", "1"]);
    // Every field that ends up in one of them.
    let parent = json!({ "name": "web", "namespace": "edge", "sectionName": "https", "port": 443 });
    let issuer = json!({ "name": "letsencrypt", "kind": "ClusterIssuer", "group": "cert-manager.io" });
    let spec = json!({
        "config": managed(),
        "expose": { "httpRoute": { "parentRefs": [parent], "hostnames": ["api.example.com", "*.example.com"] } },
        "monitoring": { "serviceMonitor": { "labels": { "release": "prometheus" }, "interval": "1m30s" } },
        "certificate": { "secretName": "cache-tls", "issuerRef": issuer, "dnsNames": ["other.example.com"] },
    });
    world.create("cache", spec).await.unwrap();
    world.programmed("cache").await;
    world.condition("cache", "ResolvedRefs", "False", "ApiMissing").await;
    let message = world.condition("cache", "Exposed", "False", "ApiMissing").await;
    assert!(message.contains("gateway.networking.k8s.io/v1 HTTPRoute"), "{message}");

    for definition in optional_apis() {
        apply(&world.client, &definition).await;
    }
    world.condition("cache", "ResolvedRefs", "True", "ResolvedRefs").await;
    world.condition("cache", "Exposed", "Unknown", "RouteNotObserved").await;
    world.programmed("cache").await;
    let routes = objects(&world.client, "apis", "gateway.networking.k8s.io", "HTTPRoute");
    let monitors = objects(&world.client, "apis", "monitoring.coreos.com", "ServiceMonitor");
    let certificates = objects(&world.client, "apis", "cert-manager.io", "Certificate");
    assert_eq!(certificates.get("cache").await.unwrap().data["spec"]["issuerRef"]["kind"], "ClusterIssuer");
    assert_eq!(monitors.get("cache").await.unwrap().labels()["release"], "prometheus");
    routes.patch_status("cache", &PatchParams::default(), &verdict("False")).await.unwrap();
    let message = world.condition("cache", "Exposed", "False", "RouteNotAccepted").await;
    assert_eq!(message, "Gateway edge/web: no listener takes it");
    routes.patch_status("cache", &PatchParams::default(), &verdict("True")).await.unwrap();
    world.condition("cache", "Exposed", "True", "Exposed").await;

    // What the definitions fill in is no difference.
    let kinds = [&routes, &monitors, &certificates];
    let versions = async || {
        let mut versions = Vec::new();
        for kind in kinds {
            versions.push(kind.get("cache").await.unwrap().resource_version());
        }
        versions
    };
    let before = versions().await;
    world.patch("cache", json!({ "spec": { "podAnnotations": { "a": "b" } } })).await.unwrap();
    world.programmed("cache").await;
    assert_eq!(versions().await, before);

    // Watched since, and so put back and taken away like all else.
    monitors.delete("cache", &Default::default()).await.unwrap();
    world.until("the ServiceMonitor being back", async || monitors.get_opt("cache").await.unwrap().is_some()).await;
    world.patch("cache", json!({ "spec": { "expose": null, "monitoring": null, "certificate": null } })).await.unwrap();
    world.programmed("cache").await;
    for kind in kinds {
        world.until("what is not asked for being gone", async || kind.get_opt("cache").await.unwrap().is_none()).await;
    }
}

#[tokio::test]
async fn what_the_chart_makes_for_the_prometheus_operator_is_taken() {
    let world = World::on(complete(), "monitored").await;
    for definition in optional_apis() {
        apply(&world.client, &definition).await;
    }
    let mut helm = Command::new("helm");
    helm.args([
        "template",
        "dbx",
        "--namespace",
        "monitored",
        "--kube-version",
        "1.35.0",
        "--set",
        "serviceMonitor.enabled=true,serviceMonitor.interval=30s",
    ]);
    helm.args(["--set", "monitoring.alerts.enabled=true,monitoring.alerts.labels.release=prometheus"]);
    let output = helm.arg(repository().join("charts/dbx-operator")).output();
    let output = output.expect("helm is on the path: `PATH=$(e2e/cluster/cluster tools):$PATH`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rendered = String::from_utf8(output.stdout).unwrap();
    let documents = rendered.split("\n---\n").map(|document| serde_yaml::from_str::<Value>(document).unwrap());
    let found: Vec<Value> = documents.filter(|document| document["apiVersion"] == "monitoring.coreos.com/v1").collect();
    assert_eq!(found.len(), 2, "{found:#?}");
    for object in found {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let api = objects(&world.client, "monitored", "monitoring.coreos.com", kind);
        world.until("the API being served", async || api.list(&Default::default()).await.is_ok()).await;
        let strictly = PatchParams::apply("test").validation_strict();
        api.patch(name, &strictly, &Patch::Apply(&object)).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}
