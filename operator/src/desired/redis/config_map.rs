//! The server's configuration: no secret in it, and nothing in arguments.

use serde_json::json;

use super::{super::object, ACL_FILE, COMPONENT, Input, Object, name};
use crate::desired::Kind;

/// Where the file's directory is mounted.
pub(super) const DIRECTORY: &str = "/etc/redis";
/// Where the Secret is mounted.
pub(super) const AUTH_DIRECTORY: &str = "/etc/redis-auth";
/// The file's name inside the map.
pub(super) const FILE: &str = "redis.conf";

/// The file. `protected-mode` would refuse everybody outside, since no `default` user has a password.
pub(super) fn file() -> String {
    format!("bind * -::*\nport 6379\nprotected-mode no\ndir /data\nappendonly yes\naclfile {AUTH_DIRECTORY}/{ACL_FILE}\n")
}

pub(super) fn desired(input: Input<'_>, database: &str) -> Object {
    object(input, Kind::ConfigMap, name(input, database), COMPONENT, json!({ "data": { FILE: file() } }))
}
