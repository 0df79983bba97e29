//! Valid requests made invalid at random: each is answered, none by a mistake of the gateway's own, and none costs memory that
//! is not given back. `DBXDEV_MUTATIONS=100000` sends as many as that; `DBXDEV_SEED` repeats a run.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use dbx_gateway::operation::{self, Class, Mode};
use serde_json::{Map, Value, json};

use crate::support::{Client, Connection, Gateway, Random, Redis, Response};

const CLIENTS: u64 = 8;
const FEW: usize = 20_000;

/// What the gateway may hold more at the end than after the first tenth.
const GROWTH_KIB: u64 = 24 << 10;

const METHODS: &[&str] = &["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "BREW", "get", "G\u{7f}T"];
const HEADERS: &[(&str, &str)] = &[
    ("Accept", "application/octet-stream"),
    ("Accept", "text/html;q=0.1,*/*;q=0"),
    ("Accept-Encoding", "gzip, zstd"),
    ("Authorization", "Bearer dbx_x"),
    ("Content-Type", "application/octet-stream"),
    ("Content-Type", "text/plain; charset=x"),
    ("Content-Encoding", "gzip"),
    ("DBX-Timeout", "1ms"),
    ("DBX-Timeout", "-1s"),
    ("Host", "evil.example"),
    ("Host", "[::1]:99999"),
    ("Idempotency-Key", "1"),
    ("If-Match", "\"x\""),
    ("If-None-Match", "*"),
    ("Origin", "null"),
    ("Range", "bytes=5-2"),
    ("Range", "bytes=-1"),
    ("Range", "bytes=0-1,5-"),
    ("Connection", "close"),
    ("X-Request-Id", "\t"),
    ("Accept", "application/json;q=x"),
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Cookie", "a=b"),
    ("DBX-Timeout", "99999999999999999999h"),
    ("If-Match", "W/\"x\", *"),
    ("Idempotency-Key", "\u{fffd}"),
    ("Upgrade", "websocket"),
];
const PIECES: &[&str] = &[
    "%",
    "%0",
    "%00",
    "%FF",
    "%2F",
    "%zz",
    "/",
    "//",
    "..",
    ".",
    "?",
    "&",
    "=",
    "#",
    "+",
    "{",
    "}",
    "\"",
    "\\",
    "\u{fffd}",
    " ",
    "a",
    "0",
    "-1",
    "\t",
    "?encoding=base64",
    "&encoding=utf16",
    "?integers=string",
    "?timeout=1ms",
    "?keyBase64=YQ==",
    "?keyBase64=!",
    "?cursor=0",
    "&count=2",
];

/// A request in its parts. Its length is always told as it is.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Request {
    fn new(method: &str, path: &str, body: Option<&str>) -> Self {
        let path = if path.starts_with("/api") || path.starts_with("/docs") { path.to_owned() } else { format!("/api/v1/redis/{path}") };
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: body.map(Into::into) }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.method.as_bytes(), b" ", &self.path, b" HTTP/1.1\r\n"].concat();
        if self.headers.iter().all(|(name, _)| name != "Host") {
            bytes.extend_from_slice(b"Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        if let Some(body) = &self.body {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(body);
        } else {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    fn mutate(&mut self, random: &mut Random) {
        match random.below(10) {
            0 => self.method = (*random.pick(METHODS)).into(),
            1 | 2 => mutate_bytes(&mut self.path, random),
            3 => self.path.extend_from_slice(random.pick(PIECES).as_bytes()),
            4 => {
                let (name, value) = *random.pick(HEADERS);
                self.headers.push((name.into(), value.into()));
            }
            5 => match self.headers.last_mut() {
                Some((_, value)) if random.below(4) > 0 => mutate_bytes(value, random),
                // Given twice, or under a name that is nearly it.
                Some(header) => {
                    let (name, value) = header.clone();
                    self.headers.push((if random.below(2) == 0 { name } else { format!("X-{name}") }, value));
                }
                None => self.body = random.pick(&[None, Some(b"{}".to_vec()), Some(b"[".to_vec())]).clone(),
            },
            6 => {
                if let Some(body) = &mut self.body {
                    mutate_bytes(body, random);
                }
            }
            _ => {
                let value = self.body.as_deref().and_then(|body| serde_json::from_slice(body).ok());
                if let Some(mut value) = value {
                    mutate_value(&mut value, random, 0);
                    self.body = Some(value.to_string().into_bytes());
                }
            }
        }
        // These end a line, and what follows would be another request.
        let no_line = |bytes: &mut Vec<u8>| bytes.retain(|byte| !b"\r\n".contains(byte));
        no_line(&mut self.path);
        self.headers.iter_mut().for_each(|(_, value)| no_line(value));
    }
}

fn mutate_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(5) {
        0 => bytes.truncate(at),
        1 => {
            bytes.splice(at..at, random.pick(PIECES).bytes());
        }
        2 if at < bytes.len() => bytes[at] = random.next().to_le_bytes()[0],
        3 if at < bytes.len() => drop(bytes.remove(at)),
        _ => {
            let again = bytes[at..].to_vec();
            bytes.extend(again);
        }
    }
}

