use serde_json::json;

use super::*;
use crate::schema::tests::Subject;

fn subject() -> Subject {
    let spec = json!({ "gatewayRef": { "name": "a" }, "access": ["read"], "secretName": "a" });
    let smallest = json!({ "metadata": { "name": "a" }, "spec": spec });
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
    subject().check_file("dbxapikeys.yaml");
}

#[test]
fn a_key_survives_reading_and_writing() {
    let spec = json!({
        "gatewayRef": { "name": "a", "namespace": "b" }, "access": ["read"], "databases": ["redis"], "keys": [], "channels": ["a"],
        "prefix": "x:", "secretName": "s", "rotateEvery": "720h", "overlap": "1h30m",
    });
    let read: DbxApiKeySpec = serde_json::from_value(spec.clone()).unwrap();
    assert_eq!(read.overlap().as_secs(), 5400);
    assert_eq!(serde_json::to_value(read).unwrap(), spec);
}

#[test]
fn what_the_rules_let_pass_can_be_read() {
    for text in ["1m", "8760h", "1h30m", "0s"] {
        assert!(Period::try_from(text.to_owned()).is_ok(), "{text}");
    }
    for text in ["8761h", "", "5", "soon"] {
        assert!(Period::try_from(text.to_owned()).is_err(), "{text}");
    }
}
