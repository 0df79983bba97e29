use kube_cel::Validator;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    message: String,
    #[serde(default)]
    old: Value,
    passes: Vec<Value>,
    fails: Vec<Value>,
}

fn schema() -> Value {
    let crd = serde_json::to_value(crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// The smallest gateway, with a change.
fn gateway(change: &Value) -> Value {
    let config = json!({ "databases": [{ "name": "a", "redis": { "managed": {} } }], "auth": { "mode": "none" } });
    let mut gateway = json!({ "metadata": { "name": "a" }, "spec": { "config": config } });
    merge(&mut gateway, change);
    gateway
}

fn merge(into: &mut Value, change: &Value) {
    let Value::Object(fields) = change else {
        *into = change.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => _ = into.as_object_mut().unwrap().remove(name),
            value => merge(&mut into[name], value),
        }
    }
}

fn messages(object: &Value, old: Option<&Value>) -> Vec<String> {
    let errors = Validator::new().validate(&schema(), object, old).err();
    errors.iter().flatten().map(|error| error.message.clone()).collect()
}

#[test]
fn every_rule_lets_pass_and_refuses() {
    let cases: Vec<Case> = serde_yaml::from_str(include_str!("rules.yaml")).unwrap();
    for rule in RULES {
        assert_eq!(cases.iter().filter(|case| case.message == rule.message).count(), 1, "one case for: {}", rule.message);
    }
    assert_eq!(cases.len(), RULES.len());
    for case in cases {
        let old = (!case.old.is_null()).then(|| gateway(&case.old));
        for change in &case.passes {
            assert_eq!(messages(&gateway(change), old.as_ref()), [""; 0], "{change}");
        }
        for change in &case.fails {
            let told = messages(&gateway(change), old.as_ref());
            assert!(told.contains(&case.message), "{change} gives {told:?} instead of {:?}", case.message);
        }
    }
}

/// Visits every schema below one, with its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&Value, &str)) {
    visit(schema, path);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for (field, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[field].is_object() {
            walk(&schema[field], &format!("{path}{mark}"), visit);
        }
    }
}

#[test]
fn every_field_has_one_type_and_no_default() {
    walk(&schema(), "", &mut |schema, path| {
        assert!(schema["type"].is_string(), "{path} has no single type: {schema}");
        for word in ["default", "nullable", "oneOf", "anyOf", "allOf", "not", "$ref", "x-kubernetes-int-or-string"] {
            assert!(schema.get(word).is_none(), "{path} has {word}");
        }
        assert!(schema.get("properties").is_none() || schema.get("additionalProperties").is_none(), "{path} has both kinds of properties");
        if let Some(format) = schema["format"].as_str() {
            assert!(["int32", "int64", "date-time"].contains(&format), "{path} has the format {format}");
        }
    });
}

#[test]
fn everything_a_user_writes_is_bounded_and_described() {
    walk(&schema()["properties"]["spec"], "spec", &mut |schema, path| {
        let has = |word: &str| schema.get(word).is_some();
        match schema["type"].as_str().unwrap() {
            "string" => assert!(has("maxLength") || has("enum"), "{path} has no maxLength"),
            "array" => assert!(has("maxItems"), "{path} has no maxItems"),
            "integer" => assert!(has("minimum") && has("maximum"), "{path} has no bounds"),
            "object" => {
                assert!(
                    has("properties") || has("maxProperties") || has("x-kubernetes-preserve-unknown-fields"),
                    "{path} has no maxProperties"
                );
            }
            _ => {}
        }
        assert!(has("description") || path.ends_with("[]") || path.ends_with("{}"), "{path} has no description");
    });
}

#[test]
fn the_definition_is_small_and_current() {
    let yaml = serde_yaml::to_string(&crd()).unwrap();
    assert!(yaml.len() < 100 << 10, "{} bytes are more than a client-side apply takes", yaml.len());
    let generated = concat!(env!("CARGO_MANIFEST_DIR"), "/dbxgateways.yaml");
    let stored = std::fs::read_to_string(generated).unwrap();
    let stored: Value = serde_yaml::from_str(&stored).unwrap();
    assert_eq!(stored, serde_json::to_value(crd()).unwrap(), "{generated} is stale; `make generate` writes it");
}

#[test]
fn a_gateway_survives_reading_and_writing() {
    let spec = json!({
        "config": { "databases": [{ "name": "a", "redis": { "managed": {} } }], "auth": { "mode": "none" } },
        "replicas": 2, "tolerations": [{ "key": "a", "anything": [1] }], "affinity": { "podAffinity": { "x": "y" } },
        "service": { "type": "NodePort", "nodePort": 30080 }, "image": { "pullPolicy": "Never", "pullSecrets": [{ "name": "s" }] },
    });
    let read: DbxGatewaySpec = serde_json::from_value(spec.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), spec);
    let smallest: DbxGatewaySpec = serde_json::from_value(json!({ "config": {} })).unwrap();
    assert_eq!(serde_json::to_value(&smallest).unwrap(), json!({ "config": {} }));
    assert_eq!((smallest.replicas(), smallest.port(), smallest.paused()), (1, 3000, false));
}
