//! WebSockets: what opens one, what closes it and with which words, and that every answer belongs to its call.

use std::{collections::HashMap, io::Read, net::Shutdown, thread, time::Duration};

use serde_json::{Value, json};
use tungstenite::{Error, Message, protocol::CloseFrame};

use crate::support::{App, Random, SOON, until};

const UPGRADE: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const TEXT: u8 = 1;
const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;

/// A frame as a client sends it, with a mask that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(MASKED | u8::try_from(length).unwrap()),
        length @ 126..65536 => {
            frame.push(MASKED | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(MASKED | 127);
            frame.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn call(id: impl Into<Value>, op: &str, args: Value) -> Value {
    json!({ "id": id.into(), "op": op, "args": args })
}

/// All that sockets have held is let go.
#[track_caller]
fn nothing_is_left(app: &App) {
    for gauge in ["dbx_sockets", "dbx_calls_in_flight", "dbx_socket_queued_bytes"] {
        until(gauge, SOON, || (app.gateway.metric(gauge) == 0.0).then_some(()));
    }
}

#[test]
fn openings_are_answered() {
    let app = App::start();
    let open = |method: &str, path: &str, changed: &[(&str, &str)], body: Option<&[u8]>| {
        let mut client = app.anonymous();
        for (name, value) in UPGRADE {
            let value = changed.iter().find(|(changed, _)| changed == name).map_or(*value, |(_, value)| value);
            if !value.is_empty() {
                client = client.with(name, value);
            }
        }
        for (name, value) in changed.iter().filter(|(name, _)| UPGRADE.iter().all(|(known, _)| known != name)) {
            client = client.with(name, value);
        }
        let mut connection = client.connect();
        connection.head_only = true;
        connection.exchange(&client.request(method, path, body)).unwrap()
    };
    for (method, path, changed, expected) in [
        ("GET", "ws", &[][..], 101),
        ("GET", "/api/v1/ws", &[], 101),
        ("GET", "ws?encoding=base64&integers=string&timeout=1s", &[], 101),
        ("GET", "ws", &[("Sec-WebSocket-Protocol", "other")], 101),
        ("GET", "ws", &[("Connection", "keep-alive")], 426),
        ("GET", "ws", &[("Upgrade", "")], 426),
        ("GET", "ws", &[("Sec-WebSocket-Version", "12")], 426),
        ("GET", "ws", &[("Sec-WebSocket-Key", "")], 426),
        ("POST", "ws", &[], 405),
        ("DELETE", "/api/v1/ws", &[], 405),
        ("OPTIONS", "ws", &[], 204),
        ("GET", "ws?encoding=hex", &[], 400),
        ("GET", "ws?more=1", &[], 400),
        ("GET", "/api/v1/other/ws", &[], 404),
        ("GET", "ws", &[("Host", "evil.example")], 403),
        ("GET", "ws", &[("Origin", "https://evil.example")], 403),
    ] {
        let response = open(method, path, changed, None);
        assert_eq!(response.status, expected, "{method} {path} {changed:?}");
        assert_eq!(response.header("sec-websocket-protocol"), None);
    }
    for offered in ["dbx.v1", "other, dbx.v1"] {
        let response = open("GET", "ws", &[("Sec-WebSocket-Protocol", offered)], None);
        assert_eq!((response.status, response.header("sec-websocket-protocol")), (101, Some("dbx.v1")));
        assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
    app.anonymous().get("ws").fails(426, "upgrade_required", "");
    app.anonymous().get("ws?more=1").fails(400, "unknown_argument", "more");
    let mut old = app.anonymous().connect();
    old.write(b"GET /api/v1/redis/ws HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert_eq!(old.read().unwrap().status, 426);
    nothing_is_left(&app);
}

#[test]
fn what_breaks_the_protocol_is_told_why() {
    let app = App::with(&["limits.maxBodyBytes=64KiB"]);
    let get = br#"{"id":1,"op":"get","args":{"key":"a"}}"#;
    let unmasked = [&[LAST | TEXT, u8::try_from(get.len()).unwrap()][..], get].concat();
    let mut announced = vec![LAST | TEXT, MASKED | 127];
    announced.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    announced.extend_from_slice(&[0; 4]);
    let in_parts = [frame(TEXT, &[b' '; 40_000]), frame(LAST, &[b' '; 40_000])].concat();
    let split = |control: Vec<u8>| [frame(TEXT, &get[..5]), control, frame(LAST, &get[5..])].concat();
    for (what, sent, code) in [
        ("unmasked", unmasked, 1002),
        ("binary", frame(LAST | 2, get), 1003),
        ("a reserved bit", frame(LAST | 0x40 | TEXT, get), 1002),
        ("a reserved bit of a ping", frame(LAST | 0x10 | 9, b""), 1002),
        ("a reserved data opcode", frame(LAST | 3, get), 1002),
        ("a reserved control opcode", frame(LAST | 11, b""), 1002),
        ("a continuation of nothing", frame(LAST, get), 1002),
        ("text within text", split(frame(LAST | TEXT, get)), 1002),
        ("binary within text", split(frame(LAST | 2, get)), 1002),
        ("a long ping", frame(LAST | 9, &[0; 126]), 1002),
        ("a fragmented ping", frame(9, b"a"), 1002),
        ("a fragmented close", frame(8, b""), 1002),
        ("not UTF-8", frame(LAST | TEXT, b"{\"id\":1,\"op\":\"\xff\"}"), 1007),
        ("a surrogate", frame(LAST | TEXT, b"\xed\xa0\x80"), 1007),
        ("half a character", frame(LAST | TEXT, b"\xe2\x82"), 1007),
        ("not UTF-8 in a later part", [frame(TEXT, b"{"), frame(LAST, b"\xc0\xaf")].concat(), 1007),
        ("oversize", frame(LAST | TEXT, &[b' '; 70_000]), 1009),
        ("oversize in parts", in_parts, 1009),
        ("oversize that never comes", announced, 1009),
        ("no JSON", frame(LAST | TEXT, b"hello"), 1007),
        ("nothing", frame(LAST | TEXT, b""), 1007),
        ("half of a JSON", frame(LAST | TEXT, &get[..20]), 1007),
        ("deep JSON", frame(LAST | TEXT, &[b'['; 10_000]), 1007),
    ] {
        let mut socket = app.anonymous().socket("ws");
        socket.raw(&sent);
        let (found, reason) = socket.closed();
        assert_eq!(found, code, "{what}: {reason}");
        assert!(!reason.is_empty(), "{what}");
    }
    nothing_is_left(&app);
}

#[test]
fn what_keeps_the_protocol_is_served_however_it_comes() {
    let app = App::start();
    let line = r#"{"id":1,"op":"echo","args":{"message":"a€𝄞"}}"#;
    let answer = r#"{"id":1,"result":"a€𝄞"}"#;
    let (ping, pong) = (frame(LAST | 9, b"are you there"), frame(LAST | 10, b"nobody asked"));
    let bytes: Vec<Vec<u8>> = line.as_bytes().chunks(1).map(<[u8]>::to_vec).collect();
    let last = bytes.len() - 1;
    let part = |index: usize| if index == 0 { TEXT } else { 0 } | if index == last { LAST } else { 0 };
    let fragments: Vec<Vec<u8>> = bytes.iter().enumerate().map(|(index, byte)| frame(part(index), byte)).collect();
    for sent in [
        vec![frame(LAST | TEXT, line.as_bytes())],
        // One byte at a time, one byte in each frame, and with others between them.
        frame(LAST | TEXT, line.as_bytes()).chunks(1).map(<[u8]>::to_vec).collect(),
        fragments.clone(),
        vec![fragments.concat()],
        fragments.iter().flat_map(|fragment| [fragment.clone(), ping.clone(), pong.clone()]).collect(),
        vec![frame(TEXT, b""), frame(0, b""), frame(LAST, line.as_bytes())],
    ] {
        let mut socket = app.anonymous().socket("ws");
        for bytes in sent {
            socket.raw(&bytes);
        }
        assert_eq!(socket.text(), answer);
        socket.close();
    }
    let mut socket = app.anonymous().socket("ws");
    socket.raw(&frame(LAST | 9, &[7; 125]));
    assert_eq!(socket.any(), Message::Pong(vec![7; 125].into()));
    socket.raw(&frame(LAST | 9, b""));
    assert_eq!(socket.any(), Message::Pong(Vec::new().into()));
    drop(socket);
    nothing_is_left(&app);
}

#[test]
fn every_end_is_an_end() {
    let app = App::start();
    let answered = |payload: &[u8]| {
        let mut socket = app.anonymous().socket("ws");
        socket.raw(&frame(LAST | 8, payload));
        socket.closed().0
    };
    for (payload, code) in [
        (&b""[..], 1005),
        (b"\x03\xe8", 1000),
        (b"\x03\xe8good-bye", 1000),
        (b"\x0f\xa0mine", 4000),
        // A code of one byte, one that nobody may send, and a reason that is not UTF-8.
        (b"\x03", 1002),
        (b"\x03\xed", 1002),
        (b"\x03\xe8\xff", 1007),
    ] {
        let found = answered(payload);
        assert!(found == code || (code == 1007 && found == 1002), "{payload:?}: {found}");
    }
    // Half closed: what was asked is not lost on one who listens, and the connection ends.
    let mut socket = app.anonymous().socket("ws");
    socket.send(&call(1, "ping", json!({})).to_string());
    assert_eq!(socket.text(), r#"{"id":1,"result":"PONG"}"#);
    socket.stream().shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    socket.stream().read_to_end(&mut rest).unwrap();
    // Gone without a word, while a call runs.
    app.redis.hold();
    let mut socket = app.anonymous().socket("ws");
    socket.send(&call(1, "get", json!({ "key": "a" })).to_string());
    until("the call", SOON, || (app.gateway.metric("dbx_calls_in_flight") == 1.0).then_some(()));
    drop(socket);
    nothing_is_left(&app);
    app.redis.release();
}

#[test]
fn a_bad_call_is_answered_and_the_socket_lives() {
    let app = App::start();
    let mut socket = app.anonymous().socket("ws");
    for (line, id, code, param) in [
        (r#"[1]"#, json!(null), "invalid_argument", json!(null)),
        (r#"[1,"ping"]"#, json!(null), "invalid_argument", json!(null)),
        (r#""text""#, json!(null), "invalid_argument", json!(null)),
        (r#"{}"#, json!(null), "invalid_argument", json!(null)),
        (r#"{"op":"get"}"#, json!(null), "invalid_argument", json!(null)),
        (r#"{"id":null,"op":"get"}"#, json!(null), "invalid_argument", json!("id")),
        (r#"{"id":true,"op":"get"}"#, json!(null), "invalid_argument", json!("id")),
        (r#"{"id":1.5,"op":"get"}"#, json!(null), "invalid_argument", json!("id")),
        (r#"{"id":9223372036854775808,"op":"get"}"#, json!(null), "invalid_argument", json!("id")),
        (r#"{"id":{},"op":"get"}"#, json!(null), "invalid_argument", json!("id")),
        (r#"{"id":1}"#, json!(1), "invalid_argument", json!(null)),
        (r#"{"id":1,"op":2}"#, json!(1), "invalid_argument", json!(null)),
        (r#"{"id":"a","op":"ping","more":1}"#, json!("a"), "unknown_argument", json!(null)),
        (r#"{"id":-1,"op":"nothing"}"#, json!(-1), "unknown_operation", json!("op")),
        (r#"{"id":"","op":"get","args":{}}"#, json!(""), "missing_argument", json!("key")),
        (r#"{"id":"a\"b","op":"get","args":{"key":"a","more":1}}"#, json!("a\"b"), "unknown_argument", json!("more")),
        (r#"{"id":2,"op":"get","args":7}"#, json!(2), "invalid_argument", json!(null)),
        (r#"{"id":2,"op":"ping","encoding":"hex"}"#, json!(2), "invalid_argument", json!("encoding")),
        (r#"{"id":2,"op":"ping","timeout":"long"}"#, json!(2), "invalid_argument", json!("timeout")),
        (r#"{"id":2,"op":"ping","database":"other"}"#, json!(2), "invalid_argument", json!("database")),
        (r#"{"id":2,"op":"ping","session":9}"#, json!(2), "invalid_argument", json!("session")),
        (r#"{"id":2,"op":"watch","args":{"keys":["a"]}}"#, json!(2), "wrong_transport", json!(null)),
        (r#"{"id":2,"op":"session","args":{"a":1}}"#, json!(2), "unknown_argument", json!("args")),
        (r#"{"id":2,"op":"cancel"}"#, json!(2), "invalid_argument", json!("args")),
        (r#"{"id":2,"op":"cancel","args":[1]}"#, json!(2), "invalid_argument", json!("args")),
        (r#"{"id":2,"op":"cancel","args":{"id":true}}"#, json!(2), "invalid_argument", json!("id")),
        (r#"{"id":2,"op":"pipeline","args":{"calls":[]}}"#, json!(2), "invalid_argument", json!("calls")),
    ] {
        socket.send(line);
        let answer = socket.json();
        let error = &answer["error"];
        assert_eq!((&answer["id"], &error["code"]), (&id, &json!(code)), "{line}: {answer}");
        assert!(param.is_null() || error["param"] == param, "{line}: {answer}");
        assert!(error["detail"].is_string() && error["requestId"].is_string() && error["status"].is_u64(), "{answer}");
    }
    for id in ["0", "-9223372036854775808", "9223372036854775807", r#""""#, r#""1""#, r#""a\"b\u00e9""#] {
        socket.send(&format!(r#"{{"id":{id},"op":"ping"}}"#));
        assert_eq!(socket.text(), format!(r#"{{"id":{id},"result":"PONG"}}"#));
    }
    assert_eq!(socket.call(call(1, "cancel", json!({ "id": 99 })))["result"], false);
    socket.close();

    let mut socket = app.anonymous().socket("/api/v1/ws");
    assert_eq!(socket.call(call(1, "ping", json!({})))["error"]["param"], "database");
    for (database, code) in [("redis", json!(null)), ("other", json!("unknown_database"))] {
        let answer = socket.call(json!({ "id": 1, "op": "ping", "database": database }));
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    let mut socket = app.anonymous().socket("ws?encoding=base64&integers=string");
    assert_eq!(socket.call(call(1, "set", json!({ "key": "YQ==", "value": "OTAwNzE5OTI1NDc0MDk5Mw==" })))["result"], "OK");
    assert_eq!(socket.call(call(1, "incr", json!({ "key": "YQ==" })))["result"], "9007199254740994");
    assert_eq!(socket.call(call(1, "get", json!({ "key": "YQ==" })))["result"], "OTAwNzE5OTI1NDc0MDk5NA==");
    assert_eq!(socket.call(json!({ "id": 1, "op": "get", "args": { "key": "a" }, "encoding": "utf8" }))["result"], "9007199254740994");
}

#[test]
fn two_calls_of_one_id_do_not_run_at_once() {
    let app = App::start();
    let mut socket = app.anonymous().socket("ws");
    app.redis.hold();
    for _ in 0..2 {
        socket.send(&call(1, "incr", json!({ "key": "a" })).to_string());
    }
    let refused = socket.json();
    assert_eq!((&refused["error"]["code"], &refused["error"]["param"]), (&json!("conflict"), &json!("id")), "{refused}");
    app.redis.release();
    assert_eq!(socket.text(), r#"{"id":1,"result":1}"#);
    assert_eq!(socket.call(call(1, "incr", json!({ "key": "a" })))["result"], 2);
}

#[test]
fn ten_thousand_calls_at_once_are_all_answered() {
    const CALLS: usize = 10_000;
    let app = App::start();
    let mut socket = app.anonymous().socket("ws");
    let calls: Vec<u8> = (0..CALLS)
        .flat_map(|id| frame(LAST | TEXT, call(id, "echo", json!({ "message": format!("m{id}") })).to_string().as_bytes()))
        .collect();
    let stream = socket.stream().try_clone().unwrap();
    let writer = thread::spawn(move || std::io::Write::write_all(&mut &stream, &calls).unwrap());
    writer.join().unwrap();
    let mut seen = vec![false; CALLS];
    for _ in 0..CALLS {
        let answer = socket.json();
        let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
        assert_eq!(answer["result"], format!("m{id}"));
        assert!(!std::mem::replace(&mut seen[id], true), "{id} is answered twice");
    }
    socket.close();
    nothing_is_left(&app);
}

#[test]
fn one_that_does_not_read_is_not_read_from_and_closed() {
    const VALUE: usize = 100_000;
    let app = App::with(&["sockets.idleTimeout=2s", "sockets.pingInterval=1s", "sockets.maxCalls=64"]);
    app.redis.run(&[b"SET", b"big", "x".repeat(VALUE).as_bytes()]);
    let before = app.gateway.resident_kib();
    let deaf = app.anonymous().socket("ws");
    deaf.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let get = frame(LAST | TEXT, call("a", "get", json!({ "key": "big" })).to_string().as_bytes());
    let mut sent = 0;
    let mut id = 0_u64;
    // Until the kernel takes no more of it.
    while sent < 50_000_000 {
        id += 1;
        let frame = if id == 1 { get.clone() } else { frame(LAST | TEXT, call(id, "get", json!({ "key": "big" })).to_string().as_bytes()) };
        match std::io::Write::write(&mut deaf.stream(), &frame) {
            Ok(bytes) if bytes == frame.len() => sent += bytes,
            _ => break,
        }
    }
    assert!(sent < 50_000_000, "it is read from without end");
    let mut other = app.anonymous().socket("ws");
    for id in 0..500 {
        assert_eq!(other.call(call(id, "ping", json!({})))["result"], "PONG");
    }
    let grown = app.gateway.resident_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    until("its close", SOON, || (app.gateway.metric("dbx_socket_closes_total{code=\"1001\"}") >= 1.0).then_some(()));
    drop((deaf, other));
    nothing_is_left(&app);
}

#[test]
fn one_that_is_silent_is_asked_and_then_closed() {
    let app = App::with(&["sockets.idleTimeout=900ms", "sockets.pingInterval=200ms"]);
    let mut socket = app.anonymous().socket("ws");
    // The library answers pings as it reads; who does not read is not heard of.
    assert_eq!(socket.any(), Message::Ping(Vec::new().into()));
    let mut silent = app.anonymous().socket("ws");
    until("an end", SOON, || (app.gateway.metric("dbx_socket_closes_total{code=\"1001\"}") >= 1.0).then_some(()));
    assert_eq!(silent.closed_silently().0, 1001);
    drop(socket);
    // Bytes of a frame that is never whole are no sign of life.
    let mut slow = app.anonymous().socket("ws");
    let frame = frame(LAST | TEXT, &[b' '; 1000]);
    let closed = frame.iter().any(|byte| {
        thread::sleep(Duration::from_millis(20));
        std::io::Write::write_all(&mut slow.stream(), &[*byte]).is_err()
    });
    assert!(closed || slow.closed_silently().0 == 1001);
}

#[test]
fn a_session_is_a_connection_of_its_own() {
    let app = App::start();
    let mut socket = app.anonymous().socket("ws");
    let within = |session: &str, id: u32, op: &str, args: Value| json!({ "id": id, "op": op, "args": args, "session": session });
    for session in ["one", "two"] {
        assert_eq!(socket.call(call(session, "session", json!({})))["result"]["session"], session);
    }
    let mut own = |session: &str, op: &str, args: Value| socket.call(within(session, 1, op, args));
    // Each answers in its own shape, and a change in between is seen.
    for (between, expected) in [(None, json!(["OK", 1, { "f": "v" }])), (Some("SET watched 2"), Value::Null)] {
        app.redis.clear();
        assert_eq!(own("one", "watch", json!({ "keys": ["watched"] }))["result"], "OK");
        assert_eq!(own("two", "get", json!({ "key": "watched" }))["result"], Value::Null);
        assert_eq!(own("one", "multi", json!({}))["result"], "OK");
        for (op, args) in [
            ("set", json!({ "key": "a", "value": "1" })),
            ("hset", json!({ "key": "h", "fields": { "f": "v" } })),
            ("hgetall", json!({ "key": "h" })),
        ] {
            assert_eq!(own("one", op, args)["result"], "QUEUED");
        }
        if let Some(line) = between {
            app.redis.line(line);
        }
        let answer = own("one", "exec", json!({}));
        match expected {
            Value::Null => assert!(answer["error"]["code"] == "conflict" || answer["result"].is_null(), "{answer}"),
            expected => {
                let results: Vec<&Value> = answer["result"].as_array().unwrap().iter().map(|result| &result["result"]).collect();
                assert_eq!(json!(results), expected, "{answer}");
            }
        }
    }
    assert_eq!(own("one", "wait", json!({ "numreplicas": 0, "timeout": 0 }))["result"], 0);
    for op in ["select", "auth", "subscribe", "monitor", "nothing"] {
        assert!(own("one", op, json!({}))["error"]["code"].is_string(), "{op}");
    }
    assert_eq!(socket.call(call(9, "cancel", json!({ "id": "one" })))["result"], true);
    assert_eq!(socket.call(within("one", 1, "ping", json!({})))["error"]["param"], "session");
    assert_eq!(socket.call(within("two", 1, "ping", json!({})))["result"], "PONG");
    socket.close();
    nothing_is_left(&app);
}

#[test]
fn a_session_ends_with_its_connection_its_socket_or_its_patience() {
    let app = App::with(&["limits.maxCallTimeout=60s"]);
    let open = |id: &str| {
        let mut socket = app.anonymous().socket("ws");
        socket.call(call(id, "session", json!({})));
        assert_eq!(socket.call(json!({ "id": 1, "op": "ping", "session": id }))["result"], "PONG");
        socket
    };
    let connections = || app.redis.line("CLIENT LIST").matches("id=").count();
    let before = connections();
    // Its connection is lost.
    let mut socket = open("s");
    let id = socket.call(json!({ "id": 2, "op": "client_id", "session": "s" }))["result"].to_string();
    app.redis.line(&format!("CLIENT KILL ID {id}"));
    socket.send(r#"{"id":3,"op":"ping","session":"s"}"#);
    let found: Vec<Value> = (0..2).map(|_| socket.json()).collect();
    assert!(found.iter().any(|frame| frame["id"] == 3 && frame["error"]["code"] == "unavailable"), "{found:?}");
    assert!(found.contains(&json!({ "session": "s", "ended": "lost" })), "{found:?}");
    assert_eq!(socket.call(json!({ "id": 3, "op": "ping", "session": "s" }))["error"]["param"], "session");
    socket.close();
    // Its socket is lost, or it is ended, while it waits for replicas that are not there and more calls wait for that.
    for cancelled in [false, true] {
        let mut socket = open("s");
        socket.send(r#"{"id":1,"op":"set","args":{"key":"a","value":"1"},"session":"s"}"#);
        assert_eq!(socket.json()["result"], "OK");
        socket.send(r#"{"id":2,"op":"wait","args":{"numreplicas":3,"timeout":0},"session":"s","timeout":"60s"}"#);
        socket.send(r#"{"id":3,"op":"set","args":{"key":"a","value":"late"},"session":"s"}"#);
        until("both", SOON, || (app.gateway.metric("dbx_calls_in_flight") == 2.0).then_some(()));
        if cancelled {
            socket.send(r#"{"id":4,"op":"cancel","args":{"id":"s"}}"#);
            let answers: HashMap<u64, Value> =
                (0..3).map(|_| socket.json()).map(|answer| (answer["id"].as_u64().unwrap(), answer)).collect();
            assert_eq!(answers[&4]["result"], true);
            assert_eq!(answers[&2]["error"]["code"], "cancelled");
            assert_eq!(answers[&3]["error"]["param"], "session");
        }
        drop(socket);
        nothing_is_left(&app);
        until("its connection's end", SOON, || (connections() <= before).then_some(()));
        assert_eq!(app.redis.line("GET a"), "1");
    }
}

#[test]
fn a_session_that_nobody_uses_ends() {
    let app = App::with(&["sockets.idleTimeout=900ms", "sockets.pingInterval=200ms", "sockets.maxSubscriptions=2"]);
    let mut socket = app.anonymous().socket("ws");
    for id in ["a", "b"] {
        assert_eq!(socket.call(call(id, "session", json!({})))["result"]["session"], id);
    }
    assert_eq!(socket.call(call("c", "session", json!({})))["error"]["code"], "too_many_subscriptions");
    for _ in 0..2 {
        assert_eq!(socket.json()["ended"], "idle");
    }
    assert_eq!(socket.call(call("c", "session", json!({})))["result"]["session"], "c");
}

#[test]
fn every_answer_belongs_to_its_call() {
    let app = App::start();
    let seed = Random::seed();
    println!("seed {seed}");
    let run = |number: u64| {
        let mut random = Random::new(seed.wrapping_add(number));
        let mut socket = app.anonymous().socket("ws");
        let (mut waiting, mut next): (HashMap<u64, Value>, u64) = (HashMap::new(), 0);
        socket.call(call("s", "session", json!({})));
        for _ in 0..60 {
            for _ in 0..random.below(40) {
                next += 1;
                let value = format!("v{number}-{next}-{}", "x".repeat(random.below(300)));
                let echo = call(next, "echo", json!({ "message": value }));
                let (frame, expected) = match random.below(6) {
                    0 => {
                        let calls = [&value, "end"].map(|value| json!({ "op": "echo", "args": { "message": value } }));
                        (call(next, "pipeline", json!({ "calls": calls })), json!([{ "result": value }, { "result": "end" }]))
                    }
                    1 => (call(next, "cancel", json!({ "id": "nobody" })), json!(false)),
                    2 => (json!({ "id": next, "op": "echo", "args": { "message": value }, "session": "s" }), json!(value)),
                    3 => (call(next, "raw", json!({ "command": ["ECHO", value] })), json!(value)),
                    4 => (call(next, "get", json!({ "nothing": value })), Value::Null),
                    _ => (echo, json!(value)),
                };
                socket.send(&frame.to_string());
                waiting.insert(next, expected);
            }
            while waiting.len() > random.below(60) {
                let answer = socket.json();
                let expected = waiting.remove(&answer["id"].as_u64().unwrap()).expect("one answer for each call");
                assert_eq!(answer["result"], expected, "{answer}");
                assert_eq!(answer["error"].is_null(), !expected.is_null(), "{answer}");
            }
        }
        socket.close();
    };
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || run(number));
        }
    });
    nothing_is_left(&app);
}

#[test]
fn sockets_are_closed_one_by_one_when_the_gateway_stops() {
    let app = App::with(&["drain.propagation=1s", "drain.timeout=20s"]);
    let App { mut gateway, redis } = app;
    let clients: Vec<_> = (0..50)
        .map(|number| {
            let mut socket = gateway.anonymous().socket("ws");
            thread::spawn(move || {
                let (mut sent, mut answered) = (0_u64, 0_u64);
                loop {
                    // What is sent after the close was is the client's to send again.
                    if socket.try_send(&call(sent, "incr", json!({ "key": format!("k{number}") })).to_string()).is_ok() {
                        sent += 1;
                    }
                    match socket.next() {
                        Ok(Message::Text(text)) => {
                            let answer: Value = serde_json::from_str(&text).unwrap();
                            assert!(answer["result"].is_u64(), "{answer}");
                            answered += 1;
                        }
                        Ok(Message::Close(Some(CloseFrame { code, reason }))) => return (answered, u16::from(code), reason.to_string()),
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    until("calls", SOON, || (redis.line("GET k49").parse::<u64>().unwrap_or(0) > 20).then_some(()));
    gateway.signal("TERM");
    until("unreadiness", SOON, || (!gateway.is_ready()).then_some(()));
    let mut client = gateway.anonymous();
    for (name, value) in UPGRADE {
        client = client.with(name, value);
    }
    client.get("ws").fails(503, "unavailable", "");
    for (number, client) in clients.into_iter().enumerate() {
        let (answered, code, reason) = client.join().unwrap();
        assert_eq!(code, 1012, "{reason}");
        let hint: Value = serde_json::from_str(&reason).unwrap();
        assert!(hint["reconnectAfter"].as_u64().unwrap() < 1000, "{reason}");
        // What was not answered was not read.
        assert_eq!(redis.line(&format!("GET k{number}")), answered.to_string());
    }
    assert!(gateway.wait(SOON).success());
}

#[test]
fn a_socket_waits_for_its_calls_when_the_gateway_stops_but_not_for_ever() {
    for (patience, answered) in [("20s", true), ("400ms", false)] {
        let timeout = format!("drain.timeout={patience}");
        let App { mut gateway, redis } = App::with(&["drain.propagation=0s", &timeout, "limits.callTimeout=60s"]);
        let mut socket = gateway.anonymous().socket("ws");
        redis.hold();
        socket.send(&call(1, "incr", json!({ "key": "a" })).to_string());
        until("the call", SOON, || (gateway.metric("dbx_calls_in_flight") == 1.0).then_some(()));
        gateway.signal("TERM");
        until("the listener's end", SOON, || gateway.anonymous().try_connect().is_err().then_some(()));
        if answered {
            redis.release();
            assert_eq!(socket.text(), r#"{"id":1,"result":1}"#);
        }
        assert_eq!(socket.closed().0, 1012);
        assert!(matches!(socket.next(), Err(Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_))));
        assert!(gateway.wait(SOON).success());
        redis.release();
    }
}
