//! What a gateway refers to but does not own: a Redis, a Secret.

use std::time::{Duration, Instant};

use anyhow::ensure;
use dbx_crds::gateway::Condition;
use serde_json::json;

use crate::{case::case, mistakes::somebodys_redis, suite::say};

#[test]
fn the_example_with_an_existing_redis_serves() {
    case("existing-redis", async |world| {
        somebodys_redis(world)?;
        world.apply_file("manifests/examples/existing-redis.yaml")?;
        let gateway = world.settled("cache-api").await;
        world.set_and_get("cache-api", "a", "1").await?;
        let text = serde_json::to_string(&gateway)?;
        ensure!(!text.contains("change-me"), "the password is in the object: {text}");
        let maps = world.kubectl(&["get", "configmaps", "--output", "yaml"])?;
        ensure!(!maps.contains("change-me"), "the password is in a ConfigMap");
        let own = world.names("statefulsets,persistentvolumeclaims")?;
        ensure!(own.is_empty(), "a Redis was made that nobody asked for: {own:?}");
        Ok(())
    });
}

#[test]
fn a_missing_secret_is_named_and_its_coming_noticed() {
    case("missing-secret", async |world| {
        somebodys_redis(world)?;
        let password = json!({ "secretKeyRef": { "name": "later", "key": "password" } });
        let database = json!({ "name": "redis", "redis": { "url": "redis://cache:6379", "passwordFrom": password } });
        world.create("api", &json!({ "replicas": 1, "config": { "databases": [database], "auth": { "mode": "none" } } }))?;
        let message = world.condition("api", Condition::ResolvedRefs, "False", "SecretNotFound").await;
        ensure!(message.contains("spec.config.databases[0].redis.passwordFrom") && message.contains("later"), "{message}");
        world.condition("api", Condition::Ready, "False", "SecretNotFound").await;

        world.kubectl(&["create", "secret", "generic", "later", "--from-literal=password=change-me"])?;
        let start = Instant::now();
        world.condition("api", Condition::ResolvedRefs, "True", "ResolvedRefs").await;
        ensure!(start.elapsed() < Duration::from_secs(45), "noticed after {:?}", start.elapsed());
        say(&format!("a Secret that came later is noticed after {:.1?}", start.elapsed()));
        world.settled("api").await;
        world.set_and_get("api", "a", "1").await
    });
}
