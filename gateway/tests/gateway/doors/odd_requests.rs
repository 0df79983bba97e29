//! Requests that two readers could read in two ways, and paths that try to get somewhere else. Each has one answer.

use std::io::{Read, Write};

use crate::support::App;

const BODY: &str = r#"{"key":"a"}"#;

/// What is answered to bytes, up to the end of the connection or, if it stays open, the answer to a last good request.
fn answers(app: &App, bytes: &[u8]) -> (Vec<u16>, String) {
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", app.gateway.data.number)).unwrap();
    socket.set_read_timeout(Some(crate::support::SOON)).unwrap();
    // Whoever closes before all is read may make writing fail.
    let _ = socket.write_all(bytes);
    let _ = socket.write_all(b"GET /api/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut said = Vec::new();
    let _ = socket.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).into_owned();
    let statuses = said.match_indices("HTTP/1.1 ").filter_map(|(at, word)| said[at + word.len()..].get(..3)?.parse().ok()).collect();
    (statuses, said)
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /api/v1/redis/get HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}").into_bytes()
}

fn get(target: &str) -> Vec<u8> {
    [b"GET ".as_slice(), target.as_bytes(), b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()
}

fn with(headers: &str) -> Vec<u8> {
    format!("GET /api/v1/redis/strings/a HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
}

/// Holds cases to their statuses and code. A last 200 is that of the good request behind: the connection was kept.
fn check(cases: &[(&str, Vec<u8>, &[u16], &str)]) {
    let app = App::start();
    for (name, bytes, statuses, code) in cases {
        let (found, said) = answers(&app, bytes);
        assert_eq!(found, *statuses, "{name}: {said}");
        assert!(said.contains(&format!("\"code\":\"{code}\"")) || code.is_empty(), "{name}: {said}");
    }
    // Nothing of it was done.
    assert_eq!(app.redis.line("DBSIZE"), "0");
}

#[test]
fn a_request_has_one_length() {
    let chunks = format!("b\r\n{BODY}\r\n0\r\n\r\n");
    let smuggled = format!("{chunks}DELETE /api/v1/redis/keys?key=a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    check(&[
        ("the same length twice", post("Content-Length: 11\r\nContent-Length: 11\r\n", BODY), &[200, 200], ""),
        ("two lengths", post("Content-Length: 11\r\nContent-Length: 0\r\n", BODY), &[400], "bad_encoding"),
        ("a list of lengths", post("Content-Length: 11, 11\r\n", BODY), &[400], "bad_encoding"),
        ("a signed length", post("Content-Length: +11\r\n", BODY), &[400], "bad_encoding"),
        ("a negative length", post("Content-Length: -1\r\n", BODY), &[400], "bad_encoding"),
        ("a length beyond all numbers", post("Content-Length: 99999999999999999999999\r\n", BODY), &[400], "bad_encoding"),
        ("a length beyond the limit", post("Content-Length: 99999999999\r\n", ""), &[413], "body_too_large"),
        // Chunks count, and what comes behind is not read: the connection ends.
        ("chunks and a length", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &smuggled), &[200], ""),
        ("a length and chunks", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &smuggled), &[200], ""),
        ("chunks", post("Transfer-Encoding: chunked\r\n", &chunks), &[200, 200], ""),
        ("another coding", post("Transfer-Encoding: xchunked\r\n", &chunks), &[400], "bad_encoding"),
        ("chunks that are coded", post("Transfer-Encoding: chunked, gzip\r\n", &chunks), &[400], "bad_encoding"),
        (
            "chunks in a second header",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &chunks),
            &[400],
            "bad_encoding",
        ),
        ("a space before the colon", post("Transfer-Encoding : chunked\r\n", &chunks), &[400], "bad_encoding"),
        ("a compressed body", post("Content-Encoding: gzip\r\nContent-Length: 11\r\n", BODY), &[415, 200], "unsupported_media_type"),
    ]);
}

#[test]
fn broken_chunks_end_the_connection() {
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let app = App::start();
    for (name, bytes, status, code) in [
        ("no number", chunked(&format!("zz\r\n{BODY}\r\n0\r\n\r\n")), 400, "bad_encoding"),
        ("a bare line feed", chunked(&format!("b\n{BODY}\n0\n\n")), 400, "bad_encoding"),
        ("one in an extension", chunked(&format!("b;x=\n{BODY}\r\n0\r\n\r\n")), 400, "bad_encoding"),
        ("a number beyond all", chunked(&format!("fffffffffffffffff\r\n{BODY}\r\n0\r\n\r\n")), 400, "bad_encoding"),
        ("coded chunks", post("Transfer-Encoding: gzip, chunked\r\n", &format!("b\r\n{BODY}\r\n0\r\n\r\n")), 415, "unsupported_media_type"),
    ] {
        let (found, said) = answers(&app, &bytes);
        assert_eq!(found.first(), Some(&status), "{name}: {said}");
        assert!(said.contains(code), "{name}: {said}");
    }
}

