//! What only CEL can say about a key.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::DbxApiKey;
use crate::schema::{Rule, definition, rule};

const SPEC: &[&str] = &["spec"];

/// Every rule; each has a test that it lets pass and refuses.
pub const RULES: &[Rule] = &[
    rule(&[], "size(self.metadata.name) <= 63", "metadata.name has to be at most 63 long"),
    rule(&[], "self.spec.secretName != self.metadata.name + '-pending'", "secretName is that of the Secret in which a new key waits"),
    rule(&["spec", "gatewayRef"], "self == oldSelf", "gatewayRef cannot be changed; make another key"),
    rule(&["spec", "secretName"], "self == oldSelf", "secretName cannot be changed; make another key"),
    rule(
        &["spec", "access", "[]"],
        "self.matches('^([-+]@[a-z]+|-?[a-z][a-z0-9_.]*)$')",
        "access has words such as `read`, `+@category`, `-@category`, `get` or `-get`",
    ),
    rule(
        &["spec", "rotateEvery"],
        "duration(self) >= duration('1m') && duration(self) <= duration('8760h')",
        "rotateEvery has to be from 1m to 8760h",
    ),
    rule(&["spec", "overlap"], "duration(self) <= duration('8760h')", "overlap has to be at most 8760h"),
    rule(
        SPEC,
        "!has(self.rotateEvery) || duration(has(self.overlap) ? self.overlap : '1h') <= duration(self.rotateEvery)",
        "overlap has to be at most rotateEvery; it is 1h when it is not said",
    ),
];

/// The CustomResourceDefinition of [`DbxApiKey`].
pub fn crd() -> CustomResourceDefinition {
    definition(DbxApiKey::crd(), RULES, &[], str::to_owned)
}
