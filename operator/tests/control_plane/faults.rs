//! An API server in trouble: what was asked for meanwhile is done once it is well again, without a storm and without growing.

use std::time::{Duration, Instant};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::api::DeleteParams;
use serde_json::json;

use crate::{
    cluster::{DEADLINE, quiet},
    gateway::{World, managed},
    handover::Operator,
    proxy::{Proxy, Trouble},
};

const GATEWAYS: usize = 10;
/// How long each trouble lasts, unless DBXDEV_TROUBLE_SECONDS says otherwise. The Lease cannot be renewed for longer than this
/// holds it.
const LASTS: u64 = 14;
/// Requests in a second that are no storm: watches that begin again, and what is asked of each gateway, with growing delays.
const MOST: u64 = 50;
/// What troubles may leave behind in memory.
const GROWTH: u64 = 16 << 20;

/// An operator that is started again when it ends, as a kubelet does it.
struct Kept<'a> {
    proxy: &'a Proxy,
    operator: Operator,
    starts: usize,
}

const ARGUMENTS: [&str; 4] = ["--watch-namespace", "faults", "--lease", "faults"];

impl Kept<'_> {
    fn look(&mut self) {
        if self.operator.is_gone() {
            self.operator = Operator::through(&self.proxy.kubeconfig, &ARGUMENTS);
            self.starts += 1;
        }
    }

    async fn wait(&mut self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            self.look();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How often it has looked at gateways.
    fn looks(&self) -> f64 {
        self.operator.metric("dbx_operator_reconciles_total")
    }

    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.operator.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
    }
}

/// Whether every gateway has so many replicas and its Service.
async fn is_done(world: &World, replicas: i32) -> bool {
    for index in 0..GATEWAYS {
        let name = format!("g{index}");
        let deployment = world.api::<Deployment>().get_opt(&name).await.unwrap();
        let found = deployment.and_then(|deployment| deployment.spec?.replicas);
        if found != Some(replicas) || !world.exists::<Service>(&name).await {
            return false;
        }
    }
    true
}

async fn done(world: &World, kept: &mut Kept<'_>, replicas: i32, after: &str) {
    let start = Instant::now();
    while !is_done(world, replicas).await {
        kept.look();
        assert!(start.elapsed() < DEADLINE * 2, "nothing is done any more after {after}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks for something of every gateway, and takes something of one away.
async fn change(world: &World, replicas: i32) {
    for index in 0..GATEWAYS {
        world.patch(&format!("g{index}"), json!({ "spec": { "replicas": replicas } })).await.unwrap();
    }
    world.api::<Service>().delete("g0", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn troubles_pass() {
    let world = World::on(quiet(), "faults").await;
    let proxy = Proxy::start(world.client.clone()).await;
    let operator = Operator::through(&proxy.kubeconfig, &ARGUMENTS);
    let mut kept = Kept { proxy: &proxy, operator, starts: 1 };
    for index in 0..GATEWAYS {
        world.create(&format!("g{index}"), json!({ "config": managed(), "replicas": 1 })).await.unwrap();
    }
    done(&world, &mut kept, 1, "the beginning").await;
    let memory = kept.memory();

    let seconds = std::env::var("DBXDEV_TROUBLE_SECONDS").map_or(LASTS, |given| given.parse().unwrap());
    let lasts = Duration::from_secs(seconds);
    let troubles =
        [Trouble::Every2nd(500), Trouble::Every2nd(429), Trouble::ClosedWatches, Trouble::OldWatches, Trouble::Gone, Trouble::Silent];
    for (replicas, trouble) in (2..).zip(troubles) {
        let (before, starts, looks) = (proxy.requests(), kept.starts, kept.looks());
        proxy.trouble(Some(trouble));
        change(&world, replicas).await;
        kept.wait(lasts).await;
        let asked = (proxy.requests() - before) as u64;
        // Of an operator that was started again, those since then.
        let looks = if kept.starts == starts { kept.looks() - looks } else { kept.looks() };
        proxy.trouble(None);
        done(&world, &mut kept, replicas, &format!("{trouble:?}")).await;
        let (starts, now) = (starts, kept.starts - starts);
        eprintln!("{trouble:?}: {asked} requests and {looks} looks in {lasts:?}, {now} starts, {} KiB", kept.memory() >> 10);
        assert!(asked < MOST * seconds, "{trouble:?}: {asked} requests");
        if !matches!(trouble, Trouble::Gone | Trouble::Silent) {
            assert_eq!(kept.starts, starts, "{trouble:?} is no reason to end");
        }
    }

    // A token that is not taken any more, until the kubelet writes another one.
    let before = proxy.requests();
    proxy.take_only("second");
    change(&world, 9).await;
    kept.wait(Duration::from_secs(4)).await;
    proxy.write_token("second");
    done(&world, &mut kept, 9, "another token").await;
    eprintln!("another token: {} requests", proxy.requests() - before);
    assert!(kept.memory() < memory + GROWTH, "it grew from {memory} to {} bytes", kept.memory());
}
