//! `kubectl dbx logs`: what all pods of a gateway say.

use anyhow::ensure;
use dbx_crds::gateway::{DbxGateway, pods::COMPONENT};
use futures::{AsyncBufReadExt, StreamExt, future::join_all};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::LogParams};

use crate::{
    args::Logs,
    cluster::{Cluster, short},
    output,
};

pub(crate) async fn run(cluster: &Cluster, logs: &Logs) -> anyhow::Result<bool> {
    let name = &logs.name;
    cluster.get::<DbxGateway>(name).await?;
    let pods = cluster.pods(&cluster.namespace, Some(name)).await?;
    ensure!(!pods.is_empty(), "{name} has no pods; `kubectl dbx status {name}` says why");
    let printed = output::kept(join_all(pods.iter().map(|pod| print(cluster, logs, pod.name_any()))).await);
    Ok(printed.len() == pods.len())
}

async fn print(cluster: &Cluster, logs: &Logs, pod: String) -> anyhow::Result<()> {
    let params = LogParams {
        container: Some(COMPONENT.into()),
        follow: logs.follow,
        previous: logs.previous,
        tail_lines: logs.tail.map(i64::from),
        ..LogParams::default()
    };
    let stream = cluster.api::<Pod>().log_stream(&pod, &params).await;
    let mut lines = stream.map_err(|error| cluster.asked("get", "pods/log", &pod).failed(error))?.lines();
    while let Some(line) = lines.next().await {
        output::write(format!("{}  {}\n", short(&pod), line?).as_bytes())?;
    }
    Ok(())
}
