//! A port of the loopback interface that no other process is given while this is held. The holder is bound and never
//! listens, so the process under test can bind the port again and again.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

pub struct Port {
    pub number: u16,
    _held: Socket,
}

impl Port {
    pub fn reserve() -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        held.set_reuse_address(true).unwrap();
        held.set_reuse_port(true).unwrap();
        held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let number = held.local_addr().unwrap().as_socket().unwrap().port();
        Self { number, _held: held }
    }
}