/// Changes one value in a document, which may be all of it.
fn mutate_value(value: &mut Value, random: &mut Random, depth: usize) {
    if depth < 6 && random.below(4) > 0 {
        match value {
            Value::Object(members) if !members.is_empty() => {
                let name = members.keys().nth(random.below(members.len())).unwrap().clone();
                return match random.below(6) {
                    0 => drop(members.remove(&name)),
                    1 => {
                        let moved = members.remove(&name).unwrap();
                        members.insert(odd(random).as_str().unwrap_or("x").into(), moved);
                    }
                    2 => drop(members.insert(format!("{name}s"), members[&name].clone())),
                    _ => mutate_value(&mut members[&name], random, depth + 1),
                };
            }
            Value::Array(elements) if !elements.is_empty() => {
                let at = random.below(elements.len());
                return match random.below(5) {
                    0 => drop(elements.remove(at)),
                    1 => elements.push(elements[at].clone()),
                    _ => mutate_value(&mut elements[at], random, depth + 1),
                };
            }
            Value::String(text) if random.below(2) == 0 => {
                let mut bytes = std::mem::take(text).into_bytes();
                mutate_bytes(&mut bytes, random);
                *text = String::from_utf8_lossy(&bytes).into_owned();
                return;
            }
            _ => {}
        }
    }
    *value = odd(random);
}

fn odd(random: &mut Random) -> Value {
    match random.below(16) {
        0 => Value::Null,
        1 => true.into(),
        2 => false.into(),
        3 => json!(i64::MAX),
        4 => json!(i64::MIN),
        5 => json!(u64::MAX),
        6 => json!(-1.5e300),
        7 => json!(0),
        8 => json!([]),
        9 => json!({}),
        10 => "".into(),
        11 => "x".repeat(random.below(5000)).into(),
        12 => (0..random.below(120)).fold(json!(1), |inner, _| json!([inner])),
        13 => (*random.pick(&["\0", "inf", "-inf", "nan", "(1", "-", "+", "*", "$", "YQ==", "\u{1F980}", "9223372036854775808"])).into(),
        14 => Value::Object(Map::from_iter([("key".to_owned(), json!("a")), ("x".to_owned(), Value::Null)])),
        _ => json!(random.below(10)),
    }
}

