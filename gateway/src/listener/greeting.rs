//! What comes before the first request of a connection, within one deadline: whom a proxy speaks for, then TLS.

use std::net::IpAddr;

use tokio::net::TcpStream;
use tokio_util::either::Either;

use super::{Counted, Door, proxy};
use crate::{http::stream::Transport, metrics::Failure, peer::Peer, tls};

/// Reads whom a trusted proxy speaks for and makes the TLS handshake, as far as the listener asks for them.
pub(super) async fn greet(
    door: &Door,
    mut socket: TcpStream,
    address: IpAddr,
    counted: &mut Counted,
) -> Result<(Transport, Peer), Failure> {
    let shared = &door.worker.shared;
    let greeting = async {
        let mut address = address;
        if shared.proxies.speak_first(address) {
            let client = proxy::read(&mut socket).await.map_err(|error| failed(Failure::ProxyHeader, &error))?;
            // A proxy that asks whether the gateway is there speaks for itself.
            address = client.unwrap_or(address);
        }
        counted.arrive(address);
        let Some(tls) = &door.tls else { return Ok((Either::Left(socket), Peer { address, certificate: None })) };
        let stream = tls.acceptor().accept(socket).await.map_err(|error| failed(Failure::Tls, &error))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.and_then(tls::identity);
        Ok((Either::Right(Box::new(stream)), Peer { address, certificate }))
    };
    tokio::time::timeout(shared.handshake_timeout, greeting).await.unwrap_or(Err(Failure::Timeout))
}

fn failed(failure: Failure, error: &std::io::Error) -> Failure {
    tracing::debug!(%error, "a connection did not come to its first request");
    failure
}
