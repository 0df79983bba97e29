//! Channels as server-sent events: heard once by the gateway, by each client whole and in order, and every gap is told.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use serde_json::json;

use crate::support::{App, Client, Events, Gateway, Random, Redis, SOON, until};

fn publish(redis: &Redis, channel: &str, message: &str) {
    redis.run(&[b"PUBLISH", channel.as_bytes(), message.as_bytes()]);
}

/// How many connections Redis counts as subscribers of a channel.
fn subscribers(redis: &Redis, channel: &str) -> String {
    redis.line(&format!("PUBSUB NUMSUB {channel}")).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn many_clients_are_one_subscriber_and_hear_everything_in_order() {
    let app = App::start();
    let client = app.anonymous();
    let mut streams: Vec<Events> = (0..20).map(|_| Events::open(&client, "channels/news")).collect();
    streams.iter_mut().for_each(|stream| drop(stream.is("subscribed")));
    let mut globs: Vec<Events> = (0..3).map(|_| Events::open(&client, "channels?pattern=n%3Fws")).collect();
    globs.iter_mut().for_each(|stream| drop(stream.is("subscribed")));
    let mut encoded = Events::open(&client, "channels/news?encoding=base64");
    encoded.is("subscribed");
    assert_eq!(subscribers(&app.redis, "news"), ":1");
    assert_eq!(app.redis.line("PUBSUB NUMPAT"), "1");
    for number in 0..500 {
        publish(&app.redis, "news", &number.to_string());
    }
    for stream in streams.iter_mut().chain(&mut globs) {
        for number in 0..500 {
            assert_eq!(stream.message(), number.to_string());
        }
    }
    assert_eq!(encoded.is("message"), json!({"channel": "bmV3cw==", "message": "MA==", "encoding": "base64"}));
    app.redis.run(&[b"PUBLISH", b"news", b"a\n\xff"]);
    assert_eq!(streams[0].is("message"), json!({"channel": "bmV3cw==", "message": "YQr/", "encoding": "base64"}));
    publish(&app.redis, "news", "two\nlines");
    assert_eq!(streams[0].is("message"), json!({"channel": "news", "message": "two\nlines"}));
    globs[0].message_skipped();
    assert_eq!(globs[0].is("message"), json!({"channel": "news", "pattern": "n?ws", "message": "two\nlines"}));
    let metric = |name: &str| app.gateway.metric(name);
    assert!((metric("dbx_topics{database=\"redis\"}") - 2.0).abs() < 0.1);
    assert!((metric("dbx_sockets") - 24.0).abs() < 0.1);
    drop((streams, globs, encoded));
    until("the end of the subscription", SOON, || (subscribers(&app.redis, "news") == ":0").then_some(()));
    until("no sockets", SOON, || (metric("dbx_sockets") < 0.1 && metric("dbx_queued_bytes") < 0.1).then_some(()));
}

impl Events {
    /// The next event is a message that is not text.
    fn message_skipped(&mut self) {
        assert_eq!(self.is("message")["encoding"], "base64");
    }
}

#[test]
fn a_stream_is_what_browsers_and_proxies_expect() {
    let app = App::start();
    let client = app.anonymous();
    let stream = Events::open(&client.with("Accept", "text/event-stream"), "channels/a%2Fb?slow=drop");
    assert_eq!(stream.response.header("cache-control"), Some("no-store"));
    assert_eq!(stream.response.header("x-accel-buffering"), Some("no"));
    until("a subscriber", SOON, || (subscribers(&app.redis, "a/b") == ":1").then_some(()));
    let head = client.send("HEAD", "channels/c", None);
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(client.send("OPTIONS", "channels/c", None).header("allow"), Some("GET, HEAD, OPTIONS, POST"));
    assert_eq!(client.post("channels/c", r#"{"message":"m"}"#).text(), r#"{"result":0}"#);
    client.delete("channels/c").fails(405, "method_not_allowed", "");
    client.post("channels", "{}").fails(405, "method_not_allowed", "");
    client.with("Accept", "application/json").get("channels/c").fails(406, "not_acceptable", "Accept");
    client.get("channels").fails(400, "missing_argument", "pattern");
    client.get("channels/c?patern=x").fails(400, "unknown_argument", "patern");
    client.get("channels/c?slow=maybe").fails(400, "invalid_argument", "slow");
    client.get("channels/c?sharded=maybe").fails(400, "invalid_argument", "sharded");
    client.get("channels/c?encoding=x").fails(400, "invalid_argument", "encoding");
    client.get("channels/%zz").fails(400, "bad_encoding", "path");
    client.get("channels/..").fails(400, "invalid_argument", "channel");
    assert_eq!(subscribers(&app.redis, "c"), ":0", "none of these has subscribed");
}

#[test]
fn a_shard_channel_is_heard_without_a_cluster_as_well() {
    let app = App::start();
    let mut stream = Events::open(&app.anonymous(), "channels/orders?sharded=true");
    stream.is("subscribed");
    app.redis.line("SPUBLISH orders one");
    assert_eq!(stream.message(), "one");
}

#[test]
fn a_killed_redis_is_a_gap_that_is_told() {
    let mut app = App::start();
    let client = app.anonymous();
    let mut streams: Vec<Events> = (0..4).map(|number| Events::open(&client, &format!("channels/c{}", number % 2))).collect();
    streams.iter_mut().for_each(|stream| drop(stream.is("subscribed")));
    for round in 0..3 {
        app.redis.kill();
        streams.iter_mut().for_each(|stream| drop(stream.is("interrupted")));
        let mut late = Events::open(&client, "channels/c0");
        late.is("interrupted");
        app.redis.start_again();
        for stream in streams.iter_mut().chain([&mut late]) {
            stream.is("subscribed");
        }
        for channel in ["c0", "c1"] {
            publish(&app.redis, channel, &round.to_string());
        }
        for stream in streams.iter_mut().chain([&mut late]) {
            assert_eq!(stream.message(), round.to_string());
        }
    }
    assert!(app.gateway.metric("dbx_interruptions_total{database=\"redis\"}") > 5.5);
}

#[test]
fn a_server_that_hangs_is_noticed() {
    let app = App::start();
    let mut stream = Events::open(&app.anonymous(), "channels/c");
    stream.is("subscribed");
    app.redis.hold();
    stream.is("interrupted");
    app.redis.release();
    stream.is("subscribed");
}

#[test]
fn what_redis_refuses_is_refused_to_those_who_asked() {
    let app = App::start();
    let client = app.anonymous();
    let mut allowed = Events::open(&client, "channels/open");
    allowed.is("subscribed");
    app.redis.line("ACL SETUSER default resetchannels &open");
    let problem = client.get("channels/secret").fails(502, "backend_denied", "");
    assert!(problem["redis"].as_str().unwrap().starts_with("NOPERM"), "{problem}");
    publish(&app.redis, "open", "still");
    assert_eq!(allowed.message(), "still");
    app.redis.line("ACL SETUSER default allchannels");
    let mut secret = Events::open(&client, "channels/secret");
    secret.is("subscribed");
    app.redis.line("ACL SETUSER default resetchannels &open");
    assert_eq!(secret.is("interrupted"), json!({}));
    assert_eq!(secret.is("error")["code"], "backend_denied");
    assert_eq!(secret.try_next().unwrap(), None);
}

/// Reads to the last message; what came before the end of the stream or that message.
fn slow_reader(app: &App, slow: &str) -> (Vec<u64>, Vec<String>) {
    let client = app.anonymous();
    let mut stuck = Events::open(&client, &format!("channels/big?slow={slow}"));
    let mut healthy: Vec<Events> = (0..20).map(|_| Events::open(&client, "channels/big")).collect();
    stuck.is("subscribed");
    healthy.iter_mut().for_each(|stream| drop(stream.is("subscribed")));
    let payload = "x".repeat(10_000);
    for number in 0..1500 {
        publish(&app.redis, "big", &format!("{number:06}{payload}"));
        for stream in &mut healthy {
            assert_eq!(stream.message()[..6], format!("{number:06}"));
        }
    }
    assert!(app.gateway.metric("dbx_queued_bytes") < 2e6);
    assert!(app.gateway.metric("dbx_events_dropped_total") > 0.5);
    let (mut dropped, mut rest) = (Vec::new(), Vec::new());
    let mut heard = 0;
    while let Ok(Some((name, data))) = stuck.try_next() {
        match &*name {
            "message" => heard += 1,
            "dropped" => dropped.push(data["dropped"].as_u64().unwrap()),
            _ => rest.push(name),
        }
        if heard + dropped.iter().sum::<u64>() == 1500 {
            break;
        }
    }
    (dropped, rest)
}

#[test]
fn a_slow_reader_is_told_what_it_missed_and_harms_nobody() {
    let (dropped, rest) = slow_reader(&App::start(), "drop");
    assert!(!dropped.is_empty() && rest.is_empty(), "{dropped:?} {rest:?}");
}

#[test]
fn a_slow_reader_is_closed_if_it_wants() {
    let (dropped, rest) = slow_reader(&App::start(), "close");
    assert_eq!((dropped.len(), rest), (0, vec!["closed".to_owned()]));
}

#[test]
fn what_happens_to_a_key_is_told() {
    let app = App::start();
    let client = app.anonymous();
    let problem = client.get("keys/cart:1?observe").fails(409, "notifications_off", "");
    assert!(problem["detail"].as_str().unwrap().contains("notify-keyspace-events"), "{problem}");
    app.redis.line("CONFIG SET notify-keyspace-events KA");
    let mut all = Events::open(&client, "keys/cart:*?observe");
    let mut some = Events::open(&client, "keys/cart:*?observe=true&events=del,expire");
    let mut encoded = Events::open(&client, "keys/?keyBase64=Y2FydDoq&observe&encoding=base64");
    for stream in [&mut all, &mut some, &mut encoded] {
        stream.is("subscribed");
    }
    for line in ["SET cart:1 other", "SET cart:* 1", "EXPIRE cart:* 100", "DEL cart:*"] {
        app.redis.line(line);
    }
    for event in ["set", "expire", "del"] {
        assert_eq!(all.is("message"), json!({"key": "cart:*", "event": event}));
    }
    for event in ["expire", "del"] {
        assert_eq!(some.is("message"), json!({"key": "cart:*", "event": event}));
    }
    assert_eq!(encoded.is("message"), json!({"key": "Y2FydDoq", "event": "c2V0", "encoding": "base64"}));
    client.get("keys/a?observe=maybe").fails(400, "invalid_argument", "observe");
}

#[test]
fn a_stream_that_is_idle_lives_and_ends_with_the_gateway() {
    let redis = Redis::start();
    let mut gateway = Gateway::start(&redis, &["sockets.pingInterval=1s", "drain.propagation=0s"]);
    let mut stream = Events::open(&gateway.anonymous(), "channels/c");
    stream.is("subscribed");
    std::thread::sleep(Duration::from_millis(1500));
    gateway.signal("TERM");
    assert_eq!(stream.try_next().unwrap(), None);
    assert!(stream.retry.is_some());
    assert!(gateway.wait(SOON).success());
}

#[test]
fn subscribing_and_unsubscribing_at_random_loses_nothing_of_others() {
    let seed = Random::seed();
    println!("DBXDEV_SEED={seed}");
    let app = App::start();
    let client = app.anonymous();
    let mut steady: Vec<Events> = (0..4).map(|number| Events::open(&client, &format!("channels/c{number}"))).collect();
    steady.iter_mut().for_each(|stream| drop(stream.is("subscribed")));
    let done = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let (redis, done) = (&app.redis, &done);
        let publisher = scope.spawn(move || {
            let mut sent = 0_u64;
            while !done.load(Relaxed) {
                // The last two channels have only those who come and go.
                for channel in 0..6 {
                    publish(redis, &format!("c{channel}"), &sent.to_string());
                }
                sent += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            sent
        });
        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                let client = client.clone();
                scope.spawn(move || churn(&client, seed ^ thread))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Relaxed);
        publisher.join().unwrap()
    });
    for stream in &mut steady {
        for number in 0..sent {
            assert_eq!(stream.message(), number.to_string());
        }
    }
}

/// 250 times opens a stream and closes one, at random. Each begins with its confirmation, and has no gap.
fn churn(client: &Client, seed: u64) {
    let mut random = Random::new(seed);
    let mut open: Vec<Events> = Vec::new();
    for _ in 0..250 {
        let mut stream = Events::open(client, &format!("channels/c{}", random.below(6)));
        stream.is("subscribed");
        if random.below(4) == 0 {
            let first: u64 = stream.message().parse().unwrap();
            assert_eq!(stream.message(), (first + 1).to_string());
        }
        open.push(stream);
        if open.len() > 3 || random.below(2) == 0 {
            open.swap_remove(random.below(open.len()));
        }
    }
}
