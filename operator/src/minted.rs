//! Secrets of managed databases: made once, when absent, and never applied again. The password is known to nobody but
//! the Secret.

use dbx_crds::gateway::DbxGateway;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde_json::json;

use crate::{
    children::owner_uid,
    desired::{acl, owner},
    names::{self, MANAGER},
    render::PASSWORD_KEY,
};

/// Makes the Secret of a managed database; gives its uid.
pub(crate) async fn mint(client: &Client, gateway: &DbxGateway, database: &str) -> kube::Result<String> {
    let namespace = gateway.namespace().unwrap_or_default();
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| kube::Error::Service(Box::new(std::io::Error::other(error.to_string()))))?;
    let password = names::hex(&bytes);
    let mut labels = names::labels(&gateway.name_any(), "redis");
    labels.insert(names::DATABASE, database.to_owned());
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {
            "name": names::auth(&gateway.name_any(), database),
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [owner(gateway)],
        },
        "type": "Opaque",
        "stringData": { PASSWORD_KEY: password, "users.acl": acl(&password) },
    }))
    .map_err(kube::Error::SerdeError)?;
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    let made = api.create(&params, &secret).await?;
    tracing::info!(namespace, secret = secret.name_any(), "made the credentials of a managed Redis");
    Ok(made.uid().unwrap_or_default())
}

/// Takes away the Secret of a database that is no longer managed, if it is ours.
pub(crate) async fn remove(client: &Client, gateway: &DbxGateway, database: &str) -> kube::Result<()> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &gateway.namespace().unwrap_or_default());
    let name = names::auth(&gateway.name_any(), database);
    let Some(meta) = api.get_metadata_opt(&name).await?.map(|secret| secret.metadata) else { return Ok(()) };
    if owner_uid(&meta) != gateway.uid().as_deref() {
        return Ok(());
    }
    let params = DeleteParams::background().preconditions(Preconditions { uid: meta.uid, resource_version: None });
    match api.delete(&name, &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}
