//! The table is walked: of every operation with keys, a caller who is confined to some is refused for each key outside, over every
//! transport, before the server sees anything.

use std::collections::{BTreeMap, BTreeSet};

use dbx_gateway::operation::{
    self, Mode, Operation,
    param::{Kind, Param},
    route::{Choice, Method, Route},
};
use serde_json::{Value, json};

use super::{House, calls, raw};
use crate::support::{Client, Connection};

/// What a caller who is confined to keys may call although no key is named: all that tells nothing of keys, and lists, of which it is
/// told its own. Whoever adds an operation here has thought about what it tells.
const WITHOUT_KEYS: &[(&str, &str)] = &[
    (
        "They are texts, and what the server can do",
        "acl_cat acl_genpass acl_help client_help cluster_help command_count command_docs command_getkeys command_getkeysandflags \
         command_help command_info command_list commandlog_help config_help function_help latency_help memory_help module_help object_help \
         pubsub_help script_help slowlog_help xgroup_help xinfo_help",
    ),
    (
        "They concern the connection alone; most need one of their own, and are refused for that",
        "acl_whoami asking auth client_caching client_capa client_getname client_getredir client_id client_import_source client_info \
         client_no_touch client_reply client_setinfo client_setname client_tracking client_trackinginfo discard echo exec hello multi ping \
         quit readonly readwrite reset select time unwatch wait waitaof",
    ),
    (
        "They are about the nodes of a cluster, or arithmetic with a name",
        "cluster_info cluster_keyslot cluster_links cluster_myid cluster_myshardid cluster_nodes cluster_shards cluster_slots",
    ),
    (
        "They are about channels, which are granted by themselves",
        "psubscribe publish pubsub_numsub pubsub_shardnumsub punsubscribe spublish ssubscribe subscribe sunsubscribe unsubscribe",
    ),
    ("They list keys, of which a caller is told its own", "keys scan"),
];

/// Operations with keys that a confined caller may not call whatever the keys.
const NEVER: &[&str] = &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro", "migrate"];

/// Which options a call has, and which of its keys is outside.
struct Walk {
    options: Option<usize>,
    alone: Option<&'static str>,
    outside: usize,
    keys: usize,
    repeats: usize,
}

impl calls::Source for Walk {
    fn takes(&mut self, param: &Param) -> bool {
        self.options.is_some() || self.alone == Some(param.name)
    }

    fn choose(&mut self, count: usize) -> usize {
        self.options.unwrap_or(0) % count
    }

    fn repeats(&mut self) -> usize {
        self.repeats
    }

    fn value(&mut self, kind: &Kind, _: &str) -> Value {
        match kind {
            Kind::Key(_) => {
                let place = if self.keys == self.outside { "out" } else { "in" };
                self.keys += 1;
                format!("{place}:{}", self.keys).into()
            }
            Kind::Elsewhere => "#".into(),
            Kind::Base64 => "AMABCgAmeOe20QER/A==".into(),
            Kind::Integer | Kind::OtherDatabase | Kind::Json => 1.into(),
            Kind::Cursor => "0".into(),
            Kind::Double => 1.5.into(),
            _ => "1".into(),
        }
    }
}

/// The calls of an operation with no key outside, and those with one, for each of its keys.
fn variants(operation: &'static Operation, repeats: usize) -> (Vec<Value>, Vec<Value>) {
    let choices = operation.params.iter().map(|param| if let Kind::OneOf(choices) = param.kind { choices.len() } else { 1 }).max();
    let mut ways = vec![(None, None)];
    ways.extend((0..choices.unwrap_or(0)).map(|choice| (Some(choice), None)));
    ways.extend(operation.params.iter().filter(|param| !param.required).map(|param| (None, Some(param.name))));
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (options, alone) in ways {
        let call = |outside: usize| {
            let mut walk = Walk { options, alone, outside, keys: 0, repeats };
            calls::arguments(operation.params, &mut walk).map(|call| (call, walk.keys))
        };
        let Some((all, keys)) = call(usize::MAX) else { continue };
        inside.push(all);
        outside.extend((0..keys).filter_map(call).map(|(call, _)| call));
    }
    outside.sort_by_key(Value::to_string);
    outside.dedup();
    (inside, outside)
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().or(answer["code"].as_str()).unwrap_or("none")
}

