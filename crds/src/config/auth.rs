//! Who may call, and what each may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, SecretSource, is_default};

/// Who may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// Left out, anybody may call but the gateway listens on loopback only; `none` lets anybody call who can reach it;
    /// `required` asks for a credential: a key, a token, a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AuthMode>,
    /// Files of keys, as `dbx-gateway keys` writes them. They are read again when they change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub keys_from: Vec<SecretSource>,
    /// Issuers of tokens (JWT) that are believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub jwt: Vec<Jwt>,
    /// Who may do what. Without `mode: required` and without grants anybody may do everything; as soon as there are grants, what
    /// none of them allows is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub grants: Vec<Grant>,
    /// Take a credential from the query's `token` as well, for clients that cannot send a header. It ends up in the logs of
    /// proxies; the gateway's own never show it. Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_in_query: Option<bool>,
}

/// Whether calls need a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Anybody who reaches the gateway may call.
    None,
    /// Every call needs a credential.
    Required,
}

/// An issuer of tokens. Only signatures by RSA, ECDSA and Ed25519 are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jwt {
    /// What the claim `iss` has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub issuer: Option<String>,
    /// What the claim `aud` has to hold. Default: `dbx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub audience: Option<String>,
    /// Where the issuer's public keys are (JWKS), such as `https://id.example.com/keys`. It is read again when a token names a
    /// key that is not known, but not often. Redirects are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub jwks_url: Option<String>,
    /// The issuer's public keys (JWKS) themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_from: Option<SecretSource>,
    /// The CA certificates, PEM, that the server of `jwksUrl` is believed by. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<SecretSource>,
    /// How far the clocks of issuer and gateway may differ. Default: `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<Duration>,
    /// The claim that names the caller; the identity is `jwt:` and its value. Default: `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub identity_claim: Option<String>,
    /// A claim, a text or a list, whose values may be granted something as `group:` and the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub groups_claim: Option<String>,
    /// The Kubernetes cluster that the gateway runs in: a pod shows the token of its ServiceAccount and is
    /// `serviceaccount:<namespace>/<name>`. Issuer and keys are those that the API server tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
}

/// The cluster that the gateway runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kubernetes {}

/// What some identities may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// Identities: `key:web`, `jwt:alice`, `serviceaccount:shop/cart`, `certificate:web.shop`, `group:ops`, `anonymous`, and `*` for
    /// all that have shown a credential. `*` at the end stands for any rest, as in `serviceaccount:shop/*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub to: Vec<String>,
    /// `deny` refuses what this grant describes, whatever others allow. Default: `allow`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effect: Effect,
    /// Names of databases. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 20)))]
    pub databases: Vec<String>,
    /// `read`, `write`, `publish`, `subscribe`, `admin`, or `all` of them; `+@category`, `-@category`; names of operations, and
    /// `-name`. They hold one after the other.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)))]
    pub access: Vec<String>,
    /// Globs of keys as Redis reads them, without the prefix: `cart:*`. Default: every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub keys: Option<Vec<String>>,
    /// Globs of channels, without the prefix. Default: every channel, but none where `keys` is given without a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub channels: Option<Vec<String>>,
    /// What is put before every key and channel on the way in, and taken off on the way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub prefix: Option<String>,
    /// The ACL user, one of the database's `users`, on whose connections the calls go out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub backend_user: Option<String>,
}

/// What a grant does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It allows what it describes.
    #[default]
    Allow,
    /// It refuses what it describes.
    Deny,
}
