//! Proxies in front: whom they speak for counts, if they are trusted.

use serde_json::Value;

use crate::support::{App, Connection, SOON, until};

const GET: &[u8] = b"GET /api/v1/redis/keys/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
const TRUSTED: &str = "listen.trustedProxies=127.0.0.0/8";
/// What several workers log at about the same time comes in any order.
const ONE: &str = "workers=1";
const PROTOCOL: &str = "listen.proxyProtocol=true";
const FAILED: &str = "dbx_connection_failures_total{reason=\"proxy_header\"}";

/// The addresses of clients in the access log, in order.
fn clients(app: &App) -> Vec<String> {
    let log = app.gateway.log();
    let lines = log.lines().filter(|line| line.contains("dbx_gateway::access"));
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["client"].as_str().unwrap().to_owned()).collect()
}

/// A header of version 2 for a connection over IPv4.
fn version_2(command: u8, source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 12]);
    header.extend(source);
    header.extend([10, 0, 0, 1, 0x12, 0x34, 0, 80]);
    header
}

fn served(app: &App, header: &[u8]) -> std::io::Result<Connection> {
    let mut connection = app.anonymous().connect();
    let response = connection.exchange(&[header, GET].concat())?;
    response.fails(404, "key_not_found", "");
    // What follows is not looked at for another header.
    connection.exchange(GET)?.fails(404, "key_not_found", "");
    Ok(connection)
}

#[test]
fn the_proxy_protocol_tells_the_client() {
    let app = App::with(&[TRUSTED, PROTOCOL, ONE]);
    let headers: [(&[u8], &str); 6] = [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n", "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n", "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4711 80\r\n", "192.0.2.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (&version_2(1, [192, 0, 2, 7]), "192.0.2.7"),
        // A proxy that looks whether the gateway is there.
        (&version_2(0, [192, 0, 2, 7]), "127.0.0.1"),
    ];
    let mut expected = Vec::new();
    for (header, client) in headers {
        served(&app, header).unwrap();
        expected.extend([client, client]);
    }
    until("the log", SOON, || (clients(&app) == expected).then_some(()));

    // Whatever comes in whatever pieces is read no further than it reaches.
    let mut slow = app.anonymous().connect();
    for byte in b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n" {
        slow.write(&[*byte]).unwrap();
    }
    slow.exchange(GET).unwrap().fails(404, "key_not_found", "");
}

#[test]
fn a_trusted_proxy_says_whom_it_speaks_for() {
    let app = App::with(&[TRUSTED, PROTOCOL, "limits.handshakeTimeout=1s"]);
    let mut long = version_2(1, [192, 0, 2, 7]);
    long[14] = 0xff;
    let long_line = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
    let wrong: [&[u8]; 6] =
        [b"", b"PROXY TCP4 192.0.2.1\r\n", b"PROXY nonsense\r\n", b"\r\n\r\n\0\r\nQUIT\n\xff\x11\0\x0cabcdefghijkl", &long, &long_line];
    for header in wrong {
        assert!(served(&app, header).is_err(), "{}", header.escape_ascii());
    }
    // Who is turned away may notice before it is counted.
    until("the count", SOON, || (app.gateway.metric(FAILED) >= 6.0).then_some(()));
    // Nor is it waited for.
    let mut half = app.anonymous().connect();
    half.write(b"PROXY TCP4 ").unwrap();
    assert!(half.read().is_err());
    until("the count", SOON, || (app.gateway.metric("dbx_connection_failures_total{reason=\"timeout\"}") > 0.5).then_some(()));
    // What is logged is what was served, which is this.
    served(&app, b"PROXY UNKNOWN\r\n").unwrap();
    until("the log", SOON, || (clients(&app) == ["127.0.0.1"; 2]).then_some(()));
}

#[test]
fn who_is_not_trusted_is_not_believed() {
    let app = App::with(&["listen.trustedProxies=192.0.2.0/24", PROTOCOL, "listen.forwarded=x-forwarded-for"]);
    let mut connection = app.anonymous().connect();
    connection.exchange(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n\r\n").unwrap().fails(400, "bad_encoding", "");
    app.anonymous().with("X-Forwarded-For", "203.0.113.7").get("keys/nothing").fails(404, "key_not_found", "");
    until("the log", SOON, || (clients(&app) == ["127.0.0.1"]).then_some(()));
}

#[test]
fn headers_tell_the_client_of_each_request() {
    for (setting, header, value, client) in [
        ("x-forwarded-for", "X-Forwarded-For", "203.0.113.7, 192.0.2.1, 127.0.0.9", "192.0.2.1"),
        ("x-forwarded-for", "Forwarded", "for=192.0.2.1", "127.0.0.1"),
        ("forwarded", "Forwarded", "for=203.0.113.7, for=\"[2001:db8::1]:4711\";proto=https", "2001:db8::1"),
        ("none", "X-Forwarded-For", "192.0.2.1", "127.0.0.1"),
    ] {
        let app = App::with(&[TRUSTED, &format!("listen.forwarded={setting}")]);
        let mut connection = app.anonymous().connect();
        connection.exchange(&app.anonymous().with(header, value).request("GET", "keys/nothing", None)).unwrap();
        connection.exchange(GET).unwrap();
        until("the log", SOON, || (clients(&app) == [client, "127.0.0.1"]).then_some(()));
    }
}

#[test]
fn connections_of_an_address_are_bounded() {
    let app = App::with(&[TRUSTED, PROTOCOL, "limits.maxConnectionsPerAddress=2"]);
    let line = |address: &str| format!("PROXY TCP6 {address} ::1 4711 80\r\n").into_bytes();
    let mut held: Vec<_> = ["2001:db8::1", "2001:db8::2"].map(|address| served(&app, &line(address)).unwrap()).into();
    let mut refused = app.anonymous().connect();
    let problem = refused.exchange(&[&line("2001:db8::3"), GET].concat()).unwrap().fails(429, "too_many_connections", "");
    assert_eq!(problem["retryable"], true);
    // Others are let in.
    held.push(served(&app, &line("2001:db8:0:1::1")).unwrap());
    held.remove(0);
    until("room", SOON, || {
        let mut connection = app.anonymous().connect();
        (connection.exchange(&[&line("2001:db8::3"), GET].concat()).ok()?.status == 404).then_some(())
    });
}
