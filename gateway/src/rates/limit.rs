//! One limit of the configuration, and what it counts for each of those that it holds for.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use axum::http::HeaderValue;
use bytes::Bytes;
use dbx_crds::config::{GatewayConfig, OnFailure, Per, RateLimit};
use lru::LruCache;
use sha2::{Digest, Sha256};

use super::{
    bucket::{Bucket, Left, Rate},
    lease::{Empty, Lease, Shared},
};
use crate::auth::{Identity, names};

/// How many identities and addresses are remembered for each limit. Those that have not called for the longest are forgotten.
const SUBJECTS: NonZeroUsize = NonZeroUsize::new(100_000).expect("more than nothing");
/// How many that are in use are passed over to find one that can be forgotten.
const LOOKS: usize = 8;
/// What the keys of shared buckets begin with.
const PREFIX: &str = "dbx:rate:";

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Identity(String),
    Address(IpAddr),
    Database(usize),
}

/// The part of an address that belongs to one client: all of version 4, the network of version 6.
pub(super) fn network(address: IpAddr) -> IpAddr {
    const HOST: u128 = u64::MAX as u128;
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !HOST)),
        address => address,
    }
}

/// What is remembered of each subject; it has a bound.
#[derive(Debug)]
pub(super) struct Table<T>(Mutex<LruCache<Subject, Arc<T>>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Mutex::new(LruCache::unbounded()))
    }
}

impl<T> Table<T> {
    pub(super) fn of(&self, subject: Subject, make: impl FnOnce(&Subject) -> T) -> Arc<T> {
        // Nothing that runs under the lock can panic half-way through a change.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&subject) {
            return found.clone();
        }
        if known.len() >= SUBJECTS.get() {
            for _ in 0..LOOKS {
                match known.pop_lru() {
                    // Somebody uses it: who comes again has to find the same.
                    Some((subject, state)) if Arc::strong_count(&state) > 1 => known.put(subject, state),
                    _ => break,
                };
            }
            while known.len() >= SUBJECTS.get() {
                known.pop_lru();
            }
        }
        let made = Arc::new(make(&subject));
        known.put(subject, made.clone());
        made
    }
}

/// A limit.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) per: Per,
    to: Vec<String>,
    /// By the index of the database; none is all.
    databases: Vec<bool>,
    pub(super) commands: Option<Rate>,
    pub(super) bytes: Option<Rate>,
    pub(super) sockets: Option<usize>,
    pub(super) shared: Option<Shared>,
    /// What it promises, for commands and for bytes.
    policies: [HeaderValue; 2],
    pub(super) states: Table<State>,
    /// Calls that it has refused.
    pub(super) refused: AtomicU64,
}

impl Limit {
    pub(super) fn new(limit: &RateLimit, config: &GatewayConfig) -> Self {
        let is_listed = |name: &String| limit.databases.is_empty() || limit.databases.contains(name);
        let place = |name: &String| config.databases.iter().position(|database| database.name == *name);
        let rate = |per_second: u64, burst: u64| Rate::new(per_second.max(1), burst.max(1));
        let commands = limit.commands.map(|commands| rate(count(commands), count(limit.burst.unwrap_or(commands))));
        let bytes = limit.bytes.as_ref().map(|size| rate(size.bytes() as u64, size.bytes() as u64));
        Self {
            name: limit.name.clone(),
            per: limit.per,
            to: limit.to.clone(),
            databases: config.databases.iter().map(|database| is_listed(&database.name)).collect(),
            commands,
            bytes,
            policies: [(Unit::Commands, commands), (Unit::Bytes, bytes)].map(|(unit, rate)| policy(&limit.name, unit, rate)),
            sockets: limit.sockets.and_then(|sockets| usize::try_from(sockets).ok()),
            shared: limit.shared_in.as_ref().and_then(place).map(|database| Shared {
                database,
                closed: limit.on_failure == Some(OnFailure::Closed),
                down: AtomicBool::new(false),
                exchanges: AtomicU64::new(0),
            }),
            states: Table::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether it holds for calls of an identity to a database.
    pub(super) fn concerns(&self, identity: &Identity, database: usize) -> bool {
        let is_named = self.to.is_empty() || names(&self.to, &identity.name, &identity.groups);
        is_named && self.databases.get(database).copied().unwrap_or_default()
    }

    /// What it counts the calls of an identity from an address to a database with.
    pub(super) fn state(&self, identity: &Identity, address: IpAddr, database: usize) -> Arc<State> {
        let subject = match self.per {
            Per::Identity => Subject::Identity(identity.name.clone()),
            Per::Address => Subject::Address(address),
            Per::Database => Subject::Database(database),
        };
        self.states.of(subject, |subject| State {
            commands: Bucket::default(),
            bytes: Bucket::default(),
            sockets: AtomicUsize::new(0),
            lease: self.commands.filter(|_| self.shared.is_some()).map(|rate| Lease::new(self.key(subject), &rate)),
        })
    }

    /// The key of a shared bucket. Who is counted in it is nobody's business.
    fn key(&self, subject: &Subject) -> String {
        let hash = Sha256::digest(format!("{subject:?}"));
        let hash: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{PREFIX}{{{}:{hash}}}", self.name)
    }

    /// Lets commands pass.
    pub(super) fn take(&self, state: &State, calls: u64, now: u64) -> Result<(), Empty> {
        if let Some(rate) = &self.bytes {
            state.bytes.check(rate, now).map_err(Empty::For)?;
        }
        match (&self.commands, &self.shared, &state.lease) {
            (None, ..) => Ok(()),
            (Some(rate), Some(shared), Some(lease)) => lease.take(rate, shared, calls, now),
            (Some(rate), ..) => state.commands.take(rate, calls, now).map_err(Empty::For),
        }
    }

    pub(super) fn give_back(&self, state: &State, calls: u64) {
        match (&self.commands, &self.shared, &state.lease) {
            (None, ..) => {}
            (Some(rate), Some(shared), Some(lease)) => lease.give_back(rate, shared, calls),
            (Some(rate), ..) => state.commands.give_back(rate, calls),
        }
    }

    /// What is left of it: by commands, by bytes.
    pub(super) fn left<'a>(&'a self, state: &'a State, now: u64) -> impl Iterator<Item = (Unit, &'a Rate, Left)> {
        let commands = self.commands.as_ref().map(|rate| {
            let left = match (&self.shared, &state.lease) {
                (Some(shared), Some(lease)) => lease.left(rate, shared, now),
                _ => state.commands.left(rate, now),
            };
            (Unit::Commands, rate, left)
        });
        let bytes = self.bytes.as_ref().map(|rate| (Unit::Bytes, rate, state.bytes.left(rate, now)));
        commands.into_iter().chain(bytes)
    }

    /// What it promises, as `RateLimit-Policy` says it (draft-ietf-httpapi-ratelimit-headers).
    pub(super) fn policy(&self, unit: Unit) -> HeaderValue {
        self.policies[unit as usize].clone()
    }

    /// What is left, as `RateLimit` says it: so many for so many seconds.
    pub(super) fn rest(&self, unit: Unit, remaining: u64, seconds: u64) -> HeaderValue {
        header(format!("\"{}{}\";r={remaining};t={seconds}", self.name, unit.suffix()))
    }

    /// Counts what was refused.
    pub(super) fn refuse(&self, calls: u64) {
        self.refused.fetch_add(calls, Relaxed);
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Commands,
    Bytes,
}

impl Unit {
    /// What it adds to the name of its limit. A limit's own name has no dot.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Commands => "",
            Self::Bytes => ".bytes",
        }
    }
}

