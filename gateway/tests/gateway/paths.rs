//! Keys in paths hold any byte, straight and through a proxy that hands on the path as it came.

use std::{
    fs,
    process::{Command, Stdio},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::support::{App, Client, Connection, Port, Process, SOON, until};

/// Keys and how a path holds them.
const KEYS: &[(&[u8], &str)] = &[
    (b"a/b", "a%2Fb"),
    (b"/", "%2F"),
    (b"a//b/", "a%2F%2fb%2F"),
    (b"\0", "%00"),
    (b"\xff\xfe", "%FF%fe"),
    (b"a%2Fb", "a%252Fb"),
    (b"50%", "50%25"),
    (b"a b", "a%20b"),
    (b"a+b", "a+b"),
    (b"a?b#c&d=e", "a%3Fb%23c%26d=e"),
    (b"...", "..."),
    (b".a", ".a"),
    (b"a/../b", "a%2F..%2Fb"),
    (b"a/./b", "a%2F.%2Fb"),
    ("Grüße 🦀".as_bytes(), "Gr%C3%BC%C3%9Fe%20%F0%9F%A6%80"),
    (b"a:b;c,d@e!$'()*~", "a:b;c,d@e!$'()*~"),
    (b"line\r\nbreak\ttab", "line%0D%0Abreak%09tab"),
    (b"pipeline", "pipeline"),
];

/// Keys that no path can hold: only by name, or as `keyBase64`.
const BY_BASE64: &[&[u8]] = &[b"", b".", b"..", b"a/b", b"\0", b"\xff", b"+/="];

fn keys_survive(app: &App, client: &Client, keys: &[(&[u8], &str)]) {
    let raw = client.with("Content-Type", "application/octet-stream").with("Accept", "application/octet-stream");
    let json = client.with("Accept", "application/json");
    for (key, segment) in keys {
        app.redis.clear();
        let name = key.escape_ascii();
        assert_eq!(client.put(&format!("strings/{segment}"), format!("{{\"value\":\"{segment}\"}}")).status, 200, "{name}");
        assert_eq!(app.redis.run(&[b"GET", key]), *segment, "{name} is not where it should be");
        assert_eq!(raw.get(&format!("strings/{segment}")).text(), *segment, "{name}");
        assert_eq!(json.get(&format!("keys/{segment}")).json()["result"]["type"], "string", "{name}");
        client.patch(&format!("keys/{segment}"), r#"{"seconds":60}"#).is(r#"{"result":1}"#);
        client.delete(&format!("keys/{segment}")).is(r#"{"result":1}"#);
        assert_eq!(app.redis.line("DBSIZE"), "0", "{name}");
    }
    for key in BY_BASE64 {
        app.redis.clear();
        let name = key.escape_ascii();
        let key64 = BASE64_STANDARD.encode(key).replace('+', "%2B").replace('/', "%2F");
        for place in ["strings", "strings/"] {
            client.put(&format!("{place}?keyBase64={key64}"), r#"{"value":"v"}"#).is(r#"{"result":"OK"}"#);
            assert_eq!(app.redis.run(&[b"GET", key]), "v", "{name}");
            client.get(&format!("{place}?keyBase64={key64}")).is(r#"{"result":"v"}"#);
        }
        for place in ["keys/", "strings/"] {
            app.redis.run(&[b"SET", key, b"v"]);
            if place == "keys/" {
                assert_eq!(client.get(&format!("{place}?keyBase64={key64}")).json()["result"]["type"], "string", "{name}");
                client.patch(&format!("{place}?keyBase64={key64}"), r#"{"seconds":60}"#).is(r#"{"result":1}"#);
            }
            client.delete(&format!("{place}?keyBase64={key64}")).is(r#"{"result":1}"#);
            assert_eq!(app.redis.line("DBSIZE"), "0", "{name}");
        }
        // By name, in base64.
        let key64 = BASE64_STANDARD.encode(key);
        client.post("set?encoding=base64", format!("{{\"key\":\"{key64}\",\"value\":\"dg==\"}}")).is(r#"{"result":"OK"}"#);
        assert_eq!(app.redis.run(&[b"GET", key]), "v", "{name}");
    }
}

#[test]
fn keys_hold_any_byte() {
    let app = App::start();
    let client = app.anonymous();
    keys_survive(&app, &client, KEYS);
    for (key, text) in [("", ""), (".", "."), ("..", ".."), ("\0", "\\u0000"), ("a/b", "a/b")] {
        client.post("set", format!("{{\"key\":\"{text}\",\"value\":\"by name\"}}")).is(r#"{"result":"OK"}"#);
        assert_eq!(app.redis.run(&[b"GET", key.as_bytes()]), "by name");
    }
}

#[test]
fn what_no_path_can_hold_is_refused() {
    let app = App::start();
    let client = app.anonymous();
    for segment in ["%zz", "%", "%2", "a%4", "%%41"] {
        client.get(&format!("strings/{segment}")).fails(400, "bad_encoding", "path");
        client.put(&format!("strings/{segment}"), r#"{"value":"1"}"#).fails(400, "bad_encoding", "path");
        client.delete(&format!("keys/{segment}")).fails(400, "bad_encoding", "path");
    }
    for segment in [".", "..", "%2e", "%2E%2e", ".%2E"] {
        client.get(&format!("strings/{segment}")).fails(400, "invalid_argument", "key");
        client.delete(&format!("keys/{segment}")).fails(400, "invalid_argument", "key");
    }
    // The empty key is in no path, and a path is not the next shorter one.
    for path in ["strings/", "strings//", "strings/a/", "strings/a/b", "keys/", "/api/v1/redis//strings/a", "nothing/here"] {
        client.get(path).fails(404, "route_not_found", "");
        client.delete(path).fails(404, "route_not_found", "");
    }
    client.get("strings?keyBase64=%%%").fails(400, "bad_encoding", "query");
    client.get("strings?keyBase64=*").fails(400, "bad_encoding", "keyBase64");
    client.get("strings/a?keyBase64=YQ==").fails(404, "route_not_found", "");
    client.get("strings/a?x=%FF").fails(400, "bad_encoding", "query");
    assert_eq!(app.redis.line("DBSIZE"), "0");
}

/// A real nginx in front of the gateway, as an ingress that hands on the raw path.
struct Proxy {
    port: Port,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn start(upstream: u16) -> Self {
        let (port, folder) = (Port::reserve(), tempfile::tempdir().unwrap());
        let home = folder.path().display();
        let config = format!(
            "daemon off; master_process off; pid {home}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {home}/a; proxy_temp_path {home}/b; fastcgi_temp_path {home}/c;\n\
             uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;\n\
             server {{ listen 127.0.0.1:{}; location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }} }}\n",
            port.number
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        // Debian keeps it where only root's PATH looks.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("nginx");
        command.env("PATH", path).arg("-p").arg(folder.path()).arg("-c").arg(&file).args(["-e", "stderr"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start(&mut command, "`scripts/tools proxy` installs nginx");
        until("nginx", SOON, || Connection::open(port.number).ok());
        Self { port, _process: process, _folder: folder }
    }
}

#[test]
fn keys_survive_a_proxy() {
    let app = App::start();
    let proxy = Proxy::start(app.gateway.data.number);
    let client = Client::new(proxy.port.number);
    // nginx answers any path with `%00` itself: NUL goes through a proxy as `keyBase64`, or by name.
    let keys: Vec<_> = KEYS.iter().copied().filter(|(key, _)| !key.contains(&0)).collect();
    keys_survive(&app, &client, &keys);
    client.get("strings/missing").fails(404, "key_not_found", "");
}
