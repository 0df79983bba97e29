//! TLS on the way to a server. Files are read for each connection, so new ones need no restart; what is wrong with a
//! certificate is told in words.

use std::{io, sync::Arc};

use rustls::{AlertDescription, CertificateError, ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{endpoint::Tls, greeting::Refused};
use crate::{config::secret::Text, error::Code, tls as pem};

const CA: &str = "tls.caFrom";
const CERTIFICATE: &str = "tls.certificateFrom";
const KEY: &str = "tls.keyFrom";

/// Encrypts a connection, once the server has shown who it is.
pub(super) async fn wrap(stream: TcpStream, host: &str, tls: &Tls, deadline: Instant) -> Result<TlsStream<TcpStream>, Refused> {
    let misconfigured = |message: String| Refused::new(Code::Unavailable, "the gateway's TLS settings cannot be used", message);
    let name = tls.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| misconfigured(format!("{name:?} is no name of a server")))?;
    let config = config(tls).map_err(misconfigured)?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match tokio::time::timeout_at(deadline, handshake).await {
        Ok(outcome) => outcome.map_err(|error| refused(&error)),
        Err(_) => Err(Refused::new(
            Code::Unavailable,
            "the database cannot be reached",
            "no TLS handshake within connectTimeout; does the server speak TLS on this port?",
        )),
    }
}

fn config(tls: &Tls) -> Result<ClientConfig, String> {
    let roots = match &tls.ca {
        None => pem::system(),
        Some(ca) => Arc::new(pem::roots(&read(ca, CA)?, CA)?),
    };
    let builder = pem::client()?.with_root_certificates(roots);
    let Some((certificate, key)) = &tls.certificate else { return Ok(builder.with_no_client_auth()) };
    let chain = pem::certificates(&read(certificate, CERTIFICATE)?, CERTIFICATE)?;
    let key = pem::private_key(&read(key, KEY)?, KEY)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| pem::unfit(&error, "tls."))
}

fn read(text: &Text, setting: &str) -> Result<String, String> {
    text().map_err(|message| format!("{setting}: {message}"))
}

fn refused(error: &io::Error) -> Refused {
    explain(error).unwrap_or_else(|| {
        let message = format!("the server ended the TLS handshake: {error}; does it speak TLS on this port?");
        Refused::new(Code::Unavailable, "the database cannot be reached", message)
    })
}

/// What an error of a connection says of TLS, if it is about that. Servers that want a client certificate may say so only
/// once the connection is in use.
pub(super) fn explain(error: &io::Error) -> Option<Refused> {
    let untrusted = |message: String| Refused::new(Code::Unavailable, "the database's certificate is not trusted", message);
    let denied = |message: &str| Refused::new(Code::BackendDenied, "the database refuses the gateway's certificate", message);
    let cause = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match cause {
        rustls::Error::InvalidCertificate(reason) => untrusted(match reason {
            // Another CA of the same name shows in the signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the server's certificate is not signed by a CA that is trusted (tls.caFrom, or else the system's)".into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the server's certificate has expired".into(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet".into()
            }
            CertificateError::NotValidForName => {
                "the server's certificate is for another name (tls.serverName says which to expect)".into()
            }
            CertificateError::NotValidForNameContext { expected, presented } => format!(
                "the server's certificate is for {}, not for {} (tls.serverName says which to expect)",
                presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect::<Vec<_>>().join(", "),
                expected.to_str()
            ),
            reason => format!("the server's certificate is not valid: {reason}"),
        }),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
                denied("the server wants a client certificate (tls.certificateFrom and tls.keyFrom)")
            }
            AlertDescription::UnknownCA => denied("the server does not trust the CA of the client certificate (tls.certificateFrom)"),
            AlertDescription::CertificateExpired => denied("the client certificate has expired (tls.certificateFrom)"),
            AlertDescription::BadCertificate | AlertDescription::UnsupportedCertificate | AlertDescription::CertificateUnknown => {
                denied("the server does not take the client certificate (tls.certificateFrom)")
            }
            alert => Refused::new(Code::Unavailable, "the database cannot be reached", format!("the server broke off TLS: {alert:?}")),
        },
        rustls::Error::InvalidMessage(_) => {
            Refused::new(Code::Unavailable, "the database cannot be reached", "the server does not speak TLS on this port")
        }
        other => Refused::new(Code::Unavailable, "the database cannot be reached", format!("TLS: {other}")),
    })
}
