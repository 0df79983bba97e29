//! Subscriptions over WebSockets.

use std::{
    collections::HashSet,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use serde_json::{Value, json};

use crate::support::{App, Gateway, Random, Redis, SOON, Socket, until};

fn subscribe(socket: &mut Socket, id: u64, op: &str, args: Value) {
    let answer = socket.call(json!({ "id": id, "op": op, "args": args }));
    assert_eq!(answer, json!({ "id": id, "result": { "subscription": id } }), "{op}");
}

#[test]
fn messages_are_heard_by_who_subscribed() {
    let app = App::start();
    let mut socket = app.anonymous().socket("ws");
    subscribe(&mut socket, 1, "subscribe", json!({ "channels": ["a", "b"] }));
    subscribe(&mut socket, 2, "psubscribe", json!({ "patterns": ["a*"] }));
    subscribe(&mut socket, 3, "ssubscribe", json!({ "shardchannels": ["a"] }));
    assert_eq!(app.redis.line("PUBLISH a h\u{e9}"), "2");
    let mut heard: Vec<Value> = (0..2).map(|_| socket.json()).collect();
    heard.sort_by_key(|frame| frame["subscription"].as_u64());
    assert_eq!(heard[0], json!({ "subscription": 1, "channel": "a", "message": "h\u{e9}" }));
    assert_eq!(heard[1], json!({ "subscription": 2, "channel": "a", "pattern": "a*", "message": "h\u{e9}" }));
    assert_eq!(app.redis.line("SPUBLISH a shard"), "1");
    assert_eq!(socket.json(), json!({ "subscription": 3, "channel": "a", "message": "shard" }));
    app.redis.run(&[b"PUBLISH", b"b", b"\xff"]);
    assert_eq!(socket.json(), json!({ "subscription": 1, "channel": "Yg==", "message": "/w==", "encoding": "base64" }));
    assert_eq!(socket.call(json!({ "id": 4, "op": "cancel", "args": { "id": 1 } }))["result"], true);
    until("one subscription less", SOON, || (app.redis.line("PUBLISH b x") == "0").then_some(()));
    // What is called goes on beside.
    assert_eq!(socket.call(json!({ "id": 1, "op": "ping", "args": {} }))["result"], "PONG");
    drop(socket);
    until("none", SOON, || (app.redis.line("PUBLISH a x") == "0").then_some(()));
}

#[test]
fn one_subscription_serves_many_sockets_in_order() {
    let app = App::start();
    let mut sockets: Vec<Socket> = (0..100).map(|_| app.anonymous().socket("ws")).collect();
    for socket in &mut sockets {
        subscribe(socket, 1, "subscribe", json!({ "channels": ["news"] }));
    }
    assert!(app.redis.line("PUBSUB NUMSUB news").ends_with(":1\r\n"));
    for message in 0..200 {
        assert_eq!(app.redis.line(&format!("PUBLISH news {message}")), "1");
    }
    for socket in &mut sockets {
        for message in 0..200 {
            assert_eq!(socket.json()["message"], message.to_string());
        }
    }
}

/// Alone and in company, small and in many frames, beside answers, and to clients that read nothing for a long time.
#[test]
fn messages_keep_their_order_however_they_come() {
    const ROUNDS: usize = 60;
    const SIZES: [usize; 5] = [1, 3_000, 16_300, 50_000, 600_000];
    const TOGETHER: usize = 4;
    let app = App::with(&["sockets.maxQueuedBytes=64MiB", "sockets.maxTotalQueuedBytes=1GiB"]);
    let client = app.anonymous();
    let mut sockets: Vec<Socket> = (0..6).map(|_| client.socket("ws")).collect();
    for socket in &mut sockets {
        subscribe(socket, 1, "subscribe", json!({ "channels": ["news"] }));
    }
    let mut published = 0;
    let mut message = |size: usize| {
        published += 1;
        format!("{}:{}", published - 1, "m".repeat(size))
    };
    for round in 0..ROUNDS {
        app.redis.run(&[b"PUBLISH", b"news", message(SIZES[round % SIZES.len()]).as_bytes()]);
        let publish = |text| json!({ "op": "publish", "args": { "channel": "news", "message": text } });
        let together: Vec<Value> = (0..TOGETHER).map(|_| publish(message(1))).collect();
        assert_eq!(client.post("pipeline", json!({ "calls": together }).to_string()).status, 200);
        for socket in &mut sockets {
            socket.send(&json!({ "id": format!("call {round}"), "op": "ping", "args": {} }).to_string());
        }
    }
    for socket in &mut sockets {
        let (mut heard, mut answered) = (0, 0);
        while heard < ROUNDS * (1 + TOGETHER) || answered < ROUNDS {
            let frame = socket.json();
            if frame["result"] == "PONG" {
                answered += 1;
                continue;
            }
            let message = frame["message"].as_str().unwrap_or_else(|| panic!("{frame}"));
            assert_eq!(message.split(':').next(), Some(&*heard.to_string()));
            heard += 1;
        }
    }
}

#[test]
fn an_interruption_is_told() {
    let redis = Redis::start();
    let mut app = App { gateway: Gateway::start(&redis, &[]), redis };
    let mut socket = app.anonymous().socket("ws");
    subscribe(&mut socket, 1, "subscribe", json!({ "channels": ["a", "b"] }));
    app.redis.kill();
    assert_eq!(socket.json(), json!({ "subscription": 1, "interrupted": true }));
    let answer = until("a refusal", SOON, || {
        let answer = socket.call(json!({ "id": 2, "op": "subscribe", "args": { "channels": ["c"] } }));
        (answer["error"]["code"] == "unavailable").then_some(answer)
    });
    assert_eq!(answer["error"]["retryable"], true);
    app.redis.start_again();
    assert_eq!(socket.json(), json!({ "subscription": 1, "resumed": true }));
    app.redis.line("PUBLISH b again");
    assert_eq!(socket.json()["message"], "again");
}

#[test]
fn what_redis_refuses_is_told() {
    let app = App::start();
    app.redis.line("ACL SETUSER default resetchannels &allowed");
    let mut socket = app.anonymous().socket("ws");
    let answer = socket.call(json!({ "id": 1, "op": "subscribe", "args": { "channels": ["secret"] } }));
    assert_eq!(answer["error"]["code"], "backend_denied", "{answer}");
    subscribe(&mut socket, 1, "subscribe", json!({ "channels": ["allowed"] }));
    for (op, args, code, param) in [
        ("subscribe", json!({}), "missing_argument", "channels"),
        ("subscribe", json!({ "channels": [] }), "invalid_argument", "channels"),
        ("subscribe", json!({ "channels": ["a"], "slow": "maybe" }), "invalid_argument", "slow"),
        ("subscribe", json!({ "channels": ["a"], "more": 1 }), "unknown_argument", "more"),
        ("unsubscribe", json!({}), "wrong_transport", ""),
    ] {
        let answer = socket.call(json!({ "id": 2, "op": op, "args": args }));
        let param = if param.is_empty() { Value::Null } else { param.into() };
        assert_eq!((&answer["error"]["code"], &answer["error"]["param"]), (&json!(code), &param), "{op} {args}: {answer}");
    }
    let answer = socket.call(json!({ "id": 1, "op": "subscribe", "args": { "channels": ["a"] } }));
    assert_eq!((&answer["error"]["code"], &answer["error"]["param"]), (&json!("conflict"), &json!("id")));
}

/// One client reads nothing beside many that do: it is told, or closed, as it chose; the others miss nothing.
#[test]
fn a_slow_client_harms_nobody() {
    let redis = Redis::start();
    let app = App { gateway: Gateway::start(&redis, &["sockets.maxQueuedBytes=256KiB", "log.access=false"]), redis };
    let mut slow: Vec<Socket> = ["close", "drop"]
        .iter()
        .map(|choice| {
            let mut socket = app.anonymous().socket("ws");
            subscribe(&mut socket, 1, "subscribe", json!({ "channels": ["news"], "slow": choice }));
            socket
        })
        .collect();
    let message = "m".repeat(10_000);
    let count = 2_000;
    let readers = std::env::var("DBXDEV_READERS").map_or(10, |count| count.parse().unwrap());
    let heard: Arc<Vec<AtomicUsize>> = Arc::new((0..readers).map(|_| AtomicUsize::new(0)).collect());
    let sockets: Vec<Socket> = (0..readers)
        .map(|_| {
            let mut socket = app.anonymous().socket("ws");
            subscribe(&mut socket, 1, "subscribe", json!({ "channels": ["news"] }));
            socket
        })
        .collect();
    let readers: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(reader, mut socket)| {
            let heard = heard.clone();
            std::thread::spawn(move || {
                for index in 0..count {
                    let message = socket.json()["message"].as_str().map(str::to_owned);
                    assert!(message.is_some_and(|message| message.starts_with(&format!("{index}:"))), "message {index} is missing");
                    heard[reader].store(index + 1, Relaxed);
                }
            })
        })
        .collect();
    let mut publisher = std::net::TcpStream::connect(("127.0.0.1", app.redis.port.number)).unwrap();
    for index in 0..count {
        let text = format!("{index}:{message}");
        write!(publisher, "*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n${}\r\n{text}\r\n", text.len()).unwrap();
        // Those who read have no more waiting than fits into their queues.
        until("the readers", SOON, || heard.iter().all(|heard| heard.load(Relaxed) + 20 > index).then_some(()));
    }
    for reader in readers {
        reader.join().unwrap();
    }
    // What waits for the two who read nothing is bounded.
    assert!(app.gateway.metric("dbx_queued_bytes") < 600_000.0);
    let mut dropper = slow.pop().unwrap();
    let (mut heard, mut dropped) = (0, 0);
    while heard + dropped < count {
        let frame = dropper.json();
        dropped += usize::try_from(frame["dropped"].as_u64().unwrap_or(0)).unwrap();
        heard += usize::from(frame["message"].is_string());
    }
    assert!(dropped > 0 && heard > 0, "{heard} heard, {dropped} dropped");
    let (code, reason) = slow.pop().unwrap().closed();
    assert_eq!(code, 1008, "{reason}");
    assert!(reason.contains("maxQueuedBytes"), "{reason}");
}

