//! Bad input: each mistake told apart by status, code and parameter, and nothing half-done.

use serde_json::{Value, json};

use crate::support::{App, Client, Expected::Error};

/// Small limits, so that what exceeds them is small as well.
const LIMITS: &[&str] = &[
    "limits.maxKeyBytes=64",
    "limits.maxValueBytes=4KiB",
    "limits.maxBodyBytes=16KiB",
    "limits.maxHeaderBytes=8KiB",
    "limits.maxPipelineCalls=10",
    "hosts=cache.example",
    "cors.origins=https://app.example",
];

fn app() -> App {
    let app = App::with(LIMITS);
    app.redis.line("SET there before");
    app
}

fn unchanged(app: &App) {
    assert_eq!((app.redis.line("DBSIZE"), app.redis.line("GET there")), ("1".to_owned(), "before".to_owned()), "something was done");
}

#[test]
fn arguments_are_told_apart() {
    let app = app();
    let long = |length: usize| "k".repeat(length);
    for (op, args, expected) in [
        ("get", json!({}), Error(400, "missing_argument", "key")),
        ("get", json!({ "kye": "a" }), Error(400, "unknown_argument", "kye")),
        ("get", json!({ "key": "a", "x": 1 }), Error(400, "unknown_argument", "x")),
        ("get", json!({ "key": null }), Error(400, "invalid_argument", "key")),
        ("get", json!({ "key": true }), Error(400, "invalid_argument", "key")),
        ("get", json!({ "key": ["a"] }), Error(400, "invalid_argument", "key")),
        ("get", json!({ "key": { "a": 1 } }), Error(400, "invalid_argument", "key")),
        ("get", json!({ "key": long(65) }), Error(413, "key_too_large", "key")),
        ("set", json!({ "key": "there", "value": "v".repeat(4097) }), Error(413, "value_too_large", "value")),
        ("set", json!({ "key": "there" }), Error(400, "missing_argument", "value")),
        ("set", json!({ "key": "there", "valeu": "1" }), Error(400, "unknown_argument", "valeu")),
        ("set", json!({ "key": "there", "value": "1", "nx": true, "xx": true }), Error(400, "invalid_argument", "xx")),
        ("set", json!({ "key": "there", "value": "1", "ex": 1, "px": 1 }), Error(400, "invalid_argument", "px")),
        ("set", json!({ "key": "there", "value": "1", "ex": 1, "keepttl": true }), Error(400, "invalid_argument", "keepttl")),
        ("set", json!({ "key": "there", "value": "1", "ex": "soon" }), Error(400, "invalid_argument", "ex")),
        ("set", json!({ "key": "there", "value": "1", "nx": "yes" }), Error(400, "invalid_argument", "nx")),
        ("set", json!({ "key": "there", "value": "1", "ex": 0 }), Error(422, "redis_error", "")),
        ("incrby", json!({ "key": "n", "increment": 1.5 }), Error(400, "invalid_argument", "increment")),
        ("incrby", json!({ "key": "n", "increment": "one" }), Error(400, "invalid_argument", "increment")),
        ("incrby", json!({ "key": "n", "increment": "9223372036854775808" }), Error(400, "invalid_argument", "increment")),
        ("mget", json!({ "keys": [] }), Error(400, "invalid_argument", "keys")),
        ("mget", json!({ "keys": ["a", null] }), Error(400, "invalid_argument", "keys")),
        ("mget", json!({ "keys": ["a", long(65)] }), Error(413, "key_too_large", "keys")),
        ("mset", json!({ "values": {} }), Error(400, "invalid_argument", "values")),
        ("mset", json!({ "values": [["a"]] }), Error(400, "invalid_argument", "values")),
        ("mset", json!({ "values": { "a": "1", "b": "v".repeat(4097) } }), Error(413, "value_too_large", "values")),
        ("sort", json!({ "key": "l", "limit": { "offset": 0 } }), Error(400, "missing_argument", "limit.count")),
        ("sort", json!({ "key": "l", "limit": { "offset": 0, "count": 1, "x": 1 } }), Error(400, "unknown_argument", "limit.x")),
        ("sort", json!({ "key": "l", "limit": 5 }), Error(400, "invalid_argument", "limit")),
        ("scan", json!({ "cursor": "x" }), Error(400, "invalid_argument", "cursor")),
        ("nonsense", json!({}), Error(404, "unknown_operation", "op")),
        ("GET", json!({ "key": "a" }), Error(404, "unknown_operation", "op")),
    ] {
        app.check(&["SET there before"], op, &args.to_string(), expected);
        unchanged(&app);
    }
    app.check(&[], "get", &json!({ "key": long(64) }).to_string(), crate::support::Expected::Answer(r#"{"result":null}"#));
    let problem = app.anonymous().post("get", r#"{"kye":"a"}"#).fails(400, "unknown_argument", "kye");
    assert!(problem["detail"].as_str().unwrap().contains("`key`"), "{problem}");
}

#[test]
fn bodies_that_are_not_json_say_where() {
    let app = app();
    let client = app.anonymous();
    for (body, position) in [
        (&b"{\"key\":\"there\",\"value\":1,}"[..], 25),
        (b"{\"key\" \"there\"}", 7),
        (b"{", 1),
        (b"nonsense", 1),
        (b"{\"key\":\"there\",\"value\":\"\x01\"}", 24),
        (b"{\"key\":\"there\",\"value\":\"\xff\"}", 24),
        (b"{\"key\":\"there\",\"value\":\"1\"} x", 28),
    ] {
        let problem = client.post("set", body).fails(400, "malformed_json", "");
        let found = problem["position"].as_i64().expect("it says where");
        assert!((found - position).abs() <= 1, "{}: {found}, not {position}", body.escape_ascii());
        for path in ["strings/there", "keys/there"] {
            let method = if path.starts_with("strings") { "PUT" } else { "PATCH" };
            client.send(method, path, Some(body)).fails(400, "malformed_json", "");
        }
    }
    for body in ["[]", "1", "\"a\"", "null", "true"] {
        client.post("set", body).fails(400, "invalid_argument", "");
    }
    client.post("set", r#"{"key":"there","value":"1","value":"2"}"#).fails(400, "invalid_argument", "value");
    client.post("set", r#"{"key":"\ud800","value":"1"}"#).fails(400, "invalid_argument", "key");
    // What no parser may be led into.
    let deep = format!("{{\"key\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let response = client.post("get", deep);
    assert_eq!(response.status, 400, "{}", response.text());
    unchanged(&app);
}

#[test]
fn places_that_are_not_there_are_told_apart() {
    let app = app();
    let client = app.anonymous();
    client.post("/api/v1/redis/nonsense", "{}").fails(404, "unknown_operation", "op");
    client.get("/api/v1/redis/nonsense").fails(404, "unknown_operation", "op");
    client.post("/api/v1/other/get", r#"{"key":"a"}"#).fails(404, "unknown_database", "database");
    client.get("/api/v1/other").fails(404, "unknown_database", "database");
    client.get("/api/v1/other/strings/a").fails(404, "unknown_database", "database");
    client.get("/api/v1/redis/nothing/a").fails(404, "route_not_found", "");
    client.get("/api/v2/redis").fails(404, "route_not_found", "");
    client.get("/api/v1x").fails(404, "route_not_found", "");
    client.get("/").fails(404, "route_not_found", "");
    client.get("/strings/a").fails(404, "route_not_found", "");
    // Operations listener: read-only.
    assert_eq!(app.gateway.operations("/nothing").unwrap().status, 404);
}

#[test]
fn queries_and_headers_are_checked() {
    let app = app();
    let client = app.anonymous();
    client.post("get?x=1", r#"{"key":"a"}"#).fails(400, "unknown_argument", "x");
    client.get("strings/there?x=1").fails(400, "unknown_argument", "x");
    client.get("keys?cuont=1").fails(400, "unknown_argument", "cuont");
    client.delete("keys?key=there&x=1").fails(400, "unknown_argument", "x");
    client.put("strings/there?ex=soon", r#"{"value":"1"}"#).fails(400, "invalid_argument", "ex");
    client.put("strings/there?ex=1&px=1", r#"{"value":"1"}"#).fails(400, "invalid_argument", "px");
    client.put("strings/there?value=1", r#"{"value":"2"}"#).fails(400, "invalid_argument", "value");
    client.put("strings/there?key=other", r#"{"value":"2"}"#).fails(400, "invalid_argument", "key");
    client.put("strings/there", r#"{"value":"2","key":"other"}"#).fails(400, "invalid_argument", "key");
    client.get("strings/there?encoding=hex").fails(400, "invalid_argument", "encoding");
    client.post("pipeline?x=1", r#"{"calls":[]}"#).fails(400, "unknown_argument", "x");
    client.post("raw?x=1", r#"{"command":["PING"]}"#).fails(400, "unknown_argument", "x");
    for timeout in ["0", "0s", "soon", "5", "-1s", "", "1e3s"] {
        client.with("DBX-Timeout", timeout).get("strings/there").fails(400, "invalid_argument", "DBX-Timeout");
    }
    client.get("strings/there?timeout=soon").fails(400, "invalid_argument", "timeout");
    // Longer than is allowed is as long as is allowed.
    client.with("DBX-Timeout", "10h").get("strings/there").is(r#"{"result":"before"}"#);
    for id in ["with space", "\u{fc}", "<script>", &"x".repeat(129)] {
        let response = client.with("X-Request-Id", id).get("strings/there");
        assert_eq!(response.header("x-request-id").unwrap().len(), 16, "{id} was taken over");
    }
    for id in ["0af7651916cd43dd8448eb211c80319c", "a-b_c.d:e/f+g=h@i", &"x".repeat(128)] {
        assert_eq!(client.with("X-Request-Id", id).get("strings/there").header("x-request-id"), Some(id));
        assert_eq!(client.with("X-Request-Id", id).get("strings/missing").json()["requestId"], id);
    }
    unchanged(&app);
}

#[test]
fn media_types_are_told_apart() {
    let app = app();
    let client = app.anonymous();
    let typed = |media: &str| client.with("Content-Type", media);
    for media in ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", "nonsense"] {
        typed(media).post("set", r#"{"key":"there","value":"1"}"#).fails(415, "unsupported_media_type", "Content-Type");
        typed(media).put("strings/there", r#"{"value":"1"}"#).fails(415, "unsupported_media_type", "Content-Type");
    }
    for place in ["set", "pipeline", "raw"] {
        typed("application/octet-stream").post(place, "{}").fails(415, "unsupported_media_type", "Content-Type");
    }
    typed("application/octet-stream").patch("keys/there", "{}").fails(415, "unsupported_media_type", "Content-Type");
    unchanged(&app);
    for media in ["application/json", "application/json; charset=utf-8", "application/vnd.x+json", "application/x-www-form-urlencoded"] {
        typed(media).post("set", r#"{"key":"there","value":"after"}"#).is(r#"{"result":"OK"}"#);
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let app = app();
    let client = app.anonymous();
    let large = "x".repeat(16 << 10);
    client.put("strings/there", format!("{{\"value\":\"{large}\"}}")).fails(413, "body_too_large", "");
    client.post("set", format!("{{\"key\":\"there\",\"value\":\"{large}\"}}")).fails(413, "body_too_large", "");
    client.with("Content-Type", "application/octet-stream").put("strings/there", "x".repeat(4097)).fails(413, "value_too_large", "value");
    client.put(&format!("strings/{}", "k".repeat(65)), r#"{"value":"1"}"#).fails(413, "key_too_large", "key");
    client.get(&format!("strings?keyBase64={}", "QUFB".repeat(22))).fails(413, "key_too_large", "key");
    client.delete(&format!("keys?key=there&key={}", "k".repeat(65))).fails(413, "key_too_large", "keys");
    // Without a length, the body is counted as it comes.
    let mut connection = client.connect();
    let head = "PUT /api/v1/redis/strings/there HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let body = format!("{head}{}0\r\n\r\n", chunk.repeat(17));
    connection.exchange(body.as_bytes()).unwrap().fails(413, "body_too_large", "");
    // In chunks that fit it is a body like any other.
    let small = "{\"value\":\"before\"}";
    let (one, two) = small.split_at(7);
    let body = format!("{head}{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    client.connect().exchange(body.as_bytes()).unwrap().is(r#"{"result":"OK"}"#);
    // A client that goes on sending hears why it is refused.
    let huge = "x".repeat(8 << 20);
    client.put("strings/there", &huge).fails(413, "body_too_large", "");
    let body = format!("{head}{:x}\r\n{huge}\r\n0\r\n\r\n", huge.len());
    client.connect().exchange(body.as_bytes()).unwrap().fails(413, "body_too_large", "");
    // A length that lies is not waited for.
    let lie = "PUT /api/v1/redis/strings/there HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{";
    client.connect().exchange(lie.as_bytes()).unwrap().fails(413, "body_too_large", "");
    for size in [9 << 10, 100 << 10, 2 << 20] {
        client.with("X-Large", &"x".repeat(size)).get("strings/there").fails(431, "headers_too_large", "");
        client.get(&format!("strings/{}", "k".repeat(size))).fails(431, "headers_too_large", "");
    }
    client.with("X-Large", &"x".repeat(7 << 10)).get("strings/there").is(r#"{"result":"before"}"#);
    unchanged(&app);
}

#[test]
fn what_is_not_http_is_refused() {
    let app = app();
    for nonsense in ["nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n"] {
        let response = app.anonymous().connect().exchange(nonsense.as_bytes()).unwrap();
        assert_eq!(response.status, 400, "{nonsense}");
    }
    // Two lengths, or a length and chunks: where a request ends must not be a matter of opinion.
    let head = "POST /api/v1/redis/set HTTP/1.1\r\nHost: localhost\r\n";
    for lengths in ["Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"] {
        let response = app.anonymous().connect().exchange(format!("{head}{lengths}").as_bytes()).unwrap();
        assert_eq!(response.status, 400, "{lengths}");
    }
    unchanged(&app);
}

#[test]
fn only_known_names_and_origins_may_call() {
    let app = app();
    let client = app.anonymous();
    let calls = |client: &Client| client.put("strings/there", r#"{"value":"after"}"#);
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "cache.example.evil"] {
        calls(&client.with("Host", host)).fails(403, "forbidden", "Host");
    }
    for origin in ["https://evil.example", "null", "http://app.example", "https://app.example:8443", "http://localhost:3000"] {
        calls(&client.with("Origin", origin)).fails(403, "forbidden", "Origin");
    }
    calls(&client.with("Host", "evil.example").with("Origin", "https://app.example")).fails(403, "forbidden", "Host");
    client.connect().exchange(b"GET /api/v1 HTTP/1.0\r\n\r\n").unwrap().fails(403, "forbidden", "Host");
    unchanged(&app);
    for host in ["localhost", "LOCALHOST:3000", "127.0.0.1:1", "[::1]:3000", "cache.example", "Cache.Example.:80"] {
        client.with("Host", host).get("strings/there").is(r#"{"result":"before"}"#);
    }
    let browser = client.with("Origin", "https://app.example");
    let response = browser.get("strings/there");
    assert_eq!((response.status, response.header("access-control-allow-origin")), (200, Some("https://app.example")));
    // A page may read problems as well.
    assert_eq!(browser.get("strings/missing").header("access-control-allow-origin"), Some("https://app.example"));
    let preflight = |origin: &str| {
        let client = client.with("Origin", origin).with("Access-Control-Request-Method", "PUT");
        let request = client.with("Access-Control-Request-Headers", "content-type, dbx-timeout").request("OPTIONS", "strings/there", None);
        client.connect().exchange(&request).unwrap()
    };
    let allowed = preflight("https://app.example");
    assert_eq!((allowed.status / 100, allowed.header("access-control-allow-origin")), (2, Some("https://app.example")));
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("PUT"), "{allowed:?}");
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("dbx-timeout"), "{allowed:?}");
    let refused = preflight("https://evil.example");
    assert_eq!(refused.header("access-control-allow-origin"), None, "{refused:?}");
}

#[test]
fn a_pipeline_answers_each_call_for_itself() {
    let app = app();
    let client = app.anonymous();
    client.post("pipeline", r#"{"calls":[]}"#).fails(400, "invalid_argument", "calls");
    client.post("pipeline", "{}").fails(400, "invalid_argument", "calls");
    client.post("pipeline", r#"{"calls":[],"x":1}"#).fails(400, "invalid_argument", "calls");
    client.post("pipeline", r#"{"calls":{}}"#).fails(400, "invalid_argument", "calls");
    client.post("pipeline", r#"[[{"op":"incr","args":{"key":"n"}}]]"#).fails(400, "invalid_argument", "calls");
    client.post("pipeline", r#"{"calls":[{"op":}]}"#).fails(400, "malformed_json", "");
    client.post("pipeline", "").fails(400, "malformed_json", "");
    let calls = |count: usize| json!({ "calls": vec![json!({ "op": "incr", "args": { "key": "n" } }); count] }).to_string();
    client.post("pipeline", calls(11)).fails(413, "pipeline_too_large", "calls");
    unchanged(&app);
    assert_eq!(client.post("pipeline", calls(10)).json()["result"][9], json!({ "result": 10 }));
    let answer = client.post(
        "pipeline",
        json!({ "calls": [
            { "op": "set", "args": { "key": "a", "value": 1 } },
            { "op": "nonsense" },
            { "op": "get", "args": { "kye": "a" } },
            ["get", { "key": "a" }],
            { "op": "get", "args": [] },
            { "args": {} },
            7,
            { "op": "wait", "args": { "numreplicas": 0, "timeout": 1 } },
            { "op": "incr", "args": { "key": "there" } },
            { "op": "get", "args": { "key": "a" } },
        ] })
        .to_string(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let results = answer.json()["result"].as_array().unwrap().clone();
    let codes: Vec<&str> = results.iter().map(|result| result["error"]["code"].as_str().unwrap_or("ok")).collect();
    let expected = [
        "ok",
        "unknown_operation",
        "unknown_argument",
        "invalid_argument",
        "invalid_argument",
        "invalid_argument",
        "invalid_argument",
        "wrong_transport",
        "redis_error",
        "ok",
    ];
    assert_eq!(codes, expected);
    assert_eq!((&results[0], &results[9]), (&json!({ "result": "OK" }), &json!({ "result": "1" })));
    for error in results.iter().filter_map(|result| result.get("error")) {
        assert_eq!(error["requestId"], answer.header("x-request-id").unwrap());
    }
    assert_eq!(results[2]["error"]["param"], "kye");
}

#[test]
fn raw_commands_are_checked() {
    let app = app();
    let client = app.anonymous();
    for body in [
        r#"{"command":[]}"#,
        "{}",
        r#"{"command":"GET a"}"#,
        r#"{"command":["GET",null]}"#,
        r#"{"command":["GET",["a"]]}"#,
        r#"[["GET","a"]]"#,
    ] {
        client.post("raw", body).fails(400, "invalid_argument", "command");
    }
    client.post("raw", r#"{"command":["GET" "a"]}"#).fails(400, "malformed_json", "");
    client.post("raw", r#"{"command":["GET","a"],"x":1}"#).fails(400, "invalid_argument", "command");
    client.post("raw", json!({ "command": ["SET", "there", "v".repeat(4097)] }).to_string()).fails(413, "value_too_large", "command");
    client.post("raw?encoding=base64", r#"{"command":["GET","*"]}"#).fails(400, "bad_encoding", "command");
    let problem = client.post("raw", r#"{"command":["SET","there"]}"#).fails(422, "redis_error", "");
    assert!(problem["redis"].as_str().unwrap().starts_with("ERR wrong number"), "{problem}");
    // Words cannot break out of their command.
    let broken = json!({ "command": ["GET", "a\r\n*1\r\n$8\r\nFLUSHALL\r\n"] }).to_string();
    assert_eq!(client.post("raw", broken).json()["result"], Value::Null);
    unchanged(&app);
}
