//! Every operation that needs admin access is called on a server that is thrown away: by its example, or in a scene where that
//! would be refused, because there has to be a replica, a file or another node.

use std::{collections::BTreeSet, fs, process::Command, sync::Mutex, thread};

use dbx_gateway::operation::{self, Class, Group, Operation};
use serde_json::{Value, json};

use crate::{
    family::{Kind, module},
    support::{App, Client, Gateway, Port, Process, Redis, SOON, alike, until},
};

/// How many servers there are at once.
const SERVERS: usize = 4;

/// What was called.
#[derive(Default)]
struct Called(Mutex<BTreeSet<&'static str>>);

impl Called {
    fn has(&self, name: &str) -> bool {
        self.0.lock().unwrap().contains(name)
    }

    fn note(&self, name: &'static str) {
        self.0.lock().unwrap().insert(name);
    }

    /// Calls an operation that succeeds; its result.
    #[track_caller]
    fn call(&self, client: &Client, name: &'static str, arguments: &Value) -> Value {
        self.note(name);
        let response = client.post(name, arguments.to_string());
        assert_eq!(response.status, 200, "{name} {arguments}: {}", response.text());
        response.json()["result"].clone()
    }
}

#[test]
fn every_operation_of_administrators_is_called() {
    let called = Called::default();
    for scene in [files, replica, cluster, slots, modules, latency] {
        scene(&called);
    }
    let admin: Vec<&Operation> = operation::all()
        .iter()
        .copied()
        .filter(|operation| operation.access.class == Class::Admin && !called.has(operation.name))
        .collect();
    let in_scenes = called.0.lock().unwrap().len();
    thread::scope(|scope| {
        for server in 0..SERVERS {
            let (admin, called) = (&admin, &called);
            scope.spawn(move || admin.iter().skip(server).step_by(SERVERS).for_each(|operation| by_example(operation, called)));
        }
    });
    let all: BTreeSet<&str> =
        operation::all().iter().filter(|operation| operation.access.class == Class::Admin).map(|operation| operation.name).collect();
    let called = called.0.into_inner().unwrap();
    assert_eq!(all.difference(&called).collect::<Vec<_>>(), Vec::<&&str>::new());
    println!("{} operations of administrators, {in_scenes} in scenes", all.len());
}

/// Calls an operation by its example, on a server of its own that has it.
fn by_example(operation: &'static Operation, called: &Called) {
    let on_valkey = operation.since.redis.is_none_or(|since| since.starts_with('8'));
    let redis = Redis::of(match (operation.group, on_valkey) {
        (Group::Cluster, false) => Kind::Cluster,
        (Group::Cluster, true) => Kind::ValkeyCluster,
        (_, false) => Kind::Redis,
        (_, true) => Kind::Valkey,
    });
    let app = App { gateway: Gateway::start(&redis, &[]), redis };
    called.note(operation.name);
    if operation.mode.has_reply() {
        for line in operation.example.given {
            // A node that has just been given slots serves them a moment later.
            let reply =
                until("the slots of a node", SOON, || Some(app.redis.line(line)).filter(|reply| !reply.starts_with("-CLUSTERDOWN")));
            assert!(!reply.starts_with('-'), "{line}: {reply}");
        }
        let response = app.anonymous().post(operation.name, operation.example.arguments);
        assert_eq!(response.status, 200, "{}: {}", operation.name, response.text());
        let (found, written) = (response.json(), serde_json::from_str(operation.example.answer).unwrap());
        assert!(alike(&written, &found), "{}: {found} is not like {written}", operation.name);
    } else {
        let refusal = operation.mode.refusal().expect("it is no call");
        app.anonymous().post(operation.name, operation.example.arguments).fails(refusal.code.status(), refusal.code.name(), "");
    }
    // Whatever it did, others are served.
    until("an answer", SOON, || (app.anonymous().post("ping", "{}").status == 200).then_some(()));
}

/// What is kept in files.
fn files(called: &Called) {
    let (port, folder) = (Port::reserve(), tempfile::tempdir().unwrap());
    let (settings, users) = (folder.path().join("redis.conf"), folder.path().join("users.acl"));
    fs::write(&users, "user default on nopass ~* &* +@all\n").unwrap();
    let lines = [format!("port {}", port.number), format!("dir {}", folder.path().display()), format!("aclfile {}", users.display())];
    fs::write(&settings, format!("bind 127.0.0.1\nsave ''\nlogfile log\n{}\n", lines.join("\n"))).unwrap();
    let _redis = Process::start(Command::new("redis-server").arg(&settings), "`make test` installs redis-server");
    let gateway = Gateway::launch(&format!("redis://127.0.0.1:{}", port.number), &[]);
    until("readiness", SOON, || gateway.is_ready().then_some(()));
    let client = gateway.anonymous();
    called.call(&client, "acl_setuser", &json!({"username": "alice", "rules": ["on", "+get"]}));
    assert_eq!(called.call(&client, "acl_save", &json!({})), "OK");
    assert!(fs::read_to_string(&users).unwrap().contains("alice"));
    assert_eq!(called.call(&client, "acl_deluser", &json!({"usernames": ["alice"]})), 1);
    assert_eq!(called.call(&client, "acl_load", &json!({})), "OK");
    assert!(called.call(&client, "acl_users", &json!({})).as_array().unwrap().contains(&"alice".into()));
    called.call(&client, "config_set", &json!({"parameters": {"slowlog-max-len": 77}}));
    assert_eq!(called.call(&client, "config_rewrite", &json!({})), "OK");
    assert!(fs::read_to_string(&settings).unwrap().contains("slowlog-max-len 77"));
}

/// A primary hands its work over.
fn replica(called: &Called) {
    let (primary, replica) = (Redis::start(), Redis::start());
    let (old, new) = (Gateway::start(&primary, &[]), Gateway::start(&replica, &[]));
    let place = json!({"host": "127.0.0.1", "port": primary.port.number.to_string()});
    assert_eq!(called.call(&new.anonymous(), "replicaof", &place), "OK");
    until("a replica", SOON, || primary.line("INFO replication").contains("state=online").then_some(()));
    assert_eq!(called.call(&old.anonymous(), "failover", &json!({})), "OK");
    until("a new primary", SOON, || replica.line("INFO replication").contains("role:master").then_some(()));
    until("a new replica", SOON, || primary.line("INFO replication").contains("role:slave").then_some(()));
    assert_eq!(called.call(&old.anonymous(), "slaveof", &json!({"host": "NO", "port": "ONE"})), "OK");
}

/// Two nodes that know each other, and their ids. The first has all slots.
fn nodes(kind: Kind) -> [(Redis, Gateway, String); 2] {
    let nodes = [(); 2].map(|()| {
        let redis = Redis::of(kind);
        let (gateway, id) = (Gateway::start(&redis, &[]), redis.line("CLUSTER MYID"));
        (redis, gateway, id)
    });
    assert_eq!(nodes[0].0.line("CLUSTER ADDSLOTSRANGE 0 16383"), "OK");
    let itself = nodes[1].0.line("CLUSTER NODES");
    let bus = itself.split(['@', ',', ' ']).nth(2).unwrap();
    assert_eq!(nodes[0].0.line(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", nodes[1].0.port.number)), "OK");
    for (redis, ..) in &nodes {
        until("the other node", SOON, || {
            let known = redis.line("CLUSTER NODES");
            (nodes.iter().all(|(.., id)| known.contains(id)) && !known.contains("handshake")).then_some(())
        });
    }
    nodes
}

/// A node that follows another, takes over, and forgets it.
fn cluster(called: &Called) {
    let [(redis, first, one), (_other, second, two)] = nodes(Kind::Cluster);
    let (first, second) = (first.anonymous(), second.anonymous());
    assert_eq!(called.call(&second, "cluster_replicate", &json!({"node_id": one})), "OK");
    until("a replica", SOON, || redis.line("INFO replication").contains("state=online").then_some(()));
    for name in ["cluster_replicas", "cluster_slaves"] {
        let replicas = until("word of a replica", SOON, || {
            Some(called.call(&first, name, &json!({"node_id": one}))).filter(|replicas| replicas != &json!([]))
        });
        assert_eq!(replicas[0]["id"], two.as_str(), "{replicas}");
    }
    assert_eq!(called.call(&first, "cluster_count_failure_reports", &json!({"node_id": two})), 0);
    assert_eq!(called.call(&second, "cluster_failover", &json!({"takeover": true})), "OK");
    until("a new replica", SOON, || redis.line("INFO replication").contains("role:slave").then_some(()));
    assert_eq!(called.call(&second, "cluster_forget", &json!({"node_id": one})), "OK");
}

/// Slots that move, and do not.
fn slots(called: &Called) {
    let [(_redis, first, _), (_other, _second, two)] = nodes(Kind::ValkeyCluster);
    let first = first.anonymous();
    let migration = json!({"migrations": [{"node": two, "ranges": [[0, 99]]}]});
    assert_eq!(called.call(&first, "cluster_migrateslots", &migration), "OK");
    assert!(!called.call(&first, "cluster_getslotmigrations", &json!({})).as_array().unwrap().is_empty());
    called.note("cluster_cancelslotmigrations");
    let response = first.post("cluster_cancelslotmigrations", "{}");
    // It may have been made already.
    assert!(response.status == 200 || response.json()["code"] == "redis_error", "{}", response.text());
}

/// Modules come; one that has types of its own stays.
fn modules(called: &Called) {
    let redis = Redis::with(&["--enable-module-command", "yes"]);
    let gateway = Gateway::start(&redis, &[]);
    let client = gateway.anonymous();
    let path = |name: &str| module(name).display().to_string();
    assert_eq!(called.call(&client, "module_load", &json!({"path": path("redisbloom.so")})), "OK");
    assert_eq!(called.call(&client, "module_loadex", &json!({"path": path("rejson.so")})), "OK");
    assert_eq!(called.call(&client, "module_list", &json!({})).as_array().unwrap().len(), 2);
    called.note("module_unload");
    client.post("module_unload", r#"{"name":"bf"}"#).fails(422, "redis_error", "");
}

/// A command that took long.
fn latency(called: &Called) {
    let app = App::start();
    let client = app.anonymous();
    called.call(&client, "config_set", &json!({"parameters": {"latency-monitor-threshold": 1}}));
    assert_eq!(app.redis.line("DEBUG SLEEP 0.01"), "OK");
    assert!(called.call(&client, "latency_graph", &json!({"event": "command"})).as_str().unwrap().contains("high"));
    assert_eq!(called.call(&client, "latency_history", &json!({"event": "command"})).as_array().unwrap().len(), 1);
}
