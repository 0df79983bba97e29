//! One document over HTTP or HTTPS: no redirects, no more than a bound, nothing kept open.

use std::{future, sync::Arc, time::Duration};

use axum::http::{
    HeaderMap, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONNECTION, HOST, USER_AGENT},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::tls;

/// The largest document that is read, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The most that an answer's header is buffered, in bytes.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// A document.
pub(super) struct Document {
    pub(super) body: Bytes,
    /// How long the server says it may be kept.
    pub(super) max_age: Option<Duration>,
}

/// Gets a document. `roots` is what the server of an `https` URL is believed by, `bearer` what the gateway shows.
pub(super) async fn get(url: &Url, roots: Arc<RootCertStore>, bearer: Option<&str>) -> Result<Document, String> {
    let host = url.host().ok_or("the URL has no host")?;
    let port = url.port_or_known_default().ok_or("the URL has no port")?;
    let connected = match host {
        Host::Domain(name) => TcpStream::connect((name, port)).await,
        Host::Ipv4(address) => TcpStream::connect((address, port)).await,
        Host::Ipv6(address) => TcpStream::connect((address, port)).await,
    };
    let stream = connected.map_err(|error| format!("the server cannot be reached: {error}"))?;
    if url.scheme() == "http" {
        return exchange(stream, url, bearer).await;
    }
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name of a server"))?,
        Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(address)),
        Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(address)),
    };
    let config = tls::client()?.with_root_certificates(roots).with_no_client_auth();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    exchange(stream.map_err(|error| format!("no TLS with the server: {error}"))?, url, bearer).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
    bearer: Option<&str>,
) -> Result<Document, String> {
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut request = Request::get(target)
        .header(HOST, authority)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("dbx-gateway/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    if let Some(bearer) = bearer {
        request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| "the request cannot be written: is the gateway's own token right?")?;

    let handshake = http1::Builder::new().max_buf_size(MAX_HEADER_BYTES).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| format!("no answer from the server: {error}"))?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(format!("the server answered {status}; redirects are not followed"));
        }
        if status != StatusCode::OK {
            return Err(format!("the server answered {status}"));
        }
        let max_age = max_age(answer.headers());
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| format!("the answer cannot be read, or has more than {MAX_BYTES} bytes: {error}"))?;
        Ok(Document { body: body.to_bytes(), max_age })
    };
    // A connection that ends shows in the answer.
    let driven = async {
        let _ = connection.await;
        future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = driven => Err("the connection ended".into()),
    }
}

/// What `Cache-Control` says, if it says how long.
pub(super) fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get(CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let seconds = directives.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="))?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
