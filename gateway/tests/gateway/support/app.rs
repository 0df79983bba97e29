//! A gateway with a Redis of its own, and one way to ask an operation over every transport.

use dbx_gateway::operation::{self, Mode};
use serde_json::{Value, json};

use super::{Client, Gateway, Redis, Response};

pub struct App {
    pub gateway: Gateway,
    pub redis: Redis,
}

/// What a call has to end in.
#[derive(Clone, Copy)]
pub enum Expected<'a> {
    /// This answer, byte for byte.
    Answer(&'a str),
    /// An answer of this shape.
    Like(&'a str),
    /// An error with this status, code and parameter.
    Error(u16, &'a str, &'a str),
}

/// One way to call.
struct Transport {
    /// What to call and its arguments; the answer's text or the problem.
    call: fn(&Client, &str, &str) -> Result<String, Value>,
    /// Others would wait behind a call that waits, so it is refused.
    shares: bool,
}

const TRANSPORTS: &[Transport] = &[
    Transport { call: by_name, shares: false },
    Transport { call: in_a_pipeline, shares: true },
    Transport { call: over_a_socket, shares: false },
];

impl App {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(settings: &[&str]) -> Self {
        let redis = Redis::start();
        Self { gateway: Gateway::start(&redis, settings), redis }
    }

    /// A client that says nothing of who it is.
    pub fn anonymous(&self) -> Client {
        self.gateway.anonymous()
    }

    /// Calls an operation over every transport, each time with the same data, and holds each answer to the same expectation.
    #[track_caller]
    pub fn check(&self, given: &[&str], op: &str, args: &str, expected: Expected<'_>) {
        for transport in TRANSPORTS {
            self.redis.clear();
            for line in given {
                let reply = self.redis.line(line);
                assert!(!reply.starts_with('-'), "{line}: {reply}");
            }
            let waits = operation::find(op).is_some_and(|id| matches!(id.operation().mode, Mode::Blocking(_)));
            let expected = if waits && transport.shares { Expected::Error(400, "wrong_transport", "") } else { expected };
            let found = (transport.call)(&self.anonymous(), op, args);
            match (expected, found) {
                (Expected::Answer(answer), Ok(found)) => assert_eq!(found, answer, "{op} {args}"),
                (Expected::Like(answer), Ok(found)) => {
                    let (answer, found) = (serde_json::from_str(answer).unwrap(), serde_json::from_str(&found).unwrap());
                    assert!(alike(&answer, &found), "{op} {args}: {found} is not like {answer}");
                }
                (Expected::Error(status, code, param), Err(problem)) => {
                    let param = if param.is_empty() { Value::Null } else { param.into() };
                    let found = (&problem["status"], &problem["code"], &problem["param"]);
                    assert_eq!(found, (&status.into(), &code.into(), &param), "{op} {args}: {problem}");
                }
                (_, found) => panic!("{op} {args}: {found:?}"),
            }
        }
    }
}

fn by_name(client: &Client, op: &str, args: &str) -> Result<String, Value> {
    let response: Response = client.post(op, args);
    if response.status == 200 {
        assert_eq!(response.header("content-type"), Some("application/json"));
        return Ok(response.text());
    }
    Err(response.fails(response.status, response.json()["code"].as_str().unwrap(), response.json()["param"].as_str().unwrap_or_default()))
}

/// Between two other calls, which it must not disturb.
fn in_a_pipeline(client: &Client, op: &str, args: &str) -> Result<String, Value> {
    let other = json!({ "op": "exists", "args": { "keys": ["nothing"] } });
    let response = client.post("pipeline", format!("{{\"calls\":[{other},{{\"op\":\"{op}\",\"args\":{args}}},{other}]}}"));
    assert_eq!(response.status, 200, "{op}: {}", response.text());
    let text = response.text();
    let (before, after) = (r#"{"result":[{"result":0},"#, r#",{"result":0}]}"#);
    let inner = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).unwrap_or_else(|| panic!("{op}: {text}"));
    let answer: Value = serde_json::from_str(inner).unwrap();
    if answer["error"].is_null() { Ok(inner.to_owned()) } else { Err(answer["error"].clone()) }
}

/// Between two other calls, which it must not disturb. What is no call has tests of its own.
fn over_a_socket(client: &Client, op: &str, args: &str) -> Result<String, Value> {
    if operation::find(op).is_some_and(|id| id.operation().mode != Mode::Call) {
        return by_name(client, op, args);
    }
    let mut socket = client.socket("ws");
    let other = |id: &str| format!(r#"{{"id":"{id}","op":"exists","args":{{"keys":["nothing"]}}}}"#);
    socket.send(&other("before"));
    socket.send(&format!(r#"{{"id":1,"op":"{op}","args":{args}}}"#));
    socket.send(&other("after"));
    let mut answers: Vec<String> = (0..3).map(|_| socket.text()).collect();
    for id in ["before", "after"] {
        let other = format!(r#"{{"id":"{id}","result":0}}"#);
        let at = answers.iter().position(|answer| *answer == other).unwrap_or_else(|| panic!("{op}: {answers:?}"));
        answers.remove(at);
    }
    socket.close();
    let rest = answers[0].strip_prefix(r#"{"id":1,"#).unwrap_or_else(|| panic!("{op}: {answers:?}"));
    let inner = format!("{{{rest}");
    let answer: Value = serde_json::from_str(&inner).unwrap();
    if answer["error"].is_null() { Ok(inner) } else { Err(answer["error"].clone()) }
}

/// Whether two values have the same types in the same places.
pub fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(ones), Value::Array(others)) => match (ones.first(), others.first()) {
            (Some(one), Some(other)) => alike(one, other),
            _ => true,
        },
        (Value::Object(ones), Value::Object(others)) => {
            ones.len() == others.len() && ones.iter().all(|(name, one)| others.get(name).is_some_and(|other| alike(one, other)))
        }
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}
