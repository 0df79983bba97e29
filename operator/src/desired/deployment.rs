//! The pods of a gateway. New ones have to be ready before old ones go, and every pod satisfies the *restricted* standard.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    Input, Kind, Object, config_map, image, inside,
    mounts::{api_access, mounts},
    object, outside, pull_secrets, seconds, service_account,
};
use crate::{
    names,
    render::{DATA_PORT, OPERATIONS_PORT},
};

/// The user that the gateway's image runs as.
const USER: i64 = 65532;
const CONFIG_DIRECTORY: &str = "/etc/dbx/config";

pub(super) fn desired(input: Input<'_>) -> Object {
    let (gateway, spec) = (input.gateway, &input.gateway.spec);
    let name = gateway.name_any();
    let drain = seconds(&spec.config.drain.propagation()) + seconds(&spec.config.drain.timeout());
    let selector = names::selector(&name, "gateway");

    let mut labels: BTreeMap<&str, String> = spec.pod_labels.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    labels.extend(names::labels(&name, "gateway"));
    labels.insert(names::CONFIG_HASH, input.rendered.hash.clone());

    let config = &input.rendered.config;
    let (mut volumes, mut volume_mounts) = mounts(config.sources().into_iter().map(|(_, source)| source));
    if config.auth.jwt.iter().any(|issuer| issuer.kubernetes.is_some()) {
        let (volume, mount) = api_access();
        volumes.push(volume);
        volume_mounts.push(mount);
    }
    volumes.insert(0, json!({ "name": "config", "configMap": { "name": config_map::name(input) } }));
    volume_mounts.insert(0, json!({ "name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": true }));
    volumes.extend(spec.extra_volumes.iter().map(|volume| json!(volume)));
    volume_mounts.extend(spec.extra_volume_mounts.iter().map(|mount| json!(mount)));

    let rest = json!({
        "spec": {
            "replicas": spec.autoscaling.is_none().then(|| spec.replicas()),
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 120 + drain,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 0 } },
            "selector": { "matchLabels": selector },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": (!spec.pod_annotations.is_empty()).then_some(&spec.pod_annotations),
                },
                "spec": {
                    "serviceAccountName": service_account::name(input),
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": drain + 15,
                    "priorityClassName": spec.priority_class_name,
                    "nodeSelector": (!spec.node_selector.is_empty()).then_some(&spec.node_selector),
                    "tolerations": (!spec.tolerations.is_empty()).then_some(&spec.tolerations),
                    "affinity": spec.affinity,
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": { "matchLabels": selector },
                    }],
                    "imagePullSecrets": pull_secrets(input),
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [container(input, volume_mounts)],
                    "volumes": volumes,
                },
            },
        },
    });
    object(input, Kind::Deployment, name, "gateway", rest)
}

fn container(input: Input<'_>, volume_mounts: Vec<Value>) -> Value {
    let spec = &input.gateway.spec;
    let policy = spec.image.as_ref().and_then(|image| image.pull_policy).unwrap_or(input.settings.pull_policy);
    let mut args = vec!["--config".to_owned(), format!("{CONFIG_DIRECTORY}/{}", config_map::FILE)];
    let mut env =
        vec![json!({ "name": "DBX_POD_NAME", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.name" } } })];
    env.extend(spec.extra_env.iter().map(|variable| json!(variable)));
    args.extend(hosts(input).into_iter().flat_map(|host| ["--host".to_owned(), host]));
    json!({
        "name": "gateway",
        "image": image(input.gateway, &input.settings.gateway_image).0,
        "imagePullPolicy": policy,
        "args": args,
        "env": env,
        "ports": [
            { "name": "http", "containerPort": DATA_PORT, "protocol": "TCP" },
            { "name": "operations", "containerPort": OPERATIONS_PORT, "protocol": "TCP" },
        ],
        "resources": resources(input),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        // Starting is over once the process answers. Waiting for a database is readiness: it must not end in a restart.
        "startupProbe": probe("/livez", 1, 30),
        "readinessProbe": probe("/readyz", 2, 2),
        "livenessProbe": probe("/livez", 10, 3),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": volume_mounts,
    })
}

fn probe(path: &str, period: i32, failures: i32) -> Value {
    json!({
        "httpGet": { "path": path, "port": "operations" },
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    })
}

fn resources(input: Input<'_>) -> Value {
    match &input.gateway.spec.resources {
        None => json!({ "requests": { "cpu": "50m", "memory": "32Mi" } }),
        Some(resources) => json!({
            "requests": (!resources.requests.is_empty()).then_some(&resources.requests),
            "limits": (!resources.limits.is_empty()).then_some(&resources.limits),
        }),
    }
}

/// The names by which the gateway is called, which a gateway without credentials has to be told.
fn hosts(input: Input<'_>) -> Vec<String> {
    let outside = outside(input.gateway).filter(|host| !host.starts_with('*'));
    inside(input.gateway).into_iter().chain(outside.map(str::to_owned)).collect()
}
