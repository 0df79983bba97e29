//! The server's configuration: no secret in it, and nothing in arguments.

use dbx_crds::config::{Managed, Persistence};
use serde_json::json;

use super::{super::object, ACL_FILE, COMPONENT, Input, Object, name};
use crate::desired::Kind;

/// Where the file's directory is mounted.
pub(super) const DIRECTORY: &str = "/etc/redis";
/// Where the Secret is mounted.
pub(super) const AUTH_DIRECTORY: &str = "/etc/redis-auth";
/// The file's name inside the map.
pub(super) const FILE: &str = "redis.conf";

/// The file. `protected-mode` would refuse everybody outside, since no `default` user has a password. Lines are added for what
/// is said only: another file restarts the server.
pub(super) fn file(managed: &Managed) -> String {
    let persistence = match managed.persistence() {
        Persistence::Aof => "appendonly yes\n",
        // The times of snapshots are the server's own.
        Persistence::Rdb => "appendonly no\n",
        Persistence::None => "appendonly no\nsave \"\"\n",
    };
    let memory = managed.maxmemory().map(|bytes| format!("maxmemory {bytes}\nmaxmemory-policy {}\n", managed.maxmemory_policy().name()));
    format!(
        "bind * -::*\nport 6379\nprotected-mode no\ndir /data\n{persistence}aclfile {AUTH_DIRECTORY}/{ACL_FILE}\n{}",
        memory.unwrap_or_default()
    )
}

pub(super) fn desired(input: Input<'_>, database: &str, managed: &Managed) -> Object {
    object(input, Kind::ConfigMap, name(input, database), COMPONENT, json!({ "data": { FILE: file(managed) } }))
}
