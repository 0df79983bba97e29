//! What live servers answer: to every example, and to what an example does not show.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use dbx_gateway::operation::arguments::Arguments;
use dbx_gateway::operation::render::Format;
use dbx_gateway::operation::{self, Group, Operation};
use serde_json::Value;

use crate::family::Kind;
use crate::refused::REFUSED;
use crate::server::{Reply, Server};
use crate::{RULES, both};

#[test]
fn examples_are_true() {
    let (mut lone, mut cluster) = (Server::start(), Server::of(Kind::Cluster));
    let recipes = operation::all().iter().filter(|operation| operation.group == Group::Recipes).map(|operation| operation.name);
    let known: BTreeSet<&str> = both(&mut lone).into_iter().map(|(operation, _)| operation.name).chain(recipes).collect();
    let mut refused: BTreeSet<&str> = REFUSED.iter().map(|(name, _)| *name).collect();
    for operation in operation::all() {
        if !operation.mode.has_reply() {
            continue;
        }
        let server = if operation.group == Group::Cluster { &mut cluster } else { &mut lone };
        let found = example(server, operation, known.contains(operation.name));
        let refused = refused.remove(operation.name);
        if !known.contains(operation.name) {
            let error = found.unwrap_err();
            assert!(error.starts_with("ERR unknown command") || error.starts_with("ERR unknown subcommand"), "{}: {error}", operation.name);
        } else if refused {
            assert!(found.is_err(), "{} is not refused", operation.name);
        } else {
            found.unwrap_or_else(|error| panic!("{}: {error}", operation.name));
        }
    }
    assert!(refused.is_empty(), "these are no operations that are called: {refused:?}");
}

/// Redis Stack's documents are those of Redis 8; what is shaped otherwise there has other shapes here.
#[test]
fn examples_of_documents_are_true() {
    let mut server = Server::of(Kind::Stack);
    for operation in operation::all().iter().filter(|operation| operation.group == Group::Json) {
        example(&mut server, operation, true).unwrap_or_else(|error| panic!("{}: {error}", operation.name));
    }
}

/// What Valkey has and Redis does not.
#[test]
fn examples_are_true_of_valkey() {
    let (mut lone, mut cluster) = (Server::of(Kind::Valkey), Server::of(Kind::ValkeyCluster));
    for operation in operation::all().iter().filter(|operation| operation.mode.has_reply() && operation.group != Group::Json) {
        let refused = REFUSED.iter().any(|(name, _)| *name == operation.name);
        if operation.since.redis.is_some_and(|since| !since.starts_with('8')) || operation.since.valkey.is_none() || refused {
            continue;
        }
        let server = if operation.group == Group::Cluster { &mut cluster } else { &mut lone };
        example(server, operation, true).unwrap_or_else(|error| panic!("{}: {error}", operation.name));
    }
}

/// Runs an example and holds the answer to what it says. The error is the server's.
fn example(server: &mut Server, operation: &Operation, with_data: bool) -> Result<(), String> {
    let (name, example) = (operation.name, operation.example);
    server.clear();
    let answer = answer(server, operation, if with_data { example.given } else { &[] }, example.arguments)?;
    if example.exact {
        assert_eq!(answer, example.answer, "{name}");
    } else {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(kind(&parse(&answer)), kind(&parse(example.answer)), "{name}: {answer}");
    }
    Ok(())
}

/// The answer to a call after commands. The error is the server's.
fn answer(server: &mut Server, operation: &Operation, given: &[&str], arguments: &str) -> Result<String, String> {
    let name = operation.name;
    for given in given {
        let words: Vec<&str> = given.split(' ').collect();
        let mut reply = server.command(&words);
        // A node that has just been given slots serves them a moment later.
        while matches!(&reply, Reply::Error(line) if line.starts_with("CLUSTERDOWN")) {
            std::thread::sleep(Duration::from_millis(50));
            reply = server.command(&words);
        }
        assert!(!matches!(reply, Reply::Error(_)), "{name}: {given}: {reply:?}");
    }
    let arguments = Arguments::from_json(arguments.as_bytes()).unwrap();
    let mut call = BytesMut::new();
    let plan = operation.encode_any(&arguments, &RULES, &mut call).unwrap();
    let frame = server.frame(&call);
    let mut answer = Vec::new();
    match operation.render(&plan, &frame, &Format::default(), &mut answer) {
        Ok(()) => Ok(String::from_utf8(answer).unwrap()),
        Err(error) => Err(error.redis.unwrap_or_else(|| format!("{:?}: {}", error.code, frame.escape_ascii()))),
    }
}

