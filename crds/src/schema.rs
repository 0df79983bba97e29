//! How a type becomes a CustomResourceDefinition. The type gives its shape; here it is made structural, and the rules are
//! added that only CEL can say. No default is persisted: an object holds what its author wrote.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::Schema;
use serde_json::{Map, Value, json};

/// A rule in CEL.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Where `self` is: names of fields, `[]` for the items of a list.
    pub at: &'static [&'static str],
    /// What has to hold.
    pub rule: &'static str,
    /// What is said when it does not.
    pub message: &'static str,
}

pub(crate) const fn rule(at: &'static [&'static str], rule: &'static str, message: &'static str) -> Rule {
    Rule { at, rule, message }
}

/// Completes the definition of a type: rules, whose text may have words to be replaced, and lists whose items are told
/// apart by their `name`.
pub(crate) fn definition(
    crd: CustomResourceDefinition,
    rules: &[Rule],
    named: &[&[&str]],
    text: impl Fn(&str) -> String,
) -> CustomResourceDefinition {
    let mut crd = serde_json::to_value(crd).expect("a definition is JSON");
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    clean(schema);
    for list in named {
        let list = node(schema, list).as_object_mut().expect("a schema is an object");
        list.insert("x-kubernetes-list-type".into(), json!("map"));
        list.insert("x-kubernetes-list-map-keys".into(), json!(["name"]));
    }
    for rule in rules {
        let node = node(schema, rule.at).as_object_mut().expect("a schema is an object");
        let rules = node.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        rules.as_array_mut().expect("made above").push(json!({ "rule": text(rule.rule), "message": rule.message }));
    }
    serde_json::from_value(crd).expect("what was a definition still is one")
}

/// The schema of an object whose fields somebody else knows.
pub(crate) fn preserve_unknown(schema: &mut Schema) {
    *schema = schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
}

/// The schema of an object of whose fields some are described, and the rest somebody else knows.
pub(crate) fn preserve_others(schema: &mut Schema) {
    schema.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
}

/// The schema at a place, whose parts are known to exist.
fn node<'a>(schema: &'a mut Value, at: &[&str]) -> &'a mut Value {
    at.iter().fold(schema, |schema, part| match *part {
        "[]" => &mut schema["items"],
        field => &mut schema["properties"][field],
    })
}

/// Takes out what a structural schema may not hold and what would let a field have two types or a default.
fn clean(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if let Some(Value::String(description)) = fields.get_mut("description") {
        // The lines of a doc comment are no lines of the text; an empty one begins a paragraph.
        *description = description.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    fields.remove("default");
    fields.remove("nullable");
    if fields.get("additionalProperties") == Some(&Value::Bool(false)) || fields.contains_key("x-kubernetes-preserve-unknown-fields") {
        fields.remove("additionalProperties");
    }
    if fields.get("format").is_some_and(|format| !["int32", "int64", "date-time"].iter().any(|known| format == known)) {
        fields.remove("format");
    }
    if let Some(Value::Array(words)) = fields.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    unwrap_single(fields);
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(clean);
    }
    for field in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(field) {
            clean(inner);
        }
    }
}

/// `enum` with documented variants comes as `oneOf` of single words: one list of words says the same.
fn unwrap_single(fields: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = fields.get("oneOf") else { return };
    let words: Option<Vec<Value>> =
        variants.iter().map(|variant| variant["enum"].as_array().and_then(|words| words.first()).cloned()).collect();
    if let Some(words) = words {
        fields.remove("oneOf");
        fields.insert("type".into(), json!("string"));
        fields.insert("enum".into(), Value::Array(words));
    }
}

#[cfg(test)]
pub(crate) mod tests;
