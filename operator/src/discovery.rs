//! Which of the APIs that a cluster need not have it has. They are looked for again and again, so that one that is installed
//! later is used then. Definitions are not watched, which would take rights in the whole cluster.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use crate::{
    controller::reason,
    desired::{Apis, Kind},
    retry::jittered,
};

const CUSTOM_METRICS: &str = "custom.metrics.k8s.io";

/// What is known of the APIs; nothing before the first look.
pub(crate) type Known = watch::Receiver<Option<Apis>>;

/// Looks at the APIs for as long as somebody wants to know; `changed` is called at each change but the first.
pub(crate) async fn run(client: Client, known: watch::Sender<Option<Apis>>, period: Duration, changed: impl Fn()) {
    loop {
        match look(&client).await {
            Ok(apis) => {
                let before = known.send_replace(Some(apis.clone()));
                if before.is_some_and(|before| before != apis) {
                    tracing::info!(?apis, "the cluster's optional APIs have changed");
                    changed();
                }
            }
            Err(error) => tracing::warn!(error = %reason(&error), "the cluster's APIs could not be looked at"),
        }
        tokio::time::sleep(jittered(period)).await;
    }
}

async fn look(client: &Client) -> kube::Result<Apis> {
    let mut apis = Apis::default();
    for group in client.list_api_groups_aggregated().await?.items {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        apis.custom_metrics |= name == CUSTOM_METRICS;
        for version in group.versions {
            let api_version = format!("{name}/{}", version.version.unwrap_or_default());
            for resource in version.resources {
                let found = Kind::ALL.into_iter().find(|kind| {
                    kind.is_optional() && kind.api_version() == api_version && Some(kind.plural()) == resource.resource.as_deref()
                });
                apis.kinds.extend(found);
            }
        }
    }
    Ok(apis)
}
