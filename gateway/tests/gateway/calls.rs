//! Every operation, called by name, in a pipeline and as a raw command, and every route of the table.

use std::collections::BTreeSet;

use dbx_gateway::operation::route::{Choice, Route};
use dbx_gateway::operation::{self, Group, Mode, Operation};
use serde_json::{Value, json};

use crate::refused::REFUSED;
use crate::support::{App, Expected};

/// Whether a server of this version has an operation's command.
fn has(version: &str, operation: &Operation) -> bool {
    let numbers = |text: &str| text.split('.').map(|number| number.parse().unwrap_or(0)).collect::<Vec<u32>>();
    operation.since.redis.is_some_and(|since| numbers(since) <= numbers(version))
}

fn server_version(app: &App) -> String {
    let info = app.redis.line("INFO server");
    info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap().trim().to_owned()
}

/// The status, code and reason of what cannot be called, if it cannot.
fn refusal(operation: &Operation, version: &str) -> Option<(u16, &'static str)> {
    match operation.mode {
        // The server is no cluster, and stands alone.
        Mode::Call | Mode::Blocking(_) if has(version, operation) => {
            let refused = operation.group == Group::Cluster || REFUSED.iter().any(|(name, _)| *name == operation.name);
            refused.then_some((422, "redis_error"))
        }
        Mode::Call | Mode::Blocking(_) => Some((501, "unsupported_by_server")),
        Mode::Streaming(_) | Mode::Session(_) => Some((400, "wrong_transport")),
    }
}

