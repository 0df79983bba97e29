//! A broken configuration: the condition says what is wrong and where, and the pods of the last good one keep serving, even
//! when one of them is replaced meanwhile.

use anyhow::{Context, ensure};
use dbx_crds::gateway::{Condition, DbxGateway};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::json;

use crate::{
    case::case,
    world::{DEADLINE, World, managed},
};

/// Ready pods of the gateway, with the hash of the configuration that they run.
async fn serving(world: &World) -> anyhow::Result<Vec<(String, String)>> {
    let pods = world.api::<Pod>().list(&ListParams::default().labels("app.kubernetes.io/component=gateway")).await?;
    let ready = |pod: &Pod| {
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        pod.metadata.deletion_timestamp.is_none()
            && conditions.is_some_and(|conditions| conditions.iter().any(|found| found.type_ == "Ready" && found.status == "True"))
    };
    let hash = |pod: &Pod| pod.labels().get("dbx.dev/config-hash").cloned().unwrap_or_default();
    Ok(pods.iter().filter(|pod| ready(pod)).map(|pod| (pod.name_any(), hash(pod))).collect())
}

/// Deletes one of the pods and waits until as many serve again, all of the same configuration.
async fn replace_one(world: &World, hash: &str) -> anyhow::Result<()> {
    let before = serving(world).await?;
    let (name, _) = before.first().context("no pod serves")?;
    world.api::<Pod>().delete(name, &DeleteParams::default()).await?;
    world.gone::<Pod>(name, DEADLINE).await;
    world
        .until("the deleted pod has a successor of the old configuration", DEADLINE, async || {
            let now = serving(world).await?;
            ensure!(now.len() == before.len() && now.iter().all(|(_, of)| of == hash), "{now:?}, expected {hash}");
            Ok(())
        })
        .await;
    Ok(())
}

#[test]
fn a_mistake_that_the_operator_sees_changes_nothing() {
    case("refused", async |world| {
        world.create("cache", &json!({ "replicas": 2, "config": managed() }))?;
        let gateway = world.settled("cache").await;
        let hash = gateway.status.unwrap_or_default().config_hash.context("no hash")?;
        let before: Deployment = world.get("cache").await?;
        let traffic = world.traffic("cache").await?;

        world.patch("cache", json!({ "spec": { "config": { "cors": { "origins": ["shop.example.com"] } } } })).await?;
        let message = world.condition("cache", Condition::Accepted, "False", "InvalidConfig").await;
        ensure!(message.contains("spec.config.cors.origins[0]"), "no path: {message}");
        let ready = world.condition("cache", Condition::Ready, "False", "InvalidConfig").await;
        ensure!(ready == message, "Ready says {ready}");
        replace_one(world, &hash).await?;
        let after: Deployment = world.get("cache").await?;
        ensure!(after.metadata.generation == before.metadata.generation, "the Deployment was touched");
        traffic.none_failed("a mistake that the operator sees").await?;

        world.patch("cache", json!({ "spec": { "config": { "cors": { "origins": ["https://shop.example.com"] } } } })).await?;
        world.settled("cache").await;
        traffic.none_failed("its correction").await?;
        Ok(())
    });
}

/// A Redis with a password, as somebody else would run it, and the Secret with its password.
pub(crate) fn somebodys_redis(world: &World) -> anyhow::Result<()> {
    let labels = json!({ "app": "cache" });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "cache" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": { "runAsNonRoot": true, "runAsUser": 999, "seccompProfile": { "type": "RuntimeDefault" } },
                    "containers": [{
                        "name": "redis", "image": "redis:7.0", "imagePullPolicy": "IfNotPresent",
                        "command": ["redis-server", "--requirepass", "change-me", "--save", ""],
                        "readinessProbe": { "tcpSocket": { "port": 6379 }, "periodSeconds": 1 },
                        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                    }],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "cache" },
        "spec": { "selector": labels, "ports": [{ "port": 6379 }] },
    });
    world.apply(&format!("{deployment}\n---\n{service}"))?;
    world.kubectl(&["rollout", "status", "deployment/cache", "--timeout=120s"]).map(drop)
}

#[test]
fn a_mistake_that_only_the_pod_sees_is_told_and_rolls_nothing() {
    case("pod-sees", async |world| {
        somebodys_redis(world)?;
        world.apply_file("manifests/examples/existing-redis.yaml")?;
        let gateway = world.settled("cache-api").await;
        let good = gateway.status.unwrap_or_default().config_hash.context("no hash")?;
        world.set_and_get("cache-api", "a", "1").await?;
        let traffic = world.traffic("cache-api").await?;

        // A host that nobody has.
        let database = |redis: serde_json::Value| json!({ "spec": { "config": { "databases": [{ "name": "redis", "redis": redis }] } } });
        let password = json!({ "secretKeyRef": { "name": "cache-credentials", "key": "password" } });
        world.patch("cache-api", database(json!({ "url": "redis://nowhere:6379", "passwordFrom": password }))).await?;
        let message = told(world, "nowhere").await;
        ensure!(message.contains("pod cache-api-") && message.contains("redis"), "it does not say where: {message}");
        world.condition("cache-api", Condition::Available, "True", "Available").await;
        replace_one(world, &good).await?;
        traffic.none_failed("an unreachable Redis").await?;

        // A wrong password.
        world.kubectl(&["create", "secret", "generic", "wrong", "--from-literal=password=wrong"])?;
        let wrong = json!({ "secretKeyRef": { "name": "wrong", "key": "password" } });
        world.patch("cache-api", database(json!({ "url": "redis://cache:6379", "passwordFrom": wrong }))).await?;
        told(world, "WRONGPASS").await;

        // A key that the Secret does not have: the pod cannot even start.
        let absent = json!({ "secretKeyRef": { "name": "cache-credentials", "key": "pasword" } });
        world.patch("cache-api", database(json!({ "url": "redis://cache:6379", "passwordFrom": absent }))).await?;
        told(world, "pasword").await;
        replace_one(world, &good).await?;
        traffic.none_failed("a wrong password and an absent key").await?;

        world.patch("cache-api", database(json!({ "url": "redis://cache:6379", "passwordFrom": password }))).await?;
        world.settled("cache-api").await;
        traffic.none_failed("the correction").await?;
        Ok(())
    });
}

/// Waits until Progressing names a failing pod with this cause; its message.
async fn told(world: &World, cause: &str) -> String {
    world
        .until(&format!("Progressing tells about {cause}"), DEADLINE, async || {
            let gateway: DbxGateway = world.get("cache-api").await?;
            let status = gateway.status.clone().unwrap_or_default();
            let progressing = status.condition(Condition::Progressing).context("no condition")?;
            ensure!(progressing.message.contains(cause), "{}: {}", progressing.reason, progressing.message);
            ensure!(matches!(progressing.reason.as_str(), "PodFailing" | "DeadlineExceeded"), "{}", progressing.reason);
            Ok(progressing.message.clone())
        })
        .await
}
