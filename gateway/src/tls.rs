//! TLS: what is read from PEM for either side of a connection, the side of a server, and who a client is by its certificate.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use dbx_crds::config::{ClientCertificates, ListenTls};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::config::{follow::follow, secret};

/// All that is spoken over TLS.
const PROTOCOL: &[u8] = b"http/1.1";

/// TLS as a listener speaks it, with the files of the moment.
#[derive(Clone)]
pub struct Server(watch::Receiver<Arc<ServerConfig>>);

impl Server {
    /// Reads the files, and goes on to look at them. Runs on a runtime.
    pub fn follow(settings: &ListenTls, secrets_dir: &Path) -> Result<Self, String> {
        let names: Vec<_> = settings.sources().map(|(name, _)| name).collect();
        let texts = settings.sources().map(|(name, source)| {
            let text = secret::text(source.clone(), secrets_dir);
            let named: secret::Text = Arc::new(move || text().map_err(|message| format!("{name}: {message}")));
            named
        });
        let wanted = settings.client_certificates();
        let texts = texts.collect();
        follow("listen.tls", texts, move |found, _: Option<&ServerConfig>| server(&names, found, wanted)).map(Self)
    }

    /// What the next connection is accepted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.borrow().clone())
    }
}

/// The algorithms that are used.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server(names: &[&str], found: &[String], wanted: ClientCertificates) -> Result<ServerConfig, String> {
    let text = |name: &str| names.iter().position(|known| *known == name).and_then(|index| found.get(index));
    let (certificate, key) = text("certificateFrom").zip(text("keyFrom")).ok_or("certificateFrom and keyFrom are needed")?;
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = match text("clientCaFrom") {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca, "clientCaFrom")?), provider());
            let verifier = match wanted {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                ClientCertificates::Required => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| format!("clientCaFrom: {error}"))?)
        }
    };
    let chain = certificates(certificate, "certificateFrom")?;
    let mut config = builder.with_single_cert(chain, private_key(key, "keyFrom")?).map_err(|error| unfit(&error, ""))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

/// The certificates of a PEM text that stands under a setting; at least one.
pub fn certificates(pem: &str, setting: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| format!("{setting}: holds no certificate in PEM"))
}

/// The certificates of a PEM text as those that are believed.
pub fn roots(pem: &str, setting: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, setting)? {
        roots.add(certificate).map_err(|error| format!("{setting}: {error}"))?;
    }
    Ok(roots)
}

/// The certificates of the system, which change with the image that has them.
pub fn system() -> Arc<RootCertStore> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (_, ignored) = roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!(ignored, errors = ?found.errors, "the system has no CA certificates");
        }
        Arc::new(roots)
    };
    SYSTEM.get_or_init(load).clone()
}

/// The beginning of the settings of a client.
pub fn client() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(|error| error.to_string())
}

/// The private key of a PEM text that stands under a setting.
pub fn private_key(pem: &str, setting: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| format!("{setting}: holds no private key in PEM"))
}

/// Says why a certificate and a key, which stand under settings that begin so, cannot be used together.
pub fn unfit(error: &rustls::Error, section: &str) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => format!("{section}keyFrom is not the key of {section}certificateFrom"),
        error => format!("{section}certificateFrom: {error}"),
    }
}

/// Who a verified certificate is for: the first URI of its alternative names, else the first DNS name, else the common name.
pub fn identity(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten().map_or(&[][..], |names| &names.value.general_names);
    let uri = names.iter().find_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    let dns = || names.iter().find_map(|name| if let GeneralName::DNSName(dns) = name { Some(*dns) } else { None });
    let common = || certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    uri.or_else(dns).or_else(common).filter(|name| !name.is_empty()).map(Arc::from)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, string::Ia5String};

    use super::*;

    const URI: &str = "spiffe://shop/cart";
    const DNS: &str = "cart.shop";

    fn named(common: Option<&str>, names: &[SanType]) -> Option<Arc<str>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params.subject_alt_names = names.to_vec();
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        identity(signed.der())
    }

    #[test]
    fn a_uri_comes_before_a_dns_name_and_that_before_the_common_name() {
        let text = |text: &str| Ia5String::try_from(text.to_owned()).unwrap();
        let uri = |name: &str| SanType::URI(text(name));
        let dns = |name: &str| SanType::DnsName(text(name));
        let address = SanType::IpAddress([192, 0, 2, 1].into());
        for (common, names, expected) in [
            (Some("cart"), &[dns(DNS), uri(URI), uri("spiffe://shop/other")][..], Some(URI)),
            (Some("cart"), &[address.clone(), dns(DNS), dns("other.shop")], Some(DNS)),
            (Some("cart"), std::slice::from_ref(&address), Some("cart")),
            (Some("cart"), &[], Some("cart")),
            (Some(""), &[], None),
            (None, std::slice::from_ref(&address), None),
            (None, &[], None),
        ] {
            assert_eq!(named(common, names).as_deref(), expected, "{common:?} {names:?}");
        }
        assert_eq!(identity(&CertificateDer::from(b"no certificate".to_vec())), None);
    }
}
