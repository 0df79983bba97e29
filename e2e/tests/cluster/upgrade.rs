//! What changes the operator itself, and what is true of it after all the others: one at a time, and last.

use anyhow::{Context, ensure};
use dbx_crds::gateway::{Condition, DbxGateway};
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use serde_json::{Value, json};

use crate::{
    case::serial_case,
    roles,
    suite::{RELEASE, SYSTEM, install, repository, run, say, suite},
    world::{DEADLINE, World, managed},
};

async fn generation(world: &World, name: &str) -> anyhow::Result<Option<i64>> {
    Ok(world.get::<Deployment>(name).await?.metadata.generation)
}

#[test]
fn upgrades_keep_gateways_serving() {
    serial_case("upgrade", async |world| {
        let tag = &suite().tag;
        world.create("cache", &json!({ "replicas": 2, "config": managed() }))?;
        world.settled("cache").await;
        let before = generation(world, "cache").await?;
        let traffic = world.traffic("cache").await?;

        // Changed values restart the operator and nothing else.
        install(tag, tag, &["logLevel=debug", "concurrency=2", "podAnnotations.restarted=yes"]).map_err(anyhow::Error::msg)?;
        looked_at(world, "cache").await?;
        ensure!(generation(world, "cache").await? == before, "new values of the operator rolled a gateway");
        traffic.none_failed("helm upgrade with other values").await?;
        run("helm", &["test", RELEASE, "--namespace", SYSTEM, "--timeout", "120s"]).map_err(anyhow::Error::msg)?;

        // A newer version of the gateway rolls those that do not name one.
        let newer = format!("{tag}-next");
        install(tag, &newer, &[]).map_err(anyhow::Error::msg)?;
        world
            .until("the newer version", DEADLINE, async || {
                let gateway: DbxGateway = world.get("cache").await?;
                let version = gateway.status.and_then(|status| status.version);
                ensure!(version.as_ref() == Some(&newer), "{version:?}");
                Ok(())
            })
            .await;
        world.settled("cache").await;
        traffic.none_failed("helm upgrade to a newer gateway").await?;
        install(tag, tag, &[]).map_err(anyhow::Error::msg)?;
        world
            .until("the version from before", DEADLINE, async || {
                let version = world.get::<DbxGateway>("cache").await?.status.and_then(|status| status.version);
                ensure!(version.as_ref() == Some(tag), "{version:?}");
                Ok(())
            })
            .await;
        world.settled("cache").await;
        traffic.none_failed("helm upgrade back").await?;
        Ok(())
    });
}

#[test]
fn without_the_operator_gateways_serve_on() {
    serial_case("uninstall", async |world| {
        world.create("cache", &json!({ "replicas": 2, "config": managed() }))?;
        world.settled("cache").await;
        let before = generation(world, "cache").await?;
        let traffic = world.traffic("cache").await?;
        run("helm", &["uninstall", RELEASE, "--namespace", SYSTEM, "--wait"]).map_err(anyhow::Error::msg)?;
        // The definition and its objects stay, and so do the pods.
        world.get::<DbxGateway>("cache").await?;
        traffic.none_failed("helm uninstall").await?;
        world.kubectl(&["scale", "dbxgateway/cache", "--replicas=1"])?;
        install(&suite().tag, &suite().tag, &[]).map_err(anyhow::Error::msg)?;
        // What was asked for meanwhile is done now.
        world.settled("cache").await;
        ensure!(generation(world, "cache").await? == before.map(|before| before + 1), "more was changed than the replicas");
        traffic.none_failed("helm install").await?;
        Ok(())
    });
}

/// Has the operator look at a gateway, and waits until it has: a setting that it has to see is changed and changed back.
async fn looked_at(world: &World, name: &str) -> anyhow::Result<()> {
    world.patch(name, json!({ "spec": { "paused": true } })).await?;
    world.condition(name, Condition::Programmed, "Unknown", "Paused").await;
    world.patch(name, json!({ "spec": { "paused": null } })).await?;
    world.condition(name, Condition::Programmed, "True", "Programmed").await;
    Ok(())
}

