//! Several databases behind one gateway: each has limits and room of its own, and its trouble is no other's.

use std::thread;

use crate::support::{App, Gateway, Redis, SOON, until};

/// A gateway of `redis` and `other`, with settings.
fn start(settings: &[&str]) -> (Gateway, Redis, Redis) {
    let (redis, other) = (Redis::start(), Redis::start());
    let url = format!("databases.1.redis.url={}", other.url());
    let gateway = Gateway::start(&redis, &[&["databases.1.name=other", &url], settings].concat());
    (gateway, redis, other)
}

#[test]
fn a_database_that_hangs_or_is_down_takes_nothing_from_another() {
    let (gateway, mut redis, _other) = start(&["limits.maxInFlight=4", "limits.callTimeout=20s"]);
    let client = gateway.anonymous();
    let other = || client.post("/api/v1/other/incr", r#"{"key":"a"}"#).json()["result"].as_i64().expect("the other database answers");
    redis.hold();
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.post("incr", r#"{"key":"a"}"#))
        })
        .collect();
    until("running calls", SOON, || (gateway.metric("dbx_calls_in_flight") > 3.5).then_some(()));
    client.get("strings/a").fails(503, "unavailable", "");
    for expected in 1..=50 {
        assert_eq!(other(), expected);
    }
    redis.release();
    for call in calls {
        assert_eq!(call.join().unwrap().status, 200);
    }
    redis.kill();
    until("the outage", SOON, || (client.get("strings/a").status == 503).then_some(()));
    assert_eq!(other(), 51);
    assert!(gateway.is_ready());
}

#[test]
fn a_database_has_limits_of_its_own() {
    let (gateway, redis, _other) = start(&[
        "limits.callTimeout=20s",
        "databases.0.limits.callTimeout=100ms",
        "databases.0.limits.maxCallTimeout=200ms",
        "databases.0.limits.maxInFlight=2",
        "databases.1.limits.maxResultBytes=1KiB",
    ]);
    let client = gateway.anonymous();
    let value = serde_json::json!({ "value": "x".repeat(2000) }).to_string();
    for path in ["strings/a", "/api/v1/other/strings/a"] {
        client.put(path, &value).is(r#"{"result":"OK"}"#);
    }
    assert_eq!(client.get("strings/a").status, 200);
    client.get("/api/v1/other/strings/a").fails(413, "result_too_large", "");
    let pipeline = format!("{{\"calls\":[{}]}}", [r#"{"op":"incr","args":{"key":"n"}}"#; 3].join(","));
    client.post("pipeline", &pipeline).fails(413, "pipeline_too_large", "calls");
    assert_eq!(client.post("/api/v1/other/pipeline", &pipeline).status, 200);
    redis.hold();
    client.get("strings/a").fails(504, "timeout", "");
    // Longer than the database allows is what it allows.
    client.with("DBX-Timeout", "30s").get("strings/a").fails(504, "timeout", "");
    redis.release();
}

#[test]
fn limits_without_a_word_are_those_of_all() {
    let app = App::with(&["limits.maxInFlight=1", "databases.0.limits.callTimeout=20s"]);
    let calls = [r#"{"op":"incr","args":{"key":"a"}}"#; 2].join(",");
    app.anonymous().post("pipeline", format!("{{\"calls\":[{calls}]}}")).fails(413, "pipeline_too_large", "calls");
}
