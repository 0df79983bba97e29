//! The access log and the audit log: what is in them, and that no call waits for who reads them.

use std::{
    fs,
    io::{PipeReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{App, Events, Gateway, Keys, Redis, SOON, until};

const DROPPED: &str = "dbx_log_dropped_total{log=\"audit\"}";

/// What several workers write at about the same time comes in any order.
const ONE: &str = "workers=1";

/// A gateway that records into a file.
struct Audited {
    app: App,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Audited {
    fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let into = format!("audit.file={}", file.display());
        let app = App::with(&[&[into.as_str(), ONE], settings].concat());
        Self { app, file, _folder: folder }
    }

    /// What has been recorded, once it is so much.
    #[track_caller]
    fn records(&self, count: usize) -> Vec<Value> {
        let read = || {
            let records = records(&self.file);
            (records.len() >= count).then_some(records)
        };
        let records = until("the records", SOON, read);
        assert_eq!(records.len(), count, "{records:#?}");
        records
    }

    /// Operation, keys and outcome of all that has been recorded.
    #[track_caller]
    fn calls(&self, count: usize) -> Vec<(String, Value, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.records(count).iter().map(|record| (text(&record["operation"]), record["keys"].clone(), text(&record["outcome"]))).collect()
    }
}

fn records(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn call(operation: &str, keys: Value, outcome: &str) -> (String, Value, String) {
    (operation.into(), keys, outcome.into())
}

#[test]
fn every_call_is_recorded_once() {
    for settings in [&["audit.calls=all", "audit.keys=plain"][..], &["audit.calls=all", "audit.keys=plain", "limits.maxResultItems=100"]] {
        let audited = Audited::start(settings);
        let client = audited.app.anonymous();
        client.with("X-Request-Id", "known").put("strings/a", r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
        client.post("get", r#"{"key":"a"}"#).is(r#"{"result":"1"}"#);
        client.post("lpush", r#"{"key":"a","elements":["x"]}"#).fails(409, "wrong_type", "");
        client.post("get", r#"{"kye":"a"}"#).fails(400, "unknown_argument", "kye");
        client.post("smembers", r#"{"key":"s"}"#).is(r#"{"result":[]}"#);
        let pipeline = json!({ "calls": [{ "op": "mget", "args": { "keys": ["a", "b"] } }, { "op": "incr", "args": { "key": "c" } }] });
        client.post("pipeline", pipeline.to_string()).is(r#"{"result":[{"result":["1",null]},{"result":1}]}"#);
        let transaction = json!({ "watch": [{ "key": "w", "absent": true }], "calls": [{ "op": "incr", "args": { "key": "c" } }] });
        client.post("transaction", transaction.to_string()).is(r#"{"result":[{"result":2}]}"#);
        client.post("transaction", r#"{"watch":[{"key":"a","absent":true}],"calls":[{"op":"incr","args":{"key":"c"}}]}"#).fails(
            412,
            "precondition_failed",
            "watch[0]",
        );
        client.post("raw", r#"{"command":["GET","a"]}"#).is(r#"{"result":"1"}"#);
        client.post("raw", r#"{"command":["NONSENSE","a"]}"#).fails(422, "redis_error", "");
        assert_eq!(client.get("keys/a").status, 200);
        assert_eq!(client.with("If-Match", "*").put("strings/a", r#"{"value":"2"}"#).status, 200);
        let expected = [
            call("set", json!(["a"]), "ok"),
            call("get", json!(["a"]), "ok"),
            call("lpush", json!(["a"]), "wrong_type"),
            call("get", Value::Null, "unknown_argument"),
            call("smembers", json!(["s"]), "ok"),
            call("mget", json!(["a", "b"]), "ok"),
            call("incr", json!(["c"]), "ok"),
            call("incr", json!(["c"]), "ok"),
            call("incr", json!(["c"]), "precondition_failed"),
            call("get", json!(["a"]), "ok"),
            call("raw", Value::Null, "redis_error"),
            call("memory_usage", json!(["a"]), "ok"),
            call("object_encoding", json!(["a"]), "ok"),
            call("ttl", json!(["a"]), "ok"),
            call("type", json!(["a"]), "ok"),
            call("set", json!(["a"]), "ok"),
        ];
        assert_eq!(audited.calls(expected.len()), expected, "{settings:?}");
        let first = &audited.records(expected.len())[0];
        let time = first["timestamp"].as_str().unwrap();
        assert!(time.len() == "2026-01-01T00:00:00.000Z".len() && time.ends_with('Z'), "{first}");
        assert_eq!(
            (&first["request"], &first["client"], &first["database"], &first["target"]),
            (&json!("known"), &json!("127.0.0.1"), &json!("redis"), &json!("dbx_gateway::audit"))
        );
        assert!(first["identity"].is_string(), "{first}");
    }
}

#[test]
fn what_goes_over_a_socket_is_recorded() {
    let audited = Audited::start(&["audit.calls=all", "audit.keys=plain"]);
    let client = audited.app.anonymous().with("X-Request-Id", "socket");
    let mut socket = client.socket("ws");
    socket.call(json!({ "id": 1, "op": "set", "args": { "key": "a", "value": "1" } }));
    socket.call(json!({ "id": 2, "op": "pipeline", "args": { "calls": [{ "op": "get", "args": { "key": "a" } }] } }));
    socket.call(json!({ "id": 3, "op": "subscribe", "args": { "channels": ["news", "weather"] } }));
    socket.call(json!({ "id": 4, "op": "follow", "args": { "key": "s" } }));
    socket.close();
    Events::open(&client, "channels/news").is("subscribed");
    let expected = [
        call("set", json!(["a"]), "ok"),
        call("get", json!(["a"]), "ok"),
        call("subscribe", json!(["news", "weather"]), "ok"),
        call("follow", json!(["s"]), "ok"),
        call("subscribe", json!(["news"]), "ok"),
    ];
    assert_eq!(audited.calls(expected.len()), expected);
    for record in audited.records(expected.len()) {
        assert_eq!((&record["request"], &record["client"]), (&json!("socket"), &json!("127.0.0.1")), "{record}");
    }
}

#[test]
fn calls_are_recorded_as_far_as_is_asked() {
    let cases: [(&str, &[&str]); 4] = [
        ("none", &[]),
        ("denied", &["forbidden"]),
        ("admin", &["config_get", "raw", "forbidden"]),
        ("all", &["get", "config_get", "raw", "forbidden"]),
    ];
    for (calls, expected) in cases {
        let audited = Audited::start(&[&format!("audit.calls={calls}")]);
        let client = audited.app.anonymous();
        client.post("get", r#"{"key":"a"}"#).is(r#"{"result":null}"#);
        assert_eq!(client.post("config_get", r#"{"parameters":["maxmemory"]}"#).status, 200);
        client.post("raw", r#"{"command":["NONSENSE"]}"#).fails(422, "redis_error", "");
        client.with("Host", "elsewhere").get("strings/a").fails(403, "forbidden", "Host");
        let found: Vec<String> = audited
            .records(expected.len())
            .iter()
            .map(|record| record["operation"].as_str().or(record["outcome"].as_str()).unwrap().to_owned())
            .collect();
        assert_eq!(found, expected, "{calls}");
        if calls == "none" {
            assert!(!audited.file.exists());
            continue;
        }
        let denied = audited.records(expected.len()).pop().unwrap();
        assert_eq!((&denied["path"], &denied["outcome"]), (&json!("/api/v1/redis/strings"), &json!("forbidden")), "{denied}");
        assert!(denied["identity"].is_null(), "{denied}");
    }
}

#[test]
fn keys_are_shown_as_is_asked() {
    let hash = |key: &[u8]| Value::from(format!("{:x}", Bytes::copy_from_slice(&Sha256::digest(key)[..16])));
    let many: Vec<String> = (0..11).map(|number| format!("key-{number}")).collect();
    let long = "l".repeat(1000);
    let cases: [(&str, Value, Value, Value, Value); 3] = [
        ("none", Value::Null, Value::Null, Value::Null, Value::Null),
        (
            "hash",
            json!([hash(b"cart:1")]),
            json!([hash(b"\xff\"")]),
            json!([hash(long.as_bytes())]),
            many[..8].iter().map(|key| hash(key.as_bytes())).collect(),
        ),
        ("plain", json!(["cart:1"]), json!(["\u{fffd}\""]), json!([format!("{}…", &long[..256])]), json!(many[..8])),
    ];
    for (keys, simple, bytes, longer, several) in cases {
        let audited = Audited::start(&["audit.calls=all", &format!("audit.keys={keys}")]);
        let client = audited.app.anonymous();
        client.post("exists", r#"{"keys":["cart:1"]}"#).is(r#"{"result":0}"#);
        assert_eq!(client.get("strings/%FF%22").status, 404);
        client.post("exists", json!({ "keys": [long] }).to_string()).is(r#"{"result":0}"#);
        client.post("exists", json!({ "keys": many }).to_string()).is(r#"{"result":0}"#);
        let records = audited.records(4);
        let found: Vec<&Value> = records.iter().map(|record| &record["keys"]).collect();
        assert_eq!(found, [&simple, &bytes, &longer, &several], "{keys}");
        let more = if keys == "none" { Value::Null } else { json!(3) };
        assert_eq!((&records[0]["moreKeys"], &records[3]["moreKeys"]), (&Value::Null, &more));
        if keys == "hash" {
            // printf 'cart:1' | sha256sum
            assert_eq!(simple, json!(["50ca6ce044d659688fd0c1d7ca105992"]));
        }
    }
}

#[test]
fn a_file_is_put_aside_when_it_is_large() {
    let audited = Audited::start(&["audit.calls=all", "audit.maxFileBytes=8KiB", "audit.maxFiles=2", "audit.keys=plain"]);
    let client = audited.app.anonymous();
    let count = 300;
    for call in 0..count {
        client.post("get", format!(r#"{{"key":"key-{call}"}}"#)).is(r#"{"result":null}"#);
    }
    let aside = |number: usize| PathBuf::from(format!("{}.{number}", audited.file.display()));
    let last = || records(&audited.file).last().is_some_and(|record| record["keys"][0] == format!("key-{}", count - 1)).then_some(());
    until("the last record", SOON, last);
    let files = [aside(2), aside(1), audited.file.clone()];
    let mut kept = Vec::new();
    for file in &files {
        let size = fs::metadata(file).unwrap().len();
        assert!(size > 0 && size <= 8 << 10, "{size}");
        kept.extend(records(file));
    }
    assert!(!aside(3).exists() && kept.len() < count);
    // What is kept has no gap.
    for (record, call) in kept.iter().rev().zip((0..count).rev()) {
        assert_eq!(record["keys"][0], format!("key-{call}"));
    }
    assert_eq!(audited.app.gateway.metric(DROPPED), 0.0);
}

/// Collects what comes out of a pipe.
fn collect(mut pipe: PipeReader) -> Arc<Mutex<Vec<u8>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let collected = all.clone();
    thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut part) {
            collected.lock().unwrap().extend_from_slice(&part[..count]);
        }
    });
    all
}

fn lines(collected: &Mutex<Vec<u8>>) -> Vec<Value> {
    let all = collected.lock().unwrap();
    let end = all.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    all[..end].split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn who_does_not_read_keeps_no_call_waiting() {
    let redis = Redis::start();
    let ((output, out), (errors, err)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let settings = ["audit.calls=all", "log.level=error", "drain.propagation=0s"];
    let mut gateway = Gateway::launch_with(&redis.url(), &settings, |command| {
        command.stdout(out).stderr(err);
    });
    until("readiness", SOON, || gateway.is_ready().then_some(()));
    let client = gateway.anonymous();
    let pipeline = format!("{{\"calls\":[{}]}}", [r#"{"op":"exists","args":{"keys":["a"]}}"#; 1000].join(","));
    let mut calls = 0;
    // A page of one worker may be full while there is room on the other's.
    while gateway.metric(DROPPED) < 2000.0 {
        assert_eq!(client.post("pipeline", &pipeline).status, 200);
        calls += 1000;
        assert!(calls < 1_000_000, "what waits has no bound");
    }
    assert!(calls > 2000, "the pages are too small");
    // The same gateway, once somebody reads: nothing was lost that was not counted.
    let collected = collect(output);
    until("the records", SOON, || (lines(&collected).len() as f64 + gateway.metric(DROPPED) >= f64::from(calls)).then_some(()));
    client.post("get", r#"{"key":"b"}"#).is(r#"{"result":null}"#);
    calls += 1;
    let dropped = gateway.metric(DROPPED);
    gateway.signal("TERM");
    assert!(gateway.wait(SOON).success());
    let found = until("the last record", SOON, || lines(&collected).pop().filter(|record| record["operation"] == "get"));
    assert_eq!(found["outcome"], "ok");
    assert_eq!(lines(&collected).len() as f64 + dropped, f64::from(calls));
    drop(errors);
}

#[test]
fn a_gateway_ends_although_nobody_reads() {
    let redis = Redis::start();
    let ((_output, out), (_errors, err)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let settings = ["audit.calls=all", "log.level=error", "drain.propagation=0s"];
    let mut gateway = Gateway::launch_with(&redis.url(), &settings, |command| {
        command.stdout(out).stderr(err);
    });
    until("readiness", SOON, || gateway.is_ready().then_some(()));
    let pipeline = format!("{{\"calls\":[{}]}}", [r#"{"op":"exists","args":{"keys":["a"]}}"#; 1000].join(","));
    assert_eq!(gateway.anonymous().post("pipeline", &pipeline).status, 200);
    gateway.signal("TERM");
    assert!(gateway.wait(SOON).success());
}

#[test]
fn what_was_recorded_last_is_written_at_the_end() {
    let mut audited = Audited::start(&["audit.calls=all", "drain.propagation=0s"]);
    let client = audited.app.anonymous().with("X-Request-Id", "the-last");
    client.post("get", r#"{"key":"a"}"#).is(r#"{"result":null}"#);
    audited.app.gateway.signal("TERM");
    assert!(audited.app.gateway.wait(SOON).success());
    assert_eq!(records(&audited.file).len(), 1);
    assert_eq!(audited.app.gateway.log().matches("the-last").count(), 1);
}

#[test]
fn a_file_that_cannot_be_written_is_a_mistake_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/audit.log");
    for file in [missing.as_path(), folder.path()] {
        let started = Command::new(env!("CARGO_BIN_EXE_dbx-gateway"))
            .args(["--database", "redis=redis://127.0.0.1:1", "--set", "audit.calls=all", "--set", "listen.data=127.0.0.1:0"])
            .args(["--set", "listen.operations=127.0.0.1:0", "--set", &format!("audit.file={}", file.display())])
            .env_clear()
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8(started.stderr).unwrap();
        let expected = format!("audit.file: cannot open {}: ", file.display());
        assert!(!started.status.success() && told.starts_with(&expected) && told.lines().count() == 1, "{told}");
    }
}

#[test]
fn what_cannot_be_written_is_counted() {
    let app = App::with(&["audit.calls=all", "audit.file=/dev/full"]);
    for _ in 0..2 {
        let before = app.gateway.metric(DROPPED);
        let pipeline = format!("{{\"calls\":[{}]}}", [r#"{"op":"exists","args":{"keys":["a"]}}"#; 100].join(","));
        assert_eq!(app.anonymous().post("pipeline", pipeline).status, 200);
        until("the count", SOON, || (app.gateway.metric(DROPPED) >= before + 100.0).then_some(()));
    }
    assert_eq!(app.gateway.metric(DROPPED), 200.0);
    assert_eq!(app.gateway.log().matches("cannot be written").count(), 1);
}

#[test]
fn requests_are_logged() {
    let lines = |app: &App, word: &str| -> Vec<String> {
        let log = app.gateway.log();
        log.lines().filter(|line| line.contains("dbx_gateway::access") && line.contains(word)).map(ToOwned::to_owned).collect()
    };
    let app = App::with(&[ONE]);
    let client = app.anonymous().with("X-Request-Id", "known").with("Accept-Encoding", "gzip");
    client.put("strings/a", json!({ "value": "a".repeat(5000) }).to_string()).is(r#"{"result":"OK"}"#);
    let answer = client.get("strings/a");
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    client.send("HEAD", "strings/a", None);
    let mut socket = client.with("X-Request-Id", "sock").socket("ws");
    socket.call(json!({ "id": 1, "op": "ping" }));
    socket.close();
    let found = until("the log", SOON, || Some(lines(&app, "known")).filter(|lines| lines.len() == 3));
    let found: Vec<Value> = found.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, (method, bytes)) in found.iter().zip([("PUT", 15), ("GET", answer.body.len()), ("HEAD", 0)]) {
        assert_eq!(
            (&line["method"], &line["bytes"], &line["status"], &line["path"], &line["message"], &line["level"]),
            (&json!(method), &json!(bytes), &json!(200), &json!("/api/v1/redis/strings"), &json!("request"), &json!("INFO")),
            "{line}"
        );
        assert!(line["microseconds"].is_u64() && line["client"] == "127.0.0.1", "{line}");
    }
    let socket = until("the log", SOON, || lines(&app, "sock").into_iter().find(|line| line.contains("\"socket\"")));
    let socket: Value = serde_json::from_str(&socket).unwrap();
    assert_eq!((&socket["code"], &socket["received"], &socket["sent"]), (&json!(1005), &json!(2), &json!(1)), "{socket}");

    let app = App::with(&["log.format=human"]);
    app.anonymous().with("X-Request-Id", "known").get("strings/a").fails(404, "key_not_found", "");
    let line = until("the log", SOON, || lines(&app, "known").pop());
    let expected = "  INFO dbx_gateway::access: request request=\"known\" client=\"127.0.0.1\" method=\"GET\" path=\"/api/v1/redis/strings\" status=404 bytes=";
    assert!(line.contains(expected), "{line}");

    let app = App::with(&["log.access=false"]);
    app.anonymous().get("strings/a").fails(404, "key_not_found", "");
    assert!(app.gateway.operations("/metrics").is_some_and(|metrics| !metrics.text().contains("dbx_log_dropped_total")));
}

const GRANTS: &[&str] = &[
    "audit.keys=plain",
    "auth.mode=none",
    "auth.grants.0.to=anonymous",
    "auth.grants.0.access=read,write,subscribe",
    "auth.grants.0.keys=cart:*",
    "auth.grants.0.channels=cart:*",
];

#[test]
fn what_is_denied_is_recorded_once() {
    for settings in
        [&["audit.calls=denied"][..], &["audit.calls=admin", "limits.maxResultItems=100"], &["audit.calls=all", "auth.grants.0.prefix=t:"]]
    {
        let audited = Audited::start(&[GRANTS, settings].concat());
        let client = audited.app.anonymous();
        client.post("get", r#"{"key":"shop:1"}"#).fails(403, "forbidden", "");
        client.get("strings/shop:1").fails(403, "forbidden", "");
        client.get("keys/shop:1").fails(403, "forbidden", "");
        client.post("config_get", r#"{"parameters":["maxmemory"]}"#).fails(403, "forbidden", "");
        let calls = r#"[{"op":"get","args":{"key":"cart:1"}},{"op":"mget","args":{"keys":["cart:1","shop:1"]}}]"#;
        assert_eq!(client.post("pipeline", format!("{{\"calls\":{calls}}}")).status, 200);
        client.post("transaction", format!("{{\"calls\":{calls}}}")).fails(403, "forbidden", "calls[1]");
        client.post("transaction", r#"{"watch":[{"key":"shop:1","absent":true}],"calls":[{"op":"ping"}]}"#).fails(
            403,
            "forbidden",
            "watch[0]",
        );
        client.post("raw", r#"{"command":["GET","shop:1"]}"#).fails(403, "forbidden", "command");
        client.post("raw", r#"{"command":["NONSENSE"]}"#).fails(403, "forbidden", "command");
        client.with("If-Match", "*").put("strings/shop:1", r#"{"value":"2"}"#).fails(403, "forbidden", "");
        client.get("channels/news").fails(403, "forbidden", "");
        client.get("streams/shop:1?follow").fails(403, "forbidden", "");
        let mut socket = client.socket("ws");
        for (op, args) in [
            ("get", json!({ "key": "shop:1" })),
            ("subscribe", json!({ "channels": ["cart:1", "news"] })),
            ("psubscribe", json!({ "patterns": ["*"] })),
            ("follow", json!({ "key": "shop:1" })),
            ("consume", json!({ "key": "shop:1", "group": "g", "consumer": "c" })),
            ("monitor", json!({})),
            ("raw", json!({ "command": ["GET", "shop:1"] })),
        ] {
            let answer = socket.call(json!({ "id": 1, "op": op, "args": args }));
            assert_eq!(answer["error"]["code"], "forbidden", "{op}: {answer}");
        }
        socket.close();
        let forbidden = |operation: &str, keys: Value| call(operation, keys, "forbidden");
        let shop = || json!(["shop:1"]);
        let expected = [
            forbidden("get", shop()),
            forbidden("get", shop()),
            forbidden("memory_usage", shop()),
            forbidden("config_get", Value::Null),
            forbidden("mget", json!(["cart:1", "shop:1"])),
            forbidden("mget", json!(["cart:1", "shop:1"])),
            forbidden("get", shop()),
            forbidden("get", shop()),
            forbidden("raw", Value::Null),
            forbidden("get", shop()),
            forbidden("subscribe", json!(["news"])),
            forbidden("follow", shop()),
            forbidden("get", shop()),
            forbidden("subscribe", json!(["cart:1", "news"])),
            forbidden("psubscribe", json!(["*"])),
            forbidden("follow", shop()),
            forbidden("consume", shop()),
            forbidden("monitor", Value::Null),
            forbidden("get", shop()),
        ];
        let is_all = settings[0] == "audit.calls=all";
        let calls = audited.calls(expected.len() + usize::from(is_all));
        let (denied, rest): (Vec<_>, Vec<_>) = calls.into_iter().partition(|(_, _, outcome)| outcome == "forbidden");
        assert_eq!(denied, expected, "{settings:?}");
        // A prefix is not the caller's business.
        let others = if is_all { vec![call("get", json!(["cart:1"]), "ok")] } else { Vec::new() };
        assert_eq!(rest, others, "{settings:?}");
        for record in audited.records(expected.len() + usize::from(is_all)) {
            assert_eq!(record["identity"], "anonymous", "{record}");
        }
    }
}

#[test]
fn who_is_not_known_is_recorded_without_a_name() {
    let mut keys = Keys::new();
    let key = keys.add("web", &["grants: [{ access: [read], keys: ['cart:*'] }]"]);
    let audited = Audited::start(&["auth.mode=required", &keys.source(), "audit.calls=denied", "audit.keys=plain"]);
    let client = audited.app.anonymous();
    let known = client.with("Authorization", &format!("Bearer {key}"));
    known.post("get", r#"{"key":"cart:1"}"#).is(r#"{"result":null}"#);
    known.post("get", r#"{"key":"shop:1"}"#).fails(403, "forbidden", "");
    assert_eq!(client.get("strings/cart:1").status, 401);
    assert_eq!(client.with("Authorization", "Bearer nonsense").get("strings/cart:1").status, 401);
    let mut socket = client.socket("ws");
    socket.call(json!({ "id": 1, "op": "authenticate", "args": { "token": "nonsense" } }));
    assert_eq!(socket.closed().0, 4401);
    let mut socket = client.socket("ws");
    socket.call(json!({ "id": 1, "op": "authenticate", "args": { "token": key } }));
    socket.call(json!({ "id": 2, "op": "get", "args": { "key": "shop:1" } }));
    socket.close();
    let records = audited.records(5);
    let found: Vec<_> = records.iter().map(|record| (&record["identity"], &record["path"], &record["outcome"])).collect();
    let (web, none, strings, socket) = (json!("key:web"), Value::Null, json!("/api/v1/redis/strings"), json!("/ws"));
    let (forbidden, unauthenticated) = (json!("forbidden"), json!("unauthenticated"));
    let expected = [
        (&web, &none, &forbidden),
        (&none, &strings, &unauthenticated),
        (&none, &strings, &unauthenticated),
        (&none, &socket, &unauthenticated),
        (&web, &none, &forbidden),
    ];
    assert_eq!(found, expected);
}
