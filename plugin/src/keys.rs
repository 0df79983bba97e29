//! `kubectl dbx keys`: the keys of a gateway.

use dbx_crds::{api_key::DbxApiKey, gateway::DbxGateway};
use kube::ResourceExt;

use crate::{
    cluster::Cluster,
    output::{self, table},
};

pub(crate) async fn run(cluster: &Cluster, name: &str) -> anyhow::Result<bool> {
    let gateway: DbxGateway = cluster.get(name).await?;
    let keys = cluster.keys(&cluster.namespace).await?;
    let keys: Vec<&DbxApiKey> = keys.iter().filter(|key| is_of(key, &gateway)).collect();
    output::write(render(&gateway, &keys))?;
    Ok(true)
}

fn render(gateway: &DbxGateway, keys: &[&DbxApiKey]) -> String {
    if keys.is_empty() {
        return format!("{} has no DbxApiKeys\n", gateway.name_any());
    }
    let mut rows = "NAMESPACE\tNAME\tID\tEXPIRES\tREADY\tREASON\n".to_owned();
    for key in keys {
        let (is_ready, why) = ready(key);
        let taken = key.status.iter().flat_map(|status| &status.keys);
        let mut ids: Vec<String> = taken
            .map(|taken| format!("{}\t{}", taken.id, taken.expires.as_ref().map_or_else(|| "-".into(), |time| time.0.to_string())))
            .collect();
        if ids.is_empty() {
            ids.push("none yet\t".into());
        }
        let (namespace, name, is_ready) = (key.namespace().unwrap_or_default(), key.name_any(), if is_ready { "yes" } else { "no" });
        rows.extend(ids.iter().map(|id| format!("{namespace}\t{name}\t{id}\t{is_ready}\t{why}\n")));
    }
    table(&rows)
}

/// Whether a key is one to a gateway.
pub(crate) fn is_of(key: &DbxApiKey, gateway: &DbxGateway) -> bool {
    let target = &key.spec.gateway_ref;
    let own = key.namespace();
    target.name == gateway.name_any() && target.namespace.as_ref().or(own.as_ref()) == gateway.metadata.namespace.as_ref()
}

/// Whether a key can be used, and why.
pub(crate) fn ready(key: &DbxApiKey) -> (bool, String) {
    let status = key.status.clone().unwrap_or_default();
    let found = status.conditions.into_iter().find(|found| found.type_ == "Ready");
    match found {
        Some(found) if status.observed_generation == key.metadata.generation => {
            (found.status == "True", format!("{}: {}", found.reason, found.message))
        }
        _ => (false, "not looked at by the operator yet".into()),
    }
}

#[cfg(test)]
#[path = "tests/keys.rs"]
mod tests;