#[test]
fn who_is_subscribed_throughout_misses_nothing_while_others_come_and_go() {
    let app = App::start();
    let seed = Random::seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut constant = app.anonymous().socket("ws");
    subscribe(&mut constant, 1, "subscribe", json!({ "channels": ["a", "b", "c"] }));
    let mut others: Vec<(Socket, HashSet<u64>, u64)> = (0..4).map(|_| (app.anonymous().socket("ws"), HashSet::new(), 0)).collect();
    let channels = ["a", "b", "c", "d"];
    let mut expected = Vec::new();
    for message in 0..600 {
        let at = random.below(others.len());
        let (socket, open, next) = &mut others[at];
        if open.len() < 5 && random.below(2) == 0 {
            *next += 1;
            open.insert(*next);
            let channel = *random.pick(&channels);
            socket.send(&json!({ "id": next, "op": "subscribe", "args": { "channels": [channel] } }).to_string());
        } else if let Some(id) = open.iter().next().copied() {
            open.remove(&id);
            socket.send(&json!({ "id": format!("cancel {id}"), "op": "cancel", "args": { "id": id } }).to_string());
        }
        let channel = *random.pick(&channels[..3]);
        app.redis.line(&format!("PUBLISH {channel} {message}"));
        expected.push(json!({ "subscription": 1, "channel": channel, "message": message.to_string() }));
    }
    for expected in expected {
        assert_eq!(constant.json(), expected);
    }
}

