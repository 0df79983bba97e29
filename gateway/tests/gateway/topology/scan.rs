//! SCAN over a cluster: every key, whatever happens to its slot meanwhile.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::{
    family::Kind,
    support::{Client, Gateway, Redis, SOON, until},
};

const KEYS: usize = 6000;

fn fill(client: &Client) -> BTreeSet<String> {
    let keys: BTreeSet<String> = (0..KEYS).map(|key| format!("sesame:{key}")).collect();
    for some in keys.iter().collect::<Vec<_>>().chunks(500) {
        let calls: Vec<Value> = some.iter().map(|key| json!({ "op": "set", "args": { "key": key, "value": "1" } })).collect();
        let results = client.post("pipeline", json!({ "calls": calls }).to_string()).json();
        assert!(results["result"].as_array().unwrap().iter().all(|result| result["result"] == "OK"));
    }
    keys
}

/// All pages of a scan; after each the caller may do something to the cluster.
fn scan(client: &Client, count: usize, mut between: impl FnMut(usize)) -> Vec<String> {
    let (mut cursor, mut keys) = (json!("0"), Vec::new());
    let mut places = Vec::new();
    for page in 0..5000 {
        let answer = client.post("scan", json!({ "cursor": cursor, "count": count }).to_string()).json();
        assert!(answer["result"].is_array(), "{answer}");
        keys.extend(answer["result"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()));
        cursor = answer["cursor"].clone();
        places.push(cursor.as_str().unwrap().parse::<u64>().unwrap());
        if cursor == "0" {
            return keys;
        }
        between(page);
    }
    panic!("the scan does not end: {:x?}", &places[places.len() - 20..]);
}

fn all_seen(seen: Vec<String>, keys: &BTreeSet<String>) {
    let seen: BTreeSet<String> = seen.into_iter().collect();
    let missing: Vec<&String> = keys.difference(&seen).collect();
    assert!(missing.is_empty(), "{} keys are missing: {:?}", missing.len(), &missing[..missing.len().min(5)]);
}

#[test]
fn a_scan_sees_every_key_of_every_node_in_every_way() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    let keys = fill(&client);
    let seen = scan(&client, 100, |_| {});
    assert_eq!(seen.len(), KEYS, "none twice while nothing changes");
    all_seen(seen, &keys);
    client.post("sadd", r#"{"key":"other","members":["m"]}"#);
    let all = |page: &dyn Fn(&str) -> (Vec<Value>, String)| {
        let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
        loop {
            let (keys, next) = page(&cursor);
            found.extend(keys);
            if next == "0" {
                return found;
            }
            cursor = next;
        }
    };
    let page = |answer: Value| (answer["result"].as_array().unwrap().clone(), answer["cursor"].as_str().unwrap().to_owned());
    assert_eq!(all(&|cursor| page(client.get(&format!("keys?cursor={cursor}&count=500&type=set")).json())), [json!("other")]);
    let some = all(&|cursor| page(client.get(&format!("keys?cursor={cursor}&match=sesame:1*&count=500")).json()));
    assert_eq!(some.len(), 1111);
    let piped = all(&|cursor| {
        let calls = json!({ "calls": [
            { "op": "scan", "args": { "cursor": cursor, "count": 500 } },
            { "op": "exists", "args": { "keys": ["other"] } },
            { "op": "scan", "args": { "cursor": "0", "count": 1 } },
        ] });
        let results = client.post("pipeline", calls.to_string()).json();
        assert_eq!(results["result"][1]["result"], 1, "{results}");
        assert!(results["result"][2]["cursor"].is_string(), "{results}");
        page(results["result"][0].clone())
    });
    assert_eq!(piped.len(), KEYS + 1);
    let raw = all(&|cursor| {
        let answer = client.post("raw", json!({ "command": ["sCaN", cursor, "COUNT", "500"] }).to_string()).json();
        (answer["result"][1].as_array().unwrap().clone(), answer["result"][0].as_str().unwrap().to_owned())
    });
    assert_eq!(raw.len(), KEYS + 1);
    client.post("raw", r#"{"command":["SCAN","x"]}"#).fails(422, "redis_error", "");
    client.post("raw", r#"{"command":["SCAN","0","NONSENSE"]}"#).fails(422, "redis_error", "");
    client.post("raw", r#"{"command":["SCAN"]}"#).fails(422, "redis_error", "");
    // A cursor that nobody was given is some place.
    client.post("scan", r#"{"cursor":"18446744073709551615"}"#).json()["cursor"].as_str().unwrap();
}

#[test]
fn a_slot_that_moves_behind_a_scan_is_looked_for_there() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    let keys = fill(&client);
    // A slot of the last node goes to the first, which has been seen by then.
    let slot = keys.iter().map(|key| cluster.slot(key)).find(|slot| cluster.home(*slot) == 2).unwrap();
    let mut moved = false;
    let seen = scan(&client, 100, |page| {
        if page == 30 {
            cluster.move_slot(slot, 2, 0);
            moved = true;
        }
    });
    assert!(moved);
    all_seen(seen, &keys);
    // One that is on its way all the time, with half of its keys ahead.
    let slot = (10_923..16_384).find(|slot| cluster.nodes[2].line(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).parse::<u64>().unwrap() > 1);
    let slot = slot.unwrap();
    cluster.begin_to_move(slot, 2, 1, 1);
    assert_eq!(cluster.nodes[1].line(&format!("CLUSTER COUNTKEYSINSLOT {slot}")), "1");
    all_seen(scan(&client, 100, |_| {}), &keys);
}

/// Stops what looks at it, whatever happens.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_scan_sees_every_key_while_slots_move() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    let keys = fill(&client);
    let (stop, scans) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        // Also when this thread panics, which would wait for the others for ever.
        let _end = End(&stop);
        for _ in 0..2 {
            let client = gateway.anonymous();
            let (keys, stop, scans) = (&keys, &stop, &scans);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    all_seen(scan(&client, 100, |_| {}), keys);
                    scans.fetch_add(1, Relaxed);
                }
            });
        }
        cluster.reshard(2, 0, 300);
        cluster.reshard(1, 0, 300);
        cluster.reshard(0, 2, 300);
        let before = scans.load(Relaxed);
        until("scans", SOON, || (scans.load(Relaxed) > before + 2).then_some(()));
    });
    println!("{} scans of {KEYS} keys while 900 slots moved", scans.load(Relaxed));
}

