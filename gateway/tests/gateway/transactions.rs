//! Transactions: all or nothing, what is watched, who is guilty, and what a lost connection means.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{App, Client, Gateway, Redis, SOON, until};

fn call(op: &str, args: Value) -> Value {
    json!({ "op": op, "args": args })
}

fn set(key: &str, value: &str) -> Value {
    call("set", json!({ "key": key, "value": value }))
}

fn transaction(client: &Client, watch: Value, calls: Value) -> crate::support::Response {
    client.post("transaction", json!({ "watch": watch, "calls": calls }).to_string())
}

#[test]
fn calls_happen_as_one_with_a_result_each() {
    let app = App::start();
    let client = app.anonymous();
    client
        .post(
            "transaction",
            r#"{"calls":[{"op":"set","args":{"key":"a","value":"1"}},{"op":"incr","args":{"key":"a"}},{"op":"get","args":{"key":"a"}}]}"#,
        )
        .is(r#"{"result":[{"result":"OK"},{"result":2},{"result":"2"}]}"#);
    // An error in one does not stop the others: that is Redis's transaction.
    let results =
        transaction(&client, json!([]), json!([set("word", "tea"), call("incr", json!({ "key": "word" })), set("b", "1")])).json();
    assert_eq!((&results["result"][0]["result"], &results["result"][2]["result"]), (&json!("OK"), &json!("OK")));
    assert_eq!((&results["result"][1]["error"]["code"], &results["result"][1]["error"]["status"]), (&json!("redis_error"), &json!(422)));
    // Bytes, the encoding of each.
    let calls = r#"{"watch":[{"key":"YQ==","equals":"Mg=="}],"calls":[{"op":"set","args":{"key":"eA==","value":"/w=="}},
        {"op":"get","args":{"key":"eA=="}},{"op":"get","args":{"key":"x"},"encoding":"utf8"}]}"#;
    let results = client.post("transaction?encoding=base64", calls).json();
    assert_eq!(results["result"][1], json!({ "result": "/w==", "encoding": "base64" }));
    assert_eq!(results["result"][2]["error"]["code"], "not_utf8");
    assert_eq!(app.gateway.metric("dbx_backend_own_connections{database=\"redis\",state=\"busy\"}"), 0.0);
    let idle = app.gateway.metric("dbx_backend_own_connections{database=\"redis\",state=\"idle\"}");
    assert!((1.0..=2.0).contains(&idle), "{idle} connections for two workers");
}