#[test]
fn keys_are_observed() {
    let app = App::start();
    let mut socket = app.anonymous().socket("ws");
    let call = json!({ "id": 1, "op": "observe", "args": { "keys": ["cart:*"], "events": ["set", "del"] } });
    let answer = socket.call(call.clone());
    assert_eq!(answer["error"]["code"], "notifications_off", "{answer}");
    assert!(answer["error"]["detail"].as_str().unwrap().contains("notify-keyspace-events"));
    app.redis.line("CONFIG SET notify-keyspace-events KA");
    assert_eq!(socket.call(call), json!({ "id": 1, "result": { "subscription": 1 } }));
    for line in ["SET cart:1 x", "EXPIRE cart:1 100", "SET other x", "DEL cart:1"] {
        app.redis.line(line);
    }
    assert_eq!(socket.json(), json!({ "subscription": 1, "key": "cart:1", "event": "set" }));
    assert_eq!(socket.json(), json!({ "subscription": 1, "key": "cart:1", "event": "del" }));
    for (args, param) in [(json!({}), "args"), (json!({ "keys": [] }), "keys"), (json!({ "keys": ["a"], "slow": "x" }), "slow")] {
        let answer = socket.call(json!({ "id": 2, "op": "observe", "args": args }));
        assert_eq!((&answer["error"]["code"], &answer["error"]["param"]), (&json!("invalid_argument"), &json!(param)), "{answer}");
    }
}
