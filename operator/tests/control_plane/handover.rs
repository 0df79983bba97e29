//! Several operators: one works, another goes on where it stopped, and no object is made or changed twice.

use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Secret, Service},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    cluster::{Cluster, DEADLINE, apply, free_ports, quiet, repository},
    gateway::{World, managed},
    process::get,
    proxy::{Proxy, Trouble},
};

/// An operator that ends with the test.
pub(crate) struct Operator {
    process: Child,
    address: String,
}

impl Operator {
    pub(crate) fn start(user: &str, arguments: &[&str]) -> Self {
        Self::on(quiet(), user, arguments)
    }

    pub(crate) fn on(cluster: &Cluster, user: &str, arguments: &[&str]) -> Self {
        let address = Self::free_address();
        let mut command = cluster.operator(user, &address);
        command.args(arguments);
        Self::run(command, address)
    }

    /// One that reaches the API server another way.
    pub(crate) fn through(kubeconfig: &std::path::Path, arguments: &[&str]) -> Self {
        let address = Self::free_address();
        let mut command = quiet().operator("admin", &address);
        command.env("KUBECONFIG", kubeconfig).args(arguments);
        Self::run(command, address)
    }

    /// One that serves its probes and metrics there.
    pub(crate) fn run(mut command: Command, address: String) -> Self {
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        Self { process, address }
    }

