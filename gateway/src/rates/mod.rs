//! How much each may do. A limit counts commands, bytes and open sockets of each identity, address or database; what it counts is
//! an atomic that all workers touch, found once for a caller and then kept. What a limit refuses has not begun.

mod allowance;
mod bucket;
mod lease;
mod limit;

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

pub use allowance::{Allowance, Seat, Serving};
use allowance::{AtOnce, Entry, Own};
use dbx_crds::config::{GatewayConfig, Per};
use limit::{Limit, Subject, Table, network};
use lru::LruCache;

use crate::auth::Identity;

/// Callers that a thread remembers: some more than there are connections, by default.
const CALLERS: usize = 16_384;

type Callers = LruCache<(usize, IpAddr), Arc<Allowance>>;

thread_local! {
    /// What a thread has found out about its last callers.
    static KNOWN: RefCell<Callers> = RefCell::new(LruCache::unbounded());
}

/// All limits of the process.
#[derive(Debug)]
pub struct Rates {
    limits: Vec<Arc<Limit>>,
    at_once: AtOnce,
    databases: usize,
    identities: Table<Own>,
    /// Some limit is of addresses.
    by_address: bool,
}

impl Rates {
    /// Takes the limits out of a configuration, if there are any.
    pub fn new(config: &GatewayConfig) -> Option<Self> {
        let most = |count: i32| usize::try_from(count).ok().filter(|most| *most > 0);
        let at_once =
            AtOnce { in_flight: most(config.limits.max_in_flight_per_identity()), sockets: most(config.limits.max_sockets_per_identity()) };
        if config.rate_limits.is_empty() && at_once.in_flight.is_none() && at_once.sockets.is_none() {
            return None;
        }
        Some(Self {
            limits: config.rate_limits.iter().map(|limit| Arc::new(Limit::new(limit, config))).collect(),
            at_once,
            databases: config.databases.len(),
            identities: Table::default(),
            by_address: config.rate_limits.iter().any(|limit| limit.per == Per::Address),
        })
    }

    /// What an identity may do that calls from an address.
    pub fn allowance(&self, identity: &Arc<Identity>, address: impl FnOnce() -> IpAddr) -> Arc<Allowance> {
        let address = if self.by_address { network(address()) } else { Ipv4Addr::UNSPECIFIED.into() };
        let caller = (Arc::as_ptr(identity).addr(), address);
        KNOWN.with_borrow_mut(|known| match known.peek_mru() {
            // The one that has called last calls again: nothing has to be looked up.
            Some((last, allowance)) if *last == caller => allowance.clone(),
            _ => {
                let allowance = known.get_or_insert(caller, || Arc::new(self.find(identity, address))).clone();
                if known.len() > CALLERS {
                    known.pop_lru();
                }
                allowance
            }
        })
    }

    fn find(&self, identity: &Arc<Identity>, address: IpAddr) -> Allowance {
        let entries = (0..self.databases).map(|database| {
            let limits = self.limits.iter().filter(|limit| limit.concerns(identity, database));
            limits.map(|limit| Entry { limit: limit.clone(), state: limit.state(identity, address, database) }).collect()
        });
        Allowance {
            entries: entries.collect(),
            own: self.identities.of(Subject::Identity(identity.name.clone()), |_| Own::default()),
            at_once: self.at_once,
            _identity: identity.clone(),
        }
    }

    /// For each limit its name, the calls that it has refused, and how many times it was counted with other replicas.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64, Option<u64>)> {
        self.limits.iter().map(|limit| {
            let exchanges = limit.shared.as_ref().map(|shared| shared.exchanges.load(Relaxed));
            (&*limit.name, limit.refused.load(Relaxed), exchanges)
        })
    }
}
