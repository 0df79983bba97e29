//! Calls that wait: they are answered when something happens, withdrawn when nobody waits any more, and what they took by then
//! is where it was.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{App, Gateway, Random, Redis, SOON, until};

const BUSY: &str = "dbx_backend_waiting_connections{database=\"redis\",state=\"busy\"}";
const IDLE: &str = "dbx_backend_waiting_connections{database=\"redis\",state=\"idle\"}";
const RETURNED: &str = "dbx_blocking_elements_total{database=\"redis\",outcome=\"returned\"}";
const LOST: &str = "dbx_blocking_elements_total{database=\"redis\",outcome=\"lost\"}";
const UNKNOWN: &str = "dbx_blocking_elements_total{database=\"redis\",outcome=\"unknown\"}";
const RESETS: &str = "dbx_blocking_resets_total";

/// Elements that `make test` sends; `DBXDEV_ELEMENTS=10000` sends as many as that.
const FEW: usize = 1000;
const CLIENTS: usize = 8;

/// An operation that waits for ever, what it needs beforehand, what it waits for, and what it then answers.
static CALLS: &[(&str, &str, &[&str], &str, &str)] = &[
    ("blpop", r#"{"keys":["none","a"],"timeout":0}"#, &[], "RPUSH a 1 2", r#"{"key":"a","element":"1"}"#),
    ("brpop", r#"{"keys":["none","a"],"timeout":0}"#, &[], "RPUSH a 1 2", r#"{"key":"a","element":"2"}"#),
    ("blmpop", r#"{"timeout":0,"keys":["a"],"where":"left","count":2}"#, &[], "RPUSH a 1 2 3", r#"{"key":"a","elements":["1","2"]}"#),
    ("blmpop", r#"{"timeout":0,"keys":["a"],"where":"right","count":2}"#, &[], "RPUSH a 1 2 3", r#"{"key":"a","elements":["3","2"]}"#),
    ("blmove", r#"{"source":"a","destination":"b","wherefrom":"left","whereto":"right","timeout":0}"#, &[], "RPUSH a 1 2", r#""1""#),
    ("brpoplpush", r#"{"source":"a","destination":"b","timeout":0}"#, &[], "RPUSH a 1 2", r#""2""#),
    ("bzpopmin", r#"{"keys":["z"],"timeout":0}"#, &[], "ZADD z 1.5 x inf y", r#"{"key":"z","member":"x","score":1.5}"#),
    ("bzpopmax", r#"{"keys":["z"],"timeout":0}"#, &[], "ZADD z 1.5 x inf y", r#"{"key":"z","member":"y","score":"inf"}"#),
    (
        "bzmpop",
        r#"{"timeout":0,"keys":["z"],"where":"min","count":2}"#,
        &[],
        "ZADD z 1 x 2 y 3 z",
        r#"{"key":"z","members":[{"member":"x","score":1},{"member":"y","score":2}]}"#,
    ),
    ("xread", r#"{"block":0,"streams":{"s":"0"}}"#, &[], "XADD s 1-0 f v", r#"{"s":[{"id":"1-0","fields":{"f":"v"}}]}"#),
    (
        "xreadgroup",
        r#"{"group":{"group":"g","consumer":"c"},"block":0,"streams":{"s":">"}}"#,
        &["XGROUP CREATE s g 0 MKSTREAM"],
        "XADD s 1-0 f v",
        r#"{"s":[{"id":"1-0","fields":{"f":"v"}}]}"#,
    ),
];

/// How many clients wait at the server.
fn blocked(redis: &Redis) -> usize {
    let info = redis.line("INFO clients");
    info.lines().find_map(|line| line.strip_prefix("blocked_clients:")?.trim().parse().ok()).unwrap()
}

fn until_blocked(redis: &Redis, count: usize) {
    until("calls that wait", SOON, || (blocked(redis) == count).then_some(()));
}

fn until_settled(gateway: &Gateway) {
    until("everything to be settled", SOON, || (gateway.metric(BUSY) < 0.5).then_some(()));
}

#[test]
fn an_operation_waits_for_what_it_takes() {
    let app = App::with(&["workers=1"]);
    let client = app.anonymous();
    for (op, args, before, event, answer) in CALLS {
        let answer = format!("{{\"result\":{answer}}}");
        let prepare = || {
            app.redis.clear();
            before.iter().for_each(|line| assert!(!app.redis.line(line).starts_with('-'), "{line}"));
        };
        prepare();
        app.redis.line(event);
        client.post(op, args).is(&answer);
        prepare();
        thread::scope(|scope| {
            let call = scope.spawn(|| client.post(op, args));
            until_blocked(&app.redis, 1);
            app.redis.line(event);
            call.join().unwrap().is(&answer);
        });
        prepare();
        client.with("DBX-Timeout", "50ms").post(op, args).is(r#"{"result":null}"#);
        let args = args.replace(r#""timeout":0"#, r#""timeout":0.05"#).replace(r#""block":0"#, r#""block":50"#);
        client.post(op, args).is(r#"{"result":null}"#);
        assert_eq!(blocked(&app.redis), 0);
        app.redis.line("SET a text");
        app.redis.line("SET z text");
        app.redis.line("SET s text");
        client.post(op, CALLS.iter().find(|call| call.0 == *op).unwrap().1).fails(409, "wrong_type", "");
    }
    assert_eq!((app.gateway.metric(UNKNOWN), app.gateway.metric(LOST)), (0.0, 0.0));
}

#[test]
fn a_wait_is_bounded_by_the_gateway() {
    let app = App::with(&["workers=1", "sockets.maxWait=300ms"]);
    app.anonymous().post("blpop", r#"{"keys":["a"],"timeout":0}"#).is(r#"{"result":null}"#);
    app.anonymous().with("Accept", "application/octet-stream").post("blpop", r#"{"keys":["a"],"timeout":0}"#).fails(
        406,
        "not_acceptable",
        "Accept",
    );
    app.redis.line("RPUSH a \u{7f}");
    let moved = app
        .anonymous()
        .with("Accept", "application/octet-stream")
        .post("blmove", r#"{"source":"a","destination":"b","wherefrom":"left","whereto":"left","timeout":0}"#);
    assert_eq!((moved.status, moved.body.as_slice()), (200, &b"\x7f"[..]));
    // Nobody waits in a transaction or as a raw command.
    let problem = app.anonymous().post("transaction", r#"{"calls":[{"op":"blpop","args":{"keys":["a"],"timeout":0}}]}"#);
    assert_eq!(problem.json()["code"], "wrong_transport");
    assert_eq!(app.anonymous().post("raw", r#"{"command":["BLPOP","a",0]}"#).json()["code"], "wrong_transport");
}

#[test]
fn what_nobody_waits_for_is_withdrawn() {
    let app = App::start();
    for (op, args, before, ..) in CALLS {
        app.redis.clear();
        before.iter().for_each(|line| assert!(!app.redis.line(line).starts_with('-'), "{line}"));
        let mut connection = app.anonymous().connect();
        connection.write(&app.anonymous().request("POST", op, Some(args.as_bytes()))).unwrap();
        until_blocked(&app.redis, 1);
        drop(connection);
        until_blocked(&app.redis, 0);
    }
    until_settled(&app.gateway);
    // Connections are kept for the next.
    assert!(app.gateway.metric(IDLE) > 0.5);
    assert_eq!(app.gateway.metric(RETURNED) + app.gateway.metric(LOST) + app.gateway.metric(UNKNOWN), 0.0);
}

/// The server reads what they wait for, and then that they wait no more.
#[test]
fn what_came_too_late_is_where_it_was() {
    let app = App::start();
    for (op, args, before, event, _) in CALLS.iter().filter(|call| !matches!(call.0, "blmove" | "brpoplpush" | "xread" | "xreadgroup")) {
        app.redis.clear();
        assert!(before.is_empty());
        let look = || app.redis.line("LRANGE a 0 -1") + &app.redis.line("ZRANGE z 0 -1 WITHSCORES");
        app.redis.line(event);
        let expected = look();
        app.redis.clear();
        let mut connection = app.anonymous().connect();
        connection.write(&app.anonymous().request("POST", op, Some(args.as_bytes()))).unwrap();
        until_blocked(&app.redis, 1);
        let mut pushes = TcpStream::connect(("127.0.0.1", app.redis.port.number)).unwrap();
        app.redis.hold();
        pushes.write_all(format!("{event}\r\n").as_bytes()).unwrap();
        drop(connection);
        until("the end of the connection", SOON, || (app.gateway.metric("dbx_connections") < 0.5).then_some(()));
        app.redis.release();
        until_settled(&app.gateway);
        assert_eq!(look(), expected, "{op}");
    }
    // Which of the two the server reads first is its own affair.
    println!("{} elements of {} calls put back", app.gateway.metric(RETURNED), CALLS.len() - 4);
    assert!(app.gateway.metric(RETURNED) > 0.5);
    assert_eq!((app.gateway.metric(LOST), app.gateway.metric(UNKNOWN)), (0.0, 0.0));
}

/// What cannot be put back is counted, and the log says so.
#[test]
fn what_cannot_be_put_back_is_counted() {
    let app = App::start();
    let mut connection = app.anonymous().connect();
    connection.write(&app.anonymous().request("POST", "blpop", Some(br#"{"keys":["a"],"timeout":0}"#))).unwrap();
    until_blocked(&app.redis, 1);
    let mut other = TcpStream::connect(("127.0.0.1", app.redis.port.number)).unwrap();
    app.redis.hold();
    other.write_all(b"RPUSH a sesame\r\nSET a text\r\n").unwrap();
    drop(connection);
    until("the end of the connection", SOON, || (app.gateway.metric("dbx_connections") < 0.5).then_some(()));
    app.redis.release();
    until("a loss", SOON, || (app.gateway.metric(LOST) > 0.5).then_some(()));
    assert!(app.gateway.log().contains("could not be put back"));
    until_settled(&app.gateway);
}

#[test]
fn the_connections_that_wait_are_bounded() {
    let app = App::with(&["workers=1", "sockets.maxWaitingConnections=2", "limits.maxInFlight=1"]);
    let args = r#"{"keys":["a"],"timeout":0}"#;
    let client = app.anonymous();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..2).map(|_| scope.spawn(|| client.post("blpop", args))).collect();
        until_blocked(&app.redis, 2);
        let problem = client.post("blpop", args).fails(503, "unavailable", "");
        assert!(problem["detail"].as_str().unwrap().contains("sockets.maxWaitingConnections"), "{problem}");
        assert_eq!(problem["retryable"], true);
        // What waits takes no room from what does not.
        client.post("rpush", r#"{"key":"a","elements":["1","2"]}"#).is(r#"{"result":2}"#);
        calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap().status, 200));
    });
    client.with("DBX-Timeout", "50ms").post("blpop", args).is(r#"{"result":null}"#);
}

#[test]
fn a_server_that_lets_nobody_withdraw_loses_the_connection() {
    let app = App::with(&["workers=1"]);
    // Makes the connection.
    app.redis.line("RPUSH a 1");
    assert_eq!(app.anonymous().post("blpop", r#"{"keys":["a"],"timeout":0}"#).status, 200);
    app.redis.line("ACL SETUSER default -client|unblock");
    let args = r#"{"keys":["a"],"timeout":0}"#;
    app.anonymous().with("DBX-Timeout", "50ms").post("blpop", args).is(r#"{"result":null}"#);
    until_blocked(&app.redis, 0);
    let mut connection = app.anonymous().connect();
    connection.write(&app.anonymous().request("POST", "blpop", Some(args.as_bytes()))).unwrap();
    until_blocked(&app.redis, 1);
    drop(connection);
    until_blocked(&app.redis, 0);
    until_settled(&app.gateway);
    assert_eq!(app.gateway.metric(UNKNOWN), 2.0);
}

#[test]
fn an_answer_that_is_kept_is_not_put_back() {
    let app = App::start();
    let client = app.anonymous().with("Idempotency-Key", "one");
    let args = r#"{"keys":["a"],"timeout":0}"#;
    let mut connection = client.connect();
    connection.write(&client.request("POST", "blpop", Some(args.as_bytes()))).unwrap();
    until_blocked(&app.redis, 1);
    drop(connection);
    app.redis.line("RPUSH a 1");
    let answer = until("the answer", SOON, || Some(client.post("blpop", args)).filter(|answer| answer.status == 200));
    answer.is(r#"{"result":{"key":"a","element":"1"}}"#);
    until_settled(&app.gateway);
    assert_eq!((app.gateway.metric(RETURNED), app.redis.line("LLEN a").as_str()), (0.0, "0"));
}

#[test]
fn what_waits_is_answered_when_the_gateway_stops() {
    const WAITING: usize = 100;
    const PUSHED: usize = 20;
    let App { mut gateway, redis } = App::with(&["drain.propagation=0s", "sockets.maxWaitingConnections=100"]);
    let client = gateway.anonymous();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..WAITING).map(|_| scope.spawn(|| client.post("blpop", r#"{"keys":["a"],"timeout":0}"#))).collect();
        until_blocked(&redis, WAITING);
        let pushing = scope.spawn(|| (0..PUSHED).for_each(|number| drop(redis.line(&format!("RPUSH a {number}")))));
        gateway.signal("TERM");
        let answers: Vec<Value> = calls
            .into_iter()
            .map(|call| {
                let answer = call.join().unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                let result = answer.json()["result"].clone();
                // Nothing else ends what waits for ever.
                assert!(!result.is_null() || answer.header("connection") == Some("close"));
                result
            })
            .collect();
        pushing.join().unwrap();
        assert!(gateway.wait(SOON).success());
        let received = answers.iter().filter(|answer| !answer.is_null()).count();
        let left: usize = redis.line("LLEN a").parse().unwrap();
        assert_eq!(received + left, PUSHED);
        println!("{WAITING} calls waited: {received} got an element, the others nothing; {left} are left");
    });
}

#[test]
fn a_stopping_gateway_puts_back_what_a_client_does_not_read() {
    let App { mut gateway, redis } = App::with(&["drain.propagation=0s", "drain.timeout=500ms"]);
    // More than the buffers of a connection hold.
    let value = vec![b'x'; 32 << 20];
    let client = gateway.anonymous();
    let mut connection = client.connect();
    connection.write(&client.request("POST", "blpop", Some(br#"{"keys":["a"],"timeout":0}"#))).unwrap();
    until_blocked(&redis, 1);
    redis.run(&[b"RPUSH", b"a", &value]);
    until_blocked(&redis, 0);
    assert_eq!(redis.line("LLEN a"), "0");
    gateway.signal("TERM");
    assert!(gateway.wait(SOON).success());
    assert_eq!(redis.line("LLEN a"), "1");
}

#[test]
fn redis_is_killed_while_calls_wait() {
    const WAITING: usize = 50;
    let mut redis = Redis::start();
    let gateway = Gateway::start(&redis, &["sockets.maxWaitingConnections=50"]);
    let client = gateway.anonymous();
    let (mut before, mut after) = (0, 0);
    for round in 0..3 {
        thread::scope(|scope| {
            let calls: Vec<_> = (0..WAITING).map(|_| scope.spawn(|| client.post("blpop", r#"{"keys":["a"],"timeout":0}"#))).collect();
            until_blocked(&redis, WAITING);
            redis.kill();
            for call in calls {
                let problem = call.join().unwrap().fails(503, "unavailable", "");
                assert_eq!((&problem["retryable"], &problem["outcome"]), (&false.into(), &"unknown".into()));
            }
        });
        until_settled(&gateway);
        assert!(gateway.metric(IDLE) < 0.5);
        let resident = gateway.resident_kib();
        if round == 0 {
            before = resident;
        }
        after = resident;
        redis.start_again();
        until("connections", SOON, || gateway.is_connected().then_some(()));
    }
    assert!(after < before + (8 << 10), "it holds {after} KiB, after the first time {before} KiB");
    client.post("blpop", r#"{"keys":["a"],"timeout":0.01}"#).is(r#"{"result":null}"#);
}

/// What became of the elements of one run.
#[derive(Default)]
struct Seen {
    /// Read whole, before the client went away.
    received: Vec<String>,
    /// In the socket of a client that was going away at that moment.
    late: Vec<String>,
    cancelled: usize,
}

/// How a client goes away.
#[derive(Clone, Copy, PartialEq)]
enum Leaving {
    /// It says that nothing more will come, and then looks at what still came.
    Ending,
    /// It closes, whatever has arrived.
    Closing,
}

#[test]
fn no_element_is_lost_or_doubled_when_clients_go_away() {
    let seed = Random::seed();
    let count = std::env::var("DBXDEV_ELEMENTS").map_or(FEW, |count| count.parse().expect("DBXDEV_ELEMENTS is a number"));
    println!("DBXDEV_SEED={seed} repeats this");
    for leaving in [Leaving::Ending, Leaving::Closing] {
        let app = App::with(&["log.access=false", "log.level=info"]);
        let seen = go_away(&app, leaving, count, seed);
        let listed = app.anonymous().post("lrange", r#"{"key":"q","start":0,"stop":-1}"#).json();
        let left: Vec<String> = listed["result"].as_array().unwrap().iter().map(|element| element.as_str().unwrap().to_owned()).collect();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for element in seen.received.iter().chain(&seen.late).chain(&left) {
            *places.entry(element).or_default() += 1;
        }
        let doubled: Vec<_> = places.iter().filter(|(_, places)| **places > 1).collect();
        assert!(doubled.is_empty(), "DBXDEV_SEED={seed}: {doubled:?}");
        let missing = count - places.len();
        let resets = app.gateway.metric(RESETS);
        println!(
            "{count} elements, {} calls left alone: {} received, {} late, {} left, {missing} missing, {resets} resets, {} put back",
            seen.cancelled,
            seen.received.len(),
            seen.late.len(),
            left.len(),
            app.gateway.metric(RETURNED),
        );
        assert_eq!((app.gateway.metric(LOST), app.gateway.metric(UNKNOWN)), (0.0, 0.0));
        match leaving {
            Leaving::Ending => assert_eq!(missing, 0, "DBXDEV_SEED={seed}"),
            // What is missing was in the socket of a client that closed it unread, and told the gateway so.
            Leaving::Closing => assert!(missing as f64 <= resets, "DBXDEV_SEED={seed}"),
        }
    }
}

/// Pushes elements while clients wait for them and go away at random moments.
fn go_away(app: &App, leaving: Leaving, count: usize, seed: u64) -> Seen {
    let (seen, stop) = (Mutex::new(Seen::default()), AtomicBool::new(false));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (seen, stop) = (&seen, &stop);
            let mut random = Random::new(seed ^ (client as u64) << 32);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    wait_and_leave(app, leaving, &mut random, seen);
                }
            });
        }
        let mut random = Random::new(seed);
        for number in 0..count {
            app.redis.line(&format!("RPUSH q {number}"));
            thread::sleep(Duration::from_micros(random.below(2000) as u64));
        }
        stop.store(true, Relaxed);
    });
    until("the end of all connections", SOON, || (app.gateway.metric("dbx_connections") < 0.5).then_some(()));
    until_settled(&app.gateway);
    seen.into_inner().unwrap()
}

/// One connection: it calls until an answer does not come in its time.
fn wait_and_leave(app: &App, leaving: Leaving, random: &mut Random, seen: &Mutex<Seen>) {
    let request = app.anonymous().request("POST", "blpop", Some(br#"{"keys":["q"],"timeout":0}"#));
    let mut stream = TcpStream::connect(("127.0.0.1", app.gateway.data.number)).unwrap();
    stream.set_nodelay(true).unwrap();
    loop {
        stream.write_all(&request).unwrap();
        stream.set_read_timeout(Some(Duration::from_micros(100 + random.below(8000) as u64))).unwrap();
        let mut answer = Vec::new();
        if let Some(element) = read_answer(&mut stream, &mut answer) {
            seen.lock().unwrap().received.push(element);
            continue;
        }
        seen.lock().unwrap().cancelled += 1;
        if leaving == Leaving::Ending {
            stream.shutdown(Shutdown::Write).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            if let Some(element) = read_answer(&mut stream, &mut answer) {
                seen.lock().unwrap().late.push(element);
            }
        }
        return;
    }
}

/// The element of an answer that is all there; none when it does not come in time, or the connection ends.
fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Option<String> {
    let mut buffer = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(answer);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(answer) = serde_json::from_str::<Value>(body)
        {
            return Some(answer["result"]["element"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned());
        }
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionReset), "{error}");
                return None;
            }
        }
    }
}