/// Sends a request on a connection that is kept.
fn ask(client: &Client, connection: &mut Connection, method: &str, path: &str, body: Option<&Value>) -> Value {
    let body = body.map(Value::to_string);
    let response = connection.exchange(&client.request(method, path, body.as_deref().map(str::as_bytes))).unwrap();
    serde_json::from_slice(&response.body).unwrap_or(Value::Null)
}

/// The answers over one socket, in the order of the frames.
fn over_a_socket(client: &Client, frames: Vec<Value>) -> Vec<Value> {
    let mut socket = client.socket("ws");
    socket.call(json!({ "id": "s", "op": "session" }));
    let mut answers = Vec::new();
    for chunk in frames.chunks(100) {
        for (id, frame) in chunk.iter().enumerate() {
            let mut frame = frame.clone();
            frame["id"] = id.into();
            socket.send(&frame.to_string());
        }
        let mut by_id: BTreeMap<u64, Value> = BTreeMap::new();
        while by_id.len() < chunk.len() {
            let answer = socket.json();
            by_id.insert(answer["id"].as_u64().unwrap_or_else(|| panic!("{answer}")), answer);
        }
        answers.extend(by_id.into_values());
    }
    socket.close();
    answers
}

/// Every way to make calls of an operation, and the codes of what came of it.
fn codes(client: &Client, operation: &Operation, calls: &[Value]) -> Vec<(&'static str, Vec<String>)> {
    let mut http = client.connect();
    let name = operation.name;
    let by_name = |http: &mut Connection, client: &Client, path: &str, bodies: &mut dyn Iterator<Item = Value>| -> Vec<String> {
        bodies.map(|body| code(&ask(client, http, "POST", path, Some(&body))).to_owned()).collect()
    };
    let plain = || calls.iter().map(|args| json!({ "op": name, "args": args }));
    let mut all = Vec::new();
    let waits = "?timeout=1ms";
    all.push(("by name", by_name(&mut http, client, &format!("{name}{waits}"), &mut calls.iter().cloned())));
    let key = client.with("Idempotency-Key", &format!("{name}-{}", calls.len()));
    if operation.changes()
        && let Some(call) = calls.first()
    {
        all.push(("with Idempotency-Key", by_name(&mut http, &key, &format!("{name}{waits}"), &mut std::iter::once(call.clone()))));
    }
    let pipeline = ask(client, &mut http, "POST", "pipeline", Some(&json!({ "calls": plain().collect::<Vec<_>>() })));
    all.push(("in a pipeline", pipeline["result"].as_array().unwrap().iter().map(|result| code(result).to_owned()).collect()));
    let mut transactions = plain().map(|call| json!({ "calls": [{ "op": "ping" }, call] }));
    all.push(("in a transaction", by_name(&mut http, client, "transaction", &mut transactions)));
    let mut raws = calls.iter().map(|call| raw(operation, call).unwrap());
    all.push(("raw", by_name(&mut http, client, "raw?encoding=base64", &mut raws)));
    let in_session = plain().map(|mut call| {
        call["session"] = "s".into();
        call
    });
    let timed = plain().map(|mut call| {
        call["timeout"] = "1ms".into();
        call
    });
    let as_raw = calls.iter().map(|call| json!({ "op": "raw", "args": raw(operation, call).unwrap(), "encoding": "base64" }));
    let frames: Vec<Value> = timed.chain(as_raw).chain(in_session).collect();
    let answers: Vec<String> = over_a_socket(client, frames).iter().map(|answer| code(answer).to_owned()).collect();
    for (way, answers) in ["over a socket", "raw over a socket", "in a session"].into_iter().zip(answers.chunks(calls.len().max(1))) {
        all.push((way, answers.to_vec()));
    }
    all
}

