//! Who is at the other end of a connection.

use std::net::IpAddr;

use axum::http::HeaderMap;

use crate::shared::Shared;

/// The other end of a connection. Every request carries it as an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
}

impl Peer {
    /// The address of the client that made a request.
    pub fn client(&self, _headers: &HeaderMap, _shared: &Shared) -> IpAddr {
        self.address
    }
}
