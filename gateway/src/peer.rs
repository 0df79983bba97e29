//! Who is at the other end of a connection, and for whom it speaks when it is a trusted proxy.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::http::{HeaderMap, HeaderName};
use dbx_crds::config::{Forwarded, Listen};
use ipnet::IpNet;

use crate::shared::Shared;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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
    pub fn client(&self, headers: &HeaderMap, shared: &Shared) -> IpAddr {
        shared.proxies.client(self.address, headers)
    }
}

/// The proxies in front of the gateway, and what they are believed.
pub struct Proxies {
    trusted: Vec<IpNet>,
    forwarded: Forwarded,
    protocol: bool,
}

impl Proxies {
    /// Takes them out of a configuration.
    pub fn new(listen: &Listen) -> Self {
        Self { trusted: listen.trusted_proxies(), forwarded: listen.forwarded(), protocol: listen.proxy_protocol() }
    }

    /// Whether connections from an address begin with a header of the PROXY protocol.
    pub fn speak_first(&self, address: IpAddr) -> bool {
        self.protocol && self.trusts(address)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Follows the chain of proxies from its end as long as they are trusted. Who names nobody is taken for the client.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.forwarded {
            Forwarded::None => return peer,
            Forwarded::Forwarded => (FORWARDED, forwarded_for),
            Forwarded::XForwardedFor => (X_FORWARDED_FOR, node),
        };
        let mut client = peer;
        for line in headers.get_all(name).iter().rev() {
            let mut rest = Some(line.to_str().unwrap_or_default());
            while let Some(text) = rest {
                if !self.trusts(client) {
                    return client;
                }
                let element;
                (rest, element) = last(text, b',');
                match read(element) {
                    Some(address) => client = address,
                    None => return client,
                }
            }
        }
        client
    }
}

/// Parts a list at its last separator that is not in quotes. Only its end was written by a proxy that is trusted: read from
/// there, quotes that a client left open mean nothing.
fn last(text: &str, separator: u8) -> (Option<&str>, &str) {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate().rev() {
        quoted ^= byte == b'"';
        if byte == separator && !quoted {
            return (Some(&text[..at]), &text[at + 1..]);
        }
    }
    (None, text)
}

/// The address in an element of `Forwarded`, such as `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut rest = Some(element);
    while let Some(text) = rest {
        let pair;
        (rest, pair) = last(text, b';');
        match pair.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("for") => return node(value.trim().trim_matches('"')),
            _ => {}
        }
    }
    None
}

/// An address with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(forwarded: Forwarded, peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap()).to_vec();
        let name = if forwarded == Forwarded::Forwarded { FORWARDED } else { X_FORWARDED_FOR };
        let headers = HeaderMap::from_iter(lines.iter().map(|line| (name.clone(), line.parse().unwrap())));
        Proxies { trusted, forwarded, protocol: false }.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_counts() {
        for (peer, lines, expected) in [
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            // Who is not trusted is not believed.
            ("192.0.2.9", &["192.0.2.1"], "192.0.2.9"),
            ("10.0.0.1", &["203.0.113.5, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["203.0.113.5", "192.0.2.1,10.0.0.2", "10.0.0.3"], "192.0.2.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["[2001:0db9::1]:80, 2001:db8::7"], "2001:db9::1"),
            ("10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            // Nonsense ends the chain at who handed it on.
            ("10.0.0.1", &["192.0.2.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["192.0.2.1,"], "10.0.0.1"),
            ("10.0.0.1", &["\"192.0.2.1"], "10.0.0.1"),
        ] {
            assert_eq!(client(Forwarded::XForwardedFor, peer, lines), expected, "{peer} {lines:?}");
            assert_eq!(client(Forwarded::None, peer, lines), peer);
        }
    }

    #[test]
    fn forwarded_is_read_from_its_end() {
        for (line, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"192.0.2.1:4711\";proto=https;by=10.0.0.1", "192.0.2.1"),
            ("proto=http; for=\"[2001:db9::1]:4711\"", "2001:db9::1"),
            ("for=203.0.113.5, for=192.0.2.1, for=10.0.0.2;host=\"a,b\"", "192.0.2.1"),
            // What a client begins does not swallow what a proxy adds.
            ("for=\"203.0.113.5, for=192.0.2.1", "192.0.2.1"),
            ("for=203.0.113.5;x=\"a\\\", for=192.0.2.1", "192.0.2.1"),
            ("for=unknown", "10.0.0.1"),
            ("for=_hidden, for=10.0.0.2", "10.0.0.2"),
            ("proto=https", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(client(Forwarded::Forwarded, "10.0.0.1", &[line]), expected, "{line}");
        }
    }
}
