//! A worker: one thread with a runtime, a listener and database connections of its own, so that a call never leaves it.
//! Here is what it has; what it does is in [`crate::listener`].

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::http::HeaderValue;
use tokio_util::task::TaskTracker;

use crate::{
    auth::Identity,
    backend::{Backend, State, channels::Channels},
    metrics::Counters,
    record::{Access, Audit},
    shared::{Room, Shared},
};

/// A database as a worker serves it.
pub struct Database {
    /// Its name in paths.
    pub name: String,
    /// Its place in the configuration.
    pub index: usize,
    /// What kind it is.
    pub kind: &'static str,
    /// This worker's way to it.
    pub backend: Arc<dyn Backend>,
    /// What this worker hears on its channels.
    pub channels: Arc<dyn Channels>,
    /// What bounds the calls to it, from all workers.
    pub room: Arc<Room>,
    /// The same database as other ACL users reach it, in the order of the configuration.
    pub users: Vec<Arc<Database>>,
}

/// What one thread needs to serve calls.
pub struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Its databases, in the order of the configuration.
    pub databases: Vec<Arc<Database>>,
    /// The gateway itself, for calls of its own.
    pub own: Arc<Identity>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// Where it logs requests, if it does.
    pub access: Option<Access>,
    /// Where it records who does what, if it does.
    pub audit: Option<Audit>,
    /// What runs on it and has to come to an end before it does.
    pub tasks: TaskTracker,
    request_ids: AtomicU64,
}

impl Worker {
    /// Connects a worker's databases. Runs on the worker's runtime.
    pub fn new(shared: Arc<Shared>, databases: Vec<Arc<Database>>, index: usize, first_request_id: u64) -> Self {
        let own = Identity::unrestricted("gateway", databases.len());
        let (access, audit) = (shared.records.access(index), shared.records.audit(index));
        let request_ids = AtomicU64::new(first_request_id);
        Self { shared, databases, own, counters: Arc::default(), access, audit, tasks: TaskTracker::new(), request_ids }
    }

    /// The database of that name.
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.iter().find(|database| database.name == name)
    }

    /// Ends what waits at its databases. Done once everything that was taken is with its client, or back.
    pub async fn settle(&self) {
        let ways = self.databases.iter().flat_map(|database| std::iter::once(database).chain(&database.users));
        futures::future::join_all(ways.map(|database| database.backend.settle())).await;
    }

    /// An id that no other request of this process has, and hardly one of another.
    pub fn next_request_id(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // An odd factor permutes the 64-bit numbers, so ids do not repeat and do not look alike.
        let number = self.request_ids.fetch_add(1, Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let text: [u8; 16] = std::array::from_fn(|digit| DIGITS[(number >> (60 - 4 * digit)) as usize & 15]);
        HeaderValue::from_bytes(&text).expect("hexadecimal digits are visible ASCII")
    }
}

/// All workers of the process, as its operations listener sees them.
pub struct Workers {
    /// What they share.
    pub shared: Arc<Shared>,
    /// Each of them; at least one.
    pub all: Vec<Arc<Worker>>,
}

impl Workers {
    /// Calls being served.
    pub fn in_flight(&self) -> usize {
        self.all.first().map_or(0, |worker| worker.databases.iter().map(|database| database.room.in_flight.load(Relaxed)).sum())
    }

    /// For each database its name, its kind and its state as every worker sees it.
    pub fn states(&self) -> Vec<(&str, &'static str, Vec<State>)> {
        let states = |index: usize| self.all.iter().map(|worker| worker.databases[index].backend.state()).collect();
        let databases = self.all.first().into_iter().flat_map(|worker| &worker.databases).enumerate();
        databases.map(|(index, database)| (database.name.as_str(), database.kind, states(index))).collect()
    }
}
