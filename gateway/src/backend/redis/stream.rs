//! Opening connections: over TCP, TLS or a unix socket.

use std::time::Duration;

use dbx_crds::config::Host;
use tokio::{
    net::{TcpStream, UnixStream},
    time::Instant,
};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::{endpoint::Tls, greeting::Refused, tls};
use crate::error::Code;

/// An open connection.
pub(super) type Stream = Either<TcpStream, Either<UnixStream, Box<TlsStream<TcpStream>>>>;

fn unreachable(error: std::io::Error) -> Refused {
    Refused::new(Code::Unavailable, "the database cannot be reached", error.to_string())
}

/// Connects to a host; the deadline is for what comes after TCP.
pub(super) async fn tcp(host: &Host, encryption: Option<&Tls>, deadline: Instant) -> Result<Stream, Refused> {
    let stream = TcpStream::connect((host.name.as_str(), host.port)).await.map_err(unreachable)?;
    // Without either the connection still works, only slower or blinder.
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)));
    match encryption {
        None => Ok(Either::Left(stream)),
        Some(tls) => Ok(Either::Right(Either::Right(Box::new(tls::wrap(stream, &host.name, tls, deadline).await?)))),
    }
}

/// Connects to a unix socket.
pub(super) async fn unix(path: &str) -> Result<Stream, Refused> {
    UnixStream::connect(path).await.map(|stream| Either::Right(Either::Left(stream))).map_err(unreachable)
}
