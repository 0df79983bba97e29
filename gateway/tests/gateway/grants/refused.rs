//! What must not get through: names that only look like those that are granted, words that would be commands of their own, what is
//! for administrators, and what other grants deny.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use dbx_gateway::{
    operation::{
        self, Class, Group, Mode,
        arguments::Arguments,
        param::{Kind, Param},
    },
    resp,
};
use serde_json::{Value, json};

use super::{House, RULES, calls};
use crate::support::{Client, Redis, SOON};

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().or(answer["code"].as_str()).unwrap_or("none")
}

/// Whether GET of a key is refused over every transport, in the same way.
#[track_caller]
fn is_refused(client: &Client, key: &[u8]) -> bool {
    let base64 = BASE64_STANDARD.encode(key);
    let args = json!({ "key": base64 });
    let mut answers = vec![
        client.post("get?encoding=base64", args.to_string()).json(),
        client.post("pipeline?encoding=base64", json!({ "calls": [{ "op": "get", "args": args }] }).to_string()).json()["result"][0]
            .clone(),
        client.post("transaction?encoding=base64", json!({ "calls": [{ "op": "get", "args": args }] }).to_string()).json(),
        client.post("raw?encoding=base64", json!({ "command": ["GET", base64] }).to_string()).json(),
        client.get(&format!("strings?keyBase64={}", base64.replace('+', "%2B").replace('/', "%2F"))).json(),
        client.socket("ws").call(json!({ "id": 1, "op": "get", "args": args, "encoding": "base64" })),
    ];
    if !matches!(key, b"" | b"." | b"..") {
        let path: String = key.iter().map(|byte| format!("%{byte:02X}")).collect();
        answers.push(client.get(&format!("strings/{path}")).json());
    }
    let refused: Vec<bool> = answers.iter().map(|answer| code(answer) == "forbidden").collect();
    assert!(refused.iter().all(|one| *one == refused[0]), "{}: {answers:#?}", key.escape_ascii());
    refused[0]
}

#[test]
fn what_looks_like_a_key_that_is_granted_is_none() {
    let house = House::open(&[r"[{ access: [read], keys: ['cart:*', 'a[b-d]e', 'lit\*'] }]"], &[]);
    let client = &house.clients[0];
    for key in
        ["cart:", "cart:1", "cart:\n", "cart:\0", "cart:*", "cart:..", "cart:/../x", "cart:\u{202e}", "ace", "lit*", "cart:\r\nGET x"]
    {
        assert!(!is_refused(client, key.as_bytes()), "{key:?}");
    }
    for key in [
        "CART:1",
        "Cart:1",
        "cart",
        "cart;1",
        " cart:1",
        "\ncart:1",
        "\0cart:1",
        "xcart:1",
        "c\u{430}rt:1",
        "cart\u{ff1a}1",
        "\u{ff43}art:1",
        "cart\u{200b}:1",
        "*",
        "[c]art:1",
        "\\cart:1",
        "?art:1",
        "../cart:1",
        "%63art:1",
        "",
        "aee",
        "a[b-d]e",
        "lit",
        "literal",
        "lit\\*",
    ] {
        assert!(is_refused(client, key.as_bytes()), "{key:?}");
    }
    assert!(is_refused(client, b"cart\xff:1") && !is_refused(client, b"cart:\xff\xfe"));
}

