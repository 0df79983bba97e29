//! Databases, seen from the data path: encoded commands in, replies out, nothing of HTTP. One folder a kind, one arm in
//! [`connect`]. What every kind needs (deadlines, shedding, metrics) wraps the trait from outside.

pub mod redis;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use dbx_crds::config::Database;
use smallvec::SmallVec;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    error::{Code, Delivery, Error},
    operation,
};

/// The reply that takes the place of one that was too large to keep; an error line like the database's own.
pub const TOO_LARGE: &[u8] = b"-DBXTOOLARGE the result is larger than limits.maxResultBytes\r\n";

/// A database as one worker reaches it. Calls of a worker share its connection; none waits for another's answer.
pub trait Backend: Send + Sync {
    /// Queues commands and returns at once. They are written together, in order, and never twice.
    fn submit(&self, commands: &[u8], replies: Replies) -> Result<Pending, Failure>;

    /// Whether the server has the command of an operation.
    fn supports(&self, operation: operation::Id) -> bool;

    /// What is known of the database at this moment.
    fn state(&self) -> State;
}

/// For each reply that the commands will have: whether it may be dropped when it is too large, which it may not once
/// something was changed.
pub type Replies = SmallVec<[bool; 8]>;

/// Replies on their way: the frames of all commands, one after the other.
pub type Pending = oneshot::Receiver<Result<Bytes, Failure>>;

/// Why there are no replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it means for the caller.
    pub code: Code,
    /// What happened; holds nothing of the caller's.
    pub detail: &'static str,
    /// Whether the commands may have been carried out.
    pub delivery: Delivery,
}

impl Failure {
    /// The error of one call among the commands.
    pub fn error(&self, idempotent: bool) -> Error {
        Error::backend(self.code, self.detail, self.delivery, idempotent)
    }
}

/// What is known of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// It has answered at least once since the start.
    pub answered: bool,
    /// It is connected now.
    pub reachable: bool,
    /// Why not, for a person.
    pub message: String,
    /// Calls waiting for an answer.
    pub pending: usize,
    /// Connections made since the start.
    pub connections: u64,
}

/// What a backend may use.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes of one call's replies.
    pub result_bytes: usize,
    /// Commands waiting for an answer on one connection.
    pub pending: usize,
    /// Without an answer for this long, a connection with calls waiting is given up.
    pub silence: Duration,
}

/// Connects this worker to a database. Returns at once; connecting goes on, and again whenever it has to.
pub fn connect(database: &Database, bounds: Bounds, endpoint: Arc<redis::Endpoint>) -> Arc<dyn Backend> {
    // One arm for each kind that the configuration knows. A second kind turns `redis` into an enum the compiler checks.
    redis::connect(database.name.clone(), bounds, endpoint)
}

/// Waits for replies until a deadline.
pub async fn replies(pending: Pending, deadline: Instant) -> Result<Bytes, Failure> {
    match tokio::time::timeout_at(deadline, pending).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => {
            Err(Failure { code: Code::Unavailable, detail: "the connection to the database was lost", delivery: Delivery::Unknown })
        }
        Err(_) => Err(Failure { code: Code::Timeout, detail: "the database did not answer in time", delivery: Delivery::Unknown }),
    }
}
