//! The CustomResourceDefinition. The types give its shape; here it is made structural, and the rules are added that only
//! CEL can say. No default is persisted: an object holds what its author wrote.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::Schema;
use serde_json::{Map, Value, json};

use super::DbxGateway;
use crate::config::Managed;

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

const fn rule(at: &'static [&'static str], rule: &'static str, message: &'static str) -> Rule {
    Rule { at, rule, message }
}

const CONFIG: &[&str] = &["spec", "config"];
const DATABASES: &[&str] = &["spec", "config", "databases"];
const DATABASE: &[&str] = &["spec", "config", "databases", "[]"];
const REDIS: &[&str] = &["spec", "config", "databases", "[]", "redis"];
const MANAGED: &[&str] = &["spec", "config", "databases", "[]", "redis", "managed"];
const TLS: &[&str] = &["spec", "config", "databases", "[]", "redis", "tls"];
const SENTINEL: &[&str] = &["spec", "config", "databases", "[]", "redis", "sentinel"];
const PASSWORD: &[&str] = &["spec", "config", "databases", "[]", "redis", "passwordFrom"];

/// Every rule; each has a test that it lets pass and refuses. `DEFAULT_STORAGE` in one is replaced by what it says.
pub const RULES: &[Rule] = &[
    rule(
        &[],
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40",
        "metadata.name has to be lower-case letters, digits and `-`, start with a letter, and be at most 40 long",
    ),
    rule(CONFIG, "has(self.auth) && has(self.auth.mode)", "auth.mode has to be said: `none` lets everybody call who can reach the gateway"),
    rule(CONFIG, "has(self.databases) && size(self.databases) > 0", "databases needs at least one entry"),
    rule(
        CONFIG,
        "!has(self.listen) || (!has(self.listen.data) && !has(self.listen.operations))",
        "listen.data and listen.operations are set by the operator, together with the ports of the pod",
    ),
    rule(DATABASE, "!(self.name in ['whoami', 'ws'])", "`whoami` and `ws` are words of the API itself"),
    rule(DATABASE, "has(self.redis)", "the kind of database has to be said: `redis`"),
    rule(
        REDIS,
        "has(self.url) != has(self.managed)",
        "exactly one of `url` (a Redis that exists) and `managed` (one that DBX runs) has to be given",
    ),
    rule(
        REDIS,
        "!has(self.managed) || (!has(self.username) && !has(self.passwordFrom) && !has(self.tls) && !has(self.sentinel))",
        "a managed Redis has credentials of its own",
    ),
    rule(
        MANAGED,
        "quantity(has(self.storage) ? self.storage : 'DEFAULT_STORAGE').compareTo(quantity(has(oldSelf.storage) ? oldSelf.storage : 'DEFAULT_STORAGE')) >= 0",
        "storage can grow but not shrink",
    ),
    rule(
        PASSWORD,
        "!has(self.file) && !has(self.env)",
        "`file` and `env` have no meaning in a pod that the operator makes; use `secretKeyRef`",
    ),
    rule(
        PASSWORD,
        "has(self.secretKeyRef) != has(self.configMapKeyRef)",
        "exactly one of `secretKeyRef` and `configMapKeyRef` has to be given",
    ),
    rule(
        SENTINEL,
        "!has(self.passwordFrom) || (has(self.passwordFrom.secretKeyRef) != has(self.passwordFrom.configMapKeyRef) && !has(self.passwordFrom.file) && !has(self.passwordFrom.env))",
        "the Sentinels' `passwordFrom` is exactly one of `secretKeyRef` and `configMapKeyRef`",
    ),
    rule(TLS, "has(self.certificateFrom) == has(self.keyFrom)", "`certificateFrom` and `keyFrom` belong together"),
    rule(
        TLS,
        "(!has(self.caFrom) || (has(self.caFrom.secretKeyRef) != has(self.caFrom.configMapKeyRef) && !has(self.caFrom.file) && !has(self.caFrom.env))) && (!has(self.certificateFrom) || (has(self.certificateFrom.secretKeyRef) != has(self.certificateFrom.configMapKeyRef) && !has(self.certificateFrom.file) && !has(self.certificateFrom.env))) && (!has(self.keyFrom) || (has(self.keyFrom.secretKeyRef) != has(self.keyFrom.configMapKeyRef) && !has(self.keyFrom.file) && !has(self.keyFrom.env)))",
        "each of `caFrom`, `certificateFrom` and `keyFrom` is exactly one of `secretKeyRef` and `configMapKeyRef`",
    ),
    rule(&["spec", "image"], "!has(self.tag) || !has(self.digest)", "`tag` and `digest` exclude each other"),
    rule(
        &["spec", "podLabels"],
        "self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('dbx.dev/'))",
        "labels under app.kubernetes.io/ and dbx.dev/ are the operator's",
    ),
    rule(
        &["spec", "podAnnotations"],
        "self.all(key, !key.startsWith('dbx.dev/') && key != 'kubectl.kubernetes.io/restartedAt')",
        "annotations under dbx.dev/ are the operator's, and kubectl.kubernetes.io/restartedAt belongs to `kubectl rollout restart`",
    ),
    rule(
        &["spec", "service"],
        "!has(self.nodePort) || (has(self.type) && self.type != 'ClusterIP')",
        "nodePort needs the type `NodePort` or `LoadBalancer`",
    ),
];

/// The CustomResourceDefinition of [`DbxGateway`].
pub fn crd() -> CustomResourceDefinition {
    let mut crd = serde_json::to_value(DbxGateway::crd()).expect("a definition is JSON");
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    clean(schema);
    // Items keep their identity by name, which lets a rule compare an item with what it was.
    let databases = node(schema, DATABASES).as_object_mut().expect("a schema is an object");
    databases.insert("x-kubernetes-list-type".into(), json!("map"));
    databases.insert("x-kubernetes-list-map-keys".into(), json!(["name"]));
    for rule in RULES {
        let text = rule.rule.replace("DEFAULT_STORAGE", Managed::DEFAULT_STORAGE);
        let node = node(schema, rule.at).as_object_mut().expect("a schema is an object");
        let rules = node.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        rules.as_array_mut().expect("made above").push(json!({ "rule": text, "message": rule.message }));
    }
    serde_json::from_value(crd).expect("what was a definition still is one")
}

/// The schema of an object whose fields somebody else knows.
pub(super) fn preserve_unknown(schema: &mut Schema) {
    *schema = schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
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
