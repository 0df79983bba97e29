//! TLS that the gateway serves itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretSource;

/// TLS 1.2 and 1.3 on a listener. Its files are looked at each second, and new ones need no restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenTls {
    /// The certificate, PEM, followed by those between it and its CA.
    pub certificate_from: SecretSource,
    /// The certificate's private key, PEM.
    pub key_from: SecretSource,
    /// The CA certificates, PEM, of which one has to have signed a client's certificate. Default: clients show none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_from: Option<SecretSource>,
    /// Whether clients have to show a certificate, where there is `clientCaFrom`. Default: `required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
}

/// Whether clients have to show a certificate. One that is shown is verified in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They may.
    Optional,
    /// They have to.
    #[default]
    Required,
}

impl ListenTls {
    /// Whether clients have to show a certificate, if there is a CA for them.
    pub fn client_certificates(&self) -> ClientCertificates {
        self.client_certificates.unwrap_or_default()
    }

    /// Everything that is read from elsewhere, by its path below this section.
    pub fn sources(&self) -> impl Iterator<Item = (&'static str, &SecretSource)> {
        let sources = [
            ("certificateFrom", Some(&self.certificate_from)),
            ("keyFrom", Some(&self.key_from)),
            ("clientCaFrom", self.client_ca_from.as_ref()),
        ];
        sources.into_iter().filter_map(|(path, source)| Some((path, source?)))
    }
}