#[test]
fn a_scan_goes_on_when_a_primary_is_another() {
    let mut cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    let keys = fill(&client);
    for at in 0..3 {
        until("replication", SOON, || (cluster.nodes[at].line("DBSIZE") == cluster.nodes[at + 3].line("DBSIZE")).then_some(()));
    }
    let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
    for page in 0.. {
        if page == 5 {
            cluster.nodes[0].kill();
            until("a new primary", SOON, || cluster.nodes[3].line("ROLE").contains("master").then_some(()));
            until("service", SOON, || gateway.is_connected().then_some(()));
        }
        let response = client.post("scan", json!({ "cursor": cursor, "count": 100 }).to_string());
        if response.status != 200 {
            assert_eq!(response.json()["retryable"], true, "{}", response.text());
            continue;
        }
        let answer = response.json();
        seen.extend(answer["result"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()));
        cursor = answer["cursor"].as_str().unwrap().to_owned();
        if cursor == "0" {
            break;
        }
    }
    all_seen(seen, &keys);
}

/// Valkey keeps keys by slot, so that a large one needs more room for its cursors than there is.
#[test]
fn a_large_slot_of_valkey_is_seen_as_well() {
    let node = Redis::of(Kind::ValkeyCluster);
    assert_eq!(node.line("CLUSTER ADDSLOTSRANGE 0 16383"), "OK");
    until("the cluster", SOON, || node.line("CLUSTER INFO").contains("cluster_state:ok").then_some(()));
    let gateway = Gateway::launch(&format!("redis+cluster://127.0.0.1:{}", node.port.number), &[]);
    until("readiness", SOON, || gateway.is_ready().then_some(()));
    let client = gateway.anonymous();
    let mut keys = fill(&client);
    let large: Vec<String> = (0..20_000).map(|key| format!("{{t}}:{key}")).collect();
    for some in large.chunks(1000) {
        let values: serde_json::Map<String, Value> = some.iter().map(|key| (key.clone(), json!("1"))).collect();
        client.post("mset", json!({ "values": values }).to_string()).is(r#"{"result":"OK"}"#);
    }
    keys.extend(large);
    all_seen(scan(&client, 100, |_| {}), &keys);
    all_seen(scan(&client, 5000, |_| {}), &keys);
}
