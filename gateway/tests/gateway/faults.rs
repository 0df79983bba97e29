//! Databases that fail: every failed call says whether it may be sent again, and service comes back by itself.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use dbx_gateway::resp::Scanner;

use crate::support::{App, Client, Expected::Error, Gateway, Load, MARKER, Redis, Response, SOON, until};

/// How soon service has to be back once Redis is: 2 s, and as much again for a machine that does something else as well. What
/// was measured is printed.
const BACK: Duration = Duration::from_secs(4);

fn incr(client: &Client) -> Response {
    client.post("incr", r#"{"key":"counter"}"#)
}

/// Holds failed calls to what they may say, and counts those that may have been carried out.
fn unknown(failed: &[(bool, Response)]) -> u64 {
    let mut unknown = 0;
    for (writes, response) in failed {
        let code = response.json()["code"].as_str().unwrap_or_default().to_owned();
        assert!(matches!((response.status, code.as_str()), (503, "unavailable") | (504, "timeout")), "{response:?} {}", response.text());
        let problem = response.fails(response.status, &code, "");
        let sent = problem["outcome"] == "unknown";
        assert_eq!(problem["retryable"], !sent, "{problem}");
        assert!(*writes || !sent, "reading again does no harm: {problem}");
        unknown += u64::from(sent);
    }
    unknown
}

#[test]
fn redis_is_killed_under_load_and_started_again() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut gateway = Gateway::start(&redis, &[]);
    let client = gateway.anonymous();
    let load = Load::start(32, std::slice::from_ref(&client));
    let calls = |load: &Load| load.look(|seen| seen.reads + seen.writes);
    until("load", SOON, || (calls(&load) > 2000).then_some(()));
    let before = gateway.resident_kib();
    let mut slowest = Duration::ZERO;
    for round in 0..3 {
        redis.kill();
        let failed = load.look(|seen| seen.failed.len());
        until("failures", SOON, || (load.look(|seen| seen.failed.len()) > failed + 200).then_some(()));
        // The last time long enough for the pauses between attempts to have grown.
        thread::sleep(Duration::from_millis(if round == 2 { 3000 } else { 200 }));
        redis.launch();
        until("Redis", SOON, || (redis.ping()? == "PONG").then_some(()));
        let back = Instant::now();
        until("service", BACK, || {
            (incr(&client).status == 200 && gateway.metric("dbx_backend_up{database=\"redis\"}") > 0.5).then_some(())
        });
        slowest = slowest.max(back.elapsed());
        let done = calls(&load);
        until("load", SOON, || (calls(&load) > done + 2000).then_some(()));
    }
    let after = gateway.resident_kib();
    let mut seen = load.stop();
    assert!(seen.broken.is_empty(), "calls without any answer: {:?}", seen.broken);
    // The test's own calls count as well; those that failed did so before anything was sent, or are unknown like others.
    let counter: u64 = redis.line("GET counter").parse().unwrap();
    let own = gateway.metric("dbx_calls_total{operation=\"incr\",outcome=\"ok\"}") as u64;
    assert!(own >= seen.writes, "{own} {}", seen.writes);
    let certain = own;
    let failed = seen.failed.len();
    let unknown = unknown(&std::mem::take(&mut seen.failed));
    assert!((certain..=certain + unknown).contains(&counter), "{certain} certain, {unknown} unknown, {counter} counted");
    assert!(after < before + (16 << 10), "memory grew from {before} to {after} KiB");
    assert!(gateway.is_running());
    assert_eq!((gateway.metric("dbx_calls_in_flight"), gateway.metric("dbx_backend_pending_calls{database=\"redis\"}")), (0.0, 0.0));
    println!(
        "3 times killed: {} calls, {failed} failed, {certain} certain increments, {unknown} unknown, {counter} counted; back within {slowest:?}; \
         memory {before} KiB before, {after} KiB after",
        seen.reads + seen.writes
    );
}

#[test]
fn redis_hangs_and_wakes_up() {
    let app = App::with(&["limits.callTimeout=1s", "databases.0.redis.connectTimeout=500ms"]);
    let client = app.anonymous();
    incr(&client).is(r#"{"result":1}"#);
    app.redis.hold();
    let problem = incr(&client).fails(504, "timeout", "");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&"unknown".into(), &false.into()));
    let problem = client.get("strings/counter").fails(504, "timeout", "");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&serde_json::Value::Null, &true.into()));
    let problem = client.with("DBX-Timeout", "20ms").get("strings/counter").fails(504, "timeout", "");
    assert_eq!(problem["retryable"], true);
    // A connection that owes answers is given up; from then on calls are refused at once and may be sent again.
    // Its last calls may have been carried out.
    until("refusal", SOON, || {
        let response = incr(&client);
        unknown(&[(true, response.clone())]);
        (response.status == 503 && response.json()["retryable"] == true).then_some(())
    });
    let kib = app.gateway.resident_kib();
    let load = Load::start(32, std::slice::from_ref(&client));
    until("refusals", SOON, || load.look(|seen| seen.failed.len() > 3000).then_some(()));
    let seen = load.stop();
    assert!(seen.broken.is_empty(), "{:?}", seen.broken);
    unknown(&seen.failed);
    let grown = app.gateway.resident_kib().saturating_sub(kib);
    assert!(grown < 16 << 10, "memory grew by {grown} KiB");
    app.redis.release();
    let back = Instant::now();
    until("service", BACK, || (incr(&client).status == 200).then_some(()));
    println!("back {:?} after Redis woke up; {grown} KiB for {} calls while it hung", back.elapsed(), seen.failed.len());
    assert_eq!(app.gateway.metric("dbx_calls_in_flight"), 0.0);
}

