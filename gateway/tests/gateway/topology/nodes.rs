//! What a cluster makes of calls that are not about one key: all nodes, one that is named, replicas, and connections of calls' own
//! when the slot has gone.

use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::support::{Client, SOON, until};

/// How often a node was sent a command.
fn calls(cluster: &Cluster, at: usize, command: &str) -> u64 {
    let text = cluster.nodes[at].line("INFO commandstats");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

fn sorted(answer: &Value) -> Vec<String> {
    let mut all: Vec<String> = answer["result"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

#[test]
fn what_has_no_key_is_asked_of_all() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    client.post("randomkey", "{}").is(r#"{"result":null}"#);
    let keys: Vec<String> = (0..30).map(|key| format!("k{key}")).collect();
    for key in &keys {
        client.put(&format!("strings/{key}"), r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
    }
    client.post("dbsize", "{}").is(r#"{"result":30}"#);
    assert_eq!(sorted(&client.post("keys", r#"{"pattern":"k1*"}"#).json()).len(), 11);
    assert!(keys.contains(&client.post("randomkey", "{}").json()["result"].as_str().unwrap().to_owned()));
    client.post("ping", "{}").is(r#"{"result":"PONG"}"#);
    client.post("ping", r#"{"message":"m"}"#).is(r#"{"result":"m"}"#);
    let sha = client.post("script_load", r#"{"script":"return KEYS[1]"}"#).json()["result"].as_str().unwrap().to_owned();
    for key in &keys {
        let call = json!({ "sha1": sha, "keys": [key] });
        assert_eq!(client.post("evalsha", call.to_string()).json()["result"], json!(key));
    }
    cluster.nodes[1].line("SCRIPT FLUSH");
    let exists = json!({ "sha1s": [sha, "0".repeat(40)] }).to_string();
    client.post("script_exists", &exists).is(r#"{"result":[0,0]}"#);
    client.post("script_load", r#"{"script":"return KEYS[1]"}"#);
    client.post("script_exists", &exists).is(r#"{"result":[1,0]}"#);
    client.post("script_flush", "{}").is(r#"{"result":"OK"}"#);
    client.post("script_exists", &exists).is(r#"{"result":[0,0]}"#);
    client.post("script_kill", "{}").fails(422, "redis_error", "");
    let library = "#!lua name=lib\nredis.register_function('f', function(keys) return keys[1] end)";
    client.post("function_load", json!({ "function_code": library }).to_string()).is(r#"{"result":"lib"}"#);
    for key in &keys {
        client.post("fcall", json!({ "function": "f", "keys": [key] }).to_string()).is(&format!(r#"{{"result":"{key}"}}"#));
    }
    // What is larger than what shares a connection is still for all of them.
    let long = json!({ "script": format!("return 1 --{}", "x".repeat(2 << 20)) }).to_string();
    let sha = client.post("script_load", long).json()["result"].as_str().unwrap().to_owned();
    client.post("script_exists", json!({ "sha1s": [sha] }).to_string()).is(r#"{"result":[1]}"#);
    client.post("config_set", r#"{"parameters":{"maxmemory-samples":"7"}}"#).is(r#"{"result":"OK"}"#);
    for at in 0..3 {
        assert!(cluster.nodes[at].line("CONFIG GET maxmemory-samples").contains("\r\n7\r\n"));
    }
    client.post("pubsub_numsub", r#"{"channels":["a","b"]}"#).is(r#"{"result":{"a":0,"b":0}}"#);
    client.post("pubsub_numpat", "{}").is(r#"{"result":0}"#);
    client.post("pubsub_channels", "{}").is(r#"{"result":[]}"#);
    client.post("slowlog_reset", "{}").is(r#"{"result":"OK"}"#);
    let calls = r#"{"calls":[{"op":"dbsize"},{"op":"set","args":{"key":"k1","value":"2"}},{"op":"get","args":{"key":"k1"}},{"op":"flushall"},{"op":"dbsize"}]}"#;
    let results = client.post("pipeline", calls).json();
    assert_eq!(results["result"][0]["result"], 30, "{results}");
    assert_eq!(results["result"][2]["result"], "2", "{results}");
    client.post("dbsize", "{}").is(r#"{"result":0}"#);
    client.post("transaction", r#"{"calls":[{"op":"dbsize"}]}"#).fails(400, "cross_slot", "");
    // A node that is gone has a part that nobody knows.
    cluster.nodes[2].hold();
    client.post("dbsize?timeout=300ms", "{}").fails(504, "timeout", "");
    cluster.nodes[2].release();
}

#[test]
fn nodes_are_seen_and_named() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    let info = client.get("cluster").json();
    assert_eq!((&info["result"]["cluster_state"], &info["result"]["cluster_known_nodes"]), (&json!("ok"), &json!(6)));
    let nodes = client.get("cluster/nodes").json()["result"].as_array().unwrap().clone();
    assert_eq!(nodes.len(), 6);
    for at in 0..6 {
        let node = nodes.iter().find(|node| node["id"] == cluster.id(at)).unwrap();
        assert_eq!((&node["host"], &node["port"]), (&json!("127.0.0.1"), &json!(cluster.nodes[at].port.number)), "{node}");
        assert_eq!(node["role"], if at < 3 { "primary" } else { "replica" }, "{node}");
        assert_eq!(node["primary"], if at < 3 { Value::Null } else { json!(cluster.id(at - 3)) }, "{node}");
        assert_eq!(node["slots"].as_array().unwrap().len(), usize::from(at < 3), "{node}");
        // Every one of them can be named.
        let named = client.get(&format!("info?node={}", cluster.id(at))).text();
        assert!(named.contains(&format!("tcp_port:{}\\r", cluster.nodes[at].port.number)), "{named}");
        let told = client.post(&format!("cluster_myid?node={}", cluster.id(at)), "{}").json();
        assert_eq!(told["result"], json!(cluster.id(at)));
    }
    assert_eq!(client.get("cluster/slots").json()["result"].as_array().unwrap().len(), 3);
    assert_eq!(client.get("cluster/shards").json()["result"].as_array().unwrap().len(), 3);
    client.get("cluster/keyslot/foo").is(r#"{"result":12182}"#);
    let id = cluster.id(4);
    let calls = r#"{"calls":[{"op":"dbsize"},{"op":"get","args":{"key":"a"}},{"op":"cluster_myid"}]}"#;
    let results = client.post(&format!("pipeline?node={id}"), calls).json();
    assert_eq!(results["result"][1]["error"]["param"], "node", "{results}");
    assert_eq!(results["result"][2]["result"], json!(id), "{results}");
    client.post(&format!("raw?node={id}"), r#"{"command":["CLUSTER","MYID"]}"#).is(&format!(r#"{{"result":"{id}"}}"#));
    client.post(&format!("get?node={id}"), r#"{"key":"a"}"#).fails(400, "invalid_argument", "node");
    client.post(&format!("info?node={}", "0".repeat(40)), "{}").fails(400, "invalid_argument", "node");
    client.post("info?node=127.0.0.1:1", "{}").fails(400, "invalid_argument", "node");
    client.post(&format!("transaction?node={id}"), r#"{"calls":[{"op":"get","args":{"key":"a"}}]}"#).fails(400, "unknown_argument", "node");
    // Managing one: a replica takes over.
    client.post(&format!("cluster_failover?node={}", cluster.id(3)), "{}").is(r#"{"result":"OK"}"#);
    until("a new primary", SOON, || cluster.nodes[3].line("ROLE").contains("master").then_some(()));
}

#[test]
fn eventual_reads_are_answered_by_replicas() {
    let mut cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    client.put("strings/foo", r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
    let home = cluster.home(cluster.slot("foo"));
    until("replication", SOON, || (cluster.nodes[home + 3].line("DBSIZE") == "1").then_some(()));
    // The connection is made when it is first wished for; until then the primary answers.
    until("a read by the replica", SOON, || {
        client.get("strings/foo?consistency=eventual").is(r#"{"result":"1"}"#);
        (calls(&cluster, home + 3, "get") > 0).then_some(())
    });
    let before = calls(&cluster, home + 3, "get");
    client.get("strings/foo?consistency=strong").is(r#"{"result":"1"}"#);
    client.get("strings/foo").is(r#"{"result":"1"}"#);
    assert_eq!(calls(&cluster, home + 3, "get"), before);
    let each = |path: &str, body: &str| client.post(path, body).json();
    each("raw?consistency=eventual", r#"{"command":["GET","foo"]}"#);
    each("pipeline?consistency=eventual", r#"{"calls":[{"op":"get","args":{"key":"foo"}}]}"#);
    each("mget?consistency=eventual&split=true", r#"{"keys":["foo","bar","a","b"]}"#);
    let results = each("pipeline?consistency=eventual", r#"{"calls":[{"op":"incr","args":{"key":"foo"}},{"op":"dbsize"}]}"#);
    assert_eq!(results["result"][0]["error"]["param"], "consistency", "{results}");
    assert_eq!(results["result"][1]["result"], 1, "{results}");
    client.post("incr?consistency=eventual", r#"{"key":"foo"}"#).fails(400, "invalid_argument", "consistency");
    client.put("strings/foo?consistency=eventual", r#"{"value":"1"}"#).fails(400, "invalid_argument", "consistency");
    client.post("raw?consistency=eventual", r#"{"command":["NONSENSE","foo"]}"#).fails(400, "invalid_argument", "consistency");
    client.get("strings/foo?consistency=perhaps").fails(400, "invalid_argument", "consistency");
    // Without a replica, the primary.
    cluster.nodes[home + 3].kill();
    until("an answer of the primary", SOON, || (client.get("strings/foo?consistency=eventual").status == 200).then_some(()));
    client.get("strings/foo?consistency=eventual").is(r#"{"result":"1"}"#);
}

/// All that needs a connection of its own.
fn alone(client: &Client, key: &str, turn: u64) {
    let calls = json!({ "calls": [
        { "op": "set", "args": { "key": key, "value": turn.to_string() } },
        { "op": "incr", "args": { "key": key } },
    ] });
    client.post("transaction", calls.to_string()).is(&format!(r#"{{"result":[{{"result":"OK"}},{{"result":{}}}]}}"#, turn + 1));
}

fn watched(client: &Client, key: &str, equals: u64) {
    let watch = json!([{ "key": key, "equals": equals.to_string() }]);
    let calls = json!({ "watch": watch, "calls": [{ "op": "incr", "args": { "key": key } }] });
    client.post("transaction", calls.to_string()).is(&format!(r#"{{"result":[{{"result":{}}}]}}"#, equals + 1));
}

fn large(client: &Client, key: &str) {
    let value = "x".repeat(2 << 20);
    client.post("set", json!({ "key": key, "value": value }).to_string()).is(r#"{"result":"OK"}"#);
    assert_eq!(client.post("strlen", json!({ "key": key }).to_string()).json()["result"], 2 << 20);
}

#[test]
fn connections_of_calls_own_follow_a_slot() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway(&["limits.maxOwnConnections=1"]);
    let client = gateway.anonymous();
    // Each finds out by itself: what one has learned, the next would know.
    let uses: [fn(&Client, &str); 4] = [
        |client, key| alone(client, key, 5),
        |client, key| watched(client, key, 1),
        large,
        |client, key| {
            let tag = client.get(&format!("strings/{key}")).header("etag").unwrap().to_owned();
            client.with("If-Match", &tag).put(&format!("strings/{key}"), r#"{"value":"2"}"#).is(r#"{"result":"OK"}"#);
        },
    ];
    for (at, one) in uses.iter().enumerate() {
        let key = format!("moved:{at}");
        client.put(&format!("strings/{key}"), r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
        let slot = cluster.slot(&key);
        let from = cluster.home(slot);
        cluster.move_slot(slot, from, (from + 1) % 3);
        one(&client, &key);
    }
    // On its way: what is not at the node any more is where it goes.
    for (at, one) in [uses[0], uses[2]].iter().enumerate() {
        let key = format!("moving:{at}");
        client.put(&format!("strings/{key}"), r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
        let slot = cluster.slot(&key);
        let from = cluster.home(slot);
        cluster.begin_to_move(slot, from, (from + 1) % 3, 100);
        one(&client, &key);
        let calls = json!({ "watch": [{ "key": key, "absent": true }], "calls": [{ "op": "get", "args": { "key": key } }] });
        let problem = client.post("transaction", calls.to_string()).fails(503, "unavailable", "");
        assert_eq!(problem["retryable"], true);
    }
}

#[test]
fn rates_are_counted_where_the_bucket_lives() {
    let cluster = Cluster::start();
    let limit = "{name: NAME, per: identity, sharedIn: redis, onFailure: closed, commands: 1000, burst: 1000}";
    // Buckets in several slots.
    let limits: Vec<String> = ["one", "two", "three", "four"].iter().map(|name| limit.replace("NAME", name)).collect();
    let gateway = cluster.gateway(&[&format!("rateLimits=[{}]", limits.join(","))]);
    let client = gateway.anonymous();
    until("all buckets", SOON, || {
        client
            .post("incr", r#"{"key":"a"}"#)
            .is(&format!("{{\"result\":{}}}", cluster.nodes[cluster.home(cluster.slot("a"))].line("GET a")));
        let keys: String = cluster.nodes[..3].iter().map(|node| node.line("KEYS dbx:rate:*")).collect();
        ["{one:", "{two:", "{three:", "{four:"].iter().all(|name| keys.contains(name)).then_some(())
    });
    assert!(!gateway.log().contains("cannot be counted"));
}

#[test]
fn keys_in_several_slots_are_refused_before_the_server_sees_them() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway(&[]);
    let client = gateway.anonymous();
    let limit = |keys: [&str; 2]| json!({ "source": keys[0], "destination": keys[1], "count": 2, "wherefrom": "left", "whereto": "right" });
    client.post("rpush", r#"{"key":"{t}a","elements":["1","2","3"]}"#).is(r#"{"result":3}"#);
    client.post("pop_many_and_move", limit(["{t}a", "{t}b"]).to_string()).json()["result"].as_array().unwrap();
    let several = [
        ("pop_many_and_move", limit(["a", "b"]).to_string()),
        ("set_many_with_ttl", r#"{"values":{"a":"1","b":"2"},"px":1000}"#.to_owned()),
        ("eval", r#"{"script":"return 1","keys":["a","b"]}"#.to_owned()),
        ("eval_ro", r#"{"script":"return 1","keys":["a","b"]}"#.to_owned()),
        ("rename", r#"{"key":"a","newkey":"b"}"#.to_owned()),
        ("sinterstore", r#"{"destination":"a","keys":["b"]}"#.to_owned()),
        ("msetnx", r#"{"values":{"a":"1","b":"2"}}"#.to_owned()),
        ("zunionstore", r#"{"destination":"a","keys":["a","b"]}"#.to_owned()),
        ("raw", r#"{"command":["eval","return 1","2","a","b"]}"#.to_owned()),
        ("raw?split=true", r#"{"command":["BITOP","AND","a","b"]}"#.to_owned()),
        ("transaction", r#"{"calls":[{"op":"get","args":{"key":"a"}},{"op":"get","args":{"key":"b"}}]}"#.to_owned()),
        ("transaction", r#"{"watch":[{"key":"a","absent":true}],"calls":[{"op":"get","args":{"key":"b"}}]}"#.to_owned()),
    ];
    for (path, body) in &several {
        let problem = client.post(path, body).fails(400, "cross_slot", "");
        assert_eq!(problem["retryable"], false, "{path}");
    }
    client.post("eval", r#"{"script":"return KEYS","keys":["{t}1","{t}2"]}"#).is(r#"{"result":["{t}1","{t}2"]}"#);
    client.post("eval", r#"{"script":"return 1"}"#).is(r#"{"result":1}"#);
    for at in 0..3 {
        let errors = cluster.nodes[at].line("INFO errorstats");
        assert!(!errors.contains("CROSSSLOT") && !errors.contains("MOVED"), "{errors}");
    }
}