#[test]
fn a_key_outside_is_refused_before_the_server_sees_the_call() {
    let house = House::open(&["[{ access: [all], keys: ['in:*'], channels: ['*'] }]", "[{ access: [all] }]"], &[]);
    let client = &house.clients[0];
    house.redis.line("CONFIG RESETSTAT");
    let (mut operations, mut refused, mut kept) = (0, 0, 0);
    for operation in operation::all() {
        let (_, outside) = variants(operation, 2);
        if outside.is_empty() {
            continue;
        }
        operations += 1;
        for (way, codes) in codes(client, operation, &outside) {
            for (call, code) in outside.iter().zip(&codes) {
                // That a call cannot be made at all is an answer as any other.
                kept += usize::from(way.starts_with("with") && code != "forbidden");
                match code.as_str() {
                    "forbidden" => refused += 1,
                    // What cannot be called there at all, whoever calls, and what has an option that makes it wait.
                    "wrong_transport" => {
                        let waits = call.get("block").is_some() || !matches!(operation.mode, Mode::Call);
                        let may_wait =
                            matches!(operation.mode, Mode::Call | Mode::Blocking(_)) && ["by name", "over a socket"].contains(&way);
                        assert!(
                            waits && !may_wait && (way, operation.name) != ("in a session", "watch"),
                            "{way}: {} {call}",
                            operation.name
                        );
                    }
                    // A server that lacks it is not asked.
                    "unsupported_by_server" => {}
                    code => panic!("{way}: {} {call}: {code}", operation.name),
                }
            }
        }
    }
    let done: Vec<String> = house.done();
    // The records of changes with a key, which are taken away again.
    assert_eq!(done, ["del", "set"], "the server has seen more");
    let records = house.redis.line("KEYS *");
    assert_eq!(records.matches("dbx:idem:").count(), kept, "who is refused leaves nothing behind");
    assert_eq!(house.redis.line("DBSIZE"), kept.to_string());
    println!("{operations} operations, {refused} refusals");
    assert!(operations > 240 && refused > 4000);
}

#[test]
fn keys_inside_are_none_of_that() {
    let house = House::open(&["[{ access: [all], keys: ['in:*'], channels: ['*'] }]"], &[]);
    let mut http = house.clients[0].connect();
    for operation in operation::all().iter().filter(|operation| operation.mode.has_reply()) {
        let (inside, outside) = variants(operation, 2);
        if outside.is_empty() {
            continue;
        }
        for call in inside {
            let answer = ask(&house.clients[0], &mut http, "POST", &format!("{}?timeout=1ms", operation.name), Some(&call));
            let elsewhere = call.get("db").is_some();
            let expected = NEVER.contains(&operation.name) || elsewhere;
            if code(&answer) != "unsupported_by_server" {
                assert_eq!(code(&answer) == "forbidden", expected, "{} {call}: {answer}", operation.name);
            }
        }
    }
}

