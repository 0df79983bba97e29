//! Redis Cluster: calls go where their keys live, whatever happens to the slots meanwhile, and answers to whom they belong.

use std::{
    collections::HashMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Port, Redis, SOON, until};

/// Three primaries, each with a replica.
pub struct Cluster {
    pub nodes: Vec<Redis>,
    _buses: Vec<Port>,
}

impl Cluster {
    pub fn start() -> Self {
        let buses: Vec<Port> = (0..6).map(|_| Port::reserve()).collect();
        let nodes: Vec<Redis> = buses
            .iter()
            .map(|bus| {
                let bus = bus.number.to_string();
                Redis::with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "2000",
                    "--repl-ping-replica-period",
                    "1",
                    "--appendonly",
                    "no",
                ])
            })
            .collect();
        let cluster = Self { nodes, _buses: buses };
        for (at, range) in ["0 5460", "5461 10922", "10923 16383"].iter().enumerate() {
            assert_eq!(cluster.nodes[at].line(&format!("CLUSTER ADDSLOTSRANGE {range}")), "OK");
        }
        for at in 1..6 {
            let (port, bus) = (cluster.nodes[at].port.number, cluster._buses[at].number);
            assert_eq!(cluster.nodes[0].line(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}")), "OK");
        }
        cluster.settled("cluster_known_nodes:6");
        for at in 3..6 {
            let primary = cluster.id(at - 3);
            until("a replica", SOON, || (cluster.nodes[at].line(&format!("CLUSTER REPLICATE {primary}")) == "OK").then_some(()));
        }
        for at in 3..6 {
            until("replication", SOON, || cluster.nodes[at].line("INFO replication").contains("link_status:up").then_some(()));
        }
        cluster.settled("cluster_state:ok");
        for node in &cluster.nodes {
            // A node tells of replicas that have received something.
            until("news of replicas", SOON, || (node.line("CLUSTER SLOTS").matches("127.0.0.1").count() == 6).then_some(()));
        }
        cluster
    }

    pub fn id(&self, at: usize) -> String {
        self.nodes[at].line("CLUSTER MYID")
    }

    fn settled(&self, words: &str) {
        for node in &self.nodes {
            until(words, SOON, || node.line("CLUSTER INFO").contains(words).then_some(()));
        }
    }

    pub fn gateway(&self, settings: &[&str]) -> Gateway {
        let nobody = Port::reserve();
        let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", nobody.number, self.nodes[3].port.number);
        let gateway = Gateway::launch(&url, settings);
        until("readiness", SOON, || gateway.is_ready().then_some(()));
        gateway
    }

    /// Begins to move a slot: some of its keys, as many as there are or `most`.
    pub fn begin_to_move(&self, slot: u16, from: usize, to: usize, most: usize) {
        assert_eq!(self.nodes[to].line(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.id(from))), "OK");
        assert_eq!(self.nodes[from].line(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.id(to))), "OK");
        let keys = self.nodes[from].line(&format!("CLUSTER GETKEYSINSLOT {slot} {most}"));
        let keys: Vec<&str> = keys.split("\r\n").skip(2).step_by(2).collect();
        if !keys.is_empty() {
            let port = self.nodes[to].port.number;
            assert_eq!(self.nodes[from].line(&format!("MIGRATE 127.0.0.1 {port}  0 5000 KEYS {}", keys.join(" "))), "OK");
        }
    }

    /// Moves a slot, and tells primaries.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_to_move(slot, from, to, 100_000);
        for at in [to, from, 3 - from - to] {
            assert_eq!(self.nodes[at].line(&format!("CLUSTER SETSLOT {slot} NODE {}", self.id(to))), "OK");
        }
    }

    pub fn slot(&self, key: &str) -> u16 {
        self.nodes[0].line(&format!("CLUSTER KEYSLOT {key}")).parse().unwrap()
    }

    /// The primary that begins with the slot.
    pub fn home(&self, slot: u16) -> usize {
        usize::from(slot > 5460) + usize::from(slot > 10922)
    }

    /// Moves slots from one node to another while they are in use.
    pub fn reshard(&self, from: usize, to: usize, slots: usize) {
        // It refuses to begin while nodes have not heard of the last change.
        until("agreement", SOON, || {
            let port = self.nodes[0].port.number;
            let output = Command::new("redis-cli").args(["--cluster", "check", &format!("127.0.0.1:{port}")]).output();
            output.expect("`make test` installs redis-cli").status.success().then_some(())
        });
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard", &format!("127.0.0.1:{}", self.nodes[0].port.number)]);
        command.args(["--cluster-from", &self.id(from), "--cluster-to", &self.id(to), "--cluster-slots", &slots.to_string()]);
        let output = command.arg("--cluster-yes").output().expect("`make test` installs redis-cli");
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn calls_go_where_their_keys_live() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    for key in 0..50 {
        client.put(&format!("strings/key:{key}"), format!(r#"{{"value":"{key}"}}"#)).is(r#"{"result":"OK"}"#);
    }
    let sizes: Vec<u64> = cluster.nodes[..3].iter().map(|node| node.line("DBSIZE").parse().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size > 0) && sizes.iter().sum::<u64>() == 50, "{sizes:?}");
    let calls: Vec<Value> = (0..50).map(|key| json!({ "op": "get", "args": { "key": format!("key:{key}") } })).collect();
    let results = client.post("pipeline", json!({ "calls": calls }).to_string()).json()["result"].clone();
    for key in 0..50 {
        assert_eq!(results[key]["result"], key.to_string(), "{results}");
    }
    let problem = client.post("mget", r#"{"keys":["key:1","key:2"]}"#).fails(400, "cross_slot", "");
    assert_eq!(problem["retryable"], false);
    client.post("mget", r#"{"keys":["{key:1}","key:1"]}"#);
    client.post("mget?split=true", r#"{"keys":["key:3","none","key:1","key:2"]}"#).is(r#"{"result":["3",null,"1","2"]}"#);
    client.post("mset?split=true", r#"{"values":{"a":"1","b":"2","c":"3"}}"#).is(r#"{"result":"OK"}"#);
    client.post("del?split=true", r#"{"keys":["a","b","none","c"]}"#).is(r#"{"result":3}"#);
    client.post("exists?split=true", r#"{"keys":["key:1","key:1","key:2","a"]}"#).is(r#"{"result":3}"#);
    client.post("del?split=perhaps", r#"{"keys":["a"]}"#).fails(400, "invalid_argument", "split");
    let calls = r#"{"calls":[{"op":"mget","args":{"keys":["key:3","key:1"]}},{"op":"scan","args":{"cursor":"0"}}]}"#;
    let results = client.post("pipeline?split=true", calls).json()["result"].clone();
    assert_eq!(results[0]["result"], json!(["3", "1"]));
    assert!(results[1]["cursor"].is_string(), "{results}");
    let calls = r#"{"calls":[{"op":"incr","args":{"key":"key:1"}},{"op":"get","args":{"key":"key:1"}}]}"#;
    client.post("transaction?split=true", calls).fails(400, "unknown_argument", "split");
    client.post("transaction", calls).is(r#"{"result":[{"result":2},{"result":"2"}]}"#);
    client.post("raw", r#"{"command":["ECHO","a"]}"#).is(r#"{"result":"a"}"#);
    client.post("raw", r#"{"command":["HSET","h","f","v"]}"#).is(r#"{"result":1}"#);
    client.post("raw", r#"{"command":["LPUSH","key:1","v"]}"#).fails(409, "wrong_type", "");
    client.get("keys/key:1").json()["result"]["type"].as_str().unwrap();
}

/// What happened to the calls of all clients.
#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    failed: AtomicU64,
}

/// Writes values that nobody else writes and reads them back, in pipelines and one by one. An answer that is not what was
/// written before, or may have been, panics.
fn exercise(client: &Client, name: usize, stop: &AtomicBool, seen: &Seen) {
    let mut may_be: HashMap<String, Vec<Value>> = HashMap::new();
    let check = |result: &Value, context: &str| {
        let problem = if result["error"].is_object() { &result["error"] } else { result };
        let code = problem["code"].as_str().unwrap_or_default();
        assert!(matches!(code, "unavailable" | "timeout"), "{context}: {problem}");
        assert!(problem["retryable"] == true || problem["outcome"] == "unknown", "{context}: {problem}");
        seen.failed.fetch_add(1, Relaxed);
    };
    for turn in 0.. {
        if stop.load(Relaxed) {
            return;
        }
        let keys: Vec<String> = (0..20).map(|key| format!("sesame:{name}:{}", (turn * 7 + key * 13) % 400)).collect();
        let calls: Vec<Value> = keys
            .iter()
            .enumerate()
            .flat_map(|(at, key)| {
                let value = format!("{key}={turn}.{at}");
                [json!({ "op": "set", "args": { "key": key, "value": value } }), json!({ "op": "get", "args": { "key": key } })]
            })
            .collect();
        let response = client.post("pipeline", json!({ "calls": calls }).to_string());
        assert_eq!(response.status, 200, "{}", response.text());
        let results = response.json()["result"].clone();
        assert_eq!(results.as_array().unwrap().len(), calls.len());
        for (at, key) in keys.iter().enumerate() {
            seen.calls.fetch_add(2, Relaxed);
            let (set, get) = (&results[2 * at], &results[2 * at + 1]);
            let written = json!(format!("{key}={turn}.{at}"));
            let known = may_be.entry(key.clone()).or_insert_with(|| vec![Value::Null]);
            match set["result"] == "OK" {
                true => *known = vec![written],
                false => {
                    check(set, "set");
                    known.push(written);
                }
            }
            match get.get("result") {
                Some(value) => {
                    // A key that was written before belongs to this client alone: its name is in the value.
                    assert!(value.is_null() || value.as_str().unwrap().starts_with(&format!("{key}=")), "{key}: {value}");
                    assert!(known.contains(value) || seen.failed.load(Relaxed) > 0, "{key}: {value}, not one of {known:?}");
                }
                None => check(get, "get"),
            }
        }
        // Carried out once, and the answer is to this call: each is one more than the last.
        let counter = turn % 50;
        let response = client.post("incr", json!({ "key": format!("counter:{name}:{counter}") }).to_string());
        seen.calls.fetch_add(1, Relaxed);
        match response.status {
            200 => {
                let count = response.json()["result"].as_u64().unwrap();
                assert!(count == turn as u64 / 50 + 1 || seen.failed.load(Relaxed) > 0, "{count} in turn {turn}");
            }
            _ => check(&response.json(), "incr"),
        }
        let key = &keys[turn % 20];
        let response = client.post("get", json!({ "key": key }).to_string());
        seen.calls.fetch_add(1, Relaxed);
        match response.status {
            200 => {
                let value = response.json()["result"].clone();
                assert!(value.is_null() || value.as_str().unwrap().starts_with(&format!("{key}=")), "{key}: {value}");
            }
            _ => check(&response.json(), "one get"),
        }
    }
}

#[test]
fn slots_move_and_a_primary_is_killed_under_load() {
    let mut cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
    let clients: Vec<_> = (0..8)
        .map(|name| {
            let (client, stop, seen) = (gateway.anonymous(), stop.clone(), seen.clone());
            thread::spawn(move || exercise(&client, name, &stop, &seen))
        })
        .collect();
    let calls = || seen.calls.load(Relaxed);
    let running = |clients: &[thread::JoinHandle<()>]| assert!(clients.iter().all(|client| !client.is_finished()), "a client has failed");
    until("load", SOON, || (calls() > 10_000).then_some(()));
    cluster.reshard(0, 1, 200);
    cluster.reshard(1, 2, 300);
    running(&clients);
    let resharded = seen.failed.load(Relaxed);
    let before = calls();
    until("load", SOON, || (calls() > before + 10_000).then_some(()));
    cluster.nodes[0].kill();
    let killed = Instant::now();
    until("a new primary", SOON, || cluster.nodes[3].line("ROLE").contains("master").then_some(()));
    let decided = Instant::now();
    until("service", Duration::from_secs(4), || gateway.is_connected().then_some(()));
    let back = decided.elapsed();
    let failed = seen.failed.load(Relaxed);
    let before = calls();
    until("load", Duration::from_secs(120), || (calls() > (before + 10_000).max(200_000)).then_some(()));
    running(&clients);
    stop.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!(seen.failed.load(Relaxed) - failed < 200, "calls fail after the cluster is whole again");
    println!(
        "{} calls; {resharded} failed while slots moved, {} when a primary was killed; decided after {:?}, back {back:?} after that",
        calls(),
        failed - resharded,
        decided - killed
    );
}

#[test]
fn what_is_no_cluster_is_told() {
    let redis = Redis::start();
    let gateway = Gateway::launch(&format!("redis+cluster://127.0.0.1:{}", redis.port.number), &[]);
    until("refusal", SOON, || gateway.operations("/readyz?verbose")?.text().contains("cluster support disabled").then_some(()));
    assert!(!gateway.is_ready());
    assert_eq!(gateway.anonymous().get("strings/a").fails(503, "unavailable", "")["retryable"], true);
}

#[test]
fn calls_wait_where_their_keys_live() {
    const SLOT_OF_A: &str = "15495";
    let cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    let blocked = |node: &Redis| !node.line("INFO clients").contains("blocked_clients:0");
    let pop = |key: &str| json!({ "keys": [key], "timeout": 0 }).to_string();
    let push = |key: &str| client.post("rpush", json!({ "key": key, "elements": ["1"] }).to_string()).is(r#"{"result":1}"#).status;
    thread::scope(|scope| {
        for key in ["a", "b", "c"] {
            let call = scope.spawn(|| client.post("blpop", pop(key)));
            until("a call that waits", SOON, || cluster.nodes[..3].iter().any(blocked).then_some(()));
            push(key);
            let answer = call.join().unwrap();
            answer.is(&format!(r#"{{"result":{{"key":"{key}","element":"1"}}}}"#));
        }
    });
    // One that nobody waits for is withdrawn at its node.
    let mut connection = client.connect();
    connection.write(&client.request("POST", "blpop", Some(pop("a").as_bytes()))).unwrap();
    until("a call that waits", SOON, || blocked(&cluster.nodes[2]).then_some(()));
    drop(connection);
    until("nobody", SOON, || (!blocked(&cluster.nodes[2])).then_some(()));
    // One that waits goes with its key.
    thread::scope(|scope| {
        let call = scope.spawn(|| client.post("blpop", pop("a")));
        until("a call that waits", SOON, || blocked(&cluster.nodes[2]).then_some(()));
        let (from, to) = (cluster.id(2), cluster.id(0));
        assert_eq!(cluster.nodes[0].line(&format!("CLUSTER SETSLOT {SLOT_OF_A} IMPORTING {from}")), "OK");
        assert_eq!(cluster.nodes[2].line(&format!("CLUSTER SETSLOT {SLOT_OF_A} MIGRATING {to}")), "OK");
        for node in [0, 2, 1] {
            assert_eq!(cluster.nodes[node].line(&format!("CLUSTER SETSLOT {SLOT_OF_A} NODE {to}")), "OK");
        }
        until("the call at the other node", SOON, || blocked(&cluster.nodes[0]).then_some(()));
        push("a");
        call.join().unwrap().is(r#"{"result":{"key":"a","element":"1"}}"#);
    });
}
