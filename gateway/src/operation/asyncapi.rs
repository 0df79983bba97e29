//! The AsyncAPI document of the WebSocket side: another reading of the table, with the schemas of the OpenAPI document.

use serde_json::{Map, Value, json};

use super::{Mode, all, openapi, schema};
use crate::error::Code;

/// The operations that are answered more than once, and those of them that hear channels.
const STREAMING: &[&str] = &["monitor", "psubscribe", "ssubscribe", "subscribe"];
const SUBSCRIBING: &[&str] = &["psubscribe", "ssubscribe", "subscribe"];

/// A place in a stream.
fn place() -> Value {
    json!({"type": "object", "required": ["key"], "additionalProperties": false, "properties": {
        "key": {"type": ["string", "number"]},
        "from": {"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$", "description": "The id that was seen last; what is added from now on if absent"},
    }})
}

/// The arguments of a consumer.
fn consume() -> Value {
    json!({"type": "object", "required": ["key", "group", "consumer"], "additionalProperties": false, "properties": {
        "key": {"type": ["string", "number"]},
        "group": {"type": "string", "minLength": 1},
        "consumer": {"type": "string", "minLength": 1},
        "from": {"type": "string", "description": "Where a group begins that is made by this; `$` is the end"},
        "prefetch": {"type": "integer", "minimum": 1, "maximum": 10000},
        "claimAfter": {"type": "string"},
        "maxDeliveries": {"type": "integer", "minimum": 1},
        "aside": {"type": ["string", "number"]},
    }})
}

/// The opening of a WebSocket, as OpenAPI can say it.
pub(super) fn opening() -> Value {
    let parameters: Vec<Value> = ["database", "encoding", "integers", "timeout", "split"]
        .iter()
        .map(|name| json!({"$ref": format!("#/components/parameters/{name}")}))
        .collect();
    let problem = |code: Code| json!({"$ref": format!("#/components/responses/{}", code.status())});
    json!({
        "operationId": "ws",
        "tags": ["gateway"],
        "summary": "The same calls over a WebSocket; /asyncapi.json describes its frames",
        "parameters": parameters,
        "responses": {
            "101": {"description": "The WebSocket is open, with the subprotocol dbx.v1 if it was offered"},
            "400": problem(Code::InvalidArgument),
            "403": problem(Code::Forbidden),
            "404": problem(Code::UnknownDatabase),
            "426": problem(Code::UpgradeRequired),
            "503": problem(Code::Unavailable),
        },
    })
}

