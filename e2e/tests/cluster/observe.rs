//! What is told when a test fails: conditions, events and pods at once, and logs in files.

use std::fmt::Write;

use dbx_crds::gateway::DbxGateway;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{ResourceExt, api::ListParams};

use crate::{
    suite::{SYSTEM, run, suite},
    world::World,
};

impl World {
    /// Conditions of the gateways, pods with what their containers are at, events.
    pub(crate) async fn describe(&self) -> String {
        let mut text = format!("--- namespace {}\n", self.namespace);
        if let Ok(gateways) = self.api::<DbxGateway>().list(&ListParams::default()).await {
            for gateway in gateways {
                let status = gateway.status.clone().unwrap_or_default();
                let _ = writeln!(text, "gateway {}: generation {:?}, {status:?}", gateway.name_any(), gateway.metadata.generation);
            }
        }
        if let Ok(pods) = self.api::<Pod>().list(&ListParams::default()).await {
            for pod in pods {
                let status = pod.status.clone().unwrap_or_default();
                let containers: Vec<String> = status.container_statuses.iter().flatten().map(container).collect();
                let deleted = if pod.metadata.deletion_timestamp.is_some() { ", being deleted" } else { "" };
                let phase = status.phase.unwrap_or_default();
                let _ = writeln!(text, "pod {}: {phase}{deleted}; {}", pod.name_any(), containers.join("; "));
            }
        }
        for what in ["deployments,statefulsets,services,persistentvolumeclaims", "events"] {
            text += &self.kubectl(&["get", what]).unwrap_or_else(|error| format!("{error}\n"));
        }
        text
    }

    /// Writes down all that may be of use later; where it is.
    pub(crate) async fn keep_logs(&self) -> String {
        let folder = suite().logs.join(&self.namespace);
        if let Err(error) = std::fs::create_dir_all(&folder) {
            return format!("its logs cannot be kept: {error}");
        }
        let mut files = vec![("state.txt".to_owned(), self.describe().await)];
        let objects = self.kubectl(&["get", "dbxgateways,all,configmaps,pvc,pdb,endpointslices,events", "--output", "yaml"]);
        files.push(("objects.yaml".into(), objects.unwrap_or_else(|error| error.to_string())));
        for pod in self.names("pods").unwrap_or_default() {
            for (suffix, previous) in [("", "--previous=false"), ("-previous", "--previous=true")] {
                if let Ok(log) = self.kubectl(&["logs", &pod, previous, "--timestamps"]) {
                    files.push((format!("{}{suffix}.log", pod.trim_start_matches("pod/")), log));
                }
            }
        }
        let operator = run("kubectl", &["--namespace", SYSTEM, "logs", "--selector=app.kubernetes.io/name=dbx-operator", "--tail=2000"]);
        files.push(("operator.log".into(), operator.unwrap_or_else(|error| error)));
        for (name, text) in files {
            let _ = std::fs::write(folder.join(name), text);
        }
        format!("logs: {}", folder.display())
    }
}

fn container(status: &ContainerStatus) -> String {
    let state = status.state.clone().unwrap_or_default();
    let now = match (state.waiting, state.terminated, state.running) {
        (Some(waiting), ..) => format!("waits: {} {}", waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default()),
        (_, Some(ended), _) => format!("ended with {}: {}", ended.exit_code, ended.message.unwrap_or_default()),
        (.., Some(_)) => "runs".into(),
        _ => "no state".into(),
    };
    let last = status.last_state.clone().and_then(|state| state.terminated);
    let last = last.map(|ended| format!(", before that ended with {}: {}", ended.exit_code, ended.message.unwrap_or_default()));
    format!("{} ready={} restarts={} {now}{}", status.name, status.ready, status.restart_count, last.unwrap_or_default())
}