#[test]
fn one_call_that_cannot_be_is_the_end_of_all() {
    let app = App::start();
    let client = app.anonymous();
    let good = set("a", "1");
    for (bad, status, code, param) in [
        (call("nonsense", json!({})), 404, "unknown_operation", "calls[1].op"),
        (call("set", json!({ "key": "b" })), 400, "missing_argument", "calls[1].value"),
        (call("set", json!({ "key": "b", "value": "1", "ex": "x" })), 400, "invalid_argument", "calls[1].ex"),
        (json!({ "args": {} }), 400, "invalid_argument", "calls[1]"),
        (json!({ "op": "get", "args": { "key": "a" }, "encoding": "rot13" }), 400, "invalid_argument", "calls[1].encoding"),
        (json!("get"), 400, "invalid_argument", "calls[1]"),
    ] {
        transaction(&client, json!([]), json!([good, bad])).fails(status, code, param);
    }
    for (watch, code, param) in [
        (json!({ "key": "a" }), "invalid_argument", "watch[0]"),
        (json!({ "key": "a", "equals": "1", "absent": true }), "invalid_argument", "watch[0]"),
        (json!({ "key": "a", "absent": false }), "invalid_argument", "watch[0]"),
        (json!({ "key": "a", "version": "x" }), "invalid_argument", "watch[0].version"),
        (json!({ "key": ["a"], "equals": "1" }), "invalid_argument", "watch[0].key"),
        (json!({ "key": "a", "equals": true }), "invalid_argument", "watch[0].equals"),
    ] {
        transaction(&client, json!([watch]), json!([good])).fails(400, code, param);
    }
    client.post("transaction", r#"{"calls":[]}"#).fails(400, "invalid_argument", "calls");
    client.post("transaction", r#"{"calls":[{"op":"get"}],"wach":[]}"#).fails(400, "invalid_argument", "calls");
    client.post("transaction", r#"{"calls":["#).fails(400, "malformed_json", "");
    client.post("transaction?x=1", r#"{"calls":[]}"#).fails(400, "unknown_argument", "x");
    assert_eq!(app.redis.line("DBSIZE"), "0");
    assert_eq!(client.get("transaction").status, 405);
}

#[test]
fn what_is_watched_has_to_be_as_expected() {
    let app = App::start();
    let client = app.anonymous();
    let calls = json!([set("done", "1")]);
    app.redis.line("SET a 1");
    app.redis.line("RPUSH l 1");
    for (watch, holds) in [
        (json!([{ "key": "a", "equals": "1" }]), true),
        (json!([{ "key": "a", "equals": 1 }]), true),
        (json!([{ "key": "a", "equals": "2" }]), false),
        (json!([{ "key": "missing", "equals": "" }]), false),
        (json!([{ "key": "missing", "absent": true }]), true),
        (json!([{ "key": "a", "absent": true }]), false),
        (json!([{ "key": "l", "absent": true }]), false),
        (json!([{ "key": "l", "equals": "1" }]), false),
        (json!([{ "key": "a", "version": "0".repeat(32) }]), false),
        (json!([{ "key": "a", "equals": "1" }, { "key": "missing", "absent": true }]), true),
    ] {
        app.redis.line("DEL done");
        let response = transaction(&client, watch.clone(), calls.clone());
        match holds {
            true => _ = response.is(r#"{"result":[{"result":"OK"}]}"#),
            false => _ = response.fails(412, "precondition_failed", "watch[0]"),
        }
        assert_eq!(app.redis.line("EXISTS done"), if holds { "1" } else { "0" }, "{watch}");
    }
    let watch = json!([{ "key": "a", "equals": "1" }, { "key": "a", "equals": "2" }, { "key": "l", "absent": true }]);
    transaction(&client, watch, calls).fails(412, "precondition_failed", "watch[1]");
    // A connection that has watched is clean again.
    app.redis.line("SET a 5");
    transaction(&client, json!([]), json!([set("done", "2")])).is(r#"{"result":[{"result":"OK"}]}"#);
}

#[test]
fn the_guilty_call_is_named() {
    let app = App::start();
    let client = app.anonymous();
    // Redis refuses to queue what its ACL or its memory does not allow.
    app.redis.line("CONFIG SET maxmemory 1");
    let problem = transaction(&client, json!([]), json!([set("a", "1")])).fails(507, "out_of_memory", "calls[0]");
    assert!(problem["redis"].as_str().unwrap().starts_with("OOM"), "{problem}");
    app.redis.line("CONFIG SET maxmemory 0");
    app.redis.line("ACL SETUSER default -incr");
    transaction(&client, json!([]), json!([set("a", "1"), call("incr", json!({ "key": "a" }))])).fails(502, "backend_denied", "calls[1]");
    assert_eq!(app.redis.line("EXISTS a"), "0");
    app.redis.line("ACL SETUSER default +incr");
    transaction(&client, json!([]), json!([set("a", "1"), call("incr", json!({ "key": "a" }))]))
        .is(r#"{"result":[{"result":"OK"},{"result":2}]}"#);
}

#[test]
fn increments_by_compare_and_set_are_all_counted() {
    const CLIENTS: u64 = 16;
    const EACH: u64 = 20;
    let app = App::start();
    app.redis.line("SET counter 0");
    let started = Instant::now();
    let (conflicts, failed) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let client = app.anonymous();
                scope.spawn(move || {
                    let (mut done, mut conflicts, mut failed) = (0, 0, 0);
                    while done < EACH {
                        let value = client.get("strings/counter").json()["result"].as_str().unwrap().to_owned();
                        let next = (value.parse::<u64>().unwrap() + 1).to_string();
                        let watch = json!([{ "key": "counter", "equals": value }]);
                        let response = transaction(&client, watch, json!([set("counter", &next), call("incr", json!({ "key": "done" }))]));
                        match response.status {
                            200 => done += 1,
                            409 => _ = (response.fails(409, "conflict", "watch"), conflicts += 1),
                            _ => _ = (response.fails(412, "precondition_failed", "watch[0]"), failed += 1),
                        }
                    }
                    (conflicts, failed)
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).fold((0, 0), |sum: (u64, u64), one| (sum.0 + one.0, sum.1 + one.1))
    });
    assert_eq!(app.redis.line("GET counter"), (CLIENTS * EACH).to_string());
    assert_eq!(app.redis.line("GET done"), (CLIENTS * EACH).to_string());
    println!("{} increments in {:?}: {failed} came too late, {conflicts} collided", CLIENTS * EACH, started.elapsed());
}

#[test]
fn redis_is_killed_while_transactions_run() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let gateway = Gateway::start(&redis, &[]);
    let calls = json!({ "calls": [call("incr", json!({ "key": "a" })), call("incr", json!({ "key": "b" }))] }).to_string();
    let (mut certain, mut unknown) = (0u64, 0u64);
    for _ in 0..3 {
        let (done, lost) = thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|_| {
                    let (client, calls) = (gateway.anonymous(), &calls);
                    scope.spawn(move || {
                        for done in 0.. {
                            let response = client.post("transaction", calls);
                            if response.status != 200 {
                                let problem = response.fails(503, "unavailable", "");
                                assert_eq!(problem["retryable"], problem["outcome"] != "unknown", "{problem}");
                                return (done, u64::from(problem["outcome"] == "unknown"));
                            }
                        }
                        unreachable!("it is killed")
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(300));
            redis.kill();
            clients.into_iter().map(|client| client.join().unwrap()).fold((0, 0), |sum: (u64, u64), one| (sum.0 + one.0, sum.1 + one.1))
        });
        (certain, unknown) = (certain + done, unknown + lost);
        redis.start_again();
        until("service", SOON, || {
            (gateway.anonymous().post("transaction", r#"{"calls":[{"op":"get","args":{"key":"a"}}]}"#).status == 200).then_some(())
        });
    }
    let (a, b): (u64, u64) = (redis.line("GET a").parse().unwrap(), redis.line("GET b").parse().unwrap());
    assert_eq!(a, b, "half a transaction");
    assert!((certain..=certain + unknown).contains(&a), "{certain} certain, {unknown} unknown, {a} counted");
    assert_eq!(gateway.metric("dbx_backend_own_connections{database=\"redis\",state=\"busy\"}"), 0.0);
    println!("3 times killed: {certain} certain, {unknown} unknown, {a} counted");
}

#[test]
fn connections_of_their_own_are_bounded() {
    let app = App::with(&["limits.maxOwnConnections=1", "workers=1"]);
    let client = app.anonymous();
    app.redis.hold();
    let slow = thread::spawn({
        let client = client.with("DBX-Timeout", "2s");
        move || client.post("transaction", r#"{"calls":[{"op":"incr","args":{"key":"a"}}]}"#)
    });
    until("the connection to be taken", SOON, || {
        (app.gateway.metric("dbx_backend_own_connections{database=\"redis\",state=\"busy\"}") > 0.5).then_some(())
    });
    let problem = client.with("DBX-Timeout", "200ms").post("transaction", r#"{"calls":[{"op":"incr","args":{"key":"a"}}]}"#).fails(
        503,
        "unavailable",
        "",
    );
    assert_eq!(problem["retryable"], true, "{problem}");
    app.redis.release();
    slow.join().unwrap().is(r#"{"result":[{"result":1}]}"#);
}
