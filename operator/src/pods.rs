//! What pods say about themselves: why the newest one is not ready, and where the others can be asked.

use dbx_crds::gateway::{
    DbxGateway,
    pods::{cause, is_ready},
};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::names;

/// The longest that is copied of what a pod says.
const LONGEST: usize = 1024;

/// The annotation of pods with the revision of the keys that their kubelets were hurried for.
const KEYS: &str = "dbx.dev/keys-revision";

/// The pods of a gateway, the newest first.
pub(crate) async fn list(client: &Client, gateway: &DbxGateway) -> kube::Result<Vec<Pod>> {
    let selector: Vec<String> =
        names::selector(&gateway.name_any(), "gateway").into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let api: Api<Pod> = Api::namespaced(client.clone(), &gateway.namespace().unwrap_or_default());
    let mut pods = api.list(&ListParams::default().labels(&selector.join(","))).await?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.sort_by(|a, b| b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp));
    Ok(pods)
}

/// The addresses of at most three pods, the ready ones first.
pub(crate) fn addresses(pods: &[Pod]) -> Vec<String> {
    let mut pods: Vec<&Pod> = pods.iter().collect();
    pods.sort_by_key(|pod| !is_ready(pod));
    pods.into_iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.clone()).take(3).collect()
}

/// Names and addresses of all pods that are ready.
pub(crate) fn ready(pods: &[Pod]) -> Vec<(String, String)> {
    let ready = pods.iter().filter(|pod| is_ready(pod));
    ready.filter_map(|pod| Some((pod.name_any(), pod.status.as_ref()?.pod_ip.clone()?))).collect()
}

/// Has the kubelets update the files of pods now instead of within a minute, by a change of the pods that means nothing else.
pub(crate) async fn hurry(client: &Client, gateway: &DbxGateway, revision: &str) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &gateway.namespace().unwrap_or_default());
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { KEYS: revision } } }));
    let params = PatchParams { field_manager: Some(names::MANAGER.into()), ..PatchParams::default() };
    for pod in list(client, gateway).await? {
        if pod.annotations().get(KEYS).map(String::as_str) == Some(revision) {
            continue;
        }
        match api.patch_metadata(&pod.name_any(), &params, &patch).await {
            // Gone meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => _ = result?,
        }
    }
    Ok(())
}

/// Why the newest pod that is not ready is not, as far as its status tells.
pub(crate) fn failure(pods: &[Pod]) -> Option<String> {
    pods.iter().filter(|pod| !is_ready(pod)).find_map(|pod| Some(format!("pod {}: {}", pod.name_any(), cut(&cause(pod)?))))
}

/// The newest pod that runs but is not ready, which may say why when it is asked.
pub(crate) fn unready(pods: &[Pod]) -> Option<(String, String)> {
    let pod = pods.iter().find(|pod| !is_ready(pod))?;
    Some((pod.name_any(), pod.status.as_ref()?.pod_ip.clone()?))
}

/// Why the newest pod cannot start: a volume that cannot be mounted, as when a Secret lacks a key, is told by an event alone.
pub(crate) async fn unmounted(client: &Client, pods: &[Pod]) -> kube::Result<Option<String>> {
    let Some(pod) = pods.iter().find(|pod| !is_ready(pod) && is_starting(pod)) else { return Ok(None) };
    let api: Api<Event> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let fields = format!("reason=FailedMount,involvedObject.uid={}", pod.uid().unwrap_or_default());
    let newest = api.list(&ListParams::default().fields(&fields)).await?.items.into_iter().max_by_key(|event| event.last_timestamp.clone());
    Ok(newest.and_then(|event| event.message).map(|message| format!("pod {}: {}", pod.name_any(), cut(&message))))
}

fn is_starting(pod: &Pod) -> bool {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_deref())
        .any(|reason| reason == "ContainerCreating")
}

fn cut(text: &str) -> &str {
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, status: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({ "metadata": { "name": name }, "status": status })).unwrap()
    }

    #[test]
    fn the_newest_failure_is_told() {
        let ready = pod("old", serde_json::json!({ "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] }));
        let crashed = pod(
            "new",
            serde_json::json!({ "podIP": "10.0.0.2", "containerStatuses": [{ "name": "gateway", "image": "", "imageID": "", "ready": false, "restartCount": 2,
                "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 20s" } },
                "lastState": { "terminated": { "exitCode": 1, "message": "limits.maxBody: unknown setting\n" } } }] }),
        );
        let image = pod(
            "image",
            serde_json::json!({ "containerStatuses": [{ "name": "gateway", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": "ErrImagePull", "message": "not found" } } }] }),
        );
        let creating = pod(
            "creating",
            serde_json::json!({ "containerStatuses": [{ "name": "gateway", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": "ContainerCreating" } } }] }),
        );
        let pending = pod(
            "pending",
            serde_json::json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/1 nodes are available" }] }),
        );
        assert_eq!(
            failure(&[crashed.clone(), ready.clone()]).as_deref(),
            Some("pod new: exited with code 1: limits.maxBody: unknown setting")
        );
        assert_eq!(failure(&[image]).as_deref(), Some("pod image: ErrImagePull: not found"));
        assert_eq!(failure(&[pending]).as_deref(), Some("pod pending: cannot be scheduled: 0/1 nodes are available"));
        assert_eq!(failure(&[creating]), None);
        assert_eq!(failure(std::slice::from_ref(&ready)), None);
        assert_eq!(addresses(&[crashed, ready]), ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(1000)).len(), 1024);
        assert_eq!(cut("short"), "short");
    }
}
