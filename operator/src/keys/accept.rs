//! Whether a gateway takes a key: pure, so that what the gateway's file holds and what the key's status says agree.

use dbx_crds::{
    api_key::DbxApiKey,
    config::AuthMode,
    gateway::{DbxGateway, Reason},
};
use kube::ResourceExt;

use super::secrets::pending_name;
use crate::{news::Name, status::Finding};

/// Namespace and name of the gateway of a key.
pub(crate) fn gateway_of(key: &DbxApiKey) -> Name {
    let reference = &key.spec.gateway_ref;
    (reference.namespace.clone().or_else(|| key.namespace()).unwrap_or_default(), reference.name.clone())
}

/// Why a gateway does not take a key.
pub(crate) enum Refusal {
    /// It may not; `Accepted` is false.
    Rejected(Finding),
    /// Something that it refers to does not exist; `ResolvedRefs` is false.
    Unresolved(Finding),
}

/// The gateway, if it takes a key.
pub(crate) fn accept<'a>(key: &DbxApiKey, gateway: Option<&'a DbxGateway>) -> Result<&'a DbxGateway, Refusal> {
    let (namespace, name) = gateway_of(key);
    let own = key.namespace().unwrap_or_default();
    if key.spec.secret_name == pending_name(key) {
        let message = "spec.secretName: the operator keeps a new key in a Secret of this name until it can be handed over";
        return Err(Refusal::Rejected(Finding::new(Reason::SecretConflict, message)));
    }
    let Some(gateway) = gateway else {
        let message = format!("spec.gatewayRef: DbxGateway {namespace}/{name} does not exist");
        return Err(Refusal::Unresolved(Finding::new(Reason::GatewayNotFound, message)));
    };
    if own != namespace && !gateway.spec.allows_keys_from(&own) {
        let message = format!("spec.gatewayRef: DbxGateway {namespace}/{name} does not have {own} in spec.apiKeys.allowedNamespaces");
        return Err(Refusal::Rejected(Finding::new(Reason::NamespaceNotAllowed, message)));
    }
    if gateway.spec.config.auth.mode != Some(AuthMode::Required) {
        let message = format!("DbxGateway {namespace}/{name} asks for no credentials: its spec.config.auth.mode is not `required`");
        return Err(Refusal::Rejected(Finding::new(Reason::AuthNotRequired, message)));
    }
    let known = |name: &String| gateway.spec.config.databases.iter().any(|database| database.name == *name);
    if let Some((index, missing)) = key.spec.databases.iter().enumerate().find(|(_, name)| !known(name)) {
        let message = format!("spec.databases[{index}]: DbxGateway {namespace}/{name} has no database {missing}");
        return Err(Refusal::Unresolved(Finding::new(Reason::DatabaseNotFound, message)));
    }
    Ok(gateway)
}
