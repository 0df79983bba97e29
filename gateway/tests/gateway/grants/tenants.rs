//! Two tenants on one server, told apart by a prefix: whatever they call, each is answered as it is by a server of its own, where
//! nobody else is. So neither reads, changes, lists, is notified of, or can tell the existence of a key of the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc,
    thread,
};

use dbx_gateway::operation::{
    self, Group, Mode, Operation,
    param::{Kind, Param},
};
use serde_json::{Value, json};

use super::{House, calls, raw};
use crate::support::{Client, Random, Redis, Socket};

/// Globs, each of which would match the keys of the other if it were read as one.
const PREFIXES: [&str; 2] = ["t?[a]*:", "t*:"];
/// Calls of each tenant; more by the environment.
const CALLS: usize = 5000;
/// Calls that are made together.
const TOGETHER: usize = 25;

/// Names of keys. Some begin as those of the other tenant, or are more than letters.
const KEYS: &[&str] = &["k1", "k2", "k3", "k4", "t*:k1", "t?[a]*:k2", "*", "k[1]", "\\k1", "K1", "k1\n", "k\u{0}1", "..", "\u{e9}"];
const CHANNELS: &[&str] = &["c1", "c2", "t*:c1", "*"];
const TEXTS: &[&str] = &["a", "b", "c", "1", "2", "17", "3.5", "t*:x", "\r\n", "hello"];
const IDS: &[&str] = &["0-0", "1-1", "2-1", "3-1", "5-0", "9-9", "-", "+", "0", ">"];

/// Operations whose answers no two servers share, and why. Of these only the kind of the answer is compared, and what they leave is
/// taken away.
const VARYING: &[(&str, &str)] = &[
    (
        "They tell the time, or how long something has been",
        "time ttl pttl expiretime pexpiretime httl hpttl hexpiretime hpexpiretime object_idletime xinfo_consumers xpending xadd xautoclaim \
         xclaim publish_and_keep move_entry limit_sliding_window limit_token_bucket increment_with_ttl xinfo_stream object_freq touch",
    ),
    ("They choose by chance", "spop srandmember hrandfield zrandmember add_unique_and_trim pop_many_and_move"),
    ("The size of a name is part of the size of a key", "memory_usage"),
    ("They are about the connection, or the process", "client_id client_info client_getname acl_genpass"),
    ("How a set that is no list is ordered depends on the process", "dump restore sscan hscan zscan"),
];

fn varies(name: &str) -> bool {
    VARYING.iter().any(|(_, names)| names.split_whitespace().any(|known| known == name))
}

/// What the names of copies begin with, which what varies is let loose on.
const COPY: &str = "v:";

/// The key that is most often of the type that a group is about.
fn home(group: Group) -> &'static str {
    match group {
        Group::Lists => "k1",
        Group::SortedSets | Group::Geo => "k2",
        Group::Hashes => "k3",
        Group::Streams => "k4",
        Group::Sets => "K1",
        _ => "*",
    }
}