#[test]
fn what_has_no_knowable_keys_needs_a_grant_of_all_keys() {
    let house = House::open(&["[{ access: [all], keys: ['in:*'], channels: ['*'] }]", "[{ access: [all], prefix: 'p:' }]"], &[]);
    let has_keys = |name: &str| operation::find(name).unwrap().operation().params.iter().any(|param| calls::holds_key(&param.kind));
    for client in &house.clients {
        let told = client.get("/api/v1/redis").json();
        let may: BTreeSet<&str> = told["result"]["operations"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let without: BTreeSet<&str> = may.iter().copied().filter(|name| !has_keys(name)).collect();
        assert_eq!(without, WITHOUT_KEYS.iter().flat_map(|(_, names)| names.split_whitespace()).collect());
        let never: BTreeSet<&str> =
            operation::all().iter().map(|operation| operation.name).filter(|name| has_keys(name) && !may.contains(name)).collect();
        assert_eq!(never, NEVER.iter().copied().collect());
        // The others are refused, whatever they are called over.
        house.redis.line("CONFIG RESETSTAT");
        for operation in operation::all().iter().filter(|operation| !may.contains(operation.name)) {
            let example = [serde_json::from_str(operation.example.arguments).unwrap()];
            for (way, codes) in codes(client, operation, &example) {
                let code = codes[0].as_str();
                assert!(matches!(code, "forbidden" | "wrong_transport" | "unsupported_by_server"), "{way}: {}: {code}", operation.name);
            }
        }
        assert!(house.done().iter().all(|command| matches!(command.as_str(), "set" | "del")), "{:?}", house.done());
    }
}

/// A request for a resource, made of a call; none when the call has what no path or query can hold.
fn request(route: &Route, operation: &Operation, call: &Value) -> Option<(String, Option<Value>)> {
    let mut rest = call.as_object()?.clone();
    let mut path = String::new();
    for segment in route.template[1..].split('/') {
        let Some(name) = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) else {
            path = format!("{path}/{segment}");
            continue;
        };
        let param = operation.params.iter().find(|param| param.answers_to(name) || param.gathers(name))?;
        let value = match rest.remove(param.name)? {
            Value::Array(mut elements) => {
                let first = elements.remove(0);
                match first {
                    Value::Array(pair) => {
                        rest.insert("value".into(), pair[1].clone());
                        pair[0].clone()
                    }
                    Value::Object(parts) => {
                        rest.extend(parts);
                        rest.remove(name)?
                    }
                    other if param.name == name => other,
                    other => {
                        if !elements.is_empty() {
                            rest.insert(param.name.into(), elements.into());
                        }
                        other
                    }
                }
            }
            other => other,
        };
        path = format!("{path}/{}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    if let Choice::Word(word) = route.choice {
        rest.insert(word.into(), true.into());
    }
    let path = path.trim_start_matches('/').to_owned();
    if matches!(route.method, Method::Get | Method::Delete) {
        let pairs = rest.iter().flat_map(|(name, value)| match value {
            Value::Array(elements) => elements.iter().map(|element| format!("{name}={}", element.as_str().unwrap_or("1"))).collect(),
            value => vec![format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))],
        });
        let query = pairs.collect::<Vec<_>>().join("&");
        let query = query.replace('#', "%23").replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        return Some((if query.is_empty() { path } else { format!("{path}?{query}") }, None));
    }
    Some((path, Some(Value::Object(rest))))
}

#[test]
fn a_key_outside_is_no_resource() {
    let house = House::open(&["[{ access: [all], keys: ['in:*'] }]"], &[]);
    let (client, mut http) = (&house.clients[0], house.clients[0].connect());
    house.redis.line("CONFIG RESETSTAT");
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for operation in operation::all() {
        let outside: Vec<Value> = [1, 2].into_iter().flat_map(|repeats| variants(operation, repeats).1).collect();
        for route in operation.routes.iter().filter(|_| !outside.is_empty()) {
            let place = format!("{} {} ({})", route.method.name(), route.template, operation.name);
            let count = refused.entry(place).or_default();
            for call in &outside {
                let Some((path, body)) = request(route, operation, call) else { continue };
                let response = ask(client, &mut http, route.method.name(), &path, body.as_ref());
                match code(&response) {
                    "forbidden" | "unsupported_by_server" => *count += 1,
                    // A call that a resource cannot express, or that means another operation there.
                    "invalid_argument" | "unknown_argument" | "missing_argument" | "wrong_transport" | "not_acceptable" => {}
                    other => panic!("{} {path} {body:?}: {other} {response}", route.method.name()),
                }
            }
        }
    }
    let never: Vec<&String> = refused.iter().filter(|(_, count)| **count == 0).map(|(place, _)| place).collect();
    assert!(never.is_empty(), "nothing was refused at {never:#?}");
    assert_eq!(house.done(), [""; 0]);
    println!("{} resources, {} refusals", refused.len(), refused.values().sum::<usize>());
}
