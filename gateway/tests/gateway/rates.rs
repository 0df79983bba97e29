//! How much each may do. What is counted is calls; the clock is looked at only to know how many may have come in the meantime.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use serde_json::json;
use socket2::{Domain, Protocol, Socket as TcpSocket, Type};

use crate::support::{App, Client, Events, Gateway, Redis, SOON, Socket, until};

/// So slow that nothing comes back while a test runs.
const SLOW: &str = r#"rateLimits=[{name: calls, per: identity, commands: 1, burst: 5}]"#;
const INCR: &str = r#"{"key":"a"}"#;

fn refused(app: &App, limit: &str) -> f64 {
    app.gateway.metric(&format!("dbx_rate_limited_total{{limit=\"{limit}\"}}"))
}

/// A pipeline of so many calls.
fn pipeline(calls: usize) -> String {
    format!("{{\"calls\":[{}]}}", vec![r#"{"op":"incr","args":{"key":"a"}}"#; calls].join(","))
}

/// Calls until it is refused; how many passed, and the refusal.
fn drain(client: &Client, most: usize) -> (usize, crate::support::Response) {
    for passed in 0..=most {
        let response = client.post("incr", INCR);
        if response.status != 200 {
            return (passed, response);
        }
    }
    panic!("nothing was refused");
}

#[test]
fn calls_are_counted_and_refused_before_they_begin() {
    let app = App::with(&[r#"rateLimits=[{name: calls, per: identity, commands: 1, burst: 50}]"#]);
    let client = app.anonymous();
    let first = client.post("incr", INCR);
    assert_eq!(first.header("ratelimit-policy"), Some(r#""calls";q=50;w=50"#));
    assert_eq!(first.header("ratelimit"), Some(r#""calls";r=49;t=1"#));
    let (passed, response) = drain(&client, 200);
    let problem = response.fails(429, "rate_limited", "");
    assert!(passed >= 49, "{passed}");
    assert_eq!(app.redis.line("GET a"), (passed + 1).to_string(), "what is refused is not done");
    assert_eq!((&problem["retryable"], &problem["retryAfter"]), (&true.into(), &1.into()));
    assert_eq!(response.header("retry-after"), Some("1"));
    assert_eq!(response.header("ratelimit-policy"), Some(r#""calls";q=50;w=50"#));
    assert_eq!(response.header("ratelimit"), Some(r#""calls";r=0;t=1"#));
    assert!(refused(&app, "calls") >= 1.0);
    // It is the caller that waits, and not for ever.
    until("the next call", SOON, || (client.post("incr", INCR).status == 200).then_some(()));
}

#[test]
fn each_call_of_several_counts() {
    let app = App::with(&[r#"rateLimits=[{name: calls, per: identity, commands: 1, burst: 10}]"#]);
    let client = app.anonymous();
    // What can never pass is told so, whatever is left.
    for word in ["pipeline", "transaction"] {
        let problem = client.post(word, pipeline(11)).fails(413, "pipeline_too_large", "calls");
        assert_eq!(problem["retryable"], false);
    }
    assert_eq!(client.post("pipeline", pipeline(4)).header("ratelimit"), Some(r#""calls";r=6;t=4"#));
    client.post("transaction", pipeline(4)).is(r#"{"result":[{"result":5},{"result":6},{"result":7},{"result":8}]}"#);
    // Three are not there yet, and nothing is taken for them.
    let refusal = client.post("pipeline", pipeline(8));
    let problem = refusal.fails(429, "rate_limited", "");
    assert!((1..=6).contains(&problem["retryAfter"].as_u64().unwrap()), "{problem}");
    client.post("raw", r#"{"command":["INCR","a"]}"#).is(r#"{"result":9}"#);
    assert_eq!(refused(&app, "calls"), 30.0, "each call that was refused is counted");
}

#[test]
fn a_socket_is_told_the_same() {
    let app = App::with(&[SLOW]);
    let mut socket = app.anonymous().socket("ws");
    let mut passed = 0;
    let problem = loop {
        let answer = socket.call(json!({ "id": passed, "op": "incr", "args": { "key": "a" } }));
        match answer["error"].is_null() {
            true => passed += 1,
            false => break answer["error"].clone(),
        }
        assert!(passed < 100);
    };
    assert!(passed >= 5, "{passed}");
    assert_eq!((&problem["code"], &problem["status"], &problem["retryable"]), (&"rate_limited".into(), &429.into(), &true.into()));
    assert_eq!(problem["retryAfter"], 1);
    assert_eq!(app.redis.line("GET a"), passed.to_string());
    let calls = json!({ "id": "p", "op": "pipeline", "args": serde_json::from_str::<serde_json::Value>(&pipeline(6)).unwrap() });
    assert_eq!(socket.call(calls)["error"]["code"], "pipeline_too_large");
    // What goes on is a call as well.
    let mut refusals = 0;
    for id in 1000..1010 {
        let answer = socket.call(json!({ "id": id, "op": "subscribe", "args": { "channels": ["c"] } }));
        refusals += usize::from(answer["error"]["code"] == "rate_limited");
    }
    assert!(refusals > 0);
}

#[test]
fn a_repeated_change_counts() {
    let app = App::with(&[SLOW]);
    let client = app.anonymous().with("Idempotency-Key", "one");
    client.post("incr", INCR).is(r#"{"result":1}"#);
    let mut answers = (0..20).map(|_| client.post("incr", INCR).status);
    assert!(answers.any(|status| status == 429), "an answer from the record is a command");
    assert_eq!(app.redis.line("GET a"), "1");
}

#[test]
fn open_sockets_are_bounded() {
    let app = App::with(&[r#"rateLimits=[{name: open, per: address, sockets: 2}]"#]);
    let client = app.anonymous();
    let socket = client.socket("ws");
    let stream = Events::open(&client, "channels/c");
    client.get("channels/c").fails(429, "rate_limited", "");
    client.get("streams/s?follow").fails(429, "rate_limited", "");
    assert!(client.try_socket("ws").is_err_and(|error| error.contains("429")));
    // One to all databases is one of each.
    assert!(client.try_socket("/api/v1/ws").is_err_and(|error| error.contains("429")));
    assert_eq!(refused(&app, "open"), 4.0);
    assert_eq!(app.gateway.metric("dbx_sockets"), 2.0);
    client.post("incr", INCR).is(r#"{"result":1}"#);
    drop(stream);
    until("a place", SOON, || (app.gateway.metric("dbx_sockets") < 1.5).then_some(()));
    let other = client.socket("/api/v1/ws");
    client.get("channels/c").fails(429, "rate_limited", "");
    other.close();
    socket.close();
    until("all places", SOON, || (app.gateway.metric("dbx_sockets") < 0.5).then_some(()));
    Events::open(&client, "channels/c").is("subscribed");
}

#[test]
fn bytes_are_paid_for_afterwards() {
    let app = App::with(&[r#"rateLimits=[{name: traffic, per: identity, bytes: 1KiB}]"#]);
    let client = app.anonymous();
    let value = "x".repeat(40_000);
    app.redis.line(&format!("SET large {value}"));
    let answer = client.get("strings/large");
    assert_eq!(answer.status, 200, "nobody knew how large it is");
    assert_eq!(answer.header("ratelimit-policy"), Some(r#""traffic.bytes";q=1024;w=1;qu="content-bytes""#));
    assert!(answer.header("ratelimit").unwrap().starts_with(r#""traffic.bytes";r=0;t="#));
    let refusal = client.get("strings/large");
    let problem = refusal.fails(429, "rate_limited", "");
    let wait = problem["retryAfter"].as_u64().unwrap();
    assert!((20..=40).contains(&wait), "{problem}");
    assert_eq!(refusal.header("retry-after"), Some(wait.to_string().as_str()));
    // What is sent is counted as well as what is received.
    let app = App::with(&[r#"rateLimits=[{name: traffic, per: identity, bytes: 1KiB}]"#]);
    let mut socket = app.anonymous().socket("ws");
    let set = socket.call(json!({ "id": 1, "op": "set", "args": { "key": "a", "value": value } }));
    // It is known before the call begins.
    assert_eq!(set["error"]["code"], "rate_limited");
    assert_eq!(app.redis.line("EXISTS a"), "0");
    let client = app.anonymous();
    client.post("incr", INCR).fails(429, "rate_limited", "");
}

#[test]
fn messages_are_paid_for() {
    let app = App::with(&[r#"rateLimits=[{name: traffic, per: identity, bytes: 1KiB}]"#]);
    let client = app.anonymous();
    let mut stream = Events::open(&client, "channels/c");
    stream.is("subscribed");
    app.redis.line(&format!("PUBLISH c {}", "x".repeat(40_000)));
    stream.message();
    client.post("incr", INCR).fails(429, "rate_limited", "");
}

#[test]
fn databases_are_counted_apart() {
    let other = Redis::start();
    let more = format!("databases.1={{name: other, redis: {{url: '{}'}}}}", other.url());
    let limits = "rateLimits=[{name: each, per: database, commands: 1, burst: 5}, \
                  {name: second, per: identity, databases: [other], commands: 1, burst: 3}, \
                  {name: nobody, per: identity, to: ['key:web'], commands: 1, burst: 1}]";
    let app = App::with(&[&more, limits]);
    let client = app.anonymous();
    let (passed, refusal) = drain(&client, 50);
    assert!(passed >= 5);
    assert_eq!(refusal.header("ratelimit-policy"), Some(r#""each";q=5;w=5"#));
    // The other has a limit more, which is the tightest.
    let answer = client.post("/api/v1/other/incr", INCR);
    assert_eq!((answer.status, answer.header("ratelimit-policy")), (200, Some(r#""second";q=3;w=3"#)));
    let mut refusal = client.post("/api/v1/other/incr", INCR);
    while refusal.status == 200 {
        refusal = client.post("/api/v1/other/incr", INCR);
    }
    assert_eq!(refusal.header("ratelimit-policy"), Some(r#""second";q=3;w=3"#));
    assert_eq!(refused(&app, "nobody"), 0.0);
    let rates = client.get("/api/v1/whoami").json()["result"]["limits"]["rates"].clone();
    let names: Vec<_> = rates.as_array().unwrap().iter().map(|rate| rate["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["each", "each", "second"], "{rates}");
    // What `second` refused was given back to `each`.
    assert!(rates.as_array().unwrap().iter().all(|rate| rate["resetSeconds"].as_u64().unwrap() <= 5), "{rates}");
}

#[test]
fn one_identity_does_not_take_everything() {
    let app = App::with(&["limits.maxInFlightPerIdentity=2", "limits.maxSocketsPerIdentity=1", "limits.callTimeout=20s"]);
    let client = app.anonymous();
    client.post("pipeline", pipeline(3)).fails(413, "pipeline_too_large", "calls");
    app.redis.hold();
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.post("incr", INCR).status)
        })
        .collect();
    until("running calls", SOON, || (app.gateway.metric("dbx_calls_in_flight") > 1.5).then_some(()));
    client.post("incr", INCR).fails(429, "rate_limited", "");
    app.redis.release();
    assert!(calls.into_iter().all(|call| call.join().unwrap() == 200));
    client.post("incr", INCR).is(r#"{"result":3}"#);
    let stream = Events::open(&client, "channels/c");
    client.get("channels/c").fails(429, "rate_limited", "");
    drop(stream);
    until("a place", SOON, || (client.get("channels/c").status == 200).then_some(()));
}

/// Sends one call from an address of this machine; the first line of the answer.
fn call_from(app: &App, host: u8) -> String {
    let stream = TcpSocket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    stream.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into()).unwrap();
    stream.connect(&SocketAddr::from(([127, 0, 0, 1], app.gateway.data.number)).into()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut stream = TcpStream::from(stream);
    stream.write_all(&app.anonymous().with("Connection", "close").request("POST", "incr", Some(INCR.as_bytes()))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn addresses_are_counted_apart() {
    let app = App::with(&["rateLimits=[{name: each, per: address, commands: 1, burst: 4}]"]);
    let mut passed = 0;
    while call_from(&app, 1) == "HTTP/1.1 200 OK" {
        passed += 1;
        assert!(passed < 50);
    }
    assert!(passed >= 4, "{passed}");
    for _ in 0..4 {
        assert_eq!(call_from(&app, 2), "HTTP/1.1 200 OK");
    }
}

/// What three gateways on one Redis let pass.
struct Replicas {
    redis: Redis,
    gateways: Vec<Gateway>,
}

impl Replicas {
    fn start(limit: &str) -> Self {
        let redis = Redis::start();
        let setting = format!("rateLimits=[{{name: together, per: identity, sharedIn: redis, {limit}}}]");
        let gateways = (0..3).map(|_| Gateway::start(&redis, &[&setting])).collect();
        Self { redis, gateways }
    }
}

#[test]
fn replicas_count_together() {
    const RATE: u64 = 400;
    const BURST: u64 = 200;
    /// Seconds of the limit that are counted.
    const LENGTH: u64 = 10;
    let replicas = Replicas::start(&format!("commands: {RATE}, burst: {BURST}"));
    let (stop, passed, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let server_time = || -> u64 {
        let time = replicas.redis.frame(b"*1\r\n$4\r\nTIME\r\n");
        let text = String::from_utf8(time).unwrap();
        let numbers: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        numbers[0] * 1_000_000 + numbers[1]
    };
    let began = server_time();
    // One has most of the load, one nearly none.
    let clients: Vec<_> = [(0, 4, 1), (1, 1, 2), (2, 1, 40)]
        .into_iter()
        .flat_map(|(gateway, clients, pause)| (0..clients).map(move |_| (gateway, pause)))
        .map(|(gateway, pause)| {
            let (stop, passed, calls) = (stop.clone(), passed.clone(), calls.clone());
            let client = replicas.gateways[gateway].anonymous();
            thread::spawn(move || {
                let (mut connection, request) = (client.connect(), client.request("POST", "incr", Some(INCR.as_bytes())));
                while !stop.load(Relaxed) {
                    calls.fetch_add(1, Relaxed);
                    match connection.exchange(&request).unwrap() {
                        response if response.status == 200 => passed.fetch_add(1, Relaxed),
                        response => {
                            response.fails(429, "rate_limited", "");
                            0
                        }
                    };
                    thread::sleep(std::time::Duration::from_millis(pause));
                }
            })
        })
        .collect();
    let started = Instant::now();
    while server_time() - began < LENGTH * 1_000_000 {
        assert!(started.elapsed() < 3 * SOON);
        thread::sleep(std::time::Duration::from_millis(50));
    }
    stop.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let elapsed = (server_time() - began) as f64 / 1e6;
    let (passed, calls) = (passed.load(Relaxed), calls.load(Relaxed));
    let may = RATE as f64 * elapsed + BURST as f64;
    let metric = "dbx_rate_limit_exchanges_total{limit=\"together\"}";
    let exchanges: f64 = replicas.gateways.iter().map(|gateway| gateway.metric(metric)).sum();
    println!("{passed} of {calls} calls passed in {elapsed:.2} s, {may:.0} may; {exchanges} exchanges");
    assert_eq!(replicas.redis.line("GET a"), passed.to_string());
    assert!((passed as f64) <= may * 1.02, "{passed} passed, {may} may");
    assert!((passed as f64) >= (may - BURST as f64) * 0.98, "{passed} passed, {may} may");
    assert!(exchanges <= passed as f64 * 0.05, "{exchanges} exchanges for {passed} calls");
}

#[test]
fn what_one_replica_has_spent_the_others_know() {
    let replicas = Replicas::start("commands: 1, burst: 30");
    let (first, second) = (replicas.gateways[0].anonymous(), replicas.gateways[1].anonymous());
    let (passed, _) = drain(&first, 100);
    assert!(passed >= 30, "{passed}");
    // It finds out with its first call, which nobody waits for.
    until("a refusal", SOON, || (second.post("incr", INCR).status == 429).then_some(()));
    let all: u64 = replicas.redis.line("GET a").parse().unwrap();
    assert!(all <= 62, "{all}: a replica that knows nothing yet has at most a burst");
    let keys = replicas.redis.line("KEYS dbx:rate:*");
    assert!(keys.contains("dbx:rate:{together:"), "{keys}");
    // What somebody else has put there stops nobody.
    let key = keys.lines().find(|line| line.starts_with("dbx:rate:")).unwrap();
    replicas.redis.line(&format!("SET {key} x"));
    until("a bucket", SOON, || {
        first.post("incr", INCR);
        (replicas.redis.line(&format!("TYPE {key}")) == "hash").then_some(())
    });
    assert!(!replicas.gateways[0].log().contains("cannot be counted"));
    // Scripts that are lost are sent again.
    replicas.redis.line("SCRIPT FLUSH");
    replicas.redis.line("FLUSHALL");
    until("a full bucket", SOON, || (second.post("pipeline", pipeline(20)).status == 200).then_some(()));
}

#[test]
fn without_the_database_that_counts_each_counts_alone() {
    let (mut counting, data) = (Redis::start(), Redis::start());
    let more = format!("databases.1={{name: counts, redis: {{url: '{}'}}}}", counting.url());
    let limit = "rateLimits=[{name: together, per: identity, sharedIn: counts, onFailure: open, commands: 1, burst: 20}]";
    let gateway = Gateway::start(&data, &[&more, limit]);
    let client = gateway.anonymous();
    drain(&client, 100);
    counting.kill();
    // It has a bucket of its own, which is full.
    until("calls that pass", SOON, || (client.post("pipeline", pipeline(15)).status == 200).then_some(()));
    let (passed, refusal) = drain(&client, 100);
    assert!(passed >= 5, "{passed}");
    refusal.fails(429, "rate_limited", "");
    counting.start_again();
    // Nobody knows of it any more what was spent before.
    until("counting together", SOON, || {
        client.post("incr", INCR);
        counting.line("KEYS dbx:rate:*").contains("together").then_some(())
    });
}

#[test]
fn without_the_database_that_counts_nothing_passes_if_so_chosen() {
    let (mut counting, data) = (Redis::start(), Redis::start());
    let more = format!("databases.1={{name: counts, redis: {{url: '{}'}}}}", counting.url());
    let limit = "rateLimits=[{name: together, per: identity, sharedIn: counts, onFailure: closed, commands: 1000}]";
    let gateway = Gateway::start(&data, &[&more, limit]);
    let client = gateway.anonymous();
    client.post("incr", INCR).is(r#"{"result":1}"#);
    // One that hangs is as one that is gone.
    counting.hold();
    until("a refusal", SOON, || (client.post("incr", INCR).status == 503).then_some(()));
    counting.release();
    until("service", SOON, || (client.post("incr", INCR).status == 200).then_some(()));
    counting.kill();
    let refusal = until("a refusal", SOON, || Some(client.post("incr", INCR)).filter(|response| response.status != 200));
    let problem = refusal.fails(503, "unavailable", "");
    assert_eq!((&problem["retryable"], &problem["retryAfter"]), (&true.into(), &1.into()));
    let before = data.line("GET a");
    for _ in 0..10 {
        client.post("incr", INCR).fails(503, "unavailable", "");
    }
    assert_eq!(data.line("GET a"), before);
    counting.start_again();
    until("service", SOON, || (client.post("incr", INCR).status == 200).then_some(()));
}

#[test]
fn sockets_to_other_databases_are_free() {
    let other = Redis::start();
    let more = format!("databases.1={{name: other, redis: {{url: '{}'}}}}", other.url());
    let app = App::with(&[&more, "rateLimits=[{name: open, per: identity, databases: [other], sockets: 1}]"]);
    let client = app.anonymous();
    let sockets: Vec<Socket> = (0..3).map(|_| client.socket("ws")).collect();
    let _one = client.socket("/api/v1/ws");
    client.get("/api/v1/other/channels/c").fails(429, "rate_limited", "");
    sockets.into_iter().for_each(Socket::close);
}
