use serde_json::{Value, json};

use super::*;

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" })
}

fn gateway(conditions: &[Value], reachable: bool) -> DbxGateway {
    let databases =
        json!([{ "name": "redis", "kind": "redis", "reachable": reachable, "message": (!reachable).then_some("connection refused") }]);
    serde_json::from_value(json!({
        "metadata": { "name": "cache", "namespace": "shop", "generation": 3 },
        "spec": { "config": { "databases": [{ "name": "redis", "redis": { "managed": {} } }], "auth": { "mode": "required" } } },
        "status": {
            "observedGeneration": 3, "configHash": "0123abcd", "url": "http://cache.shop.svc:3000", "version": "1.2.3",
            "conditions": conditions, "databases": databases,
        },
    }))
    .unwrap()
}

fn pod(name: &str, hash: &str, is_ready: bool, container: &Value) -> Pod {
    let mut container = container.clone();
    container["name"] = json!("gateway");
    for (field, value) in [("ready", json!(is_ready)), ("image", json!("")), ("imageID", json!(""))] {
        container[field] = value;
    }
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "shop", "labels": { "dbx.dev/config-hash": hash } },
        "status": {
            "phase": "Running", "conditions": [{ "type": "Ready", "status": if is_ready { "True" } else { "False" } }],
            "containerStatuses": [container],
        },
    }))
    .unwrap()
}

fn key(name: &str, status: &str, reason: &str, message: &str) -> DbxApiKey {
    let spec = json!({ "gatewayRef": { "name": "cache" }, "access": ["read"], "secretName": name });
    let status = json!({ "observedGeneration": 1, "conditions": [condition("Ready", status, reason, message)] });
    serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "shop", "generation": 1 }, "spec": spec, "status": status }))
        .unwrap()
}

#[test]
fn a_gateway_that_is_well() {
    let conditions = [
        condition("Available", "True", "Available", "1 of 1 pods are ready"),
        condition("Progressing", "False", "Complete", "every pod is of the current generation and ready"),
        condition("Ready", "True", "Ready", "the gateway serves"),
    ];
    let gateway = gateway(&conditions, true);
    let pod = pod("cache-6d5f-abcde", "0123abcd", true, &json!({ "restartCount": 0 }));
    let key = key("web", "True", "Ready", "the key can be used");
    let mut going = self::pod("cache-1a2b-zzzzz", "00000000", true, &json!({ "restartCount": 0 }));
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let seen = Seen { gateway: &gateway, pods: vec![&going, &pod], keys: Ok(vec![&key]) };
    let (text, well) = seen.render(true);
    assert!(well, "{text}");
    insta::assert_snapshot!(text);
    assert_eq!(seen.render(false).0, "shop/cache: well; 1/1 pods ready, 1/1 databases reachable, 1/1 keys ready\n");
}

#[test]
fn a_gateway_that_is_not() {
    let conditions = [
        condition("Available", "False", "NotAvailable", "1 of 2 pods are ready"),
        condition("Progressing", "True", "PodFailing", "cache-7c8b-fghij: the configuration has mistakes"),
        condition("BackendReachable", "False", "Unreachable", "redis: connection refused"),
        condition("Ready", "False", "NotAvailable", "1 of 2 pods are ready"),
    ];
    let gateway = gateway(&conditions, false);
    let old = pod("cache-6d5f-abcde", "00000000", true, &json!({ "restartCount": 1 }));
    let looping = json!({
        "restartCount": 7,
        "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 5m0s" } },
        "lastState": { "terminated": { "exitCode": 1, "message": "error: limits.maxBodyBytes: too large\n" } },
    });
    let new = pod("cache-7c8b-fghij", "0123abcd", false, &looping);
    let keys = [key("web", "True", "Ready", "the key can be used"), key("batch", "False", "Loading", "cache-7c8b-fghij has not read it")];
    let seen = Seen { gateway: &gateway, pods: vec![&old, &new], keys: Ok(keys.iter().collect()) };
    let (text, well) = seen.render(false);
    assert!(!well, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_rollout_that_goes_on_is_well() {
    let gateway = gateway(&[condition("Progressing", "True", "RollingOut", "1 of 2 pods are of the current generation")], true);
    let (text, well) = Seen { gateway: &gateway, pods: vec![], keys: Err("forbidden".into()) }.render(true);
    assert!(well, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_gateway_that_nobody_has_looked_at() {
    let mut gateway = gateway(&[], true);
    gateway.status = None;
    let (text, well) = Seen { gateway: &gateway, pods: vec![], keys: Ok(vec![]) }.render(true);
    assert!(!well, "{text}");
    insta::assert_snapshot!(text);
}