#[test]
fn redis_is_not_there_when_the_gateway_starts() {
    let mut redis = Redis::stopped();
    let gateway = Gateway::launch(&redis.url(), &[]);
    let client = gateway.anonymous();
    assert_eq!(gateway.operations("/livez").unwrap().status, 200);
    let report = gateway.operations("/readyz?verbose").unwrap();
    assert_eq!((report.status, &report.json()["databases"][0]["reachable"]), (503, &false.into()));
    let problem = incr(&client).fails(503, "unavailable", "");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&serde_json::Value::Null, &true.into()));
    client.get("/api/v1").is(r#"{"result":{"databases":[{"kind":"redis","name":"redis"}]}}"#);
    redis.start_with(&[]);
    until("readiness", BACK, || gateway.is_ready().then_some(()));
    incr(&client).is(r#"{"result":1}"#);
    // A later outage does not make it unready: callers hear from us what is wrong.
    redis.kill();
    until("refusal", SOON, || (client.get("strings/counter").status == 503).then_some(()));
    assert!(gateway.is_ready());
    assert_eq!(gateway.operations("/readyz?verbose").unwrap().json()["databases"][0]["reachable"], false);
}

#[test]
fn a_database_that_is_down_leaves_the_others_alone() {
    let redis = Redis::start();
    let mut other = Redis::stopped();
    let url = format!("databases.1.redis.url={}", other.url());
    let gateway = Gateway::launch(&redis.url(), &["databases.1.name=other", &url]);
    let client = gateway.anonymous();
    until("service", SOON, || (incr(&client).status == 200).then_some(()));
    client.post("/api/v1/other/incr", r#"{"key":"a"}"#).fails(503, "unavailable", "");
    assert!(!gateway.is_ready(), "it has never reached one of its databases");
    other.start_with(&[]);
    until("readiness", BACK, || gateway.is_ready().then_some(()));
    client.post("/api/v1/other/incr", r#"{"key":"a"}"#).is(r#"{"result":1}"#);
    other.kill();
    until("refusal", SOON, || (client.get("/api/v1/other/strings/a").status == 503).then_some(()));
    assert_eq!(incr(&client).status, 200);
    assert!(gateway.is_ready());
    assert_eq!((gateway.metric("dbx_backend_up{database=\"redis\"}"), gateway.metric("dbx_backend_up{database=\"other\"}")), (1.0, 0.0));
}

#[test]
fn redis_refuses_the_password() {
    let redis = Redis::with(&["--requirepass", "right"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let write = |password: &str| std::fs::write(&file, password).unwrap();
    write(&format!("{MARKER} wrong"));
    let gateway = Gateway::launch(&redis.url(), &[&format!("databases.0.redis.passwordFrom.file={}", file.display())]);
    let client = gateway.anonymous();
    until("denial", SOON, || (client.get("strings/a").status == 502).then_some(()));
    let problem = incr(&client).fails(502, "backend_denied", "");
    assert_eq!(problem["outcome"], serde_json::Value::Null);
    assert!(!gateway.is_ready());
    let report = gateway.operations("/readyz?verbose").unwrap().text();
    assert!(report.contains("WRONGPASS") && !report.contains(MARKER), "{report}");
    write("right\n");
    until("readiness", SOON, || gateway.is_ready().then_some(()));
    incr(&client).is(r#"{"result":1}"#);
}

#[test]
fn redis_is_full() {
    let app = App::start();
    let client = app.anonymous();
    client.put("strings/a", r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
    app.redis.line("CONFIG SET maxmemory 1");
    let problem = client.put("strings/a", r#"{"value":"2"}"#).fails(507, "out_of_memory", "");
    assert_eq!((&problem["retryable"], &problem["outcome"]), (&false.into(), &serde_json::Value::Null));
    assert!(problem["redis"].as_str().unwrap().starts_with("OOM"), "{problem}");
    client.get("strings/a").is(r#"{"result":"1"}"#);
    app.redis.line("CONFIG SET maxmemory 0");
    client.put("strings/a", r#"{"value":"2"}"#).is(r#"{"result":"OK"}"#);
}

#[test]
fn redis_is_loading_or_read_only() {
    let mut redis = Redis::start();
    for number in 0..1000 {
        redis.line(&format!("SET key:{number} 1"));
    }
    redis.line("SAVE");
    let gateway = Gateway::start(&redis, &[]);
    let client = gateway.anonymous();
    redis.line("REPLICAOF 127.0.0.1 1");
    let problem = incr(&client).fails(503, "unavailable", "");
    assert_eq!(problem["retryable"], true);
    assert!(problem["redis"].as_str().unwrap().starts_with("READONLY"), "{problem}");
    client.get("strings/key:1").is(r#"{"result":"1"}"#);
    redis.line("REPLICAOF NO ONE");
    incr(&client).is(r#"{"result":1}"#);
    redis.line("SAVE");
    redis.kill();
    redis.start_with(&["--key-load-delay", "1500", "--loading-process-events-interval-bytes", "1024"]);
    assert!(redis.line("GET counter").starts_with("-LOADING"), "it loads too fast to see it");
    let mut refused = 0;
    until("service", SOON, || {
        let response = incr(&client);
        if response.status == 200 {
            return Some(());
        }
        assert_eq!(response.fails(503, "unavailable", "")["retryable"], true);
        refused += 1;
        None
    });
    assert!(refused > 0);
    assert_eq!(redis.line("GET counter"), "2", "a refused call was carried out");
}

#[test]
fn redis_lacks_a_command() {
    let redis = Redis::with(&["--rename-command", "GETEX", ""]);
    let app = App { gateway: Gateway::start(&redis, &[]), redis };
    app.check(&["SET a 1"], "getex", r#"{"key":"a"}"#, Error(501, "unsupported_by_server", ""));
    app.anonymous().post("raw", r#"{"command":["GETEX","a"]}"#).fails(501, "unsupported_by_server", "");
    app.anonymous().post("get", r#"{"key":"a"}"#).is(r#"{"result":"1"}"#);
}

/// A server that answers the three commands of the gateway's greeting with one thing, and every call with another.
fn adversary(greeting: &'static [u8], answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It ends with the test process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || converse(stream.unwrap(), greeting, answer));
        }
    });
    port
}

fn converse(mut stream: TcpStream, greeting: &[u8], answer: &[u8]) {
    let (mut commands, mut pending, mut buffer) = (0, Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        pending.extend_from_slice(&buffer[..length]);
        while let Ok(Some(end)) = Scanner::default().scan(&pending) {
            pending.drain(..end);
            commands += 1;
            // Fails when the gateway has hung up, as it should.
            let _ = match commands {
                1 | 2 => Ok(()),
                3 => stream.write_all(greeting),
                _ => stream.write_all(answer),
            };
        }
    }
}

#[test]
fn what_is_not_redis_is_not_believed() {
    // From the first byte.
    for nonsense in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\0\0\0\0", b"$999999999999999999999\r\n"] {
        let server = adversary(nonsense, b"");
        let gateway = Gateway::launch(&format!("redis://127.0.0.1:{}", server), &[]);
        let problem = incr(&gateway.anonymous()).fails(503, "unavailable", "");
        assert_eq!(problem["retryable"], true);
        assert!(!gateway.is_ready());
    }
    // After a greeting as it should be: the answer to a call is nonsense.
    for nonsense in [&b"nonsense\r\n"[..], b"+OK\r\n+OK\r\n+OK\r\n", b"*1\r\n*1\r\n$-7\r\n", b"$5\r\nab\r\ncdefgh\r\n"] {
        let server = adversary(b"+OK\r\n+PONG\r\n*0\r\n", nonsense);
        let gateway = Gateway::launch(&format!("redis://127.0.0.1:{}", server), &[]);
        until("readiness", SOON, || gateway.is_ready().then_some(()));
        let problem = incr(&gateway.anonymous()).fails(502, "backend_error", "");
        assert_eq!(problem["retryable"], false, "{problem}");
        // The connection is made anew, and the same happens again.
        until("readiness", SOON, || (gateway.metric("dbx_backend_up{database=\"redis\"}") > 0.5).then_some(()));
        incr(&gateway.anonymous()).fails(502, "backend_error", "");
    }
}

#[test]
fn results_that_are_too_large_are_refused_unless_something_changed() {
    let app = App::with(&["limits.maxResultBytes=1KiB"]);
    let client = app.anonymous();
    for size in [1100, 5000, 3 << 20] {
        let value = "v".repeat(size);
        app.redis.run(&[b"SET", b"large", value.as_bytes()]);
        app.redis.line("SET small 1");
        let problem = client.get("strings/large").fails(413, "result_too_large", "");
        assert_eq!(problem["retryable"], false);
        client.get("strings/small").is(r#"{"result":"1"}"#);
        client.post("mget", r#"{"keys":["small","large"]}"#).fails(413, "result_too_large", "");
        let calls =
            r#"{"calls":[{"op":"get","args":{"key":"small"}},{"op":"get","args":{"key":"large"}},{"op":"incr","args":{"key":"small"}}]}"#;
        let results = client.post("pipeline", calls).json()["result"].clone();
        assert_eq!(results[0]["result"], "1");
        assert_eq!(results[1]["error"]["code"], "result_too_large");
        assert_eq!(results[2]["result"], 2);
        let answer = client.post("getdel", r#"{"key":"large"}"#);
        assert_eq!((answer.status, answer.json()["result"].as_str().map(str::len)), (200, Some(size)));
        assert_eq!(app.redis.line("EXISTS large"), "0");
    }
}
