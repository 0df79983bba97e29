//! `backendUser`: the calls of a grant go out as another ACL user, whom the server itself confines.

use std::fs;

use serde_json::{Value, json};

use super::House;
use crate::support::{Events, Redis};

const USER: &str = "databases.0.redis.users.0.name=tenant";

fn house(grants: &[&str]) -> (House, tempfile::TempDir) {
    let redis = Redis::with(&["--notify-keyspace-events", "KEA"]);
    let rules = "on >secret ~in:* &in:* +@all -@dangerous -@admin +config|get +info";
    let mut words = vec![&b"ACL"[..], b"SETUSER", b"tenant"];
    words.extend(rules.split(' ').map(str::as_bytes));
    assert_eq!(redis.run(&words), "OK");
    for line in ["SET in:a own", "SET out:a sesame", "XADD in:x 1-1 f v", "RPUSH in:l one"] {
        redis.line(line);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "secret").unwrap();
    let password = format!("databases.0.redis.users.0.passwordFrom.file={}", file.display());
    (House::before(redis, grants, &[USER, &password]), folder)
}

#[test]
fn a_script_is_confined_by_the_server() {
    let (house, _folder) =
        house(&["[{ access: [read, write], keys: ['in:*'] }]", "[{ access: [read, write], keys: ['in:*'], backendUser: tenant }]"]);
    let undeclared = |key: &str| json!({ "script": format!("return redis.call('get', '{key}')") }).to_string();
    let [confined, user] = &house.clients[..] else { panic!() };
    for key in ["in:a", "out:a"] {
        assert_eq!(confined.post("eval", undeclared(key)).json()["code"], "forbidden");
        assert_eq!(confined.post("raw", json!({ "command": ["EVAL", "return 1", "0"] }).to_string()).json()["code"], "forbidden");
    }
    assert_eq!(user.post("eval", undeclared("in:a")).json()["result"], "own");
    let refused = user.post("eval", undeclared("out:a"));
    assert!(refused.status >= 400 && !refused.text().contains("sesame"), "{}", refused.text());
    assert_eq!(user.post("eval", json!({ "script": "return 1", "keys": ["out:a"] }).to_string()).json()["code"], "forbidden");
    // Loaded and called by its hash; also as a pipeline, a transaction and in a session.
    let loaded = user.post("script_load", json!({ "script": "return redis.call('get', ARGV[1])" }).to_string()).json()["result"].clone();
    let call = |key: &str| json!({ "op": "evalsha", "args": { "sha1": loaded, "args": [key] } });
    let calls = json!({ "calls": [call("in:a"), call("out:a")] }).to_string();
    for path in ["pipeline", "transaction"] {
        let answer = user.post(path, &calls).json();
        assert_eq!(answer["result"][0]["result"], "own", "{path}: {answer}");
        assert!(answer["result"][1]["error"].is_object() && !answer.to_string().contains("sesame"), "{path}: {answer}");
    }
}

#[test]
fn every_call_of_the_grant_goes_out_as_the_user() {
    let (house, _folder) = house(&["[{ access: [all], keys: ['in:*'], channels: ['*'], backendUser: tenant }]", "[{ access: [all] }]"]);
    let [user, anybody] = &house.clients[..] else { panic!() };
    let whoami = json!({ "op": "acl_whoami" });
    let mut socket = user.socket("ws");
    socket.call(json!({ "id": "s", "op": "session" }));
    let with = |id: &str, more: Value| {
        let mut frame = whoami.clone();
        frame["id"] = id.into();
        frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        frame
    };
    let calls = json!({ "calls": [whoami] }).to_string();
    for (way, name) in [
        ("by name", user.post("acl_whoami", "{}").json()["result"].clone()),
        ("in a pipeline", user.post("pipeline", &calls).json()["result"][0]["result"].clone()),
        ("in a transaction", user.post("transaction", &calls).json()["result"][0]["result"].clone()),
        ("raw", user.post("raw", r#"{"command":["ACL","WHOAMI"]}"#).json()["result"].clone()),
        ("over a socket", socket.call(with("1", json!({})))["result"].clone()),
        ("in a session", socket.call(with("2", json!({ "session": "s" })))["result"].clone()),
    ] {
        assert_eq!(name, "tenant", "{way}");
    }
    assert_eq!(anybody.post("acl_whoami", "{}").json()["result"], "default");
    // What waits and what listens has connections of the user as well.
    socket.send(&json!({ "id": 3, "op": "blpop", "args": { "keys": ["in:none"], "timeout": 0 } }).to_string());
    assert_eq!(socket.call(json!({ "id": 4, "op": "subscribe", "args": { "channels": ["in:c"] } }))["result"]["subscription"], 4);
    assert_eq!(socket.call(json!({ "id": 5, "op": "follow", "args": { "key": "in:x", "from": "0" } }))["result"]["subscription"], 5);
    let mut events = Events::open(user, "channels/in:c");
    events.is("subscribed");
    let clients = crate::support::until("a connection of each kind", crate::support::SOON, || {
        let clients = house.redis.line("CLIENT LIST");
        let has = |command: &str| clients.lines().any(|line| line.contains(&format!("cmd={command} ")) && line.contains("user=tenant"));
        (["blpop", "subscribe", "xread"].iter().all(|command| has(command))).then_some(clients.clone())
    });
    for command in ["blpop", "xread"] {
        assert!(!clients.lines().any(|line| line.contains(&format!("cmd={command} ")) && line.contains("user=default")), "{command}");
    }
    // The server does not let the user hear other channels, whatever the grant says.
    let refused = user.socket("ws").call(json!({ "id": 1, "op": "subscribe", "args": { "channels": ["out:c"] } }));
    assert!(refused["error"].is_object(), "{refused}");
    let refused = user.post("publish", r#"{"channel":"out:c","message":"m"}"#);
    assert!(refused.status >= 400, "{}", refused.text());
    // Other keys are refused by the gateway, and others that it would let through by the server.
    assert_eq!(user.post("get", r#"{"key":"out:a"}"#).json()["code"], "forbidden");
    house.redis.line("RPUSH in:none x");
}
