//! Where the gateway listens, and what it believes of who connects there.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ListenTls;

/// Addresses the gateway listens on, and what stands in front of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listen {
    /// The data listener. Default: `127.0.0.1:3000`, and `0.0.0.0:3000` once `auth.mode` is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub data: Option<String>,
    /// The operations listener: `/livez`, `/readyz`, `/metrics`; read-only, names no host and no identity.
    /// Default: the data listener's host with port `9090`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub operations: Option<String>,
    /// TLS on the data listener, which then speaks nothing else. The operations listener has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenTls>,
    /// Networks such as `10.0.0.0/8`, and addresses, of the proxies in front of the gateway. Only they are believed what they
    /// say of their clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub trusted_proxies: Vec<String>,
    /// The header in which trusted proxies name the client of a request; the rightmost address that is none of theirs counts.
    /// Default: `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Forwarded>,
    /// Trusted proxies begin each connection with a header of the PROXY protocol, version 1 or 2, and are refused without.
    /// Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<bool>,
}

/// Where trusted proxies name the client of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarded {
    /// Nowhere.
    #[default]
    None,
    /// In `Forwarded` (RFC 7239).
    Forwarded,
    /// In `X-Forwarded-For`.
    XForwardedFor,
}

impl Listen {
    /// The networks of the proxies in front; what is no network is left out, and told by validation.
    pub fn trusted_proxies(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|text| network(text)).collect()
    }

    /// Where they name their clients.
    pub fn forwarded(&self) -> Forwarded {
        self.forwarded.unwrap_or_default()
    }

    /// Whether they speak the PROXY protocol.
    pub fn proxy_protocol(&self) -> bool {
        self.proxy_protocol.unwrap_or_default()
    }
}

/// Reads a network, or an address, which is a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()))
}
