//! Strings and keys as resources: methods, conditions, paging, bytes, and 64-bit integers.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{App, Client};

fn raw(client: &Client) -> Client {
    client.with("Content-Type", "application/octet-stream")
}

fn as_bytes(client: &Client) -> Client {
    client.with("Accept", "application/octet-stream")
}

#[test]
fn a_string_is_put_read_and_deleted() {
    let app = App::start();
    let client = app.anonymous();
    client.get("strings/a").fails(404, "key_not_found", "");
    client.put("strings/a", r#"{"value":"Grüße","ex":60}"#).is(r#"{"result":"OK"}"#);
    client.get("strings/a").is(r#"{"result":"Grüße"}"#);
    assert_eq!(app.redis.line("TTL a"), "60");
    client.put("strings/a", r#"{"value":1.50,"keepttl":true}"#).is(r#"{"result":"OK"}"#);
    client.get("strings/a").is(r#"{"result":"1.50"}"#);
    client.put("strings/a?ex=30", r#"{"value":"2"}"#).is(r#"{"result":"OK"}"#);
    assert_eq!(app.redis.line("TTL a"), "30");
    client.put("strings/a", r#"{"value":"3","get":true}"#).is(r#"{"result":"2"}"#);
    client.delete("strings/a").is(r#"{"result":1}"#);
    client.put("strings/a", r#"{"value":"3","get":true,"xx":true}"#).fails(412, "precondition_failed", "");
    client.put("strings/a", r#"{"value":"3","get":true}"#).is(r#"{"result":null}"#);
    client.get("strings/a").is(r#"{"result":"3"}"#);
    client.delete("strings/a").is(r#"{"result":1}"#);
    client.put("strings/a", r#"{"value":"3","get":true,"nx":true}"#).is(r#"{"result":null}"#);
    client.delete("strings/a").is(r#"{"result":1}"#);
    client.delete("strings/a").fails(404, "key_not_found", "");
}

#[test]
fn a_condition_that_does_not_hold_is_412() {
    let app = App::start();
    let client = app.anonymous();
    client.put("strings/a", r#"{"value":"1","xx":true}"#).fails(412, "precondition_failed", "");
    client.put("strings/a", r#"{"value":"1","nx":true}"#).is(r#"{"result":"OK"}"#);
    client.put("strings/a", r#"{"value":"2","nx":true}"#).fails(412, "precondition_failed", "");
    client.put("strings/a?nx", r#"{"value":"2"}"#).fails(412, "precondition_failed", "");
    raw(&client).put("strings/a?nx=true", "2").fails(412, "precondition_failed", "");
    client.get("strings/a").is(r#"{"result":"1"}"#);
    client.patch("keys/a", r#"{"seconds":60,"xx":true}"#).fails(412, "precondition_failed", "");
    client.put("strings/a", r#"{"value":"2","nx":false}"#).is(r#"{"result":"OK"}"#);
    client.patch("keys/missing", r#"{"seconds":60,"nx":false}"#).fails(404, "key_not_found", "");
    client.patch("keys/missing", r#"{"seconds":60}"#).fails(404, "key_not_found", "");
}

#[test]
fn head_and_options_work_everywhere() {
    let app = App::start();
    let client = app.anonymous();
    app.redis.line("SET a Hello");
    for (path, allowed) in [
        ("strings/a", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("keys/a", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("keys", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("pipeline", "OPTIONS, POST"),
        ("raw", "OPTIONS, POST"),
        ("get", "OPTIONS, POST"),
        ("/api/v1", "GET, HEAD, OPTIONS"),
        ("/api/v1/whoami", "GET, HEAD, OPTIONS"),
        ("/api/v1/redis", "GET, HEAD, OPTIONS"),
        ("/asyncapi.json", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/docs/errors", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
    ] {
        let options = client.send("OPTIONS", path, None);
        assert_eq!((options.status, options.header("allow")), (204, Some(allowed)), "OPTIONS {path}");
        for method in ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "TRACE"] {
            let response = client.send(method, path, None);
            if allowed.split(", ").any(|allowed| allowed == method) {
                assert_ne!(response.status, 405, "{method} {path}");
            } else {
                assert_eq!((response.status, response.header("allow")), (405, Some(allowed)), "{method} {path}");
            }
        }
        if allowed.contains("GET") {
            app.redis.line("SET a Hello");
            let (get, head) = (client.get(path), client.send("HEAD", path, None));
            assert_eq!((get.status, get.header("content-type")), (head.status, head.header("content-type")), "{path}");
            assert_eq!(get.header("content-length"), head.header("content-length"), "{path}");
        }
    }
    assert_eq!(client.send("HEAD", "strings/missing", None).status, 404);
}

#[test]
fn a_key_is_described_changed_and_deleted() {
    let app = App::start();
    let client = app.anonymous();
    app.redis.line("RPUSH l 1 2 3");
    let about = client.get("keys/l").json();
    assert_eq!((&about["result"]["type"], &about["result"]["ttl"]), (&json!("list"), &json!(-1)));
    client.get("keys/missing").fails(404, "key_not_found", "");
    client.patch("keys/l", "{}").fails(400, "missing_argument", "");
    client.patch("keys/l", r#"{"seconds":100}"#).is(r#"{"result":1}"#);
    assert_eq!(client.get("keys/l").json()["result"]["ttl"], 100);
    client.patch("keys/l", r#"{"newkey":"m"}"#).is(r#"{"result":"OK"}"#);
    client.patch("keys/l", r#"{"newkey":"m"}"#).fails(404, "key_not_found", "");
    client.delete("keys/m").is(r#"{"result":1}"#);
    client.get("strings/m").fails(404, "key_not_found", "");
    app.redis.line("RPUSH l 1");
    let problem = client.get("strings/l").fails(409, "wrong_type", "");
    assert!(problem["redis"].as_str().unwrap().starts_with("WRONGTYPE"), "{problem}");
    client.post("incr", r#"{"key":"l"}"#).fails(409, "wrong_type", "");
}

#[test]
fn keys_come_in_pages_until_the_cursor_is_zero() {
    let app = App::start();
    let client = app.anonymous();
    let expected: BTreeSet<String> = (0..500).map(|number| format!("page:{number}")).collect();
    for key in &expected {
        app.redis.line(&format!("SET {key} 1"));
    }
    app.redis.line("RPUSH page:list 1");
    app.redis.line("SET other 1");
    let (mut found, mut cursor, mut pages) = (BTreeSet::new(), "0".to_owned(), 0);
    loop {
        let page = client.get(&format!("keys?match=page:*&type=string&count=50&cursor={cursor}")).json();
        found.extend(page["result"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()));
        cursor = page["cursor"].as_str().expect("a cursor is text: it has 64 bits").to_owned();
        pages += 1;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, expected);
    assert!(pages > 5, "{pages}");
    client.get("keys?cursor=x").fails(400, "invalid_argument", "cursor");
}

#[test]
fn deleting_keys_needs_to_say_which() {
    let app = App::start();
    let client = app.anonymous();
    for key in ["a", "b", "c,d", "e f"] {
        app.redis.run(&[b"SET", key.as_bytes(), b"1"]);
    }
    client.delete("keys").fails(400, "missing_argument", "keys");
    assert_eq!(app.redis.line("DBSIZE"), "4");
    client.delete("keys?key=a&key=b&key=missing").is(r#"{"result":2}"#);
    client.delete("keys?keys=c,d&keys=e+f").is(r#"{"result":2}"#);
    client.delete("keys?key=a").is(r#"{"result":0}"#);
}

#[test]
fn integers_are_exact() {
    let app = App::start();
    let client = app.anonymous();
    app.redis.line("SET a 0");
    client.post("incrby", r#"{"key":"a","increment":9007199254740993}"#).is(r#"{"result":9007199254740993}"#);
    client.post("incrby?integers=string", r#"{"key":"a","increment":"1"}"#).is(r#"{"result":"9007199254740994"}"#);
    client.post("decrby?integers=string", r#"{"key":"a","decrement":9007199254740994}"#).is(r#"{"result":0}"#);
    client.put("strings/a", r#"{"value":9223372036854775807}"#).is(r#"{"result":"OK"}"#);
    client.get("strings/a").is(r#"{"result":"9223372036854775807"}"#);
    client.post("decrby", r#"{"key":"a","decrement":0}"#).is(r#"{"result":9223372036854775807}"#);
    client.post("incr", r#"{"key":"a"}"#).fails(422, "redis_error", "");
    client.post("incrby", r#"{"key":"a","increment":9223372036854775808}"#).fails(400, "invalid_argument", "increment");
    client.post("incrby?integers=text", r#"{"key":"a","increment":1}"#).fails(400, "invalid_argument", "integers");
    // The example of the guide: a float's literal is what the server wrote.
    client.put("strings/f", r#"{"value":"10.5"}"#).is(r#"{"result":"OK"}"#);
    client.post("incrbyfloat", r#"{"key":"f","increment":0.1}"#).is(r#"{"result":10.6}"#);
}

#[test]
fn bytes_are_never_replaced() {
    let app = App::start();
    let client = app.anonymous();
    let every: Vec<u8> = (0..=255).collect();
    raw(&client).put("strings/all", &every).is(r#"{"result":"OK"}"#);
    let value = as_bytes(&client).get("strings/all");
    assert_eq!((value.status, value.header("content-type"), &value.body), (200, Some("application/octet-stream"), &every));
    client.get("strings/all").fails(422, "not_utf8", "");
    client.post("get", r#"{"key":"all"}"#).fails(422, "not_utf8", "");
    // Both ways in base64.
    client.put("strings/b?encoding=base64", r#"{"value":"/wA="}"#).is(r#"{"result":"OK"}"#);
    client.get("strings/b?encoding=base64").is(r#"{"result":"/wA=","encoding":"base64"}"#);
    assert_eq!(as_bytes(&client).get("strings/b").body, b"\xff\0");
    client.post("set?encoding=base64", r#"{"key":"Yg==","value":"/w"}"#).is(r#"{"result":"OK"}"#);
    client.post("get?encoding=base64", r#"{"key":"Yg=="}"#).is(r#"{"result":"/w==","encoding":"base64"}"#);
    client.put("strings/b?encoding=base64", r#"{"value":"%"}"#).fails(400, "bad_encoding", "value");
    // What was changed is answered whole.
    client.post("getdel", r#"{"key":"b"}"#).is(r#"{"result":"/w==","encoding":"base64"}"#);
    client.get("strings/b").fails(404, "key_not_found", "");
    app.redis.run(&[b"SET", b"\xff", b"1"]);
    client.get("keys?match=*").fails(422, "not_utf8", "");
    // In a pipeline the choice is each call's own.
    let calls = r#"{"calls":[{"op":"get","args":{"key":"all"}},{"op":"set","args":{"key":"eA==","value":"/w=="},"encoding":"base64"},
        {"op":"get","args":{"key":"eA=="},"encoding":"base64"},{"op":"get","args":{"key":"x"}}]}"#;
    let results = client.post("pipeline", calls).json();
    assert_eq!(results["result"][0]["error"]["code"], "not_utf8");
    assert_eq!(results["result"][1], json!({ "result": "OK" }));
    assert_eq!(results["result"][2], json!({ "result": "/w==", "encoding": "base64" }));
    assert_eq!(results["result"][3]["error"]["status"], 422);
}

#[test]
fn an_answer_has_the_media_type_that_is_wanted() {
    let app = App::start();
    let client = app.anonymous();
    app.redis.line("SET a 1");
    for accept in ["application/json", "*/*", "application/*", "text/html, */*;q=0.1", "application/problem+json"] {
        client.with("Accept", accept).get("strings/a").is(r#"{"result":"1"}"#);
    }
    for accept in ["text/html", "image/png, text/plain;q=0.5", "application/json;q=0"] {
        client.with("Accept", accept).get("strings/a").fails(406, "not_acceptable", "Accept");
    }
    assert_eq!(as_bytes(&client).get("strings/a").body, b"1");
    as_bytes(&client).get("strings/missing").fails(404, "key_not_found", "");
    as_bytes(&client).post("mget", r#"{"keys":["a"]}"#).fails(406, "not_acceptable", "Accept");
    as_bytes(&client).post("pipeline", r#"{"calls":[{"op":"get","args":{"key":"a"}}]}"#).fails(406, "not_acceptable", "Accept");
    as_bytes(&client).get("keys/a").fails(406, "not_acceptable", "Accept");
    as_bytes(&client).get("keys").fails(406, "not_acceptable", "Accept");
    // One word or number is its literal.
    assert_eq!(as_bytes(&client).put("strings/a", r#"{"value":"2"}"#).body, b"OK");
    assert_eq!(as_bytes(&client).delete("keys?key=a").body, b"1");
}

#[test]
fn a_dumped_key_is_restored() {
    let app = App::start();
    let client = app.anonymous();
    app.redis.line("RPUSH l 1 2 3");
    let dump = client.post("dump", r#"{"key":"l"}"#).json();
    assert_eq!(dump["encoding"], "base64");
    let restore = json!({ "key": "m", "ttl": 0, "serialized_value": dump["result"] }).to_string();
    client.post("restore", &restore).is(r#"{"result":"OK"}"#);
    client.post("restore", &restore).fails(409, "conflict", "");
    client.post("sort", r#"{"key":"m","desc":true}"#).is(r#"{"result":["3","2","1"]}"#);
    client.post("restore", r#"{"key":"n","ttl":0,"serialized_value":"AAAA"}"#).fails(422, "redis_error", "");
}

#[test]
fn the_page_to_call_from_asks_nobody_else() {
    let app = App::start();
    let client = app.anonymous();
    let page = client.get("/docs");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self';"));
    let page = page.text();
    assert!(!page.contains("http"), "{page}");
    // Each part that it names is there.
    let parts: Vec<&str> = page.split('"').filter(|part| part.starts_with("docs/")).collect();
    assert_eq!(parts.len(), 3);
    for part in parts {
        let response = client.get(&format!("/{part}"));
        assert_eq!(response.status, 200, "{part}");
        assert_eq!(response.header("content-encoding"), part.contains("swagger").then_some("gzip"), "{part}");
        assert_eq!(response.body.starts_with(b"\x1f\x8b"), part.contains("swagger"), "{part}");
    }
    // A browser says where the page is from when it calls.
    let host = format!("localhost:{}", app.gateway.data.number);
    let own = client.with("Host", &host).with("Origin", &format!("http://{host}"));
    own.post("set", r#"{"key":"a","value":"1"}"#).is(r#"{"result":"OK"}"#);
    client.with("Host", &host).with("Origin", "http://localhost:1").post("get", r#"{"key":"a"}"#).fails(403, "forbidden", "Origin");
}

#[test]
fn the_gateway_tells_what_it_is() {
    let app = App::start();
    let client = app.anonymous();
    client.get("/api/v1").is(r#"{"result":{"databases":[{"kind":"redis","name":"redis"}]}}"#);
    assert_eq!(client.get("/api/v1/whoami").json()["result"]["identity"], "anonymous");
    assert_eq!(client.get("/openapi.json").json()["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    let errors = client.get("/docs/errors").text();
    // The page that every problem points to has every code.
    for code in dbx_gateway::error::Code::ALL {
        assert!(errors.contains(&format!("id={}", code.name())), "{}", code.name());
    }
}