/// Shapes that an example does not show: those an argument selects, and those of what is empty at first. `?` is any value.
#[test]
fn other_shapes_are_true() {
    const READ: &[&str] = &["XADD s 1-0 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >"];
    let mut server = Server::start();
    for (given, name, arguments, expected) in [
        (
            READ,
            "xinfo_stream",
            r#"{"key":"s","full":{"count":0}}"#,
            r#"{"length":1,"radix-tree-keys":1,"radix-tree-nodes":2,"last-generated-id":"1-0","max-deleted-entry-id":"0-0","entries-added":1,
                "recorded-first-entry-id":"1-0","entries":[{"id":"1-0","fields":{"f":"v"}}],
                "groups":[{"name":"g","last-delivered-id":"1-0","entries-read":1,"lag":0,"pel-count":1,
                    "pending":[{"id":"1-0","consumer":"c","delivered":"?","deliveries":1}],
                    "consumers":[{"name":"c","seen-time":"?","pel-count":1,"pending":[{"id":"1-0","delivered":"?","deliveries":1}]}]}]}"#,
        ),
        (
            &["XGROUP CREATE s g 0 MKSTREAM"],
            "xinfo_groups",
            r#"{"key":"s"}"#,
            r#"[{"name":"g","consumers":0,"pending":0,"last-delivered-id":"0-0","entries-read":null,"lag":0}]"#,
        ),
        (
            &["XGROUP CREATE s g 0 MKSTREAM"],
            "xpending",
            r#"{"key":"s","group":"g"}"#,
            r#"{"count":0,"smallest":null,"greatest":null,"consumers":null}"#,
        ),
        (
            READ,
            "xpending",
            r#"{"key":"s","group":"g","filters":{"idle":0,"start":"-","end":"+","count":5,"consumer":"c"}}"#,
            r#"[{"id":"1-0","consumer":"c","idle":"?","deliveries":1}]"#,
        ),
        (READ, "xclaim", r#"{"key":"s","group":"g","consumer":"d","min_idle_time":0,"ids":["1-0"],"justid":true}"#, r#"["1-0"]"#),
        (
            READ,
            "xautoclaim",
            r#"{"key":"s","group":"g","consumer":"d","min_idle_time":0,"start":"0","justid":true}"#,
            r#"{"cursor":"0-0","entries":["1-0"],"deleted":[]}"#,
        ),
        (&["XADD s 1-0 f v"], "xread", r#"{"streams":{"s":"1-0"}}"#, "null"),
        (&[], "xadd", r#"{"key":"s","fields":{"f":"v"},"nomkstream":true}"#, "null"),
        (&[], "acl_getuser", r#"{"username":"nobody"}"#, "null"),
        (
            &["ACL SETUSER alice reset (~a* +get)"],
            "acl_getuser",
            r#"{"username":"alice"}"#,
            r#"{"flags":["off","sanitize-payload"],"passwords":[],"commands":"-@all","keys":"","channels":"",
                "selectors":[{"commands":"-@all +get","keys":"~a*","channels":""}]}"#,
        ),
        (&[], "acl_log", r#"{"reset":true}"#, r#""OK""#),
        (&["CONFIG RESETSTAT", "GET a"], "latency_histogram", r#"{"commands":["get"]}"#, r#"{"get":{"calls":1,"histogram_usec":"?"}}"#),
        (
            &["CONFIG SET slowlog-log-slower-than 0", "GET a", "CONFIG SET slowlog-log-slower-than 10000"],
            "slowlog_get",
            r#"{"count":1}"#,
            r#"[{"id":"?","timestamp":"?","microseconds":"?","arguments":["GET","a"],"client_address":"?","client_name":""}]"#,
        ),
        (&[], "command_info", r#"{"command_names":["nonsense"]}"#, "[null]"),
        (&["SET a 1"], "memory_stats", "{}", r#""?""#),
        (&[], "command_docs", "{}", r#""?""#),
        (&[], "command_info", "{}", r#""?""#),
        (&[], "info", r#"{"sections":["everything"],"parsed":true}"#, r#""?""#),
        (&[], "ping", r#"{"message":"Hello"}"#, r#""Hello""#),
        (&[], "eval", r#"{"script":"return {1,false,{ok='a'},{err='b'}}"}"#, r#"[1,null,"a",{"error":"b"}]"#),
    ] {
        server.clear();
        let operation = operation::find(name).unwrap().operation();
        let found = answer(&mut server, operation, given, arguments).unwrap_or_else(|error| panic!("{name} {arguments}: {error}"));
        let (mut found, expected) = (serde_json::from_str::<Value>(&found).unwrap(), serde_json::from_str::<Value>(expected).unwrap());
        mask(&mut found["result"], &expected);
        assert_eq!(found["result"], expected, "{name} {arguments}");
    }
    // What was refused is in a log, with the line of the client in it.
    server.clear();
    server.command(&["ACL", "LOG", "RESET"]);
    server.command(&["AUTH", "alice", "wrong"]);
    let log = answer(&mut server, operation::find("acl_log").unwrap().operation(), &[], "{}").unwrap();
    let log = &serde_json::from_str::<Value>(&log).unwrap()["result"][0];
    assert_eq!((&log["reason"], &log["username"], &log["client-info"]["cmd"]), (&"auth".into(), &"alice".into(), &"auth".into()), "{log}");
}

/// Puts `?` where that is what is expected.
fn mask(found: &mut Value, expected: &Value) {
    match (found, expected) {
        (found, Value::String(any)) if any == "?" => *found = "?".into(),
        (Value::Array(found), Value::Array(expected)) => found.iter_mut().zip(expected).for_each(|(found, expected)| mask(found, expected)),
        (Value::Object(found), Value::Object(expected)) => {
            for (name, found) in found {
                mask(found, &expected[name]);
            }
        }
        _ => {}
    }
}

/// A value without what it says: numbers, strings, members.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(elements) => format!("[{}]", elements.first().map(kind).unwrap_or_default()),
        Value::Object(members) => members.iter().map(|(name, value)| format!("{name}: {}", kind(value))).collect::<Vec<_>>().join(", "),
    }
}

/// What `dump` answers is what `restore` takes.
#[test]
fn a_dump_is_restored() {
    let mut server = Server::start();
    let call = |server: &mut Server, name: &str, arguments: &Value| {
        let operation = operation::find(name).unwrap().operation();
        let arguments = arguments.to_string();
        let mut out = BytesMut::new();
        let plan = operation.encode(&Arguments::from_json(arguments.as_bytes()).unwrap(), &RULES, &mut out).unwrap();
        let mut answer = Vec::new();
        operation
            .render(&plan, &server.frame(&out), &Format::default(), &mut answer)
            .map(|()| serde_json::from_slice::<Value>(&answer).unwrap())
    };
    server.command(&["RPUSH", "a", "1", "2"]);
    let dump = call(&mut server, "dump", &serde_json::json!({"key": "a"})).unwrap();
    assert_eq!(dump["encoding"], "base64");
    let restore = serde_json::json!({"key": "b", "ttl": 0, "serialized_value": dump["result"]});
    assert_eq!(call(&mut server, "restore", &restore).unwrap()["result"], "OK");
    assert_eq!(call(&mut server, "restore", &restore).unwrap_err().code.name(), "conflict");
    assert_eq!(call(&mut server, "type", &serde_json::json!({"key": "b"})).unwrap()["result"], "list");
}
