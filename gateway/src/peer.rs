//! Who is at the other end of a connection, as far as the connection itself says it.

use std::{net::IpAddr, sync::Arc};

use axum::http::HeaderMap;

use crate::shared::Shared;

/// The other end of a connection. Every request carries it as an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address: the socket's, or what the PROXY protocol of a trusted proxy says.
    pub address: IpAddr,
    /// Who its verified client certificate is for: the first URI of the alternative names, else the first DNS name, else the
    /// subject's common name. `None` without TLS or without a client certificate.
    pub certificate: Option<Arc<str>>,
}

impl Peer {
    /// The address of the client that made a request: that of the peer, unless it is a trusted proxy that names another.
    pub fn client(&self, _headers: &HeaderMap, _shared: &Shared) -> IpAddr {
        self.address
    }
}
