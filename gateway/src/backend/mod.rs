//! Databases, seen from the data path: encoded commands in, replies out, nothing of HTTP. One folder a kind, one arm in
//! [`connect`]. What every kind needs (deadlines, shedding, metrics) wraps the trait from outside.

pub mod channels;
pub mod redis;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use dbx_crds::config::Database;
use futures::future::BoxFuture;
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

    /// As [`submit`](Self::submit), with wishes about where. What is no cluster has one place, and no node to name.
    fn submit_where(&self, commands: &[u8], replies: Replies, wishes: &Where) -> Result<Pending, Failure> {
        match wishes.node {
            None => self.submit(commands, replies),
            Some(_) => Ok(Pending::refused(b"-DBXNODE the database is no cluster\r\n", replies.len())),
        }
    }

    /// Whether the server has the command of an operation.
    fn supports(&self, operation: operation::Id) -> bool;

    /// A connection that no other call uses, fit for `commands`: for what would keep others waiting, and for what has to
    /// happen as one. Waits for a free one until the deadline.
    fn own<'a>(&'a self, commands: &'a [u8], deadline: Instant) -> BoxFuture<'a, Result<Box<dyn Own>, Failure>>;

    /// As [`own`](Self::own), for who keeps it for long: from those for what waits, so that calls find theirs.
    fn hold<'a>(&'a self, commands: &'a [u8], deadline: Instant) -> BoxFuture<'a, Result<Box<dyn Own>, Failure>>;

    /// Carries out one command that may wait for long, on a connection of its own. Waits for a free one, and for the answer,
    /// until `until`; then the command is withdrawn, and the answer is what the database says to one that has waited in
    /// vain. The same happens when the future is dropped; what the command has taken by then is put back.
    fn wait(&self, operation: operation::Id, command: Bytes, until: Instant) -> BoxFuture<'static, Result<Taken, Failure>>;

    /// Ends what [`wait`](Self::wait)s, as if in vain, and lets nothing wait any more. Done once everything that was taken is
    /// with its client, or back.
    fn settle(&self) -> BoxFuture<'static, ()>;

    /// What is known of the database at this moment.
    fn state(&self) -> State;
}

/// A connection of a call's own. It is closed when dropped, unless it was given back.
pub trait Own: Send {
    /// Sends commands and waits for their replies. A single one counts as not sent unless all of its bytes were taken.
    fn exchange<'a>(&'a mut self, commands: &'a [u8], replies: Replies, deadline: Instant) -> BoxFuture<'a, Result<Bytes, Failure>>;

    /// Watches keys, then reads: until [`commit`](Own::commit), nobody may change them unnoticed. The frames of the reads.
    fn watch<'a>(
        &'a mut self,
        keys: &'a [&'a [u8]],
        reads: &'a [u8],
        count: usize,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Bytes, Failure>>;

    /// Watches no more.
    fn forget<'a>(&'a mut self, deadline: Instant) -> BoxFuture<'a, Result<(), Failure>>;

    /// Carries out `count` commands as one. `droppable` as in [`Replies`], for all of them.
    fn commit<'a>(
        &'a mut self,
        commands: &'a [u8],
        count: usize,
        droppable: bool,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Committed, Failure>>;

    /// Lets the next call use it. Nothing is watched.
    fn give_back(self: Box<Self>);
}

/// What puts back what was taken.
pub type PutBack = Box<dyn FnOnce() + Send + Sync>;

/// The answer to a command that has waited. What it took out of the database is put back when nobody got it.
pub struct Taken {
    /// The reply.
    pub frame: Bytes,
    put_back: Option<PutBack>,
}

impl Taken {
    /// An answer that took nothing, or that `put_back` undoes.
    pub fn new(frame: Bytes, put_back: Option<PutBack>) -> Self {
        Self { frame, put_back }
    }

    /// The client has got it.
    pub fn delivered(mut self) {
        self.put_back = None;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(put_back) = self.put_back.take() {
            put_back();
        }
    }
}

