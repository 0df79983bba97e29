//! The rules of the schema, as the API server sees them.

use dbx_crds::{api_key::DbxApiKey, gateway::DbxGateway};
use json_patch::merge;
use kube::{
    Api, Error,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{cluster::repository, gateway::World};

/// A kind with its rules, their cases, and the smallest object that passes.
struct Subject {
    resource: ApiResource,
    rules: usize,
    cases: &'static str,
    smallest: Value,
}

#[tokio::test]
async fn the_api_server_enforces_every_rule() {
    let world = World::new("rules").await;
    let config = json!({ "databases": [{ "name": "a", "redis": { "managed": {} } }], "auth": { "mode": "none" } });
    let gateway = Subject {
        resource: ApiResource::erase::<DbxGateway>(&()),
        rules: dbx_crds::gateway::RULES.len(),
        cases: "crds/src/gateway/rules.yaml",
        smallest: json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxGateway", "metadata": { "name": "a" }, "spec": { "config": config } }),
    };
    let spec = json!({ "gatewayRef": { "name": "a" }, "access": ["read"], "secretName": "a" });
    let key = Subject {
        resource: ApiResource::erase::<DbxApiKey>(&()),
        rules: dbx_crds::api_key::RULES.len(),
        cases: "crds/src/api_key/rules.yaml",
        smallest: json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxApiKey", "metadata": { "name": "a" }, "spec": spec }),
    };
    for subject in [gateway, key] {
        check(&world, &subject).await;
    }
}

async fn check(world: &World, subject: &Subject) {
    let api: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), "rules", &subject.resource);
    // What is only tried is never stored, so the operator does not see it.
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let cases = std::fs::read_to_string(repository().join(subject.cases)).unwrap();
    let cases: Vec<Value> = serde_yaml::from_str(&cases).unwrap();
    assert_eq!(cases.len(), subject.rules);
    let changed = |change: &Value| {
        let mut object = subject.smallest.clone();
        merge(&mut object, change);
        object
    };
    for case in &cases {
        let message = case["message"].as_str().unwrap();
        let old = (!case["old"].is_null()).then(|| changed(&case["old"]));
        if let Some(old) = &old {
            api.create(&PostParams::default(), &serde_json::from_value(old.clone()).unwrap()).await.unwrap();
        }
        let attempt = async |change: &Value| match &old {
            None => api.create(&dry, &serde_json::from_value(changed(change)).unwrap()).await,
            Some(_) => api.patch("a", &PatchParams { dry_run: true, ..PatchParams::default() }, &Patch::Merge(changed(change))).await,
        };
        let changes = |list: &str| [&case[list], &case[format!("{list}OnServer")]].into_iter().filter_map(Value::as_array).flatten();
        for change in changes("passes") {
            attempt(change).await.unwrap_or_else(|error| panic!("{change}: {error}"));
        }
        for change in changes("fails") {
            match attempt(change).await {
                Err(Error::Api(status)) => {
                    assert!(status.message.contains(message), "{change} gives {:?} instead of {message:?}", status.message)
                }
                other => panic!("{change} is not refused: {other:?}"),
            }
        }
        if old.is_some() {
            api.delete("a", &DeleteParams::default()).await.unwrap();
        }
    }
}
