//! A Redis that the operator runs: one server with a volume, for development, caches and small services.

mod config_map;
mod service;
mod stateful_set;
mod volume_claim;

use dbx_crds::config::{Managed, Persistence};
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use super::{Input, Object};
use crate::{names, render::REDIS_USER};

/// The label that sets its objects apart from the gateway's.
pub(super) const COMPONENT: &str = "redis";
/// The port that it listens on.
pub(super) const PORT: u16 = 6379;
/// The key of the Secret that holds the users.
const ACL_FILE: &str = "users.acl";

/// What it takes, but for the Secret, which is made once and never applied.
pub(super) fn desired(input: Input<'_>, database: &str, managed: &Managed) -> Vec<Object> {
    let mut objects = vec![
        config_map::desired(input, database, managed),
        service::desired(input, database),
        stateful_set::desired(input, database, managed),
    ];
    if managed.persistence() != Persistence::None {
        objects.push(volume_claim::desired(input, database, managed));
    }
    for object in &mut objects {
        object.body["metadata"]["labels"][names::DATABASE] = database.into();
    }
    objects
}

/// The users of a managed Redis: the gateway's, who may do everything but administer the server, and nobody else.
pub fn acl(password: &str) -> String {
    let hash = names::hex(&Sha256::digest(password.as_bytes()));
    format!("user default off\nuser {REDIS_USER} on #{hash} ~* &* +@all -@admin\n")
}

fn name(input: Input<'_>, database: &str) -> String {
    names::child(&input.gateway.name_any(), database)
}

fn claim_name(input: Input<'_>, database: &str) -> String {
    names::child(&input.gateway.name_any(), &format!("{database}-data"))
}
