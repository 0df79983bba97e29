//! Many clients at once that take room and ask for nothing, or take nothing of what they asked for: the others are served.
//! `DBXDEV_SLOW=2000` makes it as many as the documentation speaks of; `bench/slow` measures what others notice.

use crate::support::{App, Connection, SOON, until};

const CONNECTIONS: &str = "dbx_connections";

/// How many clients send slowly; five times as many are silent.
fn slow() -> usize {
    std::env::var("DBXDEV_SLOW").map_or(150, |number| number.parse().expect("DBXDEV_SLOW is a number"))
}

/// Connections that say so much and no more.
fn crowd(app: &App, count: usize, words: &[u8]) -> Vec<Connection> {
    let open = |_| {
        let mut connection = app.anonymous().connect();
        connection.write(words).unwrap();
        connection
    };
    (0..count).map(open).collect()
}

#[test]
fn a_healthy_client_is_served_beside_slow_ones() {
    let slow = slow();
    let app = App::with(&["limits.headerTimeout=10m", "limits.maxConnections=100000"]);
    let client = app.anonymous();
    client.put("strings/a", r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
    let before = app.gateway.resident_kib();
    let silent = crowd(&app, 5 * slow, b"");
    let mut slow_ones = crowd(&app, slow, b"GET /api/v1/redis/strings/a HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
    let mut healthy = client.connect();
    for _ in 0..10 {
        for connection in &mut slow_ones {
            connection.write(b"a").unwrap();
        }
        for _ in 0..20 {
            healthy.exchange(&client.request("GET", "strings/a", None)).unwrap().is(r#"{"result":"1"}"#);
        }
        client.get("strings/a").is(r#"{"result":"1"}"#);
    }
    let all = silent.len() + slow_ones.len() + 1;
    until("all of them", SOON, || (app.gateway.metric(CONNECTIONS) >= all as f64).then_some(()));
    let grown = app.gateway.resident_kib().saturating_sub(before);
    println!("{all} connections took {grown} KiB, {} bytes each", grown * 1024 / all as u64);
    assert!(grown < 4096 + 24 * all as u64, "{all} connections took {grown} KiB");
    // The slow ones are served as well, once they have said what they want.
    for connection in &mut slow_ones {
        connection.exchange(b"\r\n\r\n").unwrap().is(r#"{"result":"1"}"#);
    }
    drop((silent, slow_ones));
    until("their end", SOON, || (app.gateway.metric(CONNECTIONS) <= 1.0).then_some(()));
}

#[test]
fn slow_clients_are_left() {
    let app = App::with(&["limits.headerTimeout=1s", "limits.keepAliveTimeout=10m"]);
    let client = app.anonymous();
    let mut kept = client.connect();
    kept.exchange(&client.request("GET", "strings/a", None)).unwrap().fails(404, "key_not_found", "");
    let mut crowd: Vec<_> = crowd(&app, 50, b"").into_iter().chain(crowd(&app, 50, b"GET /api/v1/redis/")).collect();
    // One that was served begins another request and does not end it.
    let mut half = client.connect();
    half.exchange(&client.request("GET", "strings/a", None)).unwrap().fails(404, "key_not_found", "");
    half.write(b"GET ").unwrap();
    for connection in crowd.iter_mut().chain([&mut half]) {
        assert!(connection.read().is_err(), "the connection is closed");
    }
    // Silence between requests is another matter.
    kept.exchange(&client.request("GET", "strings/a", None)).unwrap().fails(404, "key_not_found", "");
    until("their end", SOON, || (app.gateway.metric(CONNECTIONS) <= 1.0).then_some(()));
}

#[test]
fn who_takes_nothing_of_an_answer_is_left() {
    let app = App::with(&["limits.writeTimeout=1s"]);
    let client = app.anonymous().with("Accept", "application/octet-stream");
    // More than the buffers of two systems hold.
    app.redis.line("SETRANGE a 50000000 x");
    let mut reader = client.connect();
    reader.write(&client.request("GET", "strings/a", None)).unwrap();
    until("the end of patience", SOON, || (app.gateway.metric("dbx_connection_failures_total{reason=\"stalled\"}") > 0.5).then_some(()));
    until("the end of the connection", SOON, || (app.gateway.metric(CONNECTIONS) < 0.5).then_some(()));
    assert!(reader.read().is_err(), "the answer is not whole");
    assert_eq!(client.get("strings/a").body.len(), 50_000_001);
}

#[test]
fn those_who_are_turned_away_keep_nobody_out() {
    let app = App::with(&["limits.maxConnections=3"]);
    let client = app.anonymous();
    let request = client.request("GET", "strings/a", None);
    let mut held = crowd(&app, 3, b"");
    for connection in &mut held {
        connection.exchange(&request).unwrap().fails(404, "key_not_found", "");
    }
    let mut refused = crowd(&app, 40, b"");
    for connection in &mut refused {
        let response = connection.read().unwrap();
        response.fails(503, "unavailable", "");
        assert_eq!((response.header("retry-after"), response.header("connection")), (Some("1"), Some("close")));
    }
    // They are still there, and count for nothing.
    assert_eq!(app.gateway.metric(CONNECTIONS), 3.0);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(app.gateway.operations(path).unwrap().status, 200, "{path}");
    }
    held.pop();
    until("room", SOON, || (client.connect().exchange(&request).ok()?.status == 404).then_some(()));
    drop(refused);
}
