//! The part of the OpenAPI document that tells of versions, which every path with a single value has, and of parts of values.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

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
            if reads {
                let headers = json!({"ETag": {"schema": {"type": "string"}, "description": "The version of the value"}});
                endpoint["responses"]["200"]["headers"] = headers.clone();
                if path.ends_with("/strings/{key}") {
                    ranges(endpoint);
                }
                endpoint["responses"]["304"] = json!({"description": "The client has the value already", "headers": headers});
            }
        }
    }
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
