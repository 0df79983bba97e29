//! What bounds the calls to one database, where that is not what bounds those to the others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Limits, Size};

/// Limits of one database, in place of those for all of them (`limits`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseLimits {
    /// Bytes of one result as the database sends it. Default: that of `limits`, as for all of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_result_bytes: Option<Size>,
    /// Calls to the database being served at once; a pipeline counts each of its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: Option<i32>,
    /// Connections to the database that each worker keeps for calls that cannot share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_own_connections: Option<i32>,
    /// How long a call may take when it does not say (`DBX-Timeout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_timeout: Option<Duration>,
    /// The longest that a call may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_call_timeout: Option<Duration>,
}

impl DatabaseLimits {
    /// The limits in force for the database, given those for all.
    #[must_use]
    pub fn over(&self, all: &Limits) -> Limits {
        Limits {
            max_result_bytes: self.max_result_bytes.clone().or_else(|| all.max_result_bytes.clone()),
            max_in_flight: self.max_in_flight.or(all.max_in_flight),
            max_own_connections: self.max_own_connections.or(all.max_own_connections),
            call_timeout: self.call_timeout.clone().or_else(|| all.call_timeout.clone()),
            max_call_timeout: self.max_call_timeout.clone().or_else(|| all.max_call_timeout.clone()),
            ..all.clone()
        }
    }
}
