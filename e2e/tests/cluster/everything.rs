//! A gateway with everything around it that there is, and then without: each object is made, and taken away.

use anyhow::ensure;
use dbx_crds::gateway::Condition;
use serde_json::json;

use crate::{
    case::case,
    world::{DEADLINE, managed},
};

const AROUND: &str = "hpa,pdb,ingress,networkpolicy,httproute,servicemonitor,certificate";

#[test]
fn everything_around_a_gateway_comes_and_goes() {
    case("everything", async |world| {
        let everything = json!({
            "config": managed(),
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

        let nothing = json!({ "spec": { "replicas": 1, "autoscaling": null, "expose": null, "networkPolicy": null, "monitoring": null, "certificate": null } });
        world.patch("cache", nothing).await?;
        world.settled("cache").await;
        world
            .until("all of it is gone", DEADLINE, async || {
                let left = world.names(AROUND)?;
                ensure!(left.is_empty(), "{left:?}");
                Ok(())
            })
            .await;
        Ok(())
    });
}
