//! What goes on until it is ended: a caller hears of its own, and nothing tells it the prefix.

use serde_json::{Value, json};

use super::House;
use crate::support::{Client, Events, Socket};

const PREFIX: &str = "tenant-*:";

/// Begins something that goes on under the id 1.
#[track_caller]
fn begin(client: &Client, op: &str, args: Value) -> Socket {
    let mut socket = client.socket("ws");
    let answer = socket.call(json!({ "id": 1, "op": op, "args": args }));
    assert_eq!(answer["result"]["subscription"], 1, "{op}: {answer}");
    socket
}

#[test]
fn a_tenant_hears_of_its_own_alone() {
    let house = House::open(&["[{ access: [all], prefix: 'tenant-*:' }]", "[{ access: [all], prefix: 'tenant-b:' }]"], &[]);
    let [own, other] = &house.clients[..] else { panic!() };
    for client in [other, own] {
        for (op, args) in
            [("set", json!({ "key": "k", "value": "1" })), ("xadd", json!({ "key": "x", "id": "1-1", "fields": { "a": "1" } }))]
        {
            assert_eq!(client.post(op, args.to_string()).status, 200);
        }
    }
    let mut channel = begin(own, "subscribe", json!({ "channels": ["c"] }));
    let mut pattern = begin(own, "psubscribe", json!({ "patterns": ["*"] }));
    let mut shard = begin(own, "ssubscribe", json!({ "shardchannels": ["c"] }));
    let mut observed = begin(own, "observe", json!({ "keys": ["*"], "events": ["set", "xadd"] }));
    let mut followed = begin(own, "follow", json!({ "key": "x", "from": "0" }));
    let mut consumed = begin(own, "consume", json!({ "key": "x", "group": "g", "consumer": "c" }));
    let mut replayed = begin(own, "subscribe", json!({ "channels": ["c"], "replay": { "key": "kept", "from": "0" } }));
    let mut events = [
        Events::open(own, "channels/c"),
        Events::open(own, "channels?pattern=*"),
        Events::open(own, "channels/c?sharded=true"),
        Events::open(own, "keys/k?observe"),
        Events::open(own, "streams/x?follow&from=0"),
    ];
    events.iter_mut().for_each(|events| drop(events.is("subscribed")));
    // The other one does the same first, which has to be heard by nobody here.
    for (client, word) in [(other, "theirs"), (own, "own")] {
        for (op, args) in [
            ("publish", json!({ "channel": "c", "message": word })),
            ("spublish", json!({ "shardchannel": "c", "message": word })),
            ("set", json!({ "key": "k", "value": word })),
            ("publish_and_keep", json!({ "key": "kept", "channel": "c", "message": word })),
        ] {
            assert_eq!(client.post(op, args.to_string()).status, 200, "{op}");
        }
    }
    let mut told = vec![channel.json(), pattern.json(), shard.json(), observed.json(), followed.json(), consumed.json(), replayed.json()];
    told.extend(events.iter_mut().map(|events| events.is("message")));
    for frame in &told {
        let text = frame.to_string();
        assert!(!text.contains(PREFIX) && !text.contains("theirs") && !text.contains("tenant"), "{text}");
    }
    assert_eq!(told[0], json!({ "subscription": 1, "channel": "c", "message": "own" }));
    assert_eq!(told[1], json!({ "subscription": 1, "channel": "c", "pattern": "*", "message": "own" }));
    assert_eq!((&told[3]["key"], &told[3]["event"]), (&json!("k"), &json!("set")));
    assert_eq!((&told[6]["channel"], &told[6]["message"]), (&json!("c"), &json!("own")));
    // What is kept is kept under the name that the tenant has for the channel.
    let kept = own.post("xrange", r#"{"key":"kept","start":"-","end":"+"}"#).json();
    assert_eq!(kept["result"][0]["fields"]["channel"], "c", "{kept}");
    // What a flow ends with does not name the prefix either.
    own.post("del", r#"{"keys":["x"]}"#);
    for socket in [&mut followed, &mut consumed] {
        socket.send(r#"{"id":2,"op":"ack","args":{"subscription":1,"entries":["1-1"]}}"#);
        let mut frame = socket.json();
        while frame["id"] != 2 && frame["error"].is_null() {
            assert!(!frame.to_string().contains("tenant"), "{frame}");
            frame = socket.json();
        }
        assert!(!frame.to_string().contains("tenant"), "{frame}");
    }
    let numbers = own.post("pubsub_numsub", r#"{"channels":["c","none"]}"#).text();
    assert_eq!(numbers, r#"{"result":{"c":1,"none":0}}"#);
}

#[test]
fn who_is_confined_listens_to_what_it_may() {
    let house = House::open(
        &[
            "[{ access: [read, write], keys: ['in:*'] }, { access: [subscribe], keys: ['none'], channels: ['news:*', '*'] }]",
            "[{ access: [all] }]",
        ],
        &[],
    );
    let [client, anybody] = &house.clients[..] else { panic!() };
    house.redis.line("XADD out:x 1-1 f sesame");
    let mut socket = client.socket("ws");
    for (op, args) in [
        ("follow", json!({ "key": "out:x", "from": "0" })),
        ("consume", json!({ "key": "out:x", "group": "g", "consumer": "c" })),
        ("consume", json!({ "key": "in:x", "group": "g", "consumer": "c", "maxDeliveries": 1, "aside": "out:x" })),
        ("subscribe", json!({ "channels": ["news:1"], "replay": { "key": "out:x" } })),
        ("subscribe", json!({ "channels": ["__keyspace@0__:out:x"] })),
        ("psubscribe", json!({ "patterns": ["news:1*"] })),
        ("psubscribe", json!({ "patterns": ["__keyevent*"] })),
        ("monitor", json!({})),
    ] {
        let answer = socket.call(json!({ "id": 1, "op": op, "args": args }));
        assert_eq!(answer["error"]["code"], "forbidden", "{op} {args}: {answer}");
    }
    for path in ["keys/out:x?observe", "streams/out:x?follow", "channels/__keyspace@0__:out:x", "channels?pattern=__key*"] {
        assert_eq!(client.get(path).json()["code"], "forbidden", "{path}");
    }
    assert!(house.redis.line("XINFO GROUPS out:x").starts_with("*0"));
    // A pattern that is granted brings no news of keys.
    assert_eq!(socket.call(json!({ "id": 1, "op": "psubscribe", "args": { "patterns": ["*"] } }))["result"]["subscription"], 1);
    assert_eq!(socket.call(json!({ "id": 2, "op": "observe", "args": { "keys": ["*"] } }))["result"]["subscription"], 2);
    for (op, args) in [
        ("set", json!({ "key": "out:a", "value": "1" })),
        ("set", json!({ "key": "in:a", "value": "1" })),
        ("publish", json!({ "channel": "end", "message": "m" })),
    ] {
        anybody.post(op, args.to_string());
    }
    let mut heard = [socket.json(), socket.json()];
    heard.sort_by_key(|frame| frame["subscription"].as_u64());
    assert_eq!(heard[0], json!({ "subscription": 1, "channel": "end", "pattern": "*", "message": "m" }));
    assert_eq!(heard[1], json!({ "subscription": 2, "key": "in:a", "event": "set" }));
}
