//! What kubectl shows of a gateway, and what the API server refuses.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    case::case,
    suite::suite,
    world::{World, managed},
};

#[test]
fn kubectl_shows_gateways_and_explains_them() {
    case("kubectl", async |world| {
        world.create("cache", &json!({ "replicas": 1, "config": managed() }))?;
        world.settled("cache").await;
        let url = format!("http://cache.{}.svc:3000", world.namespace);

        let table = world.kubectl(&["get", "dbxgateway"])?;
        ensure!(words(&table, 0)[..5] == ["NAME", "READY", "REPLICAS", "DATABASES", "URL"], "{table}");
        ensure!(words(&table, 1)[..5] == ["cache", "True", "1", "1/1", &url], "{table}");
        let wide = world.kubectl(&["get", "dbxgw", "--output", "wide"])?;
        ensure!(words(&wide, 0).ends_with(&["REASON", "VERSION"]), "{wide}");
        ensure!(words(&wide, 1).ends_with(&["Ready", &suite().tag]), "{wide}");
        ensure!(world.kubectl(&["get", "dbx", "--output", "name"])?.contains("dbxgateway.dbx.dev/cache"), "the category has no gateway");

        for (path, expected) in [
            ("dbxgateway.spec", "config"),
            ("dbxgateway.spec.config.databases.redis", "passwordFrom"),
            ("dbxgateway.spec.config.limits.callTimeout", "Default: `5s`"),
            ("dbxgateway.status", "databasesReady"),
        ] {
            // kubectl breaks lines where they are full.
            let explained = world.kubectl(&["explain", path])?.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(explained.contains(expected), "{path}: {explained}");
        }
        let described = world.kubectl(&["describe", "dbxgateway", "cache"])?;
        ensure!(described.contains("Events:") && described.contains("Ready"), "{described}");
        let events = world.kubectl(&["events", "--for", "dbxgateway/cache"])?;
        ensure!(events.contains("Ready"), "no event about it: {events}");
        Ok(())
    });
}

fn words(table: &str, line: usize) -> Vec<&str> {
    table.lines().nth(line).unwrap_or_default().split_whitespace().collect()
}

#[test]
fn the_api_server_refuses_what_the_rules_refuse() {
    case("rules", async |world| {
        let database =
            |redis: Value| json!({ "config": { "auth": { "mode": "none" }, "databases": [{ "name": "redis", "redis": redis }] } });
        let good = database(json!({ "managed": {} }));
        refused(world, "good", &good, None)?;
        refused(world, "1st", &good, Some("metadata.name has to be"))?;
        refused(world, &"a".repeat(41), &good, Some("at most 40 long"))?;
        refused(world, "both", &database(json!({ "managed": {}, "url": "redis://a" })), Some("exactly one of `url`"))?;
        refused(world, "file", &database(json!({ "url": "redis://a", "passwordFrom": { "file": "/a" } })), Some("use `secretKeyRef`"))?;
        refused(
            world,
            "silent",
            &json!({ "config": { "databases": [{ "name": "redis", "redis": { "managed": {} } }] } }),
            Some("auth.mode has to be said"),
        )?;
        let mut labels = good.clone();
        labels["podLabels"] = json!({ "app.kubernetes.io/name": "mine" });
        refused(world, "labels", &labels, Some("are the operator's"))?;
        let mut unknown = good.clone();
        unknown["config"]["limits"] = json!({ "maxBodyByte": "1KiB" });
        refused(world, "unknown", &unknown, Some("unknown field \"spec.config.limits.maxBodyByte\""))?;

        // Rules about what was before need an object.
        world.create("cache", &json!({ "replicas": 0, "config": managed() }))?;
        let smaller = json!({ "spec": database(json!({ "managed": { "storage": "8Mi" } })) }).to_string();
        let error = world.kubectl(&["patch", "dbxgateway", "cache", "--type=merge", "--patch", &smaller]).err();
        ensure!(error.as_ref().is_some_and(|error| error.to_string().contains("storage can grow but not shrink")), "{error:?}");
        Ok(())
    });
}

/// Tries to create a gateway: it has to be refused with these words, or to pass.
fn refused(world: &World, name: &str, spec: &Value, words: Option<&str>) -> anyhow::Result<()> {
    let object = json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxGateway", "metadata": { "name": name }, "spec": spec });
    let arguments = ["create", "--dry-run=server", "--validate=strict", "--filename", "-"];
    match (world.kubectl_with(&arguments, &object.to_string()), words) {
        (Ok(_), None) => Ok(()),
        (Err(error), Some(words)) => {
            ensure!(error.to_string().contains(words), "{name} was refused with other words than {words:?}: {error}");
            Ok(())
        }
        (result, _) => anyhow::bail!("{name}, expected {words:?}: {result:?}"),
    }
}
