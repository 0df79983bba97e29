//! The volume. An ordinary claim rather than a template of the StatefulSet, so that applying a larger size expands it. It
//! outlives the gateway unless `deleteStorage` says otherwise.

use dbx_crds::config::Managed;
use serde_json::json;

use super::{COMPONENT, Input, Object, claim_name};
use crate::desired::{Kind, object, unowned};

pub(super) fn desired(input: Input<'_>, database: &str, managed: &Managed) -> Object {
    let make = if managed.delete_storage.unwrap_or(false) { object } else { unowned };
    let rest = json!({
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": managed.storage() } },
        },
    });
    make(input, Kind::PersistentVolumeClaim, claim_name(input, database), COMPONENT, rest)
}
