//! Stopping: not ready at once, no call fails, what runs is finished, and there is an end to it.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{App, Gateway, Load, Redis, SOON, until};

/// As the first test sets it.
const PROPAGATION: Duration = Duration::from_secs(1);

#[test]
fn no_call_fails_while_clients_move_on() {
    for signal in ["TERM", "INT"] {
        let redis = Redis::start();
        let mut old = Gateway::start(&redis, &["drain.propagation=1s", "drain.timeout=20s"]);
        let new = Gateway::start(&redis, &[]);
        // Those that go elsewhere when they are asked to, and those that come back until nobody is there.
        let moving = Load::start(12, &[old.anonymous(), new.anonymous()]);
        let staying = Load::start(4, &[old.anonymous()]);
        until("load", SOON, || (moving.look(|seen| seen.writes) > 300 && staying.look(|seen| seen.writes) > 100).then_some(()));
        assert_eq!(staying.look(|seen| seen.closes) + moving.look(|seen| seen.closes), 0);
        let idle: Vec<_> = (0..8).map(|_| old.anonymous().connect()).collect();

        let told = Instant::now();
        old.signal(signal);
        until("unreadiness", SOON, || {
            let answer = old.operations("/readyz").expect("it still answers");
            (answer.status == 503).then(|| assert_eq!(answer.json()["draining"], true))
        });
        let unready = told.elapsed();
        assert_eq!(old.operations("/livez").unwrap().status, 200);
        let served = staying.look(|seen| seen.closes);
        until("calls during propagation", SOON, || (staying.look(|seen| seen.closes) > served + 100).then_some(()));
        let response = old.anonymous().get("strings/counter");
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
        assert_eq!(old.metric("dbx_draining"), 1.0);

        assert!(old.wait(SOON).success());
        let took = told.elapsed();
        drop(idle);
        let (mut staying, moving) = (staying.wait(), moving.stop());
        // Who is on the way in when the listener closes may be reset by the kernel; nobody who moves on is.
        staying.broken.retain(|(when, _)| when.duration_since(told) < PROPAGATION);
        assert_eq!((staying.broken, moving.broken), (Vec::new(), Vec::new()), "calls without an answer");
        assert!(staying.failed.is_empty() && moving.failed.is_empty(), "{:?}", staying.failed.first().or(moving.failed.first()));
        // Nothing that was answered is lost.
        let counter: u64 = redis.line("GET counter").parse().unwrap();
        assert!(counter >= staying.writes + moving.writes, "{counter}");
        println!(
            "SIG{signal}: {} calls by {} connections asked to close, 0 failed; not ready after {unready:?}, ended after {took:?}",
            staying.reads + staying.writes + moving.reads + moving.writes,
            staying.closes + moving.closes,
        );
    }
}

#[test]
fn a_running_call_is_finished() {
    let app = App::with(&["drain.propagation=0s"]);
    let App { mut gateway, redis } = app;
    let client = gateway.anonymous();
    client.put("strings/a", r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
    redis.hold();
    let call = thread::spawn(move || client.post("incr", r#"{"key":"a"}"#));
    until("a running call", SOON, || (gateway.metric("dbx_backend_pending_calls{database=\"redis\"}") > 0.5).then_some(()));
    gateway.signal("TERM");
    // Nobody is let in any more, and the call still runs.
    until("the listener's end", SOON, || gateway.anonymous().try_connect().is_err().then_some(()));
    assert!(gateway.is_running() && !call.is_finished());
    redis.release();
    let answer = call.join().unwrap();
    assert_eq!(answer.header("connection"), Some("close"));
    answer.is(r#"{"result":2}"#);
    assert!(gateway.wait(SOON).success());
}

#[test]
fn a_body_on_its_way_is_waited_for() {
    let App { mut gateway, redis } = App::with(&["drain.propagation=0s"]);
    let mut connection = gateway.anonymous().connect();
    connection.write(b"PUT /api/v1/redis/strings/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{\"value").unwrap();
    until("the request", SOON, || (gateway.metric("dbx_connections") > 0.5).then_some(()));
    gateway.signal("TERM");
    until("the listener's end", SOON, || gateway.anonymous().try_connect().is_err().then_some(()));
    connection.exchange(b"\":\"1\"}").unwrap().is(r#"{"result":"OK"}"#);
    assert_eq!(redis.line("GET a"), "1");
    assert!(gateway.wait(SOON).success());
}

#[test]
fn a_second_signal_ends_the_propagation() {
    for second in ["TERM", "INT"] {
        let redis = Redis::start();
        let mut gateway = Gateway::start(&redis, &["drain.propagation=10m"]);
        gateway.signal("TERM");
        until("unreadiness", SOON, || (!gateway.is_ready()).then_some(()));
        gateway.anonymous().get("strings/a").fails(404, "key_not_found", "");
        gateway.signal(second);
        assert!(gateway.wait(SOON).success());
    }
}

#[test]
fn a_gateway_without_its_redis_ends_as_well() {
    let mut gateway = Gateway::launch(&Redis::stopped().url(), &["drain.propagation=0s"]);
    gateway.signal("TERM");
    assert!(gateway.wait(SOON).success());
}

#[test]
fn what_runs_too_long_is_cut_off() {
    let App { mut gateway, redis } = App::with(&["drain.propagation=0s", "drain.timeout=300ms", "limits.callTimeout=60s"]);
    redis.hold();
    let mut connection = gateway.anonymous().connect();
    connection.write(&gateway.anonymous().request("GET", "strings/a", None)).unwrap();
    until("a running call", SOON, || (gateway.metric("dbx_backend_pending_calls{database=\"redis\"}") > 0.5).then_some(()));
    let told = Instant::now();
    gateway.signal("TERM");
    assert!(gateway.wait(SOON).success());
    assert!(told.elapsed() >= Duration::from_millis(300));
    assert!(connection.read().is_err(), "it was cut off");
    assert!(gateway.log().contains("cut off"), "{}", gateway.log());
}
