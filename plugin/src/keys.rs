//! `kubectl dbx keys`: the keys of a gateway.

use dbx_crds::{api_key::DbxApiKey, gateway::DbxGateway};
use kube::ResourceExt;

use crate::{
    cluster::Cluster,
    output::{self, row, table},
};

pub(crate) async fn run(cluster: &Cluster, name: &str) -> anyhow::Result<bool> {
    let gateway: DbxGateway = cluster.get(name).await?;
    let keys = cluster.keys(&cluster.namespace).await?;
    let keys: Vec<&DbxApiKey> = keys.iter().filter(|key| is_of(key, &gateway)).collect();
    output::write(render(&gateway, &keys).as_bytes())?;
    Ok(true)
}

fn render(gateway: &DbxGateway, keys: &[&DbxApiKey]) -> String {
    if keys.is_empty() {
        return format!("{} has no DbxApiKeys\n", gateway.name_any());
    }
    let mut rows = vec![row(["NAMESPACE", "NAME", "ID", "EXPIRES", "READY", "REASON"])];
    for key in keys {
        let (is_ready, why) = ready(key);
        let said = [if is_ready { "yes" } else { "no" }, &why];
        let [namespace, name] = [key.namespace().unwrap_or_default(), key.name_any()];
        let taken = key.status.iter().flat_map(|status| &status.keys);
        let before = rows.len();
        for taken in taken {
            let expires = taken.expires.as_ref().map_or_else(|| "-".into(), |time| time.0.to_string());
            rows.push(row([&namespace, &name, &taken.id, &expires, said[0], said[1]]));
        }
        if rows.len() == before {
            rows.push(row([&namespace, &name, "none yet", "", said[0], said[1]]));
        }
    }
    table(&rows, 0)
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
