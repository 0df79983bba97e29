//! Every operation answers over HTTP and over a WebSocket what a plain client of the database gets for the same command and the same data.

use std::collections::BTreeSet;

use bytes::BytesMut;
use dbx_gateway::operation::arguments::Arguments;
use dbx_gateway::operation::encode::{Encoding, Plan, Rules};
use dbx_gateway::operation::render::Format;
use dbx_gateway::operation::shape::Shape;
use dbx_gateway::operation::{self, Group, Operation};
use dbx_gateway::resp::{Item, Reader};
use serde_json::Value;

use crate::family::Kind;
use crate::support::{Gateway, Redis, SOON, until};

const RULES: Rules = Rules { encoding: Encoding::Utf8, max_key_bytes: 1024, max_value_bytes: 1024 };

/// Operations whose answers to two calls in a row differ, and why. Of these the kinds of values are compared, if there are any.
static VARYING: &[(&str, &[&str])] = &[
    (
        "They tell the time, or how long something has been, also as an id",
        &["time", "lastsave", "object_idletime", "xinfo_consumers", "move_entry", "publish_and_keep"],
    ),
    ("They are about the connection, and these are two", &["client_getname", "client_id", "client_info", "client_list"]),
    ("It is random", &["acl_genpass"]),
    (
        "A node has another id whenever it is reset, and takes its own time to find out about itself",
        &["cluster_info", "cluster_myid", "cluster_myshardid", "cluster_nodes", "cluster_shards", "cluster_slots"],
    ),
    ("They measure the server, which has served more by then", &["memory_doctor", "memory_malloc_stats", "memory_stats", "latency_doctor"]),
    ("What a busy machine holds up is logged", &["slowlog_get", "slowlog_len", "commandlog_get", "commandlog_len"]),
];

#[test]
fn every_operation_answers_as_redis_does() {
    let varying = operation::all().iter().filter(|operation| VARYING.iter().any(|(_, names)| names.contains(&operation.name)));
    assert_eq!(varying.filter(|operation| !operation.example.exact).count(), VARYING.iter().map(|(_, names)| names.len()).sum::<usize>());
    let cluster = |operation: &Operation| operation.group == Group::Cluster;
    let mut called = conform(Kind::Redis, |operation| !cluster(operation));
    called.extend(conform(Kind::Cluster, cluster));
    assert_eq!(called.len(), operation::all().iter().filter(|operation| operation.mode.has_reply()).count());
}

#[test]
fn every_operation_answers_as_valkey_does() {
    let cluster = |operation: &Operation| operation.group == Group::Cluster;
    conform(Kind::Valkey, |operation| !cluster(operation));
    conform(Kind::ValkeyCluster, cluster);
}

#[test]
fn documents_are_answered_as_redis_stack_does() {
    let called = conform(Kind::Stack, |operation| operation.group == Group::Json);
    assert!(called.len() > 20, "{called:?}");
}

/// Compares operations on a server of a kind; those that were called.
fn conform(kind: Kind, chosen: impl Fn(&Operation) -> bool) -> BTreeSet<&'static str> {
    let redis = Redis::of(kind);
    let gateway = Gateway::start(&redis, &[]);
    let (mut called, mut answered, mut failures) = (BTreeSet::new(), 0, Vec::new());
    for operation in operation::all().iter().filter(|operation| operation.mode.has_reply() && chosen(operation)) {
        called.insert(operation.name);
        match compare(&redis, &gateway, operation) {
            Ok(has_answer) => answered += usize::from(has_answer),
            Err(difference) => failures.push(format!("{}: {difference}", operation.name)),
        }
    }
    assert!(failures.is_empty(), "{kind:?}\n{}", failures.join("\n"));
    println!("{kind:?}: {} operations called, {answered} answered, the others refused in the same words", called.len());
    called
}

/// Whether the call has an answer that is no error; the error is a difference.
fn compare(redis: &Redis, gateway: &Gateway, operation: &Operation) -> Result<bool, String> {
    let (name, arguments) = (operation.name, operation.example.arguments);
    let mut command = BytesMut::new();
    let plan = operation.encode_any(&Arguments::from_json(arguments.as_bytes()).unwrap(), &RULES, &mut command).unwrap();
    redis.clear();
    let unknown = gateway.anonymous().post(name, arguments);
    if unknown.status == 501 {
        let frame = redis.frame(&command);
        let lacks = frame.starts_with(b"-ERR unknown command") || frame.starts_with(b"-ERR unknown subcommand");
        return if lacks { Ok(false) } else { Err(format!("the server has it: {}", frame.escape_ascii())) };
    }
    let mut answered = false;
    for ask in [over_http, over_a_socket] {
        prepare(redis, operation);
        let answer = ask(gateway, operation);
        prepare(redis, operation);
        let frame = redis.frame(&command);
        answered = same(operation, &plan, &frame, answer)?;
    }
    Ok(answered)
}