#[test]
fn a_prefix_is_no_pattern_and_no_way_out() {
    let house = House::open(&["[{ access: [all], prefix: 'a[b]*?\\:' }]", "[{ access: [all], prefix: 'a[b]*?\\:x:' }]"], &[]);
    let client = &house.clients[0];
    for key in ["other", "ab:", "abxx\\:1", "a[b]*?\\", "A[b]*?\\:1"] {
        house.redis.run(&[b"SET", key.as_bytes(), b"sesame"]);
    }
    for key in ["1", "*", "\r\n", "../other", "a[b]*?\\:1"] {
        assert_eq!(client.post("set", json!({ "key": key, "value": "own" }).to_string()).status, 200);
        assert_eq!(house.redis.run(&[b"GET", format!("a[b]*?\\:{key}").as_bytes()]), "own");
    }
    for pattern in ["*", "?*", "[^x]*", "\\**", "..*", "a*"] {
        let listed = client.post("keys", json!({ "pattern": pattern }).to_string()).json();
        for found in listed["result"].as_array().unwrap() {
            assert_eq!(client.post("get", json!({ "key": found }).to_string()).json()["result"], "own", "{pattern} {found}");
        }
    }
    assert_eq!(client.post("keys", r#"{"pattern":"*"}"#).json()["result"].as_array().unwrap().len(), 5);
    let page = client.post("scan", r#"{"count":1000}"#).json();
    assert_eq!((page["cursor"].as_str(), page["result"].as_array().unwrap().len()), (Some("0"), 5));
    for key in ["other", "ab:", "abxx\\:1"] {
        assert_eq!(client.post("exists", json!({ "keys": [key] }).to_string()).json()["result"], 0);
    }
    // One prefix is the beginning of another: who has the longer one does not get out of it.
    let inner = &house.clients[1];
    assert_eq!(inner.post("keys", r#"{"pattern":"*"}"#).json()["result"], json!([]));
    assert_eq!(inner.post("get", r#"{"key":"1"}"#).json()["result"], Value::Null);
}

#[test]
fn who_may_not_administer_does_not_whatever_it_is_called_over() {
    let house = House::open(&["[{ access: [read, write, publish, subscribe] }]", "[{ access: [read] }]"], &[]);
    house.redis.line("SET a sesame");
    let before = house.redis.line("CONFIG GET maxmemory");
    for (op, args, words) in [
        ("config_set", json!({ "parameters": { "maxmemory": "1" } }), "CONFIG SET maxmemory 1"),
        ("config_get", json!({ "parameters": ["*"] }), "config get *"),
        ("slaveof", json!({ "host": "127.0.0.1", "port": 1 }), "SLAVEOF 127.0.0.1 1"),
        ("replicaof", json!({ "host": "127.0.0.1", "port": 1 }), "replicaof 127.0.0.1 1"),
        ("module_load", json!({ "path": "/tmp/x.so" }), "MODULE LOAD /tmp/x.so"),
        ("acl_setuser", json!({ "username": "eve", "rules": ["on"] }), "ACL SETUSER eve on"),
        ("shutdown", json!({}), "SHUTDOWN NOSAVE"),
        ("flushall", json!({}), "FLUSHALL"),
        ("debug", json!({}), "DEBUG SLEEP 1"),
        ("debug", json!({}), "Debug Object a"),
        ("nonsense", json!({}), "PSYNC ? -1"),
        ("nonsense", json!({}), "NONSENSE a"),
        ("client_kill", json!({ "id": 1 }), "CLIENT KILL ID 1"),
        ("monitor", json!({}), "MONITOR"),
        ("keys", json!({ "pattern": "*" }), "KEYS *"),
    ] {
        for client in &house.clients {
            let mut socket = client.socket("ws");
            socket.call(json!({ "id": "s", "op": "session" }));
            let call = json!({ "op": op, "args": args });
            let command = json!({ "command": words.split(' ').collect::<Vec<_>>() });
            let answers = [
                client.post(op, args.to_string()).json(),
                client.post("pipeline", json!({ "calls": [call] }).to_string()).json()["result"][0].clone(),
                client.post("transaction", json!({ "calls": [call] }).to_string()).json(),
                client.post("raw", command.to_string()).json(),
                socket.call(json!({ "id": 1, "op": op, "args": args })),
                socket.call(json!({ "id": 2, "op": op, "args": args, "session": "s" })),
                socket.call(json!({ "id": 3, "op": "raw", "args": command })),
                socket.call(json!({ "id": 4, "op": "pipeline", "args": { "calls": [call] } }))["result"][0].clone(),
                socket.call(json!({ "id": 5, "op": "transaction", "args": { "calls": [call] } })),
            ];
            for answer in answers {
                let known =
                    ["forbidden", "wrong_transport", "unknown_operation", "invalid_argument", "missing_argument", "unknown_argument"];
                assert!(known.contains(&code(&answer)), "{op}, {words}: {answer}");
            }
        }
    }
    assert_eq!((house.redis.line("CONFIG GET maxmemory"), house.redis.line("GET a")), (before, "sesame".into()));
    assert!(house.redis.line("INFO replication").contains("role:master") && !house.redis.line("ACL LIST").contains("eve"));
    assert!(!house.done().iter().any(|command| command.starts_with("debug") || command == "keys" || command == "psync"));
    // Who may only read changes nothing.
    let reader = &house.clients[1];
    for operation in operation::all().iter().filter(|operation| operation.changes() && operation.mode.has_reply()) {
        let answer = reader.post(operation.name, operation.example.arguments);
        assert!(matches!(answer.status, 403 | 501), "{}: {}", operation.name, answer.text());
    }
}

#[test]
fn what_is_denied_is_denied_at_that_database_alone() {
    let redis = Redis::start();
    let other = format!("databases.1.redis.url={}/1", redis.url());
    let grants = "[{ access: [all], databases: [redis] }, { effect: deny, access: [write], keys: ['ro:*'] }, \
                  { effect: deny, access: [all], keys: ['secret:*'] }, { effect: deny, access: [+@hash, incr] }]";
    let house = House::before(redis, &[grants], &["databases.1.name=other", &other]);
    let client = &house.clients[0];
    for (op, args, allowed) in [
        ("set", json!({ "key": "a", "value": "1" }), true),
        ("set", json!({ "key": "ro:a", "value": "1" }), false),
        ("get", json!({ "key": "ro:a" }), true),
        ("rename", json!({ "key": "a", "newkey": "ro:a" }), false),
        ("get", json!({ "key": "secret:a" }), false),
        ("copy", json!({ "source": "secret:a", "destination": "b" }), false),
        ("exists", json!({ "keys": ["a", "secret:a"] }), false),
        ("hget", json!({ "key": "a", "field": "f" }), false),
        ("incr", json!({ "key": "n" }), false),
        ("incrby", json!({ "key": "n", "increment": 1 }), true),
        ("eval", json!({ "script": "return redis.call('get', 'secret:a')" }), false),
    ] {
        let answer = client.post(op, args.to_string());
        assert_eq!(answer.status == 200, allowed, "{op} {args}: {}", answer.text());
        assert!(allowed || answer.status == 403, "{op} {args}");
    }
    house.redis.line("SET secret:a sesame");
    assert!(!client.post("scan", r#"{"count":100}"#).text().contains("secret"));
    assert_eq!(client.post("/api/v1/other/get", r#"{"key":"a"}"#).json()["code"], "forbidden");
    assert_eq!(client.get("/api/v1").json()["result"]["databases"].as_array().unwrap().len(), 1);
}

#[test]
fn who_may_only_write_is_shown_nothing_old() {
    let house = House::open(&["[{ access: [write] }]"], &[]);
    let client = &house.clients[0];
    for line in ["SET a sesame", "SET n 5", "RPUSH l sesame", "SADD s sesame", "ZADD z 1 sesame", "HSET h f sesame", "XADD x 1-1 f sesame"]
    {
        house.redis.line(line);
    }
    for (op, args, allowed) in [
        ("set", json!({ "key": "b", "value": "1" }), true),
        ("set", json!({ "key": "a", "value": "1", "get": true }), false),
        ("getset", json!({ "key": "a", "value": "1" }), false),
        ("getdel", json!({ "key": "a" }), false),
        ("getex", json!({ "key": "a" }), false),
        ("incr", json!({ "key": "n" }), false),
        ("lpop", json!({ "key": "l" }), false),
        ("rpush", json!({ "key": "l2", "elements": ["1"] }), true),
        ("lmove", json!({ "source": "l", "destination": "l2", "wherefrom": "left", "whereto": "left" }), false),
        ("spop", json!({ "key": "s" }), false),
        ("zpopmin", json!({ "key": "z" }), false),
        ("sort", json!({ "key": "l" }), false),
        ("rename", json!({ "key": "a", "newkey": "b" }), false),
        ("copy", json!({ "source": "a", "destination": "b" }), false),
        ("bitfield", json!({ "key": "a", "operations": [] }), false),
        ("compare_and_set", json!({ "key": "a", "equals": "x", "value": "y" }), false),
        ("del", json!({ "keys": ["b"] }), true),
    ] {
        let answer = client.post(op, args.to_string());
        let text = answer.text();
        assert!(!text.contains("sesame"), "{op}");
        assert!(if allowed { answer.status == 200 } else { matches!(answer.status, 400 | 403) }, "{op} {args}: {text}");
    }
    for words in [&["GETSET", "a", "1"][..], &["SORT", "l"], &["SET", "a", "1", "GET"], &["EVAL", "return redis.call('get','a')", "0"]] {
        assert_eq!(client.post("raw", json!({ "command": words }).to_string()).status, 403, "{words:?}");
    }
    assert_eq!(client.post("transaction", r#"{"watch":[{"key":"a","equals":"x"}],"calls":[{"op":"ping"}]}"#).status, 403);
    assert_eq!(client.with("If-Match", "\"x\"").put("strings/a", r#"{"value":"1"}"#).status, 403);
}

/// Every string is a command of its own, were it not for its length.
struct Injection(usize);

const INJECTED: &str = "x\r\n$8\r\nFLUSHALL\r\n*1\r\n$8\r\nFLUSHALL\r\n\0'\"\\";

impl calls::Source for Injection {
    fn takes(&mut self, param: &Param) -> bool {
        !matches!(param.kind, Kind::Elsewhere | Kind::OtherDatabase)
    }

    fn choose(&mut self, count: usize) -> usize {
        self.0 % count
    }

    fn repeats(&mut self) -> usize {
        2
    }

    fn value(&mut self, kind: &Kind, _: &str) -> Value {
        match kind {
            Kind::Integer | Kind::OtherDatabase => 1.into(),
            Kind::Double => 0.01.into(),
            Kind::Cursor => "0".into(),
            Kind::Elsewhere => "#".into(),
            Kind::Base64 => BASE64_STANDARD.encode(INJECTED).into(),
            Kind::Json => json!({ INJECTED: INJECTED }),
            _ => INJECTED.into(),
        }
    }
}

/// What the server has been told, as it tells it itself.
struct Monitor(BufReader<TcpStream>);

impl Monitor {
    fn start(redis: &Redis) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port.number)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"*1\r\n$7\r\nMONITOR\r\n").unwrap();
        let mut monitor = Self(BufReader::new(stream));
        assert_eq!(monitor.line(), "+OK");
        monitor
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The commands since the last time, each as the words that hold what was injected.
    fn told(&mut self, redis: &Redis) -> Vec<Vec<String>> {
        redis.line("ECHO here-and-now");
        let mut told = Vec::new();
        loop {
            let line = self.line();
            if line.ends_with("\"here-and-now\"") {
                return told;
            }
            let words = line.split_once("] \"").map_or("", |(_, words)| words).trim_end_matches('"');
            let injected: Vec<String> = words.split("\" \"").filter(|word| word.contains("FLUSHALL")).map(str::to_owned).collect();
            if !injected.is_empty() {
                told.push(injected);
            }
        }
    }
}

/// A word as MONITOR writes it, without the quotes around it.
fn written(word: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'\\' | b'"' => format!("\\{}", char::from(*byte)),
        b'\n' => "\\n".into(),
        b'\r' => "\\r".into(),
        byte if byte.is_ascii_graphic() || *byte == b' ' => char::from(*byte).into(),
        byte => format!("\\x{byte:02x}"),
    };
    word.iter().map(one).collect()
}

#[test]
fn no_string_is_more_than_an_argument() {
    const PREFIX: &str = "p\r\n$1\r\n";
    let house = House::open(&["[{ access: [all] }]", "[{ access: [all], prefix: \"p\\r\\n$1\\r\\n\" }]"], &[]);
    house.redis.line("SET here sesame");
    let mut monitor = Monitor::start(&house.redis);
    let (mut calls_made, mut heard) = (0, 0);
    for (client, prefix) in house.clients.iter().zip(["", PREFIX]) {
        for operation in operation::all() {
            let is_call = operation.mode == Mode::Call && operation.access.class != Class::Admin && operation.group != Group::Scripting;
            if !is_call || operation.params.is_empty() {
                continue;
            }
            for choice in 0..2 {
                let Some(arguments) = calls::arguments(operation.params, &mut Injection(choice)) else { continue };
                let (text, mut command) = (arguments.to_string(), BytesMut::new());
                if operation.encode(&Arguments::from_json(text.as_bytes()).unwrap(), &RULES, &mut command).is_err() {
                    continue;
                }
                let answer = client.post(operation.name, &text);
                assert!(answer.status < 500 || answer.status == 501, "{}: {}", operation.name, answer.text());
                calls_made += 1;
                let sent: Vec<&[u8]> =
                    resp::words(&command).into_iter().filter(|word| word.windows(8).any(|part| part == b"FLUSHALL")).collect();
                for told in monitor.told(&house.redis) {
                    heard += 1;
                    // A script of the gateway's own may pass on what it was told, and a channel is told twice.
                    let passed_on = operation.group == Group::Recipes;
                    assert!(passed_on || told.len() == sent.len(), "{}: {told:?}", operation.name);
                    let known = |word: &String| {
                        sent.iter().any(|sent| *word == written(sent) || *word == written(&[prefix.as_bytes(), sent].concat()))
                    };
                    // A glob has the prefix with what is special in it escaped, which is nothing here.
                    assert!(told.iter().all(known), "{}: {told:?}", operation.name);
                }
            }
        }
    }
    assert_eq!(
        (house.redis.line("GET here"), house.redis.line("INFO commandstats").contains("cmdstat_flushall")),
        ("sesame".into(), false)
    );
    // Each answer was of its own call: the connections are still in step.
    for client in &house.clients {
        for word in ["one", "two"] {
            assert_eq!(client.post("echo", json!({ "message": word }).to_string()).json()["result"], word);
        }
    }
    println!("{calls_made} calls, of which the server tells of {heard} commands");
    assert!(calls_made > 300 && heard > 300);
}