/// What a limit counts for one subject.
#[derive(Debug)]
pub(super) struct State {
    commands: Bucket,
    pub(super) bytes: Bucket,
    /// Open WebSockets and event streams.
    pub(super) sockets: AtomicUsize,
    pub(super) lease: Option<Lease>,
}

fn policy(name: &str, unit: Unit, rate: Option<Rate>) -> HeaderValue {
    let Some(rate) = rate else { return HeaderValue::from_static("") };
    // Without a unit a quota is of requests.
    let counted = if unit == Unit::Bytes { ";qu=\"content-bytes\"" } else { "" };
    header(format!("\"{name}{}\";q={};w={}{counted}", unit.suffix(), rate.burst, rate.window()))
}

fn header(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("a limit's name and numbers are visible ASCII")
}

fn count(count: i32) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_client_are_one() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn limits_hold_for_whom_they_name() {
        let holds = |to: &[&str], name: &str| {
            let to: Vec<String> = to.iter().map(|name| (*name).to_owned()).collect();
            let text = serde_json::json!({
                "databases": [{ "name": "a", "redis": {} }, { "name": "b", "redis": {} }],
                "rateLimits": [{ "name": "x", "per": "identity", "to": to, "databases": ["b"], "commands": 1 }],
            });
            let config: GatewayConfig = serde_json::from_value(text).unwrap();
            let limit = Limit::new(&config.rate_limits[0], &config);
            let identity = Identity::new(name.to_owned(), vec!["group:ops".to_owned()], None, Vec::new(), Vec::new());
            assert!(!limit.concerns(&identity, 0), "it is not for that database");
            limit.concerns(&identity, 1)
        };
        assert!(holds(&[], "anonymous") && holds(&["anonymous"], "anonymous") && !holds(&["*"], "anonymous"));
        assert!(holds(&["*"], "key:web") && holds(&["jwt:alice", "key:web"], "key:web") && !holds(&["key:we"], "key:web"));
        assert!(holds(&["serviceaccount:shop/*"], "serviceaccount:shop/cart") && !holds(&["serviceaccount:shop/*"], "key:web"));
        assert!(holds(&["group:ops"], "jwt:alice") && !holds(&["group:dev"], "jwt:alice"));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let table = Table::<usize>::default();
        let held = table.of(Subject::Database(0), |_| 7);
        for number in 1..=SUBJECTS.get() + 10 {
            table.of(Subject::Database(number), |_| number);
        }
        assert_eq!(table.0.lock().unwrap().len(), SUBJECTS.get());
        assert_eq!(*table.of(Subject::Database(0), |_| 8), 7, "it is in use");
        drop(held);
        assert_eq!(*table.of(Subject::Database(1), |_| 8), 8, "it was forgotten");
    }
}