/// An answer, or a problem.
type Answer = Result<Value, Value>;

fn over_http(gateway: &Gateway, operation: &Operation) -> Answer {
    let response = gateway.anonymous().post(operation.name, operation.example.arguments);
    if response.status == 200 { Ok(response.json()) } else { Err(response.json()) }
}

fn over_a_socket(gateway: &Gateway, operation: &Operation) -> Answer {
    let mut socket = gateway.anonymous().socket("ws");
    socket.send(&format!(r#"{{"id":1,"op":"{}","args":{}}}"#, operation.name, operation.example.arguments));
    let mut answer = socket.json();
    socket.close();
    let members = answer.as_object_mut().unwrap();
    assert_eq!(members.remove("id"), Some(1.into()));
    members.remove("error").map_or(Ok(answer), Err)
}

/// Whether an answer, which is what Redis says, is no error.
fn same(operation: &Operation, plan: &Plan, frame: &[u8], answer: Answer) -> Result<bool, String> {
    let mut expected = Vec::new();
    if let Err(error) = operation.render(plan, frame, &Format::default(), &mut expected) {
        let line = error.redis.unwrap_or_default();
        let same = answer.as_ref().is_err_and(|problem| problem["redis"] == line.as_str());
        return if same { Ok(false) } else { Err(format!("{answer:?} is not {line}")) };
    }
    let expected = serde_json::from_slice::<Value>(&expected).unwrap();
    let found = answer.map_err(|problem| format!("{problem} is not {expected}"))?;
    let varies = VARYING.iter().any(|(_, names)| names.contains(&operation.name));
    let same = if varies { shape(&found) == shape(&expected) || expected["result"].is_null() } else { found == expected };
    if !same {
        return Err(format!("{found} is not {expected}"));
    }
    // What was shaped is all there: each value of the reply, as it came. A text is taken apart, a document is itself.
    if !varies && !is_text(&plan.shape) && found["encoding"].is_null() {
        let (told, mut values) = (leaves_of_json(&found), Vec::new());
        leaves_of_reply(&mut Reader::new(frame), &mut values);
        if let Some(missing) = values.iter().find(|value| !told.contains(*value)) {
            return Err(format!("{missing} is not in {found}"));
        }
    }
    Ok(true)
}

/// The data that an example works on.
fn prepare(redis: &Redis, operation: &Operation) {
    redis.clear();
    for line in operation.example.given {
        // A node that has just been given slots serves them a moment later.
        let reply = until("the slots of a node", SOON, || Some(redis.line(line)).filter(|reply| !reply.starts_with("-CLUSTERDOWN")));
        // What is refused here is what the server refuses to do at all, and the call shows it.
        assert!(!reply.starts_with('-'), "{}: {line}: {reply}", operation.name);
    }
}

fn is_text(shape: &Shape) -> bool {
    match shape {
        Shape::Text(_) | Shape::Lines(_) | Shape::Json => true,
        Shape::Nullable(of) | Shape::List(of) | Shape::Map(of) | Shape::Pairs(of) | Shape::Entries(of) | Shape::Page(of) => is_text(of),
        Shape::Record(fields) | Shape::Rows(fields) | Shape::Object(fields) => fields.iter().any(|field| is_text(&field.shape)),
        _ => false,
    }
}

/// A value as one word whichever of both sides it comes from: integers to the last digit, doubles by value.
fn leaf(text: &str) -> String {
    match (text.parse::<i128>(), text.parse::<f64>()) {
        (Ok(integer), _) => integer.to_string(),
        (Err(_), Ok(double)) => double.to_string(),
        _ => text.to_owned(),
    }
}

fn leaves_of_reply(reader: &mut Reader<'_>, leaves: &mut Vec<String>) {
    match reader.read().unwrap() {
        Item::Simple(bytes) | Item::Bulk(Some(bytes)) | Item::Integer(bytes) | Item::Error(bytes) => {
            leaves.push(leaf(std::str::from_utf8(bytes).unwrap()));
        }
        Item::Bulk(None) | Item::Array(None) => leaves.push("null".into()),
        Item::Array(Some(length)) => (0..length).for_each(|_| leaves_of_reply(reader, leaves)),
    }
}

/// Names of members are values where the reply has them.
fn leaves_of_json(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) => BTreeSet::from([leaf(text)]),
        Value::Array(elements) => elements.iter().flat_map(leaves_of_json).collect(),
        Value::Object(members) => {
            members.iter().flat_map(|(name, value)| std::iter::once(leaf(name)).chain(leaves_of_json(value))).collect()
        }
        other => BTreeSet::from([leaf(&other.to_string())]),
    }
}

/// A value without what it says.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(elements) => format!("[{}]", elements.first().map(shape).unwrap_or_default()),
        Value::Object(members) => members.iter().map(|(name, value)| format!("{name}: {}", shape(value))).collect::<Vec<_>>().join(", "),
    }
}
