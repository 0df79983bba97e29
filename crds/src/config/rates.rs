//! How much each may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Size;

/// A limit of rate. All that apply to a call have to let it pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Its name in `RateLimit` headers and metrics: lower-case letters, digits and `-`.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Whose calls are counted together: those of each `identity`, of each client `address`, to each `database`.
    pub per: Per,
    /// The identities that it holds for, as in grants. Default: all, `anonymous` included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub to: Vec<String>,
    /// The databases that it holds for. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 20)))]
    pub databases: Vec<String>,
    /// Commands a second; each call of a pipeline is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub commands: Option<i32>,
    /// Commands that may come at once after a pause. Default: those of one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub burst: Option<i32>,
    /// Bytes a second, of requests and results together. They are counted when they are known, so a large result is paid for by
    /// the calls after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// Open WebSockets and event streams at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sockets: Option<i32>,
    /// Count the commands of all replicas together, in this database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub shared_in: Option<String>,
    /// What happens while that database does not answer: `open` counts each replica by itself, `closed` refuses. Default: `open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

/// Whose calls are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// Those of each identity.
    Identity,
    /// Those of each client's address.
    Address,
    /// Those to each database.
    Database,
}

/// What happens while the database that counts does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Each replica counts by itself.
    Open,
    /// Calls are refused.
    Closed,
}
