//! The chart of the commit before, upgraded to that of this checkout and rolled back: gateways and keys do not notice.
//! Both with the images of this checkout, since those of the commit before would have to be built.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, ensure};
use dbx_crds::gateway::DbxGateway;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::Api;
use serde_json::json;

use crate::{
    case::serial_case,
    suite::{RELEASE, SYSTEM, chart, install, install_from, repository, run, say, suite},
    world::{DEADLINE, World, managed},
};

/// The chart as it was in the commit before this one; of a clone without history that of this checkout, which is said.
fn chart_before(folder: &std::path::Path) -> anyhow::Result<PathBuf> {
    let git = |arguments: &[&str]| Command::new("git").arg("-C").arg(repository()).args(arguments).output().context("git");
    if !git(&["rev-parse", "--quiet", "--verify", "HEAD^"])?.status.success() {
        say("this clone has no commit before this one, so its own chart is upgraded to itself");
        return Ok(chart());
    }
    let archive = git(&["archive", "--format=tar", "HEAD^", "charts/dbx-operator"])?;
    ensure!(archive.status.success(), "{}", String::from_utf8_lossy(&archive.stderr));
    let file = folder.join("chart.tar");
    std::fs::write(&file, archive.stdout)?;
    run("tar", &["-xf", &file.display().to_string(), "-C", &folder.display().to_string()]).map_err(anyhow::Error::msg)?;
    Ok(folder.join("charts/dbx-operator"))
}

/// The revision of the release that is installed.
fn revision() -> anyhow::Result<String> {
    let status = run("helm", &["status", RELEASE, "--namespace", SYSTEM, "--output", "json"]).map_err(anyhow::Error::msg)?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    Ok(status["version"].to_string())
}

/// Has the operator look at a gateway, and waits until that shows: a change is made that it has to carry on.
async fn works(world: &World, replicas: i32) -> anyhow::Result<()> {
    world.patch("other", json!({ "spec": { "replicas": replicas } })).await?;
    world
        .until("the operator works", DEADLINE, async || {
            let found = world.get::<Deployment>("other").await?.spec.and_then(|spec| spec.replicas);
            ensure!(found == Some(replicas), "{found:?} replicas");
            Ok(())
        })
        .await;
    Ok(())
}

#[test]
fn the_chart_of_the_commit_before_is_upgraded_and_rolled_back() {
    serial_case("previous", async |world| {
        let (tag, folder) = (&suite().tag, tempfile::tempdir()?);
        install_from(&chart_before(folder.path())?, tag, tag, &[]).map_err(anyhow::Error::msg)?;
        let before = revision()?;
        world.create("cache", &json!({ "replicas": 2, "config": managed() }))?;
        let elsewhere =
            json!({ "databases": [{ "name": "redis", "redis": { "url": "redis://cache-redis" } }], "auth": { "mode": "required" } });
        world.create("other", &json!({ "replicas": 0, "config": elsewhere }))?;
        let spec = json!({ "gatewayRef": { "name": "other" }, "access": ["read"], "secretName": "web-dbx" });
        world.apply(
            &json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxApiKey", "metadata": { "name": "web" }, "spec": spec }).to_string(),
        )?;
        world.settled("cache").await;
        let secret = world.until("the key is handed over", DEADLINE, async || world.get::<Secret>("web-dbx").await).await;
        let generation = async || Ok::<_, anyhow::Error>(world.get::<Deployment>("cache").await?.metadata.generation);
        let (first, traffic) = (generation().await?, world.traffic("cache").await?);

        install(tag, tag, &[]).map_err(anyhow::Error::msg)?;
        works(world, 1).await?;
        world.settled("cache").await;
        let upgraded = generation().await?;
        // What a newer operator makes differently rolls a gateway once.
        ensure!(upgraded <= first.map(|first| first + 1), "rolled more than once: {first:?}, {upgraded:?}");
        traffic.none_failed("helm upgrade from the chart of the commit before").await?;

        run("helm", &["rollback", RELEASE, &before, "--namespace", SYSTEM, "--wait", "--timeout", "180s"]).map_err(anyhow::Error::msg)?;
        works(world, 0).await?;
        world.settled("cache").await;
        traffic.none_failed("helm rollback to it").await?;
        let after = world.get::<Secret>("web-dbx").await?;
        ensure!(after.metadata.uid == secret.metadata.uid && after.data == secret.data, "the key is another one");
        let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
        definitions.get("dbxgateways.dbx.dev").await.context("the definition is gone")?;
        let gateway: DbxGateway = world.get("cache").await?;
        ensure!(gateway.metadata.generation == Some(1), "the gateway itself was changed");
        Ok(())
    });
}