/// Requests that are right: every operation that is no administrator's by its example, every route, and the rest.
fn valid() -> Vec<Request> {
    let mut valid = Vec::new();
    for operation in operation::all() {
        if operation.mode != Mode::Call || operation.access.class == Class::Admin {
            continue;
        }
        let example = operation.example;
        valid.push(Request::new("POST", operation.name, Some(example.arguments)));
        let call = format!("{{\"calls\":[{{\"op\":\"{}\",\"args\":{}}}]}}", operation.name, example.arguments);
        valid.push(Request::new("POST", "pipeline", Some(&call)));
        let watched = call.replacen('{', r#"{"watch":[{"key":"a","equals":"1"},{"key":"b","absent":true}],"#, 1);
        valid.push(Request::new("POST", "transaction", Some(&watched)));
        for line in example.given {
            let command = json!({ "command": line.split(' ').collect::<Vec<_>>() }).to_string();
            valid.push(Request::new("POST", "raw", Some(&command)));
        }
        for route in operation.routes {
            let path: Vec<&str> = route.template[1..].split('/').map(|part| if part.starts_with('{') { "a" } else { part }).collect();
            let path = path.join("/");
            if matches!(route.method.name(), "PUT" | "PATCH" | "POST") {
                valid.push(Request::new(route.method.name(), &path, Some(example.arguments)));
            } else {
                valid.push(Request::new(route.method.name(), &format!("{path}{}", query(example.arguments)), None));
            }
        }
    }
    for path in ["strings/a", "hashes/a/fields/b", "strings/a?ex=9&nx=true"] {
        let mut octets = Request::new("PUT", path, Some("\u{1F980}"));
        octets.headers.push(("Content-Type".into(), b"application/octet-stream".to_vec()));
        valid.push(octets);
    }
    // Among them what does not end.
    valid.extend(["channels/a", "channels?pattern=a*", "streams/a?follow=true"].map(|path| Request::new("GET", path, None)));
    valid.extend(["/api/v1", "/api/v1/redis", "/api/v1/whoami", "/docs/errors"].map(|path| Request::new("GET", path, None)));
    valid
}

/// Arguments as a query, but for those in the path.
fn query(arguments: &str) -> String {
    let arguments: Map<String, Value> = serde_json::from_str(arguments).unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace([' ', '"'], "+");
    let pairs: Vec<String> =
        arguments.iter().filter(|(name, _)| *name != "key").map(|(name, value)| format!("{name}={}", text(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// Sends requests made from valid ones; what is wrong with the first answer that is.
fn send(
    client: &Client,
    valid: &[Request],
    random: &mut Random,
    count: usize,
    stop: &AtomicBool,
    seen: &mut [usize; 6],
) -> Result<(), String> {
    let mut connection = None;
    for _ in 0..count {
        if stop.load(Relaxed) {
            break;
        }
        let mut request = random.pick(valid).clone();
        for _ in 0..random.below(4) {
            request.mutate(random);
        }
        let said = || format!("{}\n{}", String::from_utf8_lossy(&request.path), request.bytes().escape_ascii());
        let response = exchange(client, &mut connection, &request).map_err(|error| format!("{error}: {}", said()))?;
        seen[usize::from(response.status / 100)] += 1;
        // Neither a mistake of the gateway's, nor one of Redis's, which is there all the time.
        if matches!(response.status, 500 | 502 | 503) || response.header("x-request-id").is_none() {
            return Err(format!("{} {}: {}", response.status, response.text(), said()));
        }
    }
    Ok(())
}

/// A connection may have been closed after the answer before; a new one is answered.
fn exchange(client: &Client, connection: &mut Option<Connection>, request: &Request) -> std::io::Result<Response> {
    let bytes = request.bytes();
    let exchange = |mut open: Connection| -> std::io::Result<_> {
        open.head_only = request.method == "HEAD";
        let response = open.exchange(&bytes)?;
        let is_over = response.header("connection") == Some("close") || response.is_stream();
        Ok((response, (!is_over).then_some(open)))
    };
    let result = match connection.take().map(exchange) {
        None => exchange(client.try_connect()?),
        Some(Err(error)) if error.kind() != std::io::ErrorKind::WouldBlock => exchange(client.try_connect()?),
        Some(result) => result,
    };
    result.map(|(response, open)| {
        *connection = open;
        response
    })
}

#[test]
fn mutated_requests_are_answered_and_forgotten() {
    let seed = Random::seed();
    let count = std::env::var("DBXDEV_MUTATIONS").map_or(FEW, |count| count.parse().expect("DBXDEV_MUTATIONS is a number"));
    println!("DBXDEV_SEED={seed} repeats this");
    // Redis is kept from making what is large.
    let redis = Redis::with(&["--proto-max-bulk-len", "1mb", "--maxmemory", "64mb"]);
    let gateway = Gateway::start(&redis, &["log.access=false", "log.level=info"]);
    let valid = valid();
    let stop = AtomicBool::new(false);
    let mut all = [0; 6];
    let mut memory = Vec::new();
    for (round, count) in [count / 10, count - count / 10].into_iter().enumerate() {
        let results = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (valid, stop, caller) = (&valid, &stop, gateway.anonymous());
                    let mut random = Random::new(seed ^ (client << 32) ^ (round as u64) << 40);
                    scope.spawn(move || {
                        let mut seen = [0; 6];
                        let result = send(&caller, valid, &mut random, count / CLIENTS as usize, stop, &mut seen);
                        stop.fetch_or(result.is_err(), Relaxed);
                        (result, seen)
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        let mut failures = String::new();
        for (result, seen) in results {
            all.iter_mut().zip(seen).for_each(|(all, seen)| *all += seen);
            if let Err(failure) = result {
                writeln!(failures, "{failure}").unwrap();
            }
        }
        assert!(failures.is_empty(), "DBXDEV_SEED={seed}\n{failures}");
        memory.push(gateway.resident_kib());
    }
    println!(
        "{} requests from {} valid ones; by hundreds of their status: {all:?}; resident KiB: {memory:?}",
        all.iter().sum::<usize>(),
        valid.len()
    );
    assert!(memory[1] < memory[0] + GROWTH_KIB, "it holds {} KiB, after a tenth {} KiB", memory[1], memory[0]);
    gateway.anonymous().get("strings/missing").fails(404, "key_not_found", "");
}