#[test]
fn lines_and_headers_are_those_of_http() {
    let many: String = (0..100).map(|number| format!("X-{number}: a\r\n")).collect();
    check(&[
        ("a folded header", with("X-A: b\r\n c\r\n"), &[400], "bad_encoding"),
        ("a bare carriage return", with("X-A: b\rc\r\n"), &[400], "bad_encoding"),
        ("NUL in a value", with("X-A: b\0c\r\n"), &[400], "bad_encoding"),
        ("NUL in a name", with("X\0A: b\r\n"), &[400], "bad_encoding"),
        ("no name", with(": b\r\n"), &[400], "bad_encoding"),
        // RFC 9112 lets a server read a line feed as the end of a line; nothing in front of it may do otherwise.
        ("bare line feeds", b"GET /api/v1/redis/strings/a HTTP/1.1\nHost: localhost\n\n".to_vec(), &[404, 200], "key_not_found"),
        ("two hosts", with("Host: localhost\r\n"), &[400, 200], "bad_encoding"),
        ("no host", b"GET /api/v1/redis/strings/a HTTP/1.1\r\n\r\n".to_vec(), &[403, 200], "forbidden"),
        ("too many headers", with(&many), &[431], "headers_too_large"),
        ("HTTP/0.9", b"GET /\r\n".to_vec(), &[400], "bad_encoding"),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n".to_vec(), &[400], "bad_encoding"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[], ""),
        (
            "an upgrade to HTTP/2",
            with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            &[404, 200],
            "",
        ),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400], "bad_encoding"),
    ]);
}

#[test]
fn targets_lead_nowhere_else() {
    check(&[
        ("an absolute one", get("http://localhost/api/v1/redis/strings/a"), &[404, 200], "key_not_found"),
        ("that of another host", get("http://evil.example/api/v1/redis/strings/a"), &[403, 200], "forbidden"),
        ("a name before it", get("http://localhost@evil.example/api/v1/redis/strings/a"), &[403, 200], "forbidden"),
        ("the server as such", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), &[404, 200], "route_not_found"),
        ("a tunnel", b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), &[404, 200], "route_not_found"),
        ("dots", get("/api/v1/redis/../../metrics"), &[404, 200], ""),
        ("dots as a key", get("/api/v1/redis/strings/.."), &[400, 200], "invalid_argument"),
        ("encoded dots as a key", get("/api/v1/redis/strings/%2e%2E"), &[400, 200], "invalid_argument"),
        ("encoded dots", get("/api/v1/redis/strings/%2e%2e/keys/a"), &[404, 200], "route_not_found"),
        ("encoded slashes", get("/api/v1/redis%2Fstrings%2Fa"), &[404, 200], "unknown_database"),
        ("backslashes", get("/api/v1/redis\\strings\\a"), &[404, 200], "unknown_database"),
        ("more slashes", get("//api/v1/redis/strings/a"), &[404, 200], "route_not_found"),
        // Keys hold any byte, these as well.
        ("NUL in a key", get("/api/v1/redis/strings/a%00b"), &[404, 200], "key_not_found"),
        ("what UTF-8 does not have", get("/api/v1/redis/strings/%c0%af"), &[404, 200], "key_not_found"),
        ("the same as it is", [b"GET /api/v1/redis/strings/\xc0\xaf", &b" HTTP/1.1\r\n\r\n"[..]].concat(), &[400], "bad_encoding"),
        ("NUL as it is", get("/api/v1/redis/strings/\0"), &[400], "bad_encoding"),
        ("a space", get("/api/v1/redis/strings/a b"), &[400], "bad_encoding"),
        ("a long one", get(&format!("/api/v1/redis/strings/{}", "a".repeat(9000))), &[414, 200], "uri_too_long"),
        ("one beyond the headers", get(&format!("/api/v1/redis/strings/{}", "a".repeat(70_000))), &[431], "headers_too_large"),
    ]);
}

#[test]
fn a_body_that_nobody_reads_is_no_request() {
    let inner = "DELETE /api/v1/redis/keys?key=a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let outer = with(&format!("Content-Length: {}\r\n", inner.len()));
    check(&[("a body of GET", [outer, inner.as_bytes().to_vec()].concat(), &[404, 200], "key_not_found")]);
}
