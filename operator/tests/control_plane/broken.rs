//! Objects with mistakes, among them such as an older schema let in: each is told its own, and those beside them are served.

use std::collections::BTreeMap;

use dbx_crds::gateway::DbxGateway;
use json_patch::merge;
use k8s_openapi::{
    api::core::v1::{Event, Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cluster::{apply, quiet},
    gateway::World,
    handover::Operator,
};

/// Good gateways beside the broken ones.
const GOOD: usize = 40;

/// A mistake, and where it has to be told: condition, reason, and what the message holds.
#[derive(Deserialize)]
struct Mistake {
    change: Value,
    says: (String, String, String),
}

fn object(name: &str) -> Value {
    let config = json!({ "databases": [{ "name": "redis", "redis": { "url": "redis://elsewhere" } }], "auth": { "mode": "none" } });
    let metadata = json!({ "name": name, "namespace": "broken" });
    json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxGateway", "metadata": metadata, "spec": { "replicas": 1, "config": config } })
}

/// Has the API server take whatever is said of a kind, as an older definition might have.
pub(crate) async fn loosen(client: &Client, definition: &str) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut loose = serde_json::to_value(definitions.get(definition).await.unwrap()).unwrap();
    loose["metadata"]["managedFields"] = json!(null);
    let schema = &mut loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["x-kubernetes-validations"] = json!(null);
    schema["properties"]["spec"] = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    definitions.patch(definition, &PatchParams::default(), &Patch::Merge(&loose)).await.unwrap();
}

/// Stores an object that only a loosened definition lets in, which the API server takes a moment to serve.
pub(crate) async fn store(world: &World, objects: &Api<DynamicObject>, object: &Value) {
    let name = object["metadata"]["name"].as_str().unwrap();
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    let create = async || objects.create(&PostParams::default(), &object).await.is_ok();
    world.until(&format!("{name} being stored"), create).await;
}

#[tokio::test]
async fn every_mistake_is_told_and_stops_nobody_else() {
    // Where nobody else needs the rules that are loosened here.
    let world = World::on(quiet(), "broken").await;
    let mistakes: BTreeMap<String, Mistake> = serde_yaml::from_str(include_str!("broken.yaml")).unwrap();
    assert!(mistakes.len() >= 40, "{} mistakes", mistakes.len());
    let taken: Service = serde_json::from_value(json!({ "metadata": { "name": "taken" }, "spec": { "ports": [{ "port": 1 }] } })).unwrap();
    world.api::<Service>().create(&PostParams::default(), &taken).await.unwrap();

    let gateways: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), "broken", &ApiResource::erase::<DbxGateway>(&()));
    loosen(&world.client, "dbxgateways.dbx.dev").await;
    for (name, mistake) in &mistakes {
        let mut object = object(name);
        merge(&mut object, &mistake.change);
        store(&world, &gateways, &object).await;
    }
    apply(&world.client, &json!(dbx_crds::gateway::crd())).await;
    let refused = async || {
        let mut wrong = object("refused");
        wrong["spec"]["paused"] = json!("yes");
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        gateways.create(&dry, &serde_json::from_value(wrong).unwrap()).await.is_err()
    };
    world.until("the rules being in force again", refused).await;

    let good: Vec<String> = (0..GOOD).map(|index| format!("good-{index}")).collect();
    let _operator = Operator::start("admin", &["--watch-namespace", "broken", "--lease", "broken"]);
    for name in &good {
        apply(&world.client, &object(name)).await;
    }
    for name in &good {
        world.programmed(name).await;
    }
    for (name, Mistake { says: (condition, reason, words), .. }) in &mistakes {
        let told = async || {
            let status = gateways.get(name).await.unwrap().data["status"].take();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let says = |found: &Value| {
                let matches = found["status"] == "False" && found["reason"] == **reason;
                matches && found["message"].as_str().unwrap_or_default().contains(words.as_str())
            };
            let found = |wanted: &str| conditions.iter().find(|found| found["type"] == wanted);
            if found(condition).is_some_and(says) && found("Ready").is_some_and(says) {
                return true;
            }
            // Of which the API server cannot even evaluate a rule, of that it takes no status.
            let params = ListParams::default().fields(&format!("involvedObject.name={name},reason={reason},type=Warning"));
            let events = world.api::<Event>().list(&params).await.unwrap();
            status.is_null() && events.items.iter().any(|event| event.message.as_deref().unwrap_or_default().contains(words.as_str()))
        };
        let deadline = std::time::Instant::now();
        while !told().await {
            let status = gateways.get(name).await.unwrap().data["status"].take();
            assert!(deadline.elapsed() < crate::cluster::DEADLINE, "{name} does not say {reason} with {words:?}: {status:#}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    // Corrected, it is as good as the others.
    let correct = Patch::Merge(json!({ "spec": { "disruptionBudget": { "maxUnavailable": 1 } } }));
    gateways.patch("text-for-number", &PatchParams::default(), &correct).await.unwrap();
    world.programmed("text-for-number").await;
    // Whoever takes gateways as what they are needs all of them to be sound.
    gateways.delete_collection(&Default::default(), &Default::default()).await.unwrap();
}