/// The AsyncAPI 3.0 document.
pub fn document() -> Value {
    let id = json!({"type": ["integer", "string"], "description": "The client's name for the call, unique among those that run"});
    let mut schemas = Map::new();
    let mut calls: Vec<Value> = Vec::new();
    let mut call = |op: &str, args: Value, needs_args: bool| {
        let mut required = vec!["id", "op"];
        required.extend(needs_args.then_some("args"));
        schemas.insert(
            op.into(),
            json!({
                "type": "object", "required": required, "additionalProperties": false,
                "properties": {
                    "id": id, "op": {"const": op}, "args": args,
                    "database": {"type": "string", "description": "The database, where the path names none"},
                    "encoding": {"enum": ["utf8", "base64"]},
                    "timeout": {"type": "string"},
                    "session": {"type": ["integer", "string"], "description": "The id of the session that the call is part of"},
                },
            }),
        );
        calls.push(json!({"$ref": format!("#/components/schemas/{op}")}));
    };
    for operation in all().iter().filter(|operation| !matches!(operation.mode, Mode::Streaming(_)) || STREAMING.contains(&operation.name)) {
        let needs_args = operation.params.iter().any(|param| param.required);
        let mut args = schema::arguments(operation.params, &[]);
        if SUBSCRIBING.contains(&operation.name) {
            args["properties"]["slow"] =
                json!({"enum": ["close", "drop"], "description": "What becomes of a client that does not keep up"});
        }
        if operation.name == "subscribe" {
            args["properties"]["replay"] = place();
        }
        call(operation.name, args, needs_args);
    }
    let list = |name: &str, items: Value| json!({"type": "object", "required": [name], "properties": {name: {"type": "array", "minItems": 1, "items": items}}});
    let element = json!({"type": "object", "required": ["op"], "properties": {"op": {"type": "string"}, "args": {"type": "object"}}});
    call("pipeline", list("calls", element.clone()), true);
    call("transaction", list("calls", element), true);
    call("raw", list("command", json!({"type": ["string", "number"]})), true);
    call("session", json!({"type": "object", "maxProperties": 0}), false);
    let token =
        json!({"type": "string", "description": "A key or a token; only in the first frame of a socket that was opened without one"});
    call(
        "authenticate",
        json!({"type": "object", "required": ["token"], "additionalProperties": false, "properties": {"token": token}}),
        true,
    );
    call("cancel", json!({"type": "object", "required": ["id"], "properties": {"id": {"type": ["integer", "string"]}}}), true);
    call("follow", place(), true);
    call("consume", consume(), true);
    let ids = json!({"type": "array", "minItems": 1, "items": {"type": "string"}});
    let subscription = json!({"type": ["integer", "string"], "description": "The id of the call that began it"});
    call(
        "ack",
        json!({"type": "object", "required": ["subscription", "ids"], "additionalProperties": false, "properties": {
            "subscription": subscription, "ids": ids,
        }}),
        true,
    );
    call(
        "observe",
        json!({"type": "object", "required": ["keys"], "additionalProperties": false, "properties": {
            "keys": {"type": "array", "minItems": 1, "items": {"type": "string"}, "description": "Globs"},
            "events": {"type": "array", "items": {"type": "string"}, "description": "Of these names alone"},
            "slow": {"enum": ["close", "drop"]},
        }}),
        true,
    );
    schemas.insert("Problem".into(), openapi::problem());
    let message = |name: &str, summary: &str, payload: Value, example: Value| {
        json!({"name": name, "title": name, "summary": summary, "contentType": "application/json", "payload": payload,
            "examples": [{"payload": example}]})
    };
    let on_channel = |name: &str| json!({"$ref": format!("#/channels/socket/messages/{name}")});
    let answers = ["answer", "error"];
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "DBX",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Calls over a WebSocket: one JSON object in each text frame, answered as they are ready",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {"socket": {
            "address": "/api/v1/{database}/ws",
            "parameters": {"database": {"description": "The database"}},
            "messages": {
                "call": message("call", "A call", json!({"oneOf": calls}), json!({"id": 1, "op": "get", "args": {"key": "a"}})),
                "answer": message("answer", "The answer to a call",
                    json!({"type": "object", "required": ["id", "result"], "properties": {
                        "id": id, "result": {}, "cursor": {"type": "string"}, "encoding": {"const": "base64"},
                    }}),
                    json!({"id": 1, "result": "1"})),
                "error": message("error", "A call that failed",
                    json!({"type": "object", "required": ["id", "error"], "properties": {
                        "id": {"type": ["integer", "string", "null"]}, "error": {"$ref": "#/components/schemas/Problem"},
                    }}),
                    json!({"id": 1, "error": {"type": "/docs/errors#unavailable", "title": Code::Unavailable.title(), "status": 503,
                        "detail": "…", "code": "unavailable", "requestId": "…", "retryable": true}})),
                "ended": message("ended", "A session has ended that its client did not end",
                    json!({"type": "object", "required": ["session", "ended"], "properties": {
                        "session": {"type": ["integer", "string"]}, "ended": {"enum": ["idle", "lost"]},
                    }}),
                    json!({"session": "s", "ended": "idle"})),
                "event": message("event", "Something that a subscription tells: a message, entries of a stream, an event of a key, a line, or how it is",
                    json!({"type": "object", "required": ["subscription"], "properties": {
                        "subscription": subscription,
                        "channel": {"type": "string"}, "pattern": {"type": "string"}, "message": {"type": "string"},
                        "id": {"type": "string", "description": "Of a message that is kept: where to go on from"},
                        "entries": {"type": "array", "items": {"type": "object", "required": ["id", "fields"]}},
                        "redelivered": {"const": true}, "key": {"type": "string"}, "event": {"type": "string"}, "line": {"type": "string"},
                        "encoding": {"const": "base64"},
                        "interrupted": {"const": true, "description": "The database is gone; messages sent now are not heard"},
                        "resumed": {"const": true}, "dropped": {"type": "integer", "minimum": 1},
                        "error": {"$ref": "#/components/schemas/Problem"},
                    }}),
                    json!({"subscription": 3, "channel": "c", "message": "hello"})),
            },
        }},
        "operations": {
            "call": {
                "action": "receive",
                "channel": {"$ref": "#/channels/socket"},
                "messages": [on_channel("call")],
                "reply": {"channel": {"$ref": "#/channels/socket"}, "messages": answers.map(on_channel)},
            },
            "tell": {"action": "send", "channel": {"$ref": "#/channels/socket"}, "messages": [on_channel("event"), on_channel("ended")]},
        },
        "components": {"schemas": schemas},
    })
}
