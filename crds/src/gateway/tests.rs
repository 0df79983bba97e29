use serde_json::json;

use super::*;
use crate::{schema::tests::Subject, shape::Shape};

fn subject() -> Subject {
    let config = json!({ "databases": [{ "name": "a", "redis": { "managed": {} } }], "auth": { "mode": "none" } });
    let smallest = json!({ "metadata": { "name": "a" }, "spec": { "config": config } });
    Subject { crd: crd(), rules: RULES, cases: include_str!("rules.yaml"), smallest }
}

#[test]
fn every_rule_lets_pass_and_refuses() {
    subject().check_rules();
}

#[test]
fn every_field_has_one_type_and_no_default() {
    subject().check_types();
}

#[test]
fn everything_a_user_writes_is_bounded() {
    subject().check_bounds();
}

#[test]
fn every_field_is_described() {
    subject().check_words();
}

#[test]
fn the_definition_is_small_and_current() {
    subject().check_file("dbxgateways.yaml");
}

#[test]
fn a_gateway_survives_reading_and_writing() {
    let spec = json!({
        "config": { "databases": [{ "name": "a", "redis": { "managed": {} } }], "auth": { "mode": "none" } },
        "replicas": 2, "tolerations": [{ "key": "a", "anything": [1] }], "affinity": { "podAffinity": { "x": "y" } },
        "service": { "type": "NodePort", "nodePort": 30080 }, "image": { "pullPolicy": "Never", "pullSecrets": [{ "name": "s" }] },
        "extraEnv": [{ "name": "A", "valueFrom": { "x": 1 } }], "extraVolumes": [{ "name": "v", "emptyDir": {} }],
        "extraVolumeMounts": [{ "name": "v", "mountPath": "/v", "readOnly": true }], "networkPolicy": { "egress": [] },
    });
    let read: DbxGatewaySpec = serde_json::from_value(spec.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), spec);
    let smallest: DbxGatewaySpec = serde_json::from_value(json!({ "config": {} })).unwrap();
    assert_eq!(serde_json::to_value(&smallest).unwrap(), json!({ "config": {} }));
    assert_eq!((smallest.replicas(), smallest.port(), smallest.paused()), (1, 3000, false));
}

#[test]
fn what_is_said_in_words_is_so() {
    let crd = serde_json::to_value(crd()).unwrap();
    let shape = Shape::read(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    let said = |path: &str| shape.at(&path.split('.').map(str::to_owned).collect::<Vec<_>>()).unwrap().said();
    let nothing = DbxGatewaySpec::default();
    let autoscaled = DbxGatewaySpec { autoscaling: serde_json::from_value(json!({ "maxReplicas": 9 })).unwrap(), ..nothing.clone() };
    for (path, value) in [
        ("spec.replicas", nothing.replicas().to_string()),
        ("spec.autoscaling.minReplicas", autoscaled.replicas().to_string()),
        ("spec.service.port", nothing.port().to_string()),
        ("spec.paused", nothing.paused().to_string()),
    ] {
        assert_eq!(said(path).1.replace('`', ""), value.replace('`', ""), "{path}");
    }
    let (conditions, _) = said("status.conditions");
    let told: Vec<&str> = conditions.split('`').skip(1).step_by(2).filter(|word| word.starts_with(char::is_uppercase)).collect();
    let known: Vec<&str> = Condition::ALL.iter().map(|condition| condition.as_str()).collect();
    assert_eq!(told[..known.len()], known);
}
