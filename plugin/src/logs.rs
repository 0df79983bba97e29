//! `kubectl dbx logs`: what all pods of a gateway say.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context, ensure};
use dbx_crds::gateway::{
    DbxGateway,
    pods::{COMPONENT, container},
};
use futures::{AsyncBufReadExt, StreamExt, future::join_all};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::LogParams};

use crate::{
    args::Logs,
    cluster::{Cluster, failed, short},
    output::{self, kept},
};

/// How often new containers are looked for. What they have said by then is not lost.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) async fn run(cluster: &Cluster, logs: &Logs) -> anyhow::Result<bool> {
    let name = &logs.name;
    cluster.get::<DbxGateway>(name).await?;
    let mut pods = cluster.pods(&cluster.namespace, Some(name)).await?;
    let say = |pod: &Pod| print(cluster.api(), logs.params(), pod.name_any());
    if !logs.follow {
        ensure!(!pods.is_empty(), "{name} has no pods; `kubectl dbx status {name}` says why");
        return Ok(join_all(pods.iter().map(say)).await.into_iter().filter_map(kept).count() == pods.len());
    }
    // Each container once: of a pod that is restarted there is another one.
    let mut followed = HashSet::new();
    loop {
        for pod in &pods {
            let running = container(pod).filter(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
            if running.and_then(|container| container.container_id.clone()).is_some_and(|id| followed.insert(id)) {
                let said = say(pod);
                tokio::spawn(async { kept(said.await) });
            }
        }
        tokio::time::sleep(LOOK).await;
        pods = kept(cluster.pods(&cluster.namespace, Some(name)).await).unwrap_or(pods);
    }
}

impl Logs {
    fn params(&self) -> LogParams {
        LogParams {
            container: Some(COMPONENT.into()),
            follow: self.follow,
            previous: self.previous,
            tail_lines: self.tail.map(i64::from),
            ..LogParams::default()
        }
    }
}

async fn print(api: Api<Pod>, params: LogParams, pod: String) -> anyhow::Result<()> {
    let context = || format!("logs of {pod}");
    let mut lines = api.log_stream(&pod, &params).await.map_err(failed).with_context(context)?.lines();
    while let Some(line) = lines.next().await {
        output::write(format!("{}  {}\n", short(&pod), line.with_context(context)?))?;
    }
    Ok(())
}