#[test]
fn the_operator_was_forbidden_nothing_used_every_right_and_stayed_small() {
    serial_case("audit", async |world| {
        let identity = format!("system:serviceaccount:{SYSTEM}:dbx-operator");
        let since = suite().start;
        // A watch is in the log once it has ended.
        let operator = ["--namespace", SYSTEM, "deployment/dbx-operator"];
        for words in [["rollout", "restart"], ["rollout", "status"]] {
            run("kubectl", &[&words[..], &operator].concat()).map_err(anyhow::Error::msg)?;
        }
        let log = audit()?;
        let asked: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let asked: Vec<&Value> =
            asked.iter().filter(|event| event["user"]["username"] == identity.as_str() && at(event) >= Some(since)).collect();
        ensure!(asked.len() > 20, "the audit log has {} requests of the operator", asked.len());
        // `helm uninstall` may take the right away before the operator that ends has given its Lease back, which then runs out.
        let judged =
            asked.iter().copied().filter(|event| event["objectRef"]["resource"] != "leases" || event["responseStatus"]["code"] != 403);
        let (used, forbidden) = roles::asked(judged);
        ensure!(forbidden.is_empty(), "{forbidden:?}");
        let given = roles::given(&std::fs::read_to_string(repository().join("manifests/operator.yaml"))?);
        // Only objects that were stored past the schema are read one by one, which this API server does not let happen.
        let unreadable = ["dbx.dev/dbxgateways get", "dbx.dev/dbxapikeys get"];
        let unused: Vec<&String> = given.difference(&used).filter(|right| !unreadable.contains(&right.as_str())).collect();
        ensure!(unused.is_empty(), "rights that nothing in all the tests used: {unused:#?}");
        let secrets: Vec<&&Value> = asked
            .iter()
            .filter(|event| event["objectRef"]["resource"] == "secrets" && (event["verb"] == "list" || event["verb"] == "watch"))
            .collect();
        ensure!(secrets.is_empty(), "it listed Secrets: {secrets:?}");
        say(&format!("the operator made {} requests; none was forbidden, and none of its {} rights unused", asked.len(), given.len()));

        for pod in memory(world).await? {
            say(&pod);
        }
        let restarts = run(
            "kubectl",
            &["--namespace", SYSTEM, "get", "pods", "--output", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"],
        );
        let restarts = restarts.map_err(anyhow::Error::msg)?;
        ensure!(restarts.split_whitespace().all(|count| count == "0"), "the operator was restarted: {restarts}");
        Ok(())
    });
}

fn audit() -> anyhow::Result<String> {
    let script = repository().join("e2e/cluster/cluster").display().to_string();
    run(&script, &["audit"]).map_err(anyhow::Error::msg).context("the audit log of the cluster")
}

fn at(event: &Value) -> Option<Timestamp> {
    event["requestReceivedTimestamp"].as_str()?.parse().ok()
}

/// The memory of the operator's pods, as the kubelet sees it.
async fn memory(world: &World) -> anyhow::Result<Vec<String>> {
    let nodes = run("kubectl", &["get", "nodes", "--output", "jsonpath={.items[*].metadata.name}"]).map_err(anyhow::Error::msg)?;
    let mut lines = Vec::new();
    for node in nodes.split_whitespace() {
        let summary = world.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/stats/summary")])?;
        let summary: Value = serde_json::from_str(&summary)?;
        for pod in summary["pods"].as_array().into_iter().flatten().filter(|pod| pod["podRef"]["namespace"] == SYSTEM) {
            let rss = pod["containers"][0]["memory"]["rssBytes"].as_f64().unwrap_or_default();
            lines.push(format!("{}: {:.1} MiB resident", pod["podRef"]["name"], rss / 1_048_576.0));
        }
    }
    Ok(lines)
}