/// What keys are made anew now and then.
const SEEDS: &[(&str, &str, &str)] = &[
    ("k1", "rpush", r#"{"elements":["a","b","c","17"]}"#),
    ("k2", "zadd", r#"{"members":[{"score":1,"member":"a"},{"score":1,"member":"b"},{"score":2,"member":"c"}]}"#),
    ("k3", "hset", r#"{"fields":{"a":"1","b":"t*:x","c":"3.5"}}"#),
    ("k4", "xadd", r#"{"id":"1-1","fields":{"a":"1"}}"#),
    ("K1", "sadd", r#"{"members":["a","b","17"]}"#),
    ("*", "set", r#"{"value":"17"}"#),
];

/// Random arguments, whose keys have names that begin so, and often this one.
struct Chance<'r>(&'r mut Random, &'static str, &'static str);

impl calls::Source for Chance<'_> {
    fn takes(&mut self, param: &Param) -> bool {
        match param.name {
            // One page is all there is.
            "count" => !matches!(param.kind, Kind::Flag),
            // What comes of these depends on the order in which a process keeps its sets.
            "by" | "db" | "idle" | "idletime" | "freq" | "lastid" => false,
            _ => self.0.below(4) == 0,
        }
    }

    fn choose(&mut self, count: usize) -> usize {
        self.0.below(count)
    }

    fn repeats(&mut self) -> usize {
        1 + self.0.below(3)
    }

    fn value(&mut self, kind: &Kind, name: &str) -> Value {
        match (kind, name) {
            (Kind::Key(_), _) if self.0.below(2) > 0 => format!("{}{}", self.1, self.2).into(),
            (Kind::Key(_), _) if self.0.below(4) > 0 => format!("{}{}", self.1, KEYS[self.0.below(4)]).into(),
            (Kind::Key(_), _) => format!("{}{}", self.1, self.0.pick(KEYS)).into(),
            (Kind::Channel, _) => (*self.0.pick(CHANNELS)).into(),
            (Kind::Glob, _) => (*self.0.pick(&["*", "k*", "k?", "t*", "[k]1", "\\*", "?*"])).into(),
            (Kind::Elsewhere, _) => (*self.0.pick(&["#", "#", "k*", "*"])).into(),
            (Kind::Base64, _) => "AMABCgAmeOe20QER/A==".into(),
            (Kind::Cursor, _) => "0".into(),
            (Kind::Json, _) => json!({ "a": 1 }),
            (Kind::Double, "timeout") => 0.01.into(),
            (Kind::Double, _) => (*self.0.pick(&[0.5, 1.0, 2.0, -3.25])).into(),
            (Kind::OtherDatabase, _) => 1.into(),
            (Kind::Text | Kind::Bytes, "min" | "max") => (*self.0.pick(&["-", "+", "[a", "(b", "0", "5", "-inf", "+inf"])).into(),
            (Kind::Text, "value") => (*self.0.pick(IDS)).into(),
            (_, "group" | "consumer" | "groupname") => (*self.0.pick(&["g", "h"])).into(),
            (Kind::Integer, "count") => 100_000.into(),
            (Kind::Integer, name)
                if name.contains("time")
                    || name.starts_with("ex")
                    || name.starts_with("px")
                    || name == "milliseconds"
                    || name == "seconds" =>
            {
                // Far away, whether it is a time or how long.
                4_102_444_800_000_i64.into()
            }
            (Kind::Integer, _) => (*self.0.pick(&[-1, 0, 1, 2, 3, 7])).into(),
            (_, name) if name.contains("id") || name == "start" || name == "end" => (*self.0.pick(IDS)).into(),
            _ => (*self.0.pick(TEXTS)).into(),
        }
    }
}

/// A tenant's way to one of the worlds.
struct World {
    client: Client,
    socket: Socket,
}

impl World {
    fn new(client: &Client) -> Self {
        let mut socket = client.socket("ws");
        socket.call(json!({ "id": "s", "op": "session" }));
        Self { client: client.clone(), socket }
    }

    /// The answers to calls, made in one of five ways.
    fn call(&mut self, way: usize, calls: &[(&'static Operation, Value)]) -> Vec<Value> {
        let plain = |(operation, args): &(&'static Operation, Value)| json!({ "op": operation.name, "args": args });
        let answers: Vec<Value> = match way {
            0 => {
                let body = json!({ "calls": calls.iter().map(plain).collect::<Vec<_>>() });
                self.client.post("pipeline", body.to_string()).json()["result"].as_array().unwrap().clone()
            }
            1 => {
                let mut connection = self.client.connect();
                let ask = |(operation, args): &(&'static Operation, Value)| {
                    let path = format!("{}?timeout=200ms", operation.name);
                    let waits = matches!(operation.mode, Mode::Blocking(_)) || args.get("block").is_some();
                    let path = if waits { path.as_str() } else { operation.name };
                    let request = self.client.request("POST", path, Some(args.to_string().as_bytes()));
                    connection.exchange(&request).unwrap().json()
                };
                calls.iter().map(ask).collect()
            }
            2 => self.frames(calls.iter().map(plain)),
            3 => {
                // A call that is no command is made by its name.
                let raws = calls.iter().map(|call| match raw(call.0, &call.1) {
                    Some(raw) => json!({ "op": "raw", "args": raw, "encoding": "base64" }),
                    None => plain(call),
                });
                self.frames(raws)
            }
            _ => self.frames(calls.iter().map(|call| {
                let mut frame = plain(call);
                frame["session"] = "s".into();
                frame
            })),
        };
        answers.into_iter().map(plainly).collect()
    }

    /// One after the other: what is sent at once may be done by several connections.
    fn frames(&mut self, frames: impl Iterator<Item = Value>) -> Vec<Value> {
        let call = |(id, mut frame): (usize, Value)| {
            frame["id"] = id.into();
            self.socket.call(frame)
        };
        frames.enumerate().map(call).collect()
    }
}

/// An answer without what is of one request alone.
fn plainly(mut answer: Value) -> Value {
    let members = answer.as_object_mut().unwrap();
    members.remove("id");
    members.remove("requestId");
    // A refusal over HTTP is the problem itself.
    if members.contains_key("status") {
        answer = json!({ "error": answer });
    }
    if let Some(problem) = answer.get_mut("error").and_then(Value::as_object_mut) {
        problem.remove("requestId");
    }
    answer
}

/// An answer whose error, which may repeat what was sent, does not repeat a prefix.
fn without(answer: &Value, prefix: &str) -> Value {
    let mut answer = answer.clone();
    if let Some(Value::String(line)) = answer.get_mut("error").and_then(|error| error.get_mut("redis")) {
        *line = line.replace(prefix, "");
    }
    answer
}

/// An answer whose lists are in order: how a set is ordered depends on the process.
fn ordered(value: &Value) -> Value {
    match value {
        Value::Array(elements) => {
            let mut elements: Vec<Value> = elements.iter().map(ordered).collect();
            elements.sort_by_key(Value::to_string);
            elements.into()
        }
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), ordered(value))).collect::<serde_json::Map<_, _>>().into()
        }
        value => value.clone(),
    }
}

/// Collects what is told until the word that ends it.
fn listen(client: &Client, heard: mpsc::Sender<Vec<String>>) -> thread::JoinHandle<()> {
    let mut socket = client.socket("ws");
    for (id, op, args) in [
        (1, "psubscribe", json!({ "patterns": ["*"] })),
        (2, "observe", json!({ "keys": ["*"] })),
        (3, "observe", json!({ "keys": ["k1", "t*"] })),
    ] {
        let answer = socket.call(json!({ "id": id, "op": op, "args": args }));
        assert_eq!(answer["result"]["subscription"], id, "{answer}");
    }
    thread::spawn(move || {
        let mut all = Vec::new();
        loop {
            let frame = socket.json();
            if frame["message"] == "the end" {
                return heard.send(all).unwrap();
            }
            if !frame["key"].as_str().is_some_and(|key| key.starts_with(COPY)) {
                all.push(frame.to_string());
            }
        }
    })
}

/// What is in a world, as its own server tells it, with every key under the tenant's name for it.
fn content(redis: &Redis, prefix: &str) -> BTreeMap<String, Value> {
    let words = |line: &[&[u8]]| {
        let mut command = bytes::BytesMut::new();
        dbx_gateway::resp::write_command(&mut command, line);
        String::from_utf8_lossy(&redis.frame(&command)).into_owned()
    };
    let mut command = bytes::BytesMut::new();
    dbx_gateway::resp::write_command(&mut command, &[b"KEYS", b"*"]);
    let frame = redis.frame(&command);
    let keys = dbx_gateway::resp::words(&frame);
    let mut content = BTreeMap::new();
    for key in keys {
        let Some(name) = key.strip_prefix(prefix.as_bytes()) else { continue };
        let kind = words(&[b"TYPE", key]);
        let value = match kind.trim() {
            "+string" => words(&[b"GET", key]),
            "+list" => words(&[b"LRANGE", key, b"0", b"-1"]),
            "+set" => words(&[b"SORT", key, b"ALPHA"]),
            "+zset" => words(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]),
            "+hash" => words(&[b"HGETALL", key]),
            _ => words(&[b"XRANGE", key, b"-", b"+"]),
        };
        content.insert(name.escape_ascii().to_string(), json!([kind, value]));
    }
    content
}

/// Makes the calls of one tenant in both worlds and compares; how many were answered, and by which operations.
fn live(tenant: usize, count: usize, seed: u64, shared: &Client, alone: &Client) -> BTreeMap<&'static str, usize> {
    let mut random = Random::new(seed ^ (tenant as u64 + 1));
    let (mut shared, mut alone) = (World::new(shared), World::new(alone));
    let told = shared.client.get("/api/v1/redis").json();
    assert_eq!(told, alone.client.get("/api/v1/redis").json());
    let may = told["result"]["operations"].as_array().unwrap();
    let may: BTreeSet<&str> = may.iter().map(|name| name.as_str().unwrap()).collect();
    // Documents are a module's.
    let is_there =
        |operation: &&'static Operation| may.contains(operation.name) && operation.mode.has_reply() && operation.group != Group::Json;
    let all: Vec<&'static Operation> = operation::all().iter().copied().filter(is_there).collect();
    let (lone, keyed): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|operation| operation.group == Group::Cluster || operation.name.starts_with("command"));
    let mut answered: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut made = 0;
    let mut rest: Vec<&'static Operation> = keyed.clone();
    while made < count {
        let way = random.below(5);
        let mut batch: Vec<(&'static Operation, Value)> = Vec::new();
        let other = |name: &str, arguments: Value| (operation::find(name).unwrap().operation(), arguments);
        // So that there is something of each type.
        for (key, name, more) in SEEDS {
            if random.below(3) == 0 {
                let mut arguments: Value = serde_json::from_str(more).unwrap();
                arguments["key"] = (*key).into();
                batch.push(other("del", json!({ "keys": [key] })));
                batch.push(other(name, arguments));
                if *name == "xadd" {
                    batch.push(other("xgroup_create", json!({ "key": key, "group": "g", "id": "0" })));
                }
            }
        }
        while batch.len() < TOGETHER {
            // Each at least once, then by chance.
            let operation = rest.pop().unwrap_or_else(|| *random.pick(&keyed));
            // What waits takes its time.
            if matches!(operation.mode, Mode::Blocking(_)) && random.below(10) > 0 {
                continue;
            }
            let of = if varies(operation.name) && operation.changes() { COPY } else { "" };
            let Some(arguments) = calls::arguments(operation.params, &mut Chance(&mut random, of, home(operation.group))) else { continue };
            made += 1;
            if of.is_empty() {
                batch.push((operation, arguments));
                continue;
            }
            // What it leaves would make all that follows differ, so it is given copies.
            let copies = KEYS.iter().map(|key| format!("{COPY}{key}")).collect::<Vec<_>>();
            let copy = |at: usize| other("copy", json!({ "source": KEYS[at], "destination": copies[at], "replace": true }));
            batch.extend((0..4).map(copy));
            batch.push((operation, arguments));
            batch.push(other("del", json!({ "keys": copies })));
        }
        let used = batch;
        let waits = used.iter().any(|(operation, args)| matches!(operation.mode, Mode::Blocking(_)) || args.get("block").is_some());
        let way = if waits { 1 } else { way };
        let (here, there) = (shared.call(way, &used), alone.call(way, &used));
        let mut different = Vec::new();
        for (((operation, arguments), here), there) in used.iter().zip(&here).zip(&there) {
            let call = format!("seed {seed}, way {way}: {} {arguments}: {here} and alone {there}", operation.name);
            let own = PREFIXES[tenant];
            // Who has put the prefix into a name or a value gets it back.
            let same = match varies(operation.name) || arguments["keys"][0] == format!("{COPY}k1") {
                true => {
                    here.get("error").is_some() == there.get("error").is_some()
                        && without(here, own).to_string().matches(own).count() == without(there, own).to_string().matches(own).count()
                }
                false => ordered(&without(here, own)) == ordered(&without(there, own)),
            };
            if !same {
                different.push(call);
            }
            *answered.entry(operation.name).or_default() += usize::from(here.get("error").is_none());
        }
        assert!(different.is_empty(), "{}", different.join("\n"));
    }
    for operation in lone {
        let calls = [(operation, serde_json::from_str(operation.example.arguments).unwrap())];
        let (here, there) = (shared.call(1, &calls), alone.call(1, &calls));
        assert_eq!(here[0].get("error").is_some(), there[0].get("error").is_some(), "{}", operation.name);
    }
    for world in [&mut shared, &mut alone] {
        let end = json!({ "id": 1, "op": "publish", "args": { "channel": "c1", "message": "the end" } });
        assert_eq!(world.socket.call(end)["result"], 1, "one hears it, as nobody else listens");
    }
    answered
}

#[test]
fn tenants_live_as_if_they_were_alone() {
    let count = std::env::var("DBXDEV_TENANT_CALLS").map_or(CALLS, |count| count.parse().expect("DBXDEV_TENANT_CALLS is a number"));
    let seed = Random::seed();
    println!("seed {seed}, {count} calls of each of two tenants");
    let grants = PREFIXES.map(|prefix| format!("[{{ access: [all], prefix: '{prefix}' }}]"));
    let together = House::open(&grants.each_ref().map(String::as_str), &[]);
    // Confined, and to everything: what touches all keys is refused here as well.
    let homes = [0, 1].map(|_| House::open(&["[{ access: [all], keys: ['*'], channels: ['*', '*\\*'] }]"], &[]));
    let (tell, told) = [0, 1].map(|_| mpsc::channel()).into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let (tell_home, told_home) = [0, 1].map(|_| mpsc::channel()).into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let mut ears = Vec::new();
    for tenant in 0..2 {
        ears.push(listen(&together.clients[tenant], tell[tenant].clone()));
        ears.push(listen(&homes[tenant].clients[0], tell_home[tenant].clone()));
    }
    let answered: Vec<BTreeMap<&str, usize>> = thread::scope(|scope| {
        let lives = [0, 1].map(|tenant| {
            let (shared, alone) = (&together.clients[tenant], &homes[tenant].clients[0]);
            scope.spawn(move || live(tenant, count, seed, shared, alone))
        });
        lives.map(|life| life.join().unwrap()).into()
    });
    ears.into_iter().for_each(|ear| ear.join().unwrap());
    let mut events = 0;
    for tenant in 0..2 {
        let (here, there) = (told[tenant].recv().unwrap(), told_home[tenant].recv().unwrap());
        events += here.len();
        // Two connections tell of messages and of keys, in no order among each other.
        let sorted = |mut all: Vec<String>| {
            all.sort();
            all
        };
        let (here, there) = (sorted(here), sorted(there));
        let only = |some: &[String], others: &[String]| -> Vec<String> {
            let mut rest = others.to_vec();
            let missing = |event: &&String| rest.iter().position(|other| other == *event).map(|at| rest.swap_remove(at)).is_none();
            some.iter().filter(missing).cloned().collect()
        };
        let (more, less) = (only(&here, &there), only(&there, &here));
        assert!(more.is_empty() && less.is_empty(), "seed {seed}: heard {more:#?}, and alone {less:#?}");
        assert_eq!(content(&together.redis, PREFIXES[tenant]), content(&homes[tenant].redis, ""), "seed {seed}");
    }
    let keys: usize = PREFIXES.iter().map(|prefix| content(&together.redis, prefix).len()).sum();
    assert_eq!(together.redis.line("DBSIZE"), keys.to_string(), "every key is a tenant's");
    let idle: Vec<&str> = answered[0]
        .iter()
        .filter(|(name, count)| **count + answered[1].get(*name).copied().unwrap_or(0) == 0)
        .map(|(name, _)| *name)
        .collect();
    println!("{} operations, {events} messages and events; never answered but with an error: {idle:?}", answered[0].len());
}
