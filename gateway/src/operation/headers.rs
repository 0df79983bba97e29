//! The part of the OpenAPI document that tells of headers and shared parameters: versions, which every path with a single value
//! has, parts of values, keys of changes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::find;
use crate::error::Code;

/// Adds entity tags and preconditions to the paths at which a single value is read.
pub(super) fn describe(paths: &mut BTreeMap<String, Map<String, Value>>) {
    for (path, place) in paths.iter_mut() {
        let has_bytes = |endpoint: &Value| endpoint["responses"]["200"]["content"].get("application/octet-stream").is_some();
        if !place.get("get").is_some_and(has_bytes) {
            continue;
        }
        for (method, endpoint) in place.iter_mut() {
            let reads = method == "get";
            let (only, not) = if reads {
                ("Answer only if the value has one of these versions", "Answer only if the value has none of these versions, else 304")
            } else {
                (
                    "Change only what has one of these versions; `*`: what exists",
                    "Change only what has none of these versions; `*`: what does not exist",
                )
            };
            if let Some(parameters) = endpoint["parameters"].as_array_mut() {
                for (name, about) in [("If-Match", only), ("If-None-Match", not)] {
                    parameters.push(json!({"name": name, "in": "header", "schema": {"type": "string"}, "description": about}));
                }
                if reads {
                    parameters.push(json!({"name": "etag", "in": "query", "schema": {"type": "boolean"},
                        "description": "Answer with a version also when the value is long"}));
                }
            }
            let failed = json!({"$ref": "#/components/responses/412"});
            endpoint["responses"]["412"] = failed;
            let headers = json!({"ETag": {"schema": {"type": "string"}, "description": "The version of the value"}});
            if reads || method == "put" {
                endpoint["responses"]["200"]["headers"] = headers.clone();
            }
            if reads {
                if path.ends_with("/strings/{key}") {
                    ranges(endpoint);
                }
                endpoint["responses"]["304"] = json!({"description": "The client has the value already", "headers": headers});
            }
        }
    }
}

/// Adds the header that names a change to all that may make one.
pub(super) fn name_changes(paths: &mut BTreeMap<String, Map<String, Value>>) {
    let reads = |path: &str| path.strip_prefix("/api/v1/{database}/").and_then(find).is_some_and(|id| !id.operation().changes());
    for (path, place) in paths.iter_mut().filter(|(path, _)| !reads(path)) {
        for (_, endpoint) in place.iter_mut().filter(|(method, _)| *method != "get" && path.contains("{database}")) {
            if let Some(parameters) = endpoint["parameters"].as_array_mut() {
                parameters.push(json!({"$ref": "#/components/parameters/idempotency"}));
            }
            for status in [Code::IdempotencyInProgress, Code::IdempotencyMismatch].map(|code| code.status().to_string()) {
                let response = json!({"$ref": format!("#/components/responses/{status}")});
                endpoint["responses"][status] = response;
            }
        }
    }
}

/// The parameters that many endpoints share.
pub(super) fn parameters() -> Value {
    json!({
        "database": {"name": "database", "in": "path", "required": true, "schema": {"type": "string"}, "example": "redis",
            "description": "The name that the database has in the configuration"},
        "encoding": {"name": "encoding", "in": "query", "schema": {"enum": ["utf8", "base64"], "default": "utf8"},
            "description": "How byte strings stand in the request and in the answer"},
        "integers": {"name": "integers", "in": "query", "schema": {"enum": ["number", "string"], "default": "number"},
            "description": "`string` sends integers beyond ±2^53 as strings"},
        "timeout": {"name": "DBX-Timeout", "in": "header", "schema": {"type": "string"}, "example": "5s",
            "description": "How long the call may take"},
        "split": {"name": "split", "in": "query", "schema": {"type": "boolean", "default": false},
            "description": "A call whose keys live on several nodes of a cluster may be done in parts"},
        "consistency": {"name": "consistency", "in": "query", "schema": {"enum": ["strong", "eventual"], "default": "strong"},
            "description": "`eventual` lets a replica answer, which may not have seen the last changes"},
        "node": {"name": "node", "in": "query", "schema": {"type": "string", "pattern": "^[0-9a-f]{40}$"},
            "description": "The node of a cluster that is to do it, by its id"},
        "idempotency": {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            "description": "What the change is called: sent again under the same key, it is not made again"},
    })
}

/// A part of a value's octets.
fn ranges(endpoint: &mut Value) {
    if let Some(parameters) = endpoint["parameters"].as_array_mut() {
        parameters.push(json!({"name": "Range", "in": "header", "schema": {"type": "string"}, "example": "bytes=0-99",
            "description": "The bytes that are wanted, when the answer is octets"}));
    }
    endpoint["responses"]["206"] = json!({"description": "The bytes that were asked for", "content": {"application/octet-stream": {}},
        "headers": {"Content-Range": {"schema": {"type": "string"}, "description": "Which bytes these are, and of how many"}}});
    endpoint["responses"]["416"] = json!({"$ref": "#/components/responses/416"});
}
