//! What stands around the pods: autoscaling, ways from outside, network.

use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::ServiceAccount,
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    cluster::cluster,
    gateway::{World, managed},
};

async fn replicas(world: &World) -> Option<i32> {
    world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().replicas
}

#[tokio::test]
async fn the_autoscaler_has_the_replicas() {
    let world = World::new("autoscaling").await;
    world.create("cache", json!({ "config": managed(), "replicas": 5 })).await.unwrap();
    world.programmed("cache").await;
    let autoscaling = json!({ "minReplicas": 2, "maxReplicas": 9, "cpuUtilization": 70 });
    world.patch("cache", json!({ "spec": { "replicas": null, "autoscaling": autoscaling } })).await.unwrap();
    world.programmed("cache").await;
    assert_eq!(replicas(&world).await, Some(5), "it goes on from where it was");
    let autoscaler = world.api::<HorizontalPodAutoscaler>().get("cache").await.unwrap().spec.unwrap();
    assert_eq!((autoscaler.min_replicas, autoscaler.max_replicas), (Some(2), 9));

    // What the autoscaler does.
    let scale = Patch::Merge(json!({ "spec": { "replicas": 7 } }));
    world.api::<Deployment>().patch_scale("cache", &PatchParams::default(), &scale).await.unwrap();
    let status = Patch::Merge(json!({ "status": { "currentReplicas": 7, "desiredReplicas": 7 } }));
    world.api::<HorizontalPodAutoscaler>().patch_status("cache", &PatchParams::default(), &status).await.unwrap();
    let generation = world.api::<Deployment>().get("cache").await.unwrap().metadata.generation;
    world.patch("cache", json!({ "spec": { "podAnnotations": { "a": "b" } } })).await.unwrap();
    world.programmed("cache").await;
    world.until("the new template", async || world.api::<Deployment>().get("cache").await.unwrap().metadata.generation > generation).await;
    let writes = cluster().writes("autoscaling").len();
    world.patch("cache", json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "now" } } })).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let after = cluster().writes("autoscaling");
    assert_eq!(after.len(), writes, "a fight: {:#?}", &after[writes..]);
    assert_eq!(replicas(&world).await, Some(7), "nobody touches them but the autoscaler");

    // What somebody else changes of it is put back.
    let edit = Patch::Merge(json!({ "spec": { "maxReplicas": 3 } }));
    world.api::<HorizontalPodAutoscaler>().patch("cache", &PatchParams::default(), &edit).await.unwrap();
    world
        .until("the autoscaler being as before", async || {
            world.api::<HorizontalPodAutoscaler>().get("cache").await.unwrap().spec.unwrap().max_replicas == 9
        })
        .await;

    world.patch("cache", json!({ "spec": { "replicas": 4, "autoscaling": null } })).await.unwrap();
    world.programmed("cache").await;
    world.until("the autoscaler being gone", async || !world.exists::<HorizontalPodAutoscaler>("cache").await).await;
    assert_eq!(replicas(&world).await, Some(4));
}

#[tokio::test]
async fn a_new_gateway_begins_with_the_fewest_pods() {
    let world = World::new("autoscaled").await;
    let autoscaling = json!({ "minReplicas": 3, "maxReplicas": 9, "callsInFlight": 100 });
    world.create("cache", json!({ "config": managed(), "autoscaling": autoscaling })).await.unwrap();
    world.programmed("cache").await;
    world.condition("cache", "ResolvedRefs", "False", "MetricsApiMissing").await;
    assert_eq!(replicas(&world).await, Some(3));
    world
        .until("the operator not owning the replicas", async || {
            let deployment = world.api::<Deployment>().get("cache").await.unwrap();
            let mut ours = deployment.managed_fields().iter().filter(|entry| entry.manager.as_deref() == Some("dbx-operator"));
            ours.all(|entry| entry.fields_v1.as_ref().unwrap().0["f:spec"].get("f:replicas").is_none())
        })
        .await;
    assert_eq!(replicas(&world).await, Some(3));
    assert!(world.exists::<PodDisruptionBudget>("cache").await);
}

#[tokio::test]
async fn what_stands_around_the_pods_is_made_and_taken_away() {
    let world = World::new("around").await;
    let mine: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "mine" } })).unwrap();
    world.api::<ServiceAccount>().create(&PostParams::default(), &mine).await.unwrap();
    let around = json!({
        "config": managed(),
        "serviceAccount": { "name": "mine" },
        "extraEnv": [{ "name": "AWS_REGION", "value": "eu" }, { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
        "extraVolumes": [{ "name": "scratch", "emptyDir": { "sizeLimit": "1Mi" } }],
        "extraVolumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
        "expose": { "ingress": { "className": "nginx", "hosts": ["api.example.com"], "tlsSecretName": "edge" } },
        "networkPolicy": { "from": [{ "podSelector": {} }], "egress": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] },
    });
    world.create("cache", around).await.unwrap();
    world.programmed("cache").await;
    world.condition("cache", "Exposed", "True", "Exposed").await;
    assert!(world.exists::<Ingress>("cache").await && world.exists::<NetworkPolicy>("cache").await);
    assert!(!world.exists::<ServiceAccount>("cache").await);
    let pod = world.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("mine"));
    assert!(pod.containers[0].args.as_ref().unwrap().contains(&"api.example.com".to_owned()), "it is called by that name");

    let nothing = json!({ "spec": { "serviceAccount": null, "expose": null, "networkPolicy": null } });
    world.patch("cache", nothing).await.unwrap();
    world.programmed("cache").await;
    world.until("the Ingress being gone", async || !world.exists::<Ingress>("cache").await).await;
    world.until("the NetworkPolicy being gone", async || !world.exists::<NetworkPolicy>("cache").await).await;
    assert!(world.exists::<ServiceAccount>("cache").await && world.exists::<ServiceAccount>("mine").await);
    let conditions = world.status("cache").await.conditions;
    assert!(!conditions.iter().any(|condition| condition.type_ == "Exposed"), "{conditions:#?}");
}
