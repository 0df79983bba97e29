//! How many connections there are, of all clients and of each address. What is beyond a limit is told so and turned away; what
//! is far beyond it is not even told.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use crate::{
    error::{Code, Delivery, Error},
    shared::Shared,
};

/// Connections that are being turned away at once.
const TURNED_AWAY: usize = 1024;
/// The bits of an IPv6 address that its owner is given; the others it can choose.
const IPV6_NETWORK: u128 = !0 << 64;

/// Connections by address, counted only while there is a limit for them. A new or ending connection locks it, a call never does.
#[derive(Default)]
pub struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl Addresses {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, address: IpAddr, most: usize) -> bool {
        let mut addresses = self.lock();
        let open = addresses.entry(address).or_default();
        let enters = *open < most;
        *open += usize::from(enters);
        enters
    }

    fn leave(&self, address: IpAddr) {
        if let Entry::Occupied(mut open) = self.lock().entry(address) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

/// A client connection, counted while it lives.
pub struct Counted {
    shared: Arc<Shared>,
    /// It counts as a client's, not only as one to be turned away.
    admitted: bool,
    /// Under which address it is counted.
    address: Option<IpAddr>,
    /// There are as many of its address as there may be.
    crowded: bool,
}

impl Counted {
    /// Counts a new connection; none when nobody has time to turn it away.
    pub(super) fn enter(shared: &Arc<Shared>) -> Option<Self> {
        let below = |most: usize| move |count: usize| (count < most).then_some(count + 1);
        let admitted = shared.connections.fetch_update(Relaxed, Relaxed, below(shared.max_connections)).is_ok();
        if !admitted {
            shared.turned_away.fetch_update(Relaxed, Relaxed, below(TURNED_AWAY)).ok()?;
        }
        Some(Self { shared: shared.clone(), admitted, address: None, crowded: false })
    }

    /// Says where it comes from.
    pub(super) fn arrive(&mut self, address: IpAddr) {
        let most = self.shared.max_connections_per_address;
        if most == 0 || !self.admitted {
            return;
        }
        let address = network(address);
        match self.shared.addresses.enter(address, most) {
            true => self.address = Some(address),
            false => self.crowded = true,
        }
    }

    /// Why it has to be turned away, if it has.
    pub(super) fn refusal(&self) -> Option<Error> {
        if !self.admitted {
            return Some(Error::backend(Code::Unavailable, "too many connections (limits.maxConnections)", Delivery::NotSent, true));
        }
        self.crowded.then(|| {
            Error::new(Code::TooManyConnections, "too many connections of this address (limits.maxConnectionsPerAddress)").retryable()
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = if self.admitted { &self.shared.connections } else { &self.shared.turned_away };
        count.fetch_sub(1, Relaxed);
        if let Some(address) = self.address {
            self.shared.addresses.leave(address);
        }
    }
}

/// The address of which there is one for each client.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_forgotten_with_their_last_connection() {
        let addresses = Addresses::default();
        let (one, other) = (network("2001:db8::1".parse().unwrap()), network("2001:db8::2".parse().unwrap()));
        assert!(addresses.enter(one, 2) && addresses.enter(other, 2) && !addresses.enter(one, 2));
        assert!(addresses.enter(network("192.0.2.1".parse().unwrap()), 1));
        addresses.leave(one);
        assert!(addresses.enter(one, 2));
        addresses.leave(one);
        addresses.leave(other);
        assert_eq!(addresses.lock().len(), 1);
    }
}
