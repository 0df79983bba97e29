use serde_json::{Value, json};

use super::*;

fn key(name: &str, gateway: Value, status: Value) -> DbxApiKey {
    let spec = json!({ "gatewayRef": gateway, "access": ["read"], "secretName": name });
    serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "web", "generation": 2 }, "spec": spec, "status": status }))
        .unwrap()
}

fn gateway() -> DbxGateway {
    let spec = json!({ "config": { "databases": [{ "name": "redis", "redis": { "managed": {} } }], "auth": { "mode": "required" } } });
    serde_json::from_value(json!({ "metadata": { "name": "cache", "namespace": "shop" }, "spec": spec })).unwrap()
}

#[test]
fn a_line_for_each_key_that_is_taken() {
    let there = json!({ "name": "cache", "namespace": "shop" });
    let ready = json!({ "type": "Ready", "status": "True", "reason": "Ready", "message": "the key can be used", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let taken = json!([{ "id": "b" }, { "id": "a", "expires": "2026-02-01T10:00:00Z" }]);
    let good = key("good", there.clone(), json!({ "observedGeneration": 2, "conditions": [ready], "keys": taken }));
    // What is said of an older generation is not said of this one.
    let stale = key("stale", there.clone(), json!({ "observedGeneration": 1, "conditions": [ready] }));
    let fresh = key("fresh", there, Value::Null);
    insta::assert_snapshot!(render(&gateway(), &[&good, &stale, &fresh]));
    assert_eq!(render(&gateway(), &[]), "cache has no DbxApiKeys\n");
}

#[test]
fn a_key_belongs_to_the_gateway_that_it_names() {
    assert!(is_of(&key("a", json!({ "name": "cache", "namespace": "shop" }), Value::Null), &gateway()));
    assert!(!is_of(&key("a", json!({ "name": "cache" }), Value::Null), &gateway()));
    assert!(!is_of(&key("a", json!({ "name": "other", "namespace": "shop" }), Value::Null), &gateway()));
}
