//! Clocks that jump by an hour: whoever works goes on, whoever waits does not begin, a key is replaced once, and nothing is
//! written that need not be. The operators' own clocks alone, by libfaketime; that of the machine and of the API server stays.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use dbx_crds::api_key::DbxApiKey;
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::{
    cluster::{apply, quiet},
    gateway::{World, managed},
    handover::{Operator, until, versions},
    keys::sha256,
};

const HOUR: i64 = 3600;
/// How long each time is watched.
const WHILE: Duration = Duration::from_secs(5);
/// Requests in that time that are no hot loop: both operators' Leases, and a look at everything every second or so.
const MOST: usize = 200;

/// A clock that can be set while its operator runs.
struct Clock(tempfile::TempDir);

impl Clock {
    fn new() -> Self {
        let clock = Self(tempfile::tempdir().unwrap());
        clock.set(0);
        clock
    }

    /// By how many seconds it is ahead of the machine's.
    fn set(&self, seconds: i64) {
        let (new, file) = (self.0.path().join("new"), self.file());
        std::fs::write(&new, format!("{seconds:+}")).unwrap();
        // In one step, since it is read at every look at the time.
        std::fs::rename(new, file).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    fn operator(&self) -> Operator {
        let mut folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path().join("faketime/libfaketime.so.1"));
        let library = folders.find(|library| library.exists()).expect("libfaketime is installed: `scripts/tools clock`");
        let address = Operator::free_address();
        let mut command = quiet().operator("operator", &address);
        command.args(["--watch-namespace", "clock", "--lease", "clock", "--resync", "1"]);
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", self.file());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Operator::run(command, address)
    }
}

/// How many keys have been minted so far.
fn minted() -> usize {
    let made = |entry: &serde_json::Value| {
        entry["objectRef"]["name"] == "web-pending" && entry["objectRef"]["resource"] == "secrets" && entry["responseStatus"]["code"] == 201
    };
    quiet().audit("clock").iter().filter(|entry| made(entry)).count()
}

fn requests() -> usize {
    let ours = |entry: &serde_json::Value| {
        entry["objectRef"]["namespace"] == "clock" || entry["objectRef"]["resource"] == "leases" && entry["objectRef"]["name"] == "clock"
    };
    quiet().requests().iter().filter(|entry| ours(entry)).count()
}

#[tokio::test]
async fn jumps_change_nothing() {
    let world = World::on(quiet(), "clock").await;
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), "dbx-system");
    // Of a Lease of its own, since that of the chart is another test's.
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "clock", "namespace": "dbx-system" },
        "rules": [{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["clock"], "verbs": ["get", "watch", "update"] },
                  { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] }] });
    let binding = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "clock", "namespace": "dbx-system" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "clock" },
        "subjects": [{ "kind": "ServiceAccount", "name": "dbx-operator", "namespace": "dbx-system" }] });
    for object in [role, binding] {
        apply(&world.client, &object).await;
    }
    let (clock, other) = (Clock::new(), Clock::new());
    let leader = clock.operator();
    until("the first one working", || leader.leads()).await;
    let standby = other.operator();
    until("the second one waiting", || standby.waits()).await;

    for index in 0..5 {
        world.create(&format!("g{index}"), json!({ "config": managed(), "replicas": 1 })).await.unwrap();
    }
    let guarded = json!({ "databases": [{ "name": "redis", "redis": { "url": "redis://elsewhere" } }], "auth": { "mode": "required" } });
    world.create("cache", json!({ "config": guarded, "replicas": 1 })).await.unwrap();
    let spec = json!({ "gatewayRef": { "name": "cache" }, "access": ["read"], "secretName": "web-secret", "rotateEvery": "30m", "overlap": "10m" });
    let key: DbxApiKey = serde_json::from_value(json!({ "metadata": { "name": "web" }, "spec": spec })).unwrap();
    world.api::<DbxApiKey>().create(&PostParams::default(), &key).await.unwrap();
    for name in ["g0", "g1", "g2", "g3", "g4", "cache"] {
        world.programmed(name).await;
    }
    world.key_is("web", "Ready", "True", "Ready").await;
    assert_eq!(minted(), 1);
    let transitions = leases.get("clock").await.unwrap().spec.unwrap().lease_transitions;

    // How far each clock is ahead, how many keys there have been by then, and how many are taken.
    let jumps = [(HOUR, 0, 2, 2), (0, 0, 2, 2), (-HOUR, 0, 2, 2), (0, HOUR, 2, 2), (0, -HOUR, 2, 2), (2 * HOUR, HOUR, 3, 2)];
    for (step, (ahead, others, keys, taken)) in jumps.into_iter().enumerate() {
        let (before, asked) = (versions(&world).await, requests());
        clock.set(ahead);
        other.set(others);
        world
            .until("the operator's clock being another one", async || {
                let renewed = leases.get("clock").await.unwrap().spec.unwrap().renew_time.unwrap().0;
                (renewed.as_second() - Timestamp::now().as_second() - ahead).abs() < HOUR / 10
            })
            .await;
        tokio::time::sleep(WHILE).await;
        let asked = requests() - asked;
        eprintln!("clock {ahead:+} s, of the one that waits {others:+} s: {asked} requests");
        assert!(asked < MOST, "{asked} requests");
        assert!(leader.leads() && standby.waits(), "somebody else works");
        assert_eq!(leases.get("clock").await.unwrap().spec.unwrap().lease_transitions, transitions);

        // What was to be replaced an hour ago is replaced once, whatever happens to the clock after it.
        world.until("as many keys as are due", async || minted() >= keys && world.entries().await.len() == taken).await;
        assert_eq!(minted(), keys, "a storm of keys");
        let current = sha256(&world.token("web-secret").await);
        assert!(world.entries().await.iter().any(|entry| entry["sha256"] == current.as_str()), "what the application has is not taken");
        let mut after = versions(&world).await;
        let ours: BTreeSet<&String> = before.keys().filter(|name| !name.contains("cache-keys") && !name.contains("web")).collect();
        after.retain(|name, _| ours.contains(name));
        assert!(after.iter().all(|(name, version)| before[name] == *version), "{before:#?} {after:#?}");

        let wanted = 2 + i32::try_from(step).unwrap();
        world.patch("g0", json!({ "spec": { "replicas": wanted } })).await.unwrap();
        world.programmed("g0").await;
    }
}