#[test]
fn every_operation_answers_its_example() {
    let app = App::start();
    let version = server_version(&app);
    let mut called = BTreeSet::new();
    let mut answered = 0;
    for operation in operation::all() {
        let example = operation.example;
        let expected = match refusal(operation, &version) {
            Some((status, code)) => Expected::Error(status, code, ""),
            None if example.exact => Expected::Answer(example.answer),
            None => Expected::Like(example.answer),
        };
        answered += usize::from(!matches!(expected, Expected::Error(..)));
        let given = if matches!(expected, Expected::Error(..)) { &[] } else { example.given };
        app.check(given, operation.name, example.arguments, expected);
        called.insert(operation.name);
    }
    // The gateway's own list of what it can do: nothing in it may go uncalled.
    let listed = app.anonymous().get("/api/v1/redis").json();
    let listed: BTreeSet<&str> = listed["result"]["operations"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(called, listed);
    println!("{} operations called over 3 transports, {answered} of them answered by Redis {version}", called.len());
}

#[test]
fn what_cannot_share_a_connection_says_why() {
    let app = App::start();
    let mut refused = 0;
    for operation in operation::all() {
        let (Mode::Streaming(reason) | Mode::Session(reason)) = operation.mode else { continue };
        let problem = app.anonymous().post(operation.name, operation.example.arguments).fails(400, "wrong_transport", "");
        assert_eq!(problem["detail"], reason);
        assert_eq!(problem["retryable"], false);
        refused += 1;
    }
    assert!(refused > 0);
    // By an argument that makes a call wait, and for commands that are no operations.
    for command in [json!(["MULTI"]), json!(["subscribe", "a"]), json!(["XREAD", "BLOCK", 0, "STREAMS", "a", "$"]), json!(["WAIT", 0, 1])] {
        let body = json!({ "command": command }).to_string();
        let response = app.anonymous().post("raw", body);
        assert_eq!((response.status, &response.json()["code"]), (400, &json!("wrong_transport")), "{command}");
    }
    // The connection that all share is as it was.
    app.anonymous().put("strings/a", r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
    app.anonymous().get("strings/a").is(r#"{"result":"1"}"#);
}

#[test]
fn raw_commands_answer_as_the_database_does() {
    let app = App::start();
    let client = app.anonymous();
    for (command, answer) in [
        (json!(["SET", "a", 1]), r#"{"result":"OK"}"#),
        (json!(["get", "a"]), r#"{"result":"1"}"#),
        (json!(["INCRBY", "a", 9_007_199_254_740_993_i64]), r#"{"result":9007199254740994}"#),
        (json!(["GET", "missing"]), r#"{"result":null}"#),
        (json!(["RPUSH", "l", "x", ""]), r#"{"result":2}"#),
        (json!(["LRANGE", "l", 0, -1]), r#"{"result":["x",""]}"#),
        (json!(["HSET", "h", "f", "v"]), r#"{"result":1}"#),
        (json!(["HGETALL", "h"]), r#"{"result":["f","v"]}"#),
        (json!(["OBJECT", "ENCODING", "a"]), r#"{"result":"int"}"#),
    ] {
        client.post("raw", json!({ "command": command }).to_string()).is(answer);
    }
    client.post("raw?integers=string", r#"{"command":["GET","a"]}"#).is(r#"{"result":"9007199254740994"}"#);
    client.post("raw?encoding=base64", r#"{"command":["GET","YQ=="]}"#).is(r#"{"result":"OTAwNzE5OTI1NDc0MDk5NA==","encoding":"base64"}"#);
    let problem = client.post("raw", r#"{"command":["LPUSH","a","1"]}"#).fails(409, "wrong_type", "");
    assert!(problem["redis"].as_str().unwrap().starts_with("WRONGTYPE"), "{problem}");
    client.post("raw", r#"{"command":["NONSENSE"]}"#).fails(422, "redis_error", "");
    let raw = client.with("Accept", "application/octet-stream").post("raw", r#"{"command":["GET","a"]}"#);
    assert_eq!((raw.status, raw.text().as_str()), (200, "9007199254740994"));
}

#[test]
fn every_route_of_the_table_is_called() {
    let app = App::start();
    let client = app.anonymous();
    let mut called = BTreeSet::new();
    for (method, path, body, answer) in [
        ("PUT", "strings/a", r#"{"value":"Hello"}"#, r#"{"result":"OK"}"#),
        ("GET", "strings/a", "", r#"{"result":"Hello"}"#),
        ("PATCH", "keys/a", r#"{"seconds":60}"#, r#"{"result":1}"#),
        ("PATCH", "keys/a", r#"{"persist":true}"#, r#"{"result":1}"#),
        ("PATCH", "keys/a", r#"{"milliseconds":60000}"#, r#"{"result":1}"#),
        ("PATCH", "keys/a", r#"{"unix_time_seconds":4102444800}"#, r#"{"result":1}"#),
        ("PATCH", "keys/a", r#"{"unix_time_milliseconds":4102444800000}"#, r#"{"result":1}"#),
        ("PATCH", "keys/a", r#"{"touch":true}"#, r#"{"result":1}"#),
        ("PATCH", "keys/a", r#"{"newkey":"b"}"#, r#"{"result":"OK"}"#),
        ("GET", "keys?count=100", "", r#"{"result":["b"],"cursor":"0"}"#),
        ("PATCH", "keys/b", r#"{"db":1}"#, r#"{"result":1}"#),
        ("PUT", "strings/a", r#"{"value":"Hello"}"#, r#"{"result":"OK"}"#),
        ("GET", "keys/a", "", r#"{"result":{"memory":"?","encoding":"embstr","ttl":-1,"type":"string"}}"#),
        ("DELETE", "strings/a", "", r#"{"result":1}"#),
        ("PUT", "strings/a", r#"{"value":"Hello"}"#, r#"{"result":"OK"}"#),
        ("DELETE", "keys/a", "", r#"{"result":1}"#),
        ("DELETE", "keys?key=a&key=b", "", r#"{"result":0}"#),
        ("PATCH", "hashes/h", r#"{"fields":{"f":"1","g":"2"}}"#, r#"{"result":2}"#),
        ("PUT", "hashes/h/fields/f", r#"{"value":"3"}"#, r#"{"result":0}"#),
        ("GET", "hashes/h/fields/f", "", r#"{"result":"3"}"#),
        ("GET", "hashes/h", "", r#"{"result":{"f":"3","g":"2"}}"#),
        ("GET", "hashes/h?field=g&field=none", "", r#"{"result":["2",null]}"#),
        ("GET", "hashes/h?cursor=0&match=g", "", r#"{"result":{"g":"2"},"cursor":"0"}"#),
        ("DELETE", "hashes/h/fields/f", "", r#"{"result":1}"#),
        ("DELETE", "hashes/h?field=g&field=none", "", r#"{"result":1}"#),
        ("PATCH", "hashes/h", r#"{"fields":{"f":"1"}}"#, r#"{"result":1}"#),
        ("PUT", "hashes/h", r#"{"fields":{"g":"1"},"ex":60}"#, r#"{"result":1}"#),
        ("DELETE", "hashes/h", "", r#"{"result":1}"#),
        ("POST", "lists/l", r#"{"elements":["b","c"]}"#, r#"{"result":2}"#),
        ("POST", "lists/l", r#"{"elements":["a"],"left":true}"#, r#"{"result":3}"#),
        ("PUT", "lists/l/items/-1", r#"{"element":"d"}"#, r#"{"result":"OK"}"#),
        ("GET", "lists/l/items/0", "", r#"{"result":"a"}"#),
        ("GET", "lists/l", "", r#"{"result":["a","b","d"]}"#),
        ("DELETE", "lists/l?element=b", "", r#"{"result":1}"#),
        ("DELETE", "lists/l", "", r#"{"result":1}"#),
        ("POST", "sets/s", r#"{"members":["a"]}"#, r#"{"result":1}"#),
        ("PUT", "sets/s/members/a", "", r#"{"result":0}"#),
        ("GET", "sets/s/members/a", "", r#"{"result":1}"#),
        ("GET", "sets/s", "", r#"{"result":["a"]}"#),
        ("GET", "sets/s?member=a&member=b", "", r#"{"result":[1,0]}"#),
        ("GET", "sets/s?cursor=0", "", r#"{"result":["a"],"cursor":"0"}"#),
        ("PUT", "sets/s/members/b", "", r#"{"result":1}"#),
        ("DELETE", "sets/s/members/b", "", r#"{"result":1}"#),
        ("DELETE", "sets/s?member=a", "", r#"{"result":1}"#),
        ("PUT", "sets/s/members/b", "", r#"{"result":1}"#),
        ("DELETE", "sets/s", "", r#"{"result":1}"#),
        ("POST", "sorted-sets/z", r#"{"members":[{"member":"a","score":1.5}]}"#, r#"{"result":1}"#),
        ("PUT", "sorted-sets/z/members/b", r#"{"score":2}"#, r#"{"result":1}"#),
        ("GET", "sorted-sets/z/members/a", "", r#"{"result":1.5}"#),
        ("GET", "sorted-sets/z", "", r#"{"result":["a","b"]}"#),
        ("GET", "sorted-sets/z?member=a&member=c", "", r#"{"result":[1.5,null]}"#),
        ("GET", "sorted-sets/z?cursor=0&match=b", "", r#"{"result":[{"member":"b","score":2}],"cursor":"0"}"#),
        ("DELETE", "sorted-sets/z/members/b", "", r#"{"result":1}"#),
        ("DELETE", "sorted-sets/z?member=a", "", r#"{"result":1}"#),
        ("PUT", "sorted-sets/z/members/b", r#"{"score":"-inf"}"#, r#"{"result":1}"#),
        ("DELETE", "sorted-sets/z", "", r#"{"result":1}"#),
        ("POST", "streams/s", r#"{"id":"1-0","fields":{"f":"v"}}"#, r#"{"result":"1-0"}"#),
        ("GET", "streams/s?count=1", "", r#"{"result":[{"id":"1-0","fields":{"f":"v"}}]}"#),
        ("POST", "streams/s/groups", r#"{"group":"g","id":"0"}"#, r#"{"result":"OK"}"#),
        (
            "GET",
            "streams/s/groups",
            "",
            r#"{"result":[{"name":"g","consumers":0,"pending":0,"last-delivered-id":"0-0","entries-read":null,"lag":1}]}"#,
        ),
        ("PATCH", "streams/s/groups/g", r#"{"id":"0"}"#, r#"{"result":"OK"}"#),
        ("PUT", "streams/s/groups/g/consumers/c", "", r#"{"result":1}"#),
        ("PUT", "streams/s/groups/g/consumers/c", "", r#"{"result":0}"#),
        (
            "POST",
            "streams/s/groups/g/consumers/c",
            r#"{"min_idle_time":0,"ids":["1-0"],"force":true}"#,
            r#"{"result":[{"id":"1-0","fields":{"f":"v"}}]}"#,
        ),
        ("GET", "streams/s/groups/g", "", r#"{"result":{"count":1,"smallest":"1-0","greatest":"1-0","consumers":{"c":1}}}"#),
        (
            "POST",
            "streams/s/groups/g/consumers/d",
            r#"{"min_idle_time":0,"start":"0"}"#,
            r#"{"result":{"cursor":"0-0","entries":[{"id":"1-0","fields":{"f":"v"}}],"deleted":[]}}"#,
        ),
        (
            "GET",
            "streams/s/groups/g/consumers",
            "",
            r#"{"result":[{"name":"c","pending":0,"idle":"?"},{"name":"d","pending":1,"idle":"?"}]}"#,
        ),
        ("POST", "streams/s/groups/g", r#"{"ids":["1-0"]}"#, r#"{"result":1}"#),
        ("POST", "streams/s/groups/g", r#"{"ids":["1-0"]}"#, "404 key_not_found"),
        ("POST", "streams/s/groups/none/consumers/c", r#"{"min_idle_time":0,"ids":["1-0"]}"#, "404 group_not_found"),
        ("DELETE", "streams/s/groups/g/consumers/c", "", r#"{"result":0}"#),
        ("DELETE", "streams/s/groups/g", "", r#"{"result":1}"#),
        ("DELETE", "streams/s/groups/g", "", "404 key_not_found"),
        ("DELETE", "streams/s?id=1-0", "", r#"{"result":1}"#),
        ("DELETE", "streams/s", "", r#"{"result":1}"#),
        ("POST", "channels/c", r#"{"message":"Hello"}"#, r#"{"result":0}"#),
        ("POST", "scripts", r#"{"script":"return(1)"}"#, r#"{"result":"930269f31393d0be681588b6ab08dccee7d6bb67"}"#),
        ("POST", "scripts/930269f31393d0be681588b6ab08dccee7d6bb67", "{}", r#"{"result":1}"#),
        ("POST", "scripts/0", "{}", "404 script_not_found"),
        (
            "POST",
            "functions",
            r##"{"function_code":"#!lua name=lib\nredis.register_function('f', function(keys, args) return args[1] end)"}"##,
            r#"{"result":"lib"}"#,
        ),
        ("POST", "functions/f", r#"{"args":["b"]}"#, r#"{"result":"b"}"#),
        (
            "GET",
            "functions",
            "",
            r#"{"result":[{"library_name":"lib","engine":"LUA","functions":[{"name":"f","description":null,"flags":[]}]}]}"#,
        ),
        ("DELETE", "functions?library_name=lib", "", r#"{"result":"OK"}"#),
        ("GET", "info?section=none", "", r#"{"result":""}"#),
        ("GET", "info?section=keyspace&parsed", "", r#"{"result":{"keyspace":{"db1":{"keys":1,"expires":1,"avg_ttl":"?"}}}}"#),
        // The server is no cluster.
        ("GET", "cluster", "", "422 redis_error"),
        ("GET", "cluster/nodes", "", "422 redis_error"),
        ("GET", "cluster/shards", "", "422 redis_error"),
        ("GET", "cluster/slots", "", "422 redis_error"),
        ("GET", "cluster/keyslot/a", "", "422 redis_error"),
    ] {
        let response = client.send(method, path, (!body.is_empty()).then_some(body.as_bytes()));
        let found = match response.status {
            200 => response.text(),
            status => format!("{status} {}", response.json()["code"].as_str().unwrap()),
        };
        // Where the answer says `?`, it is whatever it is.
        let (mut rest, mut parts) = (found.as_str(), answer.split("\"?\""));
        let begins = parts.next().and_then(|part| rest.strip_prefix(part));
        rest = begins.unwrap_or_else(|| panic!("{method} {path} {body}: {found} is not {answer}"));
        for part in parts {
            let value = rest.find([',', '}']).unwrap_or(rest.len());
            let goes_on = rest[value..].strip_prefix(part);
            rest = goes_on.unwrap_or_else(|| panic!("{method} {path} {body}: {found} is not {answer}"));
        }
        assert_eq!(rest, "", "{method} {path} {body}: {found} is not {answer}");
        called.extend(meant(method, path, body));
    }
    for operation in operation::all() {
        for route in operation.routes {
            let place = place(operation, route);
            assert!(called.contains(&place), "{place} is never called");
        }
    }
}

fn place(operation: &Operation, route: &Route) -> String {
    format!("{} {} ({})", route.method.name(), route.template, operation.name)
}

/// The routes that a request means, told from the table alone.
fn meant(method: &str, path: &str, body: &str) -> Vec<String> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
    let matches = |template: &str| {
        let (template, path): (Vec<&str>, Vec<&str>) = (template[1..].split('/').collect(), path.split('/').collect());
        template.len() == path.len() && template.iter().zip(path).all(|(segment, part)| segment.starts_with('{') || *segment == part)
    };
    let given = |name: &str| {
        let singular = name.strip_suffix('s').unwrap_or(name);
        !body[name].is_null() || query.split('&').any(|pair| [name, singular].contains(&pair.split('=').next().unwrap()))
    };
    let all = || operation::all().iter().flat_map(|operation| operation.routes.iter().map(move |route| (operation, route)));
    let here = || all().filter(|(_, route)| route.method.name() == method && matches(route.template));
    let chosen: Vec<String> = here()
        .filter(|(_, route)| match route.choice {
            Choice::When(name) | Choice::Word(name) => given(name),
            Choice::Else => false,
            Choice::Only | Choice::Part(_) => true,
        })
        .map(|(operation, route)| place(operation, route))
        .collect();
    if chosen.is_empty() {
        return here().filter(|(_, route)| route.choice == Choice::Else).map(|(operation, route)| place(operation, route)).collect();
    }
    chosen
}