    pub(crate) fn free_address() -> String {
        let [port] = free_ports();
        format!("127.0.0.1:{port}")
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, metrics) = get(&self.address, "/metrics").unwrap_or_default();
        let values = metrics.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn is_gone(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    fn answers(&self, path: &str, wanted: &str) -> bool {
        get(&self.address, path).is_some_and(|(status, body)| status.contains(wanted) || body.contains(wanted))
    }

    pub(crate) fn leads(&self) -> bool {
        self.answers("/metrics", "\ndbx_operator_leader 1\n")
    }

    pub(crate) fn waits(&self) -> bool {
        self.answers("/metrics", "\ndbx_operator_leader 0\n") && self.answers("/readyz", "200 OK") && self.answers("/livez", "200 OK")
    }

    pub(crate) fn signal(&mut self, signal: &str) -> bool {
        assert!(Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap().success());
        self.process.wait().unwrap().success()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "{what} does not come true");
        // Operators are asked in a way that blocks, and what they ask may go through this very runtime.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn versions(world: &World) -> BTreeMap<String, Option<String>> {
    let mut versions = BTreeMap::new();
    for object in world.api::<Deployment>().list(&Default::default()).await.unwrap() {
        versions.insert(format!("Deployment {}", object.name_any()), object.resource_version());
    }
    for object in world.api::<Service>().list(&Default::default()).await.unwrap() {
        versions.insert(format!("Service {}", object.name_any()), object.resource_version());
    }
    for object in world.api::<ConfigMap>().list(&Default::default()).await.unwrap() {
        versions.insert(format!("ConfigMap {}", object.name_any()), object.resource_version());
    }
    for object in world.api::<Secret>().list(&Default::default()).await.unwrap() {
        versions.insert(format!("Secret {}", object.name_any()), object.resource_version());
    }
    versions
}

#[tokio::test]
async fn another_goes_on_and_nothing_is_written_twice() {
    let world = World::on(quiet(), "handover").await;
    let arguments = ["--watch-namespace", "handover"];
    let mut first = Operator::start("operator", &arguments);
    until("the first one working", || first.leads()).await;
    let mut second = Operator::start("operator", &arguments);
    until("the second one waiting", || second.waits()).await;
    for index in 0..5 {
        world.create(&format!("a{index}"), json!({ "config": managed(), "replicas": 2 })).await.unwrap();
    }
    for index in 0..5 {
        world.programmed(&format!("a{index}")).await;
    }
    let before = versions(&world).await;
    assert_eq!(before.len(), 5 * (1 + 2 + 2 + 1), "{before:#?}");
    assert!(second.waits());

    let begin = Instant::now();
    assert!(first.signal("-TERM"), "it does not end well");
    until("the second one working", || second.leads()).await;
    eprintln!("hand-over on SIGTERM: {:?}", begin.elapsed());
    world.patch("a0", json!({ "spec": { "replicas": 3 } })).await.unwrap();
    world.programmed("a0").await;
    let mut after = versions(&world).await;
    assert_ne!(after.insert("Deployment a0".into(), before["Deployment a0"].clone()), Some(before["Deployment a0"].clone()));
    assert_eq!(after, before, "what was there is left alone");

    // Now one that is lost in the middle of its work.
    let third = Operator::start("operator", &arguments);
    until("the third one waiting", || third.waits()).await;
    for index in 0..10 {
        world.create(&format!("b{index}"), json!({ "config": managed(), "replicas": 2 })).await.unwrap();
    }
    let begin = Instant::now();
    second.signal("-KILL");
    until("the third one working", || third.leads()).await;
    eprintln!("hand-over on SIGKILL: {:?}", begin.elapsed());
    for index in 0..10 {
        world.programmed(&format!("b{index}")).await;
    }
    for index in 0..10 {
        let deployment = world.api::<Deployment>().get(&format!("b{index}")).await.unwrap();
        assert_eq!(deployment.metadata.generation, Some(1), "b{index} was changed twice");
    }
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for entry in quiet().audit("handover") {
        if entry["responseStatus"]["code"] == 201 {
            *made.entry(format!("{} {}", entry["objectRef"]["resource"], entry["objectRef"]["name"])).or_default() += 1;
        }
    }
    made.retain(|what, times| *times > 1 && !what.contains("events"));
    assert_eq!(made, BTreeMap::new(), "made more than once");
}

#[tokio::test]
async fn one_that_is_cut_off_ends_before_another_begins() {
    let world = World::on(quiet(), "cut").await;
    let proxy = Proxy::start(world.client.clone()).await;
    let arguments = ["--watch-namespace", "cut", "--lease", "cut"];
    let mut first = Operator::through(&proxy.kubeconfig, &arguments);
    until("the first one working", || first.leads()).await;
    let second = Operator::start("admin", &arguments);
    until("the second one waiting", || second.waits()).await;
    proxy.trouble(Some(Trouble::Gone));
    let mut succeeded = None;
    until("the first one ending", || {
        assert!(!second.leads(), "both work");
        succeeded = first.process.try_wait().unwrap().map(|status| status.success());
        succeeded.is_some()
    })
    .await;
    assert_eq!(succeeded, Some(false));
    until("the second one working", || second.leads()).await;
}

#[tokio::test]
async fn a_newer_version_rolls_a_few_at_a_time() {
    let world = World::on(quiet(), "versions").await;
    let run = |image: &str| {
        let arguments =
            ["--watch-namespace", "versions", "--lease", "versions", "--max-concurrent-rollouts", "1", "--gateway-image", image];
        Operator::start("admin", &arguments)
    };
    let mut old = run("gateway:1");
    for name in ["a", "b"] {
        world.create(name, json!({ "config": managed() })).await.unwrap();
        world.programmed(name).await;
    }
    world.create("named", json!({ "config": managed(), "image": { "tag": "1" } })).await.unwrap();
    world.programmed("named").await;
    let complete = json!({ "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1 });
    for name in ["a", "b", "named"] {
        world.pretend(name, complete.clone()).await;
    }
    assert!(old.signal("-TERM"));

    let _new = run("gateway:2");
    let image = async |name: &str| {
        let spec = world.api::<Deployment>().get(name).await.unwrap().spec.unwrap();
        spec.template.spec.unwrap().containers[0].image.clone().unwrap()
    };
    world.until("one being rolled", async || [image("a").await, image("b").await].contains(&"gateway:2".to_owned())).await;
    let (first, second) = if image("a").await == "gateway:2" { ("a", "b") } else { ("b", "a") };
    world.condition(second, "Progressing", "True", "Queued").await;
    assert_eq!((image(second).await, image("named").await), ("gateway:1".into(), "gateway:1".into()));
    world.pretend(first, complete.clone()).await;
    world.until("the other one being rolled", async || image(second).await == "gateway:2").await;
    assert_eq!(world.status(first).await.version.as_deref(), Some("2"));
}

#[tokio::test]
async fn rights_in_some_namespaces_are_enough() {
    let (inside, outside) = (World::on(quiet(), "narrow-in").await, World::on(quiet(), "narrow-out").await);
    World::on(quiet(), "narrow-system").await;
    let mut helm = Command::new("helm");
    helm.args(["template", "narrow"]).arg(repository().join("charts/dbx-operator"));
    helm.args(["--namespace", "narrow-system", "--kube-version", "1.35.0", "--set", "watchNamespaces={narrow-in},crds.install=false"]);
    helm.args(["--set", "aggregatedRoles=false"]);
    let output = helm.output().expect("helm is on the path: `PATH=$(e2e/cluster/cluster tools):$PATH`");
    let manifest = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !manifest.contains("kind: ClusterRole"), "{}", String::from_utf8_lossy(&output.stderr));
    for document in manifest.split("\n---\n") {
        let object: serde_json::Value = serde_yaml::from_str(document.trim_start_matches("---\n")).unwrap();
        if !object.is_null() {
            apply(&inside.client, &object).await;
        }
    }
    for world in [&inside, &outside] {
        world.create("cache", json!({ "config": managed(), "replicas": 2 })).await.unwrap();
    }
    let arguments = ["--watch-namespace", "narrow-in", "--lease-namespace", "narrow-system", "--lease", "narrow-operator", "--log", "warn"];
    let [port] = free_ports();
    let mut command = quiet().operator("narrow", &format!("127.0.0.1:{port}"));
    let log = tempfile::NamedTempFile::new().unwrap();
    command.args(arguments).stderr(log.reopen().unwrap());
    let mut operator = Operator { process: command.spawn().unwrap(), address: format!("127.0.0.1:{port}") };
    inside.programmed("cache").await;
    inside.patch("cache", json!({ "spec": { "replicas": 1 } })).await.unwrap();
    inside.programmed("cache").await;
    assert!(operator.answers("/readyz", "200 OK"));
    assert!(outside.api::<dbx_crds::gateway::DbxGateway>().get("cache").await.unwrap().status.is_none());
    assert!(!outside.exists::<Deployment>("cache").await);

    // Whoever loses the Lease ends.
    let leases: Api<Lease> = Api::namespaced(inside.client.clone(), "narrow-system");
    let stolen = json!({ "spec": { "holderIdentity": "somebody" } });
    leases.patch("narrow-operator", &PatchParams::default(), &Patch::Merge(stolen)).await.unwrap();
    assert!(!operator.process.wait().unwrap().success());
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(log.contains("somebody else took the Lease narrow-operator") && !log.contains("forbidden"), "{log}");
}
