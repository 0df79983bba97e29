//! Hands a Deployment's replicas over to its autoscaler. A field that its owner says no more is set back to its default, so
//! another manager has to own it before: from then on the operator does not touch it.

use dbx_crds::gateway::DbxGateway;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    desired::{Kind, Object},
    names::MANAGER,
};

/// The manager that says how many pods there were when the autoscaler took over.
const REPLICAS: &str = "dbx-operator-replicas";

/// Has somebody else own the replicas of an autoscaled Deployment, unless that is so already. A Deployment that does not exist
/// begins with the fewest pods; one that does is named by its uid. The API server is asked each time: what is known here may be a
/// Deployment that was just deleted.
pub(crate) async fn hand_over(client: &Client, gateway: &DbxGateway, objects: &mut [Object]) -> kube::Result<()> {
    let deployment = objects.iter_mut().find(|object| object.kind == Kind::Deployment);
    let Some(object) = deployment.filter(|_| gateway.spec.autoscaling.is_some()) else { return Ok(()) };
    let api: Api<Deployment> = Api::namespaced(client.clone(), &gateway.namespace().unwrap_or_default());
    let Some(live) = api.get_opt(&object.name).await? else {
        object.body["spec"]["replicas"] = json!(gateway.spec.replicas());
        forget(&mut object.body["metadata"], "uid");
        return Ok(());
    };
    // It says nothing of replicas, so it must not make one anew that somebody deletes in the meantime.
    forget(&mut object.body["spec"], "replicas");
    object.body["metadata"]["uid"] = json!(live.uid());
    if owns_replicas(&live) {
        let replicas = live.spec.as_ref().and_then(|spec| spec.replicas);
        let body = json!({
            "apiVersion": Kind::Deployment.api_version(),
            "kind": Kind::Deployment.name(),
            "metadata": { "name": object.name, "uid": live.uid() },
            "spec": { "replicas": replicas },
        });
        // By force, since whoever scaled it just now wants the same: that this is where it goes on from.
        api.patch_metadata(&object.name, &PatchParams::apply(REPLICAS).force(), &Patch::Apply(body)).await?;
    }
    Ok(())
}

fn forget(section: &mut Value, field: &str) {
    if let Some(section) = section.as_object_mut() {
        section.remove(field);
    }
}

/// Whether a Deployment was deleted since it was looked at.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn owns_replicas(deployment: &Deployment) -> bool {
    let ours = deployment.managed_fields().iter().filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    ours.filter(|entry| entry.operation.as_deref() == Some("Apply"))
        .filter_map(|entry| entry.fields_v1.as_ref())
        .any(|fields| fields.0["f:spec"].get("f:replicas").is_some())
}
