//! What the document has whatever the table of operations: the endpoints that are of no operation, and what endpoints refer to.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::{all, headers};
use super::{parameters, responses};
use crate::error::Code;

/// The endpoints that are of no operation.
pub(super) fn own() -> Vec<(&'static str, &'static str, Value)> {
    let call = json!({"type": "object", "required": ["op"], "additionalProperties": false, "properties": {
        "op": {"type": "string", "enum": all().iter().map(|operation| operation.name).collect::<Vec<_>>()},
        "args": {"type": "object"},
        "encoding": {"enum": ["utf8", "base64"]},
        "timeout": {"type": "string"},
    }});
    let each = json!({"oneOf": [
        {"type": "object", "required": ["result"], "properties": {"result": {}, "cursor": {"type": "string"}, "encoding": {"const": "base64"}}},
        {"type": "object", "required": ["error"], "properties": {"error": {"$ref": "#/components/schemas/Problem"}}},
    ]});
    let endpoint = |id: &str, summary: &str, parameters: Vec<Value>, result: Value, errors: &[Code]| {
        let schema = json!({"type": "object", "required": ["result"], "properties": {"result": result}});
        json!({"operationId": id, "tags": ["gateway"], "summary": summary, "parameters": parameters,
            "responses": responses(errors, json!({"content": {"application/json": {"schema": schema}}}))})
    };
    let mut pipeline = endpoint(
        "pipeline",
        "Several calls in one request, each with a result or an error, in their order; not atomic",
        parameters(["database", "encoding", "integers", "timeout", "split", "consistency", "node"]),
        json!({"type": "array", "items": each.clone()}),
        &[],
    );
    pipeline["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": {
        "type": "object", "required": ["calls"], "additionalProperties": false, "properties": {"calls": {"type": "array", "items": call.clone(), "minItems": 1}},
    }, "example": {"calls": [{"op": "set", "args": {"key": "a", "value": "1"}}, {"op": "incr", "args": {"key": "a"}}]}}}});
    let mut transaction = endpoint(
        "transaction",
        "Several calls that happen as one, if what is expected of watched keys holds",
        parameters(["database", "encoding", "integers", "timeout"]),
        json!({"type": "array", "items": each}),
        &[Code::Conflict, Code::PreconditionFailed],
    );
    let watch = json!({
        "type": "object", "required": ["key"], "additionalProperties": false,
        "properties": {
            "key": {"type": ["string", "number"]},
            "equals": {"type": ["string", "number"], "description": "The value that the key has to hold"},
            "absent": {"const": true, "description": "There has to be no such key"},
            "version": {"type": "string", "description": "The ETag of the value that the key has to hold"},
        },
        "oneOf": [{"required": ["equals"]}, {"required": ["absent"]}, {"required": ["version"]}],
    });
    transaction["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": {
        "type": "object", "required": ["calls"], "additionalProperties": false, "properties": {
            "watch": {"type": "array", "items": watch},
            "calls": {"type": "array", "items": call, "minItems": 1},
        },
    }, "example": {"watch": [{"key": "a", "absent": true}], "calls": [{"op": "set", "args": {"key": "a", "value": "1"}}]}}}});
    let mut raw = endpoint(
        "raw",
        "A command as it is",
        parameters(["database", "encoding", "integers", "timeout", "split", "consistency", "node"]),
        json!({}),
        &[],
    );
    raw["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": {
        "type": "object", "required": ["command"], "additionalProperties": false, "properties": {
            "command": {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1},
        },
    }, "example": {"command": ["SET", "a", "1"]}}}});
    let stream = |id: &str, summary: &str, own: &[(&str, &str, bool, Value, &str)], errors: &[Code]| {
        let mut parameters = parameters(["database", "encoding"]);
        let slow =
            ("slow", "query", false, json!({"enum": ["drop", "close"], "default": "close"}), "What happens when the client does not read");
        for (name, place, required, schema, about) in own.iter().chain([&slow]) {
            parameters.push(json!({"name": name, "in": place, "required": required, "schema": schema, "description": about}));
        }
        let errors = [&[Code::BackendDenied], errors].concat();
        json!({"operationId": id, "tags": ["gateway"], "summary": summary, "parameters": parameters,
            "responses": responses(&errors, json!({"content": {"text/event-stream": {"schema": {"type": "string"}}}}))})
    };
    let channel = stream(
        "listen",
        "Hears a channel as server-sent events",
        &[
            ("channel", "path", true, json!({"type": "string"}), "Any bytes, percent-encoded"),
            ("sharded", "query", false, json!({"type": "boolean", "default": false}), "It is a shard channel"),
        ],
        &[],
    );
    let pattern = ("pattern", "query", true, json!({"type": "string"}), "A glob");
    let pattern =
        stream("listen_pattern", "Hears all channels that match a glob as server-sent events", &[pattern], &[Code::MissingArgument]);
    vec![
        ("/api/v1", "get", endpoint("databases", "The databases that the caller may use", Vec::new(), json!({}), &[])),
        (
            "/api/v1/keys",
            "get",
            endpoint("keys_known", "The keys that the gateway takes, for administrators", Vec::new(), json!({"type": "object"}), &[]),
        ),
        ("/api/v1/whoami", "get", endpoint("whoami", "Who the caller is, and what it may do", Vec::new(), json!({"type": "object"}), &[])),
        ("/api/v1/{database}/channels/{channel}", "get", channel),
        ("/api/v1/{database}/channels", "get", pattern),
        ("/api/v1/{database}/pipeline", "post", pipeline),
        ("/api/v1/{database}/raw", "post", raw),
        ("/api/v1/{database}/transaction", "post", transaction),
        ("/api/v1/{database}/ws", "get", super::super::asyncapi::opening()),
    ]
}

/// What endpoints refer to.
pub(super) fn components() -> Value {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in Code::ALL {
        by_status.entry(code.status()).or_default().push(*code);
    }
    let responses: Map<String, Value> = by_status
        .into_iter()
        .map(|(status, codes)| {
            let each: Vec<String> = codes.iter().map(|code| format!("`{}`: {}", code.name(), code.title())).collect();
            let names: Vec<&str> = codes.iter().map(|code| code.name()).collect();
            let schema = json!({"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"code": {"enum": names}}}]});
            (status.to_string(), json!({"description": each.join("; "), "content": {"application/problem+json": {"schema": schema}}}))
        })
        .collect();
    json!({
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A key or token, where the gateway asks for one"}},
        "parameters": headers::parameters(),
        "responses": responses,
        "schemas": {"Problem": problem()},
    })
}

/// What a failed call is told.
pub(in crate::operation) fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "requestId", "retryable"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": Code::ALL.iter().map(|code| code.name()).collect::<Vec<_>>()},
            "requestId": {"type": "string"},
            "retryable": {"type": "boolean", "description": "The same call may be sent again and cannot do harm by that"},
            "retryAfter": {"type": "integer", "description": "In how many seconds it would pass, for what a limit of rate refuses"},
            "param": {"type": "string", "description": "The argument, parameter or header at fault"},
            "position": {"type": "integer", "description": "The byte of the body at fault, counted from 0"},
            "redis": {"type": "string", "description": "The error line of Redis"},
            "outcome": {"const": "unknown", "description": "The call may or may not have been carried out"},
        },
    })
}