/// What became of commands that were to be carried out as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The frames of all replies, one after the other; an error among them did not stop the others.
    Done(Bytes),
    /// A watched key was changed: nothing was carried out.
    Changed,
    /// The database refused one of them beforehand: nothing was carried out. Its place, if it is one of them, and the error line.
    Refused(Option<usize>, Bytes),
}

/// Where in a cluster commands may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Where {
    /// In parts, if their keys live in several slots.
    pub in_parts: bool,
    /// By a replica, which may not have seen the last changes.
    pub eventual: bool,
    /// By this node, if no key decides it.
    pub node: Option<NodeId>,
}

/// What a cluster calls a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId([u8; Self::LENGTH]);

impl NodeId {
    const LENGTH: usize = 40;

    /// Reads it: hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let id = text.as_bytes().try_into().ok()?;
        text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(Self(id))
    }

    /// As the cluster writes it.
    pub fn is(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

/// For each reply that the commands will have: whether it may be dropped when it is too large, which it may not once
/// something was changed.
pub type Replies = SmallVec<[bool; 8]>;

/// Replies on their way: the frames of all commands, one after the other.
pub enum Pending {
    /// From one server.
    One(oneshot::Receiver<Result<Bytes, Failure>>),
    /// From several.
    Gathered(BoxFuture<'static, Result<Bytes, Failure>>),
}

impl Pending {
    /// The same error line in the place of each reply.
    pub fn refused(line: &'static [u8], replies: usize) -> Self {
        Self::Gathered(Box::pin(std::future::ready(Ok(line.repeat(replies).into()))))
    }

    /// Waits for them.
    pub async fn outcome(self) -> Result<Bytes, Failure> {
        match self {
            Self::One(receiver) => receiver.await.unwrap_or_else(|_| {
                Err(Failure { code: Code::Unavailable, detail: "the connection to the database was lost", delivery: Delivery::Unknown })
            }),
            Self::Gathered(gathered) => gathered.await,
        }
    }
}

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
    /// Connections of calls' own that are in use.
    pub own_busy: usize,
    /// Connections of calls' own that wait for the next.
    pub own_idle: usize,
    /// Connections of what waits that are in use.
    pub waiting_busy: usize,
    /// Connections of what waits that wait for the next.
    pub waiting_idle: usize,
    /// What became of elements that nobody got.
    pub elements: Elements,
}

/// What became of elements that were taken, and that nobody got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elements {
    /// They were put back.
    pub returned: u64,
    /// They could not be put back.
    pub lost: u64,
    /// The connection was lost while they were put back, or before it was known whether there are any.
    pub unknown: u64,
}

impl std::iter::Sum for Elements {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, next| Self {
            returned: sum.returned + next.returned,
            lost: sum.lost + next.lost,
            unknown: sum.unknown + next.unknown,
        })
    }
}

/// What a backend may use.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes of one call's replies.
    pub result_bytes: usize,
    /// Commands waiting for an answer on one connection.
    pub pending: usize,
    /// Connections of calls' own.
    pub own: usize,
    /// Connections of what waits.
    pub waiting: usize,
    /// Without an answer for this long, a connection with calls waiting is given up.
    pub silence: Duration,
}

/// Connects this worker to a database. Returns at once; connecting goes on, and again whenever it has to.
pub fn connect(database: &Database, bounds: Bounds, endpoint: Arc<redis::Endpoint>) -> Arc<dyn Backend> {
    // One arm for each kind that the configuration knows. A second kind turns `redis` into an enum the compiler checks.
    redis::connect(database.name.clone(), bounds, endpoint)
}

/// Starts what listens to a database's channels for the whole process; on the main runtime. Messages of more than `most`
/// bytes are not kept.
pub fn listen(database: &Database, most: usize, endpoint: Arc<redis::Endpoint>) -> Arc<redis::Hub> {
    redis::Hub::start(database.name.clone(), endpoint, most)
}

/// Waits for replies until a deadline.
pub async fn replies(pending: Pending, deadline: Instant) -> Result<Bytes, Failure> {
    tokio::time::timeout_at(deadline, pending.outcome()).await.unwrap_or_else(|_| {
        Err(Failure { code: Code::Timeout, detail: "the database did not answer in time", delivery: Delivery::Unknown })
    })
}
