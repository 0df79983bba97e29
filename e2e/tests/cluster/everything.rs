//! A gateway with everything around it that there is, and then without: each object is made, and taken away.

use anyhow::ensure;
use dbx_crds::gateway::Condition;
use serde_json::json;

use crate::{
    case::case,
    world::{DEADLINE, managed},
};

const AROUND: &str = "hpa,pdb,ingress,networkpolicy,httproute,servicemonitor,certificate";
/// What goes with a Redis that is the operator's, a file of keys, and an identity of the gateway's own.
const OWN: [&str; 5] = ["statefulset/cache-redis", "service/cache-redis", "configmap/cache-keys", "serviceaccount/cache", "pvc"];

#[test]
fn everything_around_a_gateway_comes_and_goes() {
    case("everything", async |world| {
        let mut config = managed();
        config["databases"][0]["redis"]["managed"]["deleteStorage"] = json!(true);
        config["auth"]["mode"] = json!("required");
        let everything = json!({
            "config": config,
            "autoscaling": { "minReplicas": 2, "maxReplicas": 3 },
            "expose": {
                "ingress": { "hosts": ["api.example.com"] },
                "httpRoute": { "parentRefs": [{ "name": "web" }], "hostnames": ["a.example.com"] },
            },
            "networkPolicy": {},
            "monitoring": { "serviceMonitor": {} },
            "certificate": { "secretName": "cache-tls", "issuerRef": { "name": "letsencrypt" } },
        });
        world.create("cache", &everything)?;
        world.condition("cache", Condition::Programmed, "True", "Programmed").await;
        world.condition("cache", Condition::Available, "True", "Available").await;
        // Nobody on this cluster implements Gateways.
        world.condition("cache", Condition::Exposed, "Unknown", "RouteNotObserved").await;
        let names = world.names(AROUND)?;
        ensure!(names.len() == 7, "{names:?}");

        for name in &OWN[..4] {
            world.kubectl(&["get", name])?;
        }

        // A Redis that is not there: what is applied does not wait for it.
        let elsewhere = json!([{ "name": "redis", "redis": { "url": "redis://elsewhere" } }]);
        let nothing = json!({ "spec": {
            "config": { "databases": elsewhere, "auth": { "mode": "none" } }, "serviceAccount": { "name": "default" }, "replicas": 1,
            "autoscaling": null, "expose": null, "networkPolicy": null, "monitoring": null, "certificate": null,
        } });
        world.patch("cache", nothing).await?;
        world.condition("cache", Condition::Programmed, "True", "Programmed").await;
        world
            .until("all of it is gone", DEADLINE, async || {
                let mut left = world.names(AROUND)?;
                for name in OWN {
                    left.extend(world.kubectl(&["get", name, "--ignore-not-found", "--output", "name"])?.lines().map(str::to_owned));
                }
                ensure!(left.is_empty(), "{left:?}");
                Ok(())
            })
            .await;
        Ok(())
    });
}
