//! Streams over WebSockets: followed from an id, handed out to consumers, and replayed for who was away.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{App, Events, Gateway, Random, Redis, SOON, Socket, until};

fn ids(frame: &Value) -> Vec<String> {
    frame["entries"].as_array().into_iter().flatten().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

fn begin(socket: &mut Socket, op: &str, args: Value) {
    let answer = socket.call(json!({ "id": 1, "op": op, "args": args }));
    assert_eq!(answer, json!({ "id": 1, "result": { "subscription": 1 } }), "{op}");
}

/// Adds an entry as soon as the server takes it.
fn add(app: &App, id: &str) {
    until("an entry", SOON, || (app.redis.line(&format!("XADD s {id} n {}", &id[..1])) == id).then_some(()));
}

#[test]
fn a_stream_is_followed_exactly_by_who_comes_and_goes() {
    let app = App::start();
    let seed = Random::seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (mut seen, mut last, mut added) = (Vec::new(), "0".to_owned(), 0);
    while seen.len() < 500 {
        let mut socket = app.anonymous().socket("ws");
        begin(&mut socket, "follow", json!({ "key": "s", "from": last }));
        for _ in 0..random.below(60) {
            added += 1;
            app.redis.line(&format!("XADD s {added}-0 n {added}"));
        }
        let goal = seen.len() + random.below(added - seen.len() + 1);
        while seen.len() < goal {
            let frame = socket.json();
            assert_eq!(frame["subscription"], 1, "{frame}");
            seen.extend(ids(&frame));
        }
        last = seen.last().cloned().unwrap_or(last);
        // Some leave without a word.
        if random.below(2) == 0 {
            socket.close();
        }
    }
    let expected: Vec<String> = (1..=seen.len()).map(|id| format!("{id}-0")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn who_follows_is_told_of_an_interruption_and_misses_nothing() {
    let redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut app = App { gateway: Gateway::start(&redis, &[]), redis };
    let mut socket = app.anonymous().socket("ws");
    begin(&mut socket, "follow", json!({ "key": "s" }));
    app.redis.line("XADD s 1-0 n 1");
    assert_eq!(socket.json(), json!({ "subscription": 1, "entries": [{ "id": "1-0", "fields": { "n": "1" } }] }));
    app.redis.kill();
    assert_eq!(socket.json(), json!({ "subscription": 1, "interrupted": true }));
    app.redis.start_again();
    add(&app, "2-0");
    assert_eq!(socket.json(), json!({ "subscription": 1, "resumed": true }));
    assert_eq!(ids(&socket.json()), ["2-0"]);
}

#[test]
fn kept_messages_are_replayed() {
    let app = App::start();
    let mut socket = app.anonymous().socket("ws");
    let publish = |message: &str| {
        let args = json!({ "key": "kept", "channel": "news", "message": message, "retain": 10 });
        let answer = app.anonymous().post("publish_and_keep", args.to_string());
        answer.json()["result"].as_str().unwrap().to_owned()
    };
    let first = publish("first");
    begin(&mut socket, "subscribe", json!({ "channels": ["news"], "replay": { "key": "kept" } }));
    let second = publish("second \u{e9}");
    assert_eq!(socket.json(), json!({ "subscription": 1, "id": second, "channel": "news", "message": "second \u{e9}" }));
    let third = publish("third");
    // What other channels keep in the same stream is not for this one.
    app.redis.line("XADD kept * channel other message x");
    let mut again = app.anonymous().socket("ws");
    begin(&mut again, "subscribe", json!({ "channels": ["news"], "replay": { "key": "kept", "from": first } }));
    for (id, message) in [(&second, "second \u{e9}"), (&third, "third")] {
        assert_eq!(again.json(), json!({ "subscription": 1, "id": id, "channel": "news", "message": message }));
    }
}

#[test]
fn entries_are_handed_out_until_they_are_acknowledged() {
    let app = App::start();
    let consume = json!({ "key": "s", "group": "g", "consumer": "c", "prefetch": 2 });
    let mut socket = app.anonymous().socket("ws");
    begin(&mut socket, "consume", consume.clone());
    for id in 1..=3 {
        app.redis.line(&format!("XADD s {id}-0 n {id}"));
    }
    let mut found = Vec::new();
    while found.len() < 2 {
        found.extend(ids(&socket.json()));
    }
    // No more than two at once.
    assert_eq!(socket.call(json!({ "id": 2, "op": "ack", "args": { "subscription": 1, "ids": ["1-0"] } }))["result"], 1);
    assert_eq!(ids(&socket.json()), ["3-0"]);
    assert_eq!(socket.call(json!({ "id": 3, "op": "ack", "args": { "subscription": 1, "ids": ["1-0"] } }))["result"], 0);
    drop(socket);
    // The same consumer comes back.
    let mut socket = app.anonymous().socket("ws");
    begin(&mut socket, "consume", consume);
    let frame = socket.json();
    assert_eq!((ids(&frame), &frame["redelivered"]), (vec!["2-0".to_owned(), "3-0".to_owned()], &json!(true)));
    assert_eq!(socket.call(json!({ "id": 2, "op": "ack", "args": { "subscription": 1, "ids": ["2-0", "3-0"] } }))["result"], 2);
    assert!(app.redis.line("XPENDING s g").starts_with("*4\r\n:0"));
}

#[test]
fn what_a_dead_consumer_left_is_taken_over_and_poison_is_moved_aside() {
    let app = App::start();
    let consume =
        |name: &str| json!({ "key": "{s}", "group": "g", "consumer": name, "claimAfter": "2s", "maxDeliveries": 2, "aside": "{s}:aside" });
    app.redis.line("XADD {s} 1-0 n good");
    app.redis.line("XADD {s} 2-0 n poison");
    let mut dead = app.anonymous().socket("ws");
    begin(&mut dead, "consume", consume("dead"));
    let mut left = Vec::new();
    while left.len() < 2 {
        left.extend(ids(&dead.json()));
    }
    drop(dead);
    let mut alive = app.anonymous().socket("ws");
    begin(&mut alive, "consume", consume("alive"));
    let mut taken = Vec::new();
    while taken.len() < 2 {
        let frame = alive.json();
        assert_eq!(frame["redelivered"], true, "{frame}");
        taken.extend(ids(&frame));
    }
    assert_eq!(alive.call(json!({ "id": 2, "op": "ack", "args": { "subscription": 1, "ids": ["1-0"] } }))["result"], 1);
    // The other was handed out as often as it may be.
    until("the entry moved aside", SOON, || (app.redis.line("XLEN {s}:aside") == "1").then_some(()));
    until("nothing pending", SOON, || app.redis.line("XPENDING {s} g").starts_with("*4\r\n:0").then_some(()));
    assert!(app.redis.line("XRANGE {s}:aside - +").contains("poison"));
}

/// Kills Redis three times; every entry is handed out, and none that was acknowledged is handed out again.
#[test]
fn consumers_lose_and_repeat_nothing() {
    let count: u64 = std::env::var("DBXDEV_ENTRIES").map_or(3_000, |count| count.parse().unwrap());
    let redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut app = App { gateway: Gateway::start(&redis, &[]), redis };
    let mut socket = app.anonymous().socket("ws");
    begin(&mut socket, "consume", json!({ "key": "s", "group": "g", "consumer": "c", "prefetch": 200 }));
    let (mut added, mut kills, mut call) = (0, 0, 1);
    let (mut seen, mut acknowledged) = (BTreeMap::<u64, u32>::new(), HashSet::new());
    let mut waiting: HashMap<u64, Vec<String>> = HashMap::new();
    let mut acknowledge = |socket: &mut Socket, waiting: &mut HashMap<u64, Vec<String>>, entries: Vec<String>| {
        call += 1;
        socket.send(&json!({ "id": call, "op": "ack", "args": { "subscription": 1, "ids": entries } }).to_string());
        waiting.insert(call, entries);
    };
    while acknowledged.len() < usize::try_from(count).unwrap() {
        // An id that is there already was added by a try that was not answered.
        while added < count && added < seen.len() as u64 + 500 {
            match app.redis.try_line(&format!("XADD s {}-1 n {}", added + 1, added + 1)) {
                Some(answer) if answer.ends_with("-1") || answer.contains("equal or smaller") => added += 1,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        if kills < 3 && acknowledged.len() as u64 > count * (kills + 1) / 4 {
            kills += 1;
            app.redis.kill();
            app.redis.start_again();
        }
        let frame = socket.json();
        if let Some(id) = frame["id"].as_u64() {
            let entries = waiting.remove(&id).unwrap();
            match frame["result"].as_u64() {
                Some(_) => acknowledged.extend(entries),
                None => {
                    assert!(matches!(frame["error"]["code"].as_str(), Some("unavailable" | "timeout")), "{frame}");
                    acknowledge(&mut socket, &mut waiting, entries);
                }
            }
            continue;
        }
        let entries = ids(&frame);
        for entry in &entries {
            assert!(!acknowledged.contains(entry), "{entry} was acknowledged");
            *seen.entry(entry.strip_suffix("-1").unwrap().parse().unwrap()).or_default() += 1;
        }
        if !entries.is_empty() {
            acknowledge(&mut socket, &mut waiting, entries);
        }
    }
    assert_eq!(seen.keys().copied().collect::<BTreeSet<_>>(), (1..=count).collect());
    let repeated = seen.values().filter(|times| **times > 1).count();
    println!("{count} entries, {kills} kills, {repeated} handed out more than once before they were acknowledged");
}

#[test]
fn nonsense_is_told_apart() {
    let app = App::start();
    app.redis.line("SET text 1");
    let mut socket = app.anonymous().socket("ws");
    for (op, args, code, param) in [
        ("follow", json!({}), "invalid_argument", "args"),
        ("follow", json!({ "key": "s", "from": "$" }), "invalid_argument", "from"),
        ("follow", json!({ "key": null }), "invalid_argument", "key"),
        ("follow", json!({ "key": "s", "more": 1 }), "invalid_argument", "args"),
        ("follow", json!({ "key": "text" }), "wrong_type", ""),
        ("follow", json!({ "key": "text", "from": "0" }), "wrong_type", ""),
        ("consume", json!({ "key": "s" }), "invalid_argument", "args"),
        ("consume", json!({ "key": "s", "group": "", "consumer": "c" }), "invalid_argument", "group"),
        ("consume", json!({ "key": "s", "group": "g", "consumer": "c", "prefetch": 0 }), "invalid_argument", "prefetch"),
        ("consume", json!({ "key": "s", "group": "g", "consumer": "c", "claimAfter": "soon" }), "invalid_argument", "claimAfter"),
        ("consume", json!({ "key": "s", "group": "g", "consumer": "c", "maxDeliveries": 2 }), "invalid_argument", "aside"),
        ("consume", json!({ "key": "text", "group": "g", "consumer": "c" }), "wrong_type", ""),
        ("subscribe", json!({ "channels": ["a", "b"], "replay": { "key": "s" } }), "invalid_argument", "channels"),
        ("subscribe", json!({ "channels": ["a"], "replay": {} }), "invalid_argument", "args"),
        ("ack", json!({ "subscription": 7, "ids": ["1-0"] }), "invalid_argument", "subscription"),
        ("ack", json!({ "subscription": 7, "ids": [] }), "invalid_argument", "ids"),
        ("ack", json!({ "subscription": 7, "ids": ["*"] }), "invalid_argument", "ids"),
    ] {
        let answer = socket.call(json!({ "id": 1, "op": op, "args": args }));
        let param = if param.is_empty() { Value::Null } else { param.into() };
        assert_eq!((&answer["error"]["code"], &answer["error"]["param"]), (&json!(code), &param), "{op} {args}: {answer}");
    }
    begin(&mut socket, "follow", json!({ "key": "s" }));
    let answer = socket.call(json!({ "id": 2, "op": "ack", "args": { "subscription": 1, "ids": ["1-0"] } }));
    assert_eq!(answer["error"]["param"], "subscription");
    assert_eq!(socket.call(json!({ "id": 3, "op": "cancel", "args": { "id": 1 } }))["result"], true);
    assert_eq!(socket.call(json!({ "id": 4, "op": "cancel", "args": { "id": 1 } }))["result"], false);
}

#[test]
fn a_server_is_monitored() {
    let app = App::start();
    let mut socket = app.anonymous().socket("ws");
    begin(&mut socket, "monitor", json!({}));
    app.redis.line("SET a sesame");
    let line = until("the command", SOON, || {
        let frame = socket.json();
        frame["line"].as_str().filter(|line| line.contains("\"SET\"")).map(str::to_owned)
    });
    assert!(line.ends_with(r#""SET" "a" "sesame""#), "{line}");
    assert_eq!(socket.call(json!({ "id": 2, "op": "cancel", "args": { "id": 1 } }))["result"], true);
    until("its end", SOON, || (!app.redis.line("CLIENT LIST").contains("cmd=monitor")).then_some(()));
}

#[test]
fn a_stream_is_followed_by_browsers() {
    let redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut app = App { gateway: Gateway::start(&redis, &[]), redis };
    app.redis.line("XADD s 1-0 n 1");
    let client = app.anonymous();
    let mut events = Events::open(&client, "streams/s?follow&from=0");
    events.is("subscribed");
    assert_eq!(events.is("message"), json!({ "id": "1-0", "fields": { "n": "1" } }));
    app.redis.run(&[b"XADD", b"s", b"2-0", b"n", b"\xff"]);
    assert_eq!(events.is("message"), json!({ "id": "2-0", "fields": { "bg==": "/w==" }, "encoding": "base64" }));
    app.redis.kill();
    events.is("interrupted");
    app.redis.start_again();
    add(&app, "3-0");
    events.is("subscribed");
    assert_eq!(events.is("message")["id"], "3-0");
    until("connections", SOON, || app.gateway.is_connected().then_some(()));
    // A browser that comes back says where it was.
    let mut again = Events::open(&client.with("Last-Event-ID", "2-0"), "streams/s?follow&from=0");
    again.is("subscribed");
    assert_eq!(again.is("message")["id"], "3-0");
    app.redis.line("SET text 1");
    client.get("streams/text?follow").fails(409, "wrong_type", "");
    client.get("streams/s?follow&from=x").fails(400, "invalid_argument", "from");
    client.with("Last-Event-ID", "x").get("streams/s?follow").fails(400, "invalid_argument", "Last-Event-ID");
    client.get("streams/s?follow=maybe").fails(400, "invalid_argument", "follow");
    client.get("streams/s?follow&count=3").fails(400, "unknown_argument", "count");
    client.with("Accept", "application/json").get("streams/s?follow").fails(406, "not_acceptable", "Accept");
}
