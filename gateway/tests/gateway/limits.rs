//! What bounds clients: calls in flight, connections, time to send.

use std::thread;

use crate::support::{App, SOON, until};

const PENDING: &str = "dbx_backend_pending_calls{database=\"redis\"}";

#[test]
fn calls_in_flight_are_bounded() {
    let app = App::with(&["limits.maxInFlight=4", "limits.callTimeout=20s"]);
    let client = app.anonymous();
    app.redis.hold();
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.post("incr", r#"{"key":"a"}"#))
        })
        .collect();
    until("running calls", SOON, || (app.gateway.metric(PENDING) > 3.5).then_some(()));
    for _ in 0..50 {
        let problem = client.post("incr", r#"{"key":"a"}"#).fails(503, "unavailable", "");
        assert_eq!(problem["retryable"], true);
        client.post("pipeline", r#"{"calls":[{"op":"incr","args":{"key":"a"}}]}"#).fails(503, "unavailable", "");
        client.get("keys/a").fails(503, "unavailable", "");
        client.post("raw", r#"{"command":["INCR","a"]}"#).fails(503, "unavailable", "");
    }
    assert_eq!(app.gateway.metric(PENDING), 4.0, "refused calls wait for the database");
    // What watches the gateway is answered all the same, and says that it is well.
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(app.gateway.operations(path).unwrap().status, 200, "{path}");
    }
    app.redis.release();
    for call in calls {
        assert_eq!(call.join().unwrap().status, 200);
    }
    client.post("incr", r#"{"key":"a"}"#).is(r#"{"result":5}"#);
    // A pipeline that could never find room is told so.
    let calls = [r#"{"op":"incr","args":{"key":"a"}}"#; 5].join(",");
    client.post("pipeline", format!("{{\"calls\":[{calls}]}}")).fails(413, "pipeline_too_large", "calls");
}

#[test]
fn a_call_that_is_given_up_stops_counting() {
    let app = App::with(&["limits.maxInFlight=1", "limits.callTimeout=20s"]);
    let client = app.anonymous();
    app.redis.hold();
    let mut connection = client.connect();
    connection.write(&client.request("GET", "strings/a", None)).unwrap();
    until("a running call", SOON, || (app.gateway.metric(PENDING) > 0.5).then_some(()));
    client.get("strings/a").fails(503, "unavailable", "");
    drop(connection);
    until("room", SOON, || (app.gateway.metric("dbx_calls_in_flight") < 0.5).then_some(()));
    app.redis.release();
    until("service", SOON, || (client.get("strings/a").status == 404).then_some(()));
}

#[test]
fn connections_are_bounded() {
    let app = App::with(&["limits.maxConnections=3"]);
    let client = app.anonymous();
    let request = client.request("GET", "strings/a", None);
    let mut held: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = client.connect();
            connection.exchange(&request).unwrap().fails(404, "key_not_found", "");
            connection
        })
        .collect();
    let problem = client.get("strings/a").fails(503, "unavailable", "");
    assert_eq!(problem["retryable"], true);
    // Those that are in stay in.
    for connection in &mut held {
        connection.exchange(&request).unwrap().fails(404, "key_not_found", "");
    }
    held.pop();
    until("room", SOON, || (client.get("strings/a").status == 404).then_some(()));
}

#[test]
fn a_slow_body_is_not_waited_for() {
    let app = App::with(&["limits.bodyTimeout=200ms"]);
    let mut connection = app.anonymous().connect();
    connection.write(b"PUT /api/v1/redis/strings/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{\"value").unwrap();
    let problem = connection.read().unwrap().fails(408, "request_timeout", "");
    assert_eq!(problem["retryable"], true);
    assert_eq!(app.redis.line("EXISTS a"), "0");
}

#[test]
fn slow_headers_are_not_waited_for() {
    let app = App::with(&["limits.headerTimeout=1s", "limits.keepAliveTimeout=1s"]);
    let mut half = app.anonymous().connect();
    half.write(b"GET /api/v1/redis/strings/a HTTP/1.1\r\nHost:").unwrap();
    let mut silent = app.anonymous().connect();
    let mut idle = app.anonymous().connect();
    idle.exchange(&app.anonymous().request("GET", "strings/a", None)).unwrap().fails(404, "key_not_found", "");
    for connection in [&mut half, &mut silent, &mut idle] {
        assert!(connection.read().is_err(), "the connection is closed");
    }
    until("the connections' end", SOON, || (app.gateway.metric("dbx_connections") < 0.5).then_some(()));
}

#[test]
fn a_deadline_ends_the_wait() {
    let app = App::with(&["limits.callTimeout=100ms", "limits.maxCallTimeout=200ms"]);
    let client = app.anonymous();
    app.redis.hold();
    client.with("DBX-Timeout", "50ms").get("strings/a").fails(504, "timeout", "");
    client.get("strings/a?timeout=50ms").fails(504, "timeout", "");
    // Capped, for one call and for a call of a pipeline.
    client.with("DBX-Timeout", "1h").get("strings/a").fails(504, "timeout", "");
    let results = client.post("pipeline", r#"{"calls":[{"op":"get","args":{"key":"a"},"timeout":"1h"},{"op":"incr","args":{"key":"a"}}]}"#);
    let results = if results.status == 200 { results.json()["result"].clone() } else { panic!("{}", results.text()) };
    assert_eq!((&results[0]["error"]["code"], &results[0]["error"]["retryable"]), (&"timeout".into(), &true.into()));
    assert_eq!((&results[1]["error"]["code"], &results[1]["error"]["outcome"]), (&"timeout".into(), &"unknown".into()));
}

#[test]
fn results_of_many_items_are_refused_before_they_are_sent() {
    let app = App::with(&["limits.maxResultItems=10"]);
    let client = app.anonymous();
    for (command, op, args, param, path) in [
        ("HSET hash {} v", "hgetall", r#"{"key":"hash"}"#, "key", "hashes/hash"),
        ("SADD set {}", "smembers", r#"{"key":"set"}"#, "key", ""),
        ("SADD set {}", "sunion", r#"{"keys":["none","set"]}"#, "keys", ""),
        ("SADD set {}", "srandmember", r#"{"key":"set","count":11}"#, "key", ""),
        ("SADD set {}", "sort", r#"{"key":"set"}"#, "key", ""),
        ("RPUSH list {}", "lrange", r#"{"key":"list","start":0,"stop":-1}"#, "key", ""),
        ("ZADD sorted {} {}", "zrange", r#"{"key":"sorted","start":"-inf","stop":"+inf","byscore":true}"#, "key", ""),
        ("XADD stream * n {}", "xrange", r#"{"key":"stream","start":"-","end":"+"}"#, "key", "streams/stream"),
        ("SET key:{} v", "keys", r#"{"pattern":"*"}"#, "pattern", ""),
    ] {
        app.redis.clear();
        for number in 0..10 {
            app.redis.line(&command.replace("{}", &number.to_string()));
        }
        assert_eq!(client.post(op, args).status, 200, "{op}: {}", client.post(op, args).text());
        app.redis.line(&command.replace("{}", "10"));
        app.redis.line("CONFIG RESETSTAT");
        client.post(op, args).fails(413, "result_too_large", param);
        let call = format!(r#"{{"calls":[{{"op":"echo","args":{{"message":"1"}}}},{{"op":"{op}","args":{args}}}]}}"#);
        let results = client.post("pipeline", &call).json()["result"].clone();
        assert_eq!(results[0]["result"], "1", "{op}");
        assert_eq!((&results[1]["error"]["code"], &results[1]["error"]["param"]), (&"result_too_large".into(), &param.into()), "{op}");
        client.post("transaction", &call).fails(413, "result_too_large", &format!("calls[1].{param}"));
        if !path.is_empty() {
            client.get(path).fails(413, "result_too_large", param);
        }
        let stats = app.redis.line("INFO commandstats");
        assert!(!stats.contains(&format!("cmdstat_{op}:")), "{op} was sent:\n{stats}");
    }
    app.redis.clear();
    for number in 0..11 {
        app.redis.line(&format!("RPUSH list {number}"));
    }
    client.post("raw", r#"{"command":["lrange","list",0,-1]}"#).fails(413, "result_too_large", "command");
    assert_eq!(client.post("raw", r#"{"command":["lrange","list",0,9]}"#).status, 200);
    assert_eq!(client.post("lrange", r#"{"key":"list","start":-10,"stop":-1}"#).status, 200);
    // What is wrong with the call itself is told as ever.
    client.post("hgetall", r#"{"key":"list"}"#).fails(409, "wrong_type", "");
    client.post("hgetall", r#"{"kye":"list"}"#).fails(400, "unknown_argument", "kye");
}

#[test]
fn numbers_make_nothing_large() {
    let app = App::with(&["limits.maxValueBytes=1000B"]);
    let client = app.anonymous();
    for (op, args, fine, code, param, words) in [
        ("setrange", r#"{"key":"a","offset":{},"value":"xy"}"#, 998_i64, "value_too_large", "offset", r#"["SETRANGE","a",{},"xy"]"#),
        ("setbit", r#"{"key":"a","offset":{},"value":1}"#, 7999, "value_too_large", "offset", r#"["SETBIT","a",{},1]"#),
        (
            "bitfield",
            r#"{"key":"a","operations":[{"set":{"encoding":"u8","offset":{},"value":1}}]}"#,
            7992,
            "value_too_large",
            "operations.set.offset",
            r#"["BITFIELD","a","SET","u8",{},1]"#,
        ),
        ("srandmember", r#"{"key":"s","count":{}}"#, -100_000, "result_too_large", "count", r#"["SRANDMEMBER","s",{}]"#),
        ("hrandfield", r#"{"key":"h","count":{}}"#, -100_000, "result_too_large", "count", r#"["HRANDFIELD","h",{}]"#),
        ("zrandmember", r#"{"key":"z","count":{}}"#, -100_000, "result_too_large", "count", r#"["ZRANDMEMBER","z",{}]"#),
    ] {
        let with = |text: &str, number: i64| text.replace("{}", &number.to_string());
        let beyond = fine + fine.signum();
        assert_eq!(client.post(op, with(args, fine)).status, 200, "{op}");
        client.post(op, with(args, beyond)).fails(413, code, param);
        let call = format!(r#"{{"calls":[{{"op":"{op}","args":{}}}]}}"#, with(args, beyond));
        assert_eq!(client.post("pipeline", &call).json()["result"][0]["error"]["code"], code, "{op}");
        client.post("transaction", &call).fails(413, code, &format!("calls[0].{param}"));
        client.post("raw", format!(r#"{{"command":{}}}"#, with(words, beyond))).fails(413, code, "command");
    }
    assert_eq!(app.redis.line("STRLEN a"), "1000");
}
