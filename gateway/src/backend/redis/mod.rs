//! Redis: one multiplexed RESP2 connection per worker. Calls append to one buffer, a task of the worker writes what has
//! gathered and hands out the replies in order. While it is down, calls are refused at once: nothing queues.

mod cluster;
mod connection;
mod endpoint;
mod greeting;
mod hub;
mod pool;
mod sentinel;
mod stream;
mod tls;
mod waiting;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    task::Waker,
};

use bytes::{Bytes, BytesMut};
use dbx_crds::config::RedisAddress;
pub use endpoint::Endpoint;
use futures::future::BoxFuture;
pub use hub::Hub;
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

use super::{Backend, Bounds, Failure, Own, Pending, Replies, State, Taken};
use crate::{
    error::{Code, Delivery},
    operation,
    resp::Malformed,
};

/// The part that calls and the connection's task share. Its lock is only ever taken by the thread of one worker, by the one for
/// large requests, and by a look at the state.
struct Shared {
    inner: Mutex<Inner>,
    bounds: Bounds,
}

#[derive(Default)]
struct Inner {
    down: Option<Down>,
    state: State,
    /// Commands that nobody has begun to write.
    queued: Vec<u8>,
    /// Bytes ever queued; a position in the stream of commands.
    position: u64,
    waiting: VecDeque<Waiter>,
    waiting_replies: usize,
    /// By operation: whether the server has its command. Empty until a server has said.
    supported: Vec<bool>,
    task: Option<Waker>,
}

struct Down {
    code: Code,
    detail: &'static str,
}

struct Waiter {
    replies: Replies,
    /// Where its commands start in the stream of commands.
    start: u64,
    /// The frames so far, where there are several.
    received: BytesMut,
    answered: usize,
    sender: oneshot::Sender<Result<Bytes, Failure>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that runs under the lock can panic half-way through a change, so a poisoned lock is still consistent.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Redis(Arc<Shared>, Arc<pool::Pool>, Arc<waiting::Waiting>);

/// Starts the connection's task on this worker.
pub(super) fn connect(name: String, bounds: Bounds, endpoint: Arc<Endpoint>) -> Arc<dyn Backend> {
    match &endpoint.address {
        RedisAddress::Cluster(seeds) => cluster::connect(name, bounds, endpoint.clone(), seeds.clone()),
        _ => Arc::new(Redis::start(name, bounds, endpoint).0),
    }
}

impl Redis {
    /// Starts the connection's task on this worker.
    fn start(name: String, bounds: Bounds, endpoint: Arc<Endpoint>) -> (Self, AbortHandle) {
        let down = Down { code: Code::Unavailable, detail: "the database has not been reached yet" };
        let inner = Inner { down: Some(down), state: State { message: "connecting".into(), ..State::default() }, ..Inner::default() };
        let full = "all connections of calls' own are in use (limits.maxOwnConnections)";
        let pool = pool::Pool::new(endpoint.clone(), &bounds, bounds.own, full);
        let waiting = waiting::Waiting::new(endpoint.clone(), &bounds);
        let shared = Arc::new(Shared { inner: Mutex::new(inner), bounds });
        let task = tokio::spawn(connection::keep(name, shared.clone(), endpoint));
        (Self(shared, pool, waiting), task.abort_handle())
    }

    /// While the shared connection is down there is nothing to find out by another.
    fn check_up(&self) -> Result<(), Failure> {
        match &self.0.lock().down {
            Some(down) => Err(Failure { code: down.code, detail: down.detail, delivery: Delivery::NotSent }),
            None => Ok(()),
        }
    }

    /// Fails what still waits, once the connection's task has been ended.
    fn end(&self) {
        let mut inner = self.0.lock();
        inner.down = Some(Down { code: Code::Unavailable, detail: "the server has left the cluster" });
        inner.state.reachable = false;
        inner.fail_all(u64::MAX, Code::Unavailable, "the server has left the cluster");
    }
}

impl Backend for Redis {
    fn submit(&self, commands: &[u8], replies: Replies) -> Result<Pending, Failure> {
        let mut inner = self.0.lock();
        if let Some(down) = &inner.down {
            return Err(Failure { code: down.code, detail: down.detail, delivery: Delivery::NotSent });
        }
        if inner.waiting_replies + replies.len() > self.0.bounds.pending {
            return Err(Failure { code: Code::Unavailable, detail: "too many calls wait for the database", delivery: Delivery::NotSent });
        }
        let (sender, receiver) = oneshot::channel();
        inner.waiting_replies += replies.len();
        let start = inner.position;
        inner.waiting.push_back(Waiter { replies, start, received: BytesMut::new(), answered: 0, sender });
        inner.queued.extend_from_slice(commands);
        inner.position += commands.len() as u64;
        if let Some(task) = inner.task.take() {
            task.wake();
        }
        Ok(Pending::One(receiver))
    }

    fn supports(&self, operation: operation::Id) -> bool {
        self.0.lock().supported.get(operation.index()).copied().unwrap_or(true)
    }

    fn own<'a>(&'a self, _: &'a [u8], deadline: Instant) -> BoxFuture<'a, Result<Box<dyn Own>, Failure>> {
        Box::pin(async move {
            self.check_up()?;
            Ok(Box::new(self.1.take(deadline).await?) as Box<dyn Own>)
        })
    }

    fn hold<'a>(&'a self, _: &'a [u8], deadline: Instant) -> BoxFuture<'a, Result<Box<dyn Own>, Failure>> {
        Box::pin(async move {
            self.check_up()?;
            Ok(Box::new(self.2.hold(deadline).await?) as Box<dyn Own>)
        })
    }

    fn wait(&self, operation: operation::Id, command: Bytes, until: Instant) -> BoxFuture<'static, Result<Taken, Failure>> {
        Box::pin(waiting::wait(self.clone(), operation, command, until, Arc::new(self.clone())))
    }

    fn settle(&self) -> BoxFuture<'static, ()> {
        let waiting = self.2.clone();
        Box::pin(async move { waiting.settle().await })
    }

    fn state(&self) -> State {
        let (own_busy, own_idle) = self.1.sizes();
        let (waiting_busy, waiting_idle) = self.2.sizes();
        let elements = self.2.elements();
        let inner = self.0.lock();
        State { pending: inner.waiting_replies, own_busy, own_idle, waiting_busy, waiting_idle, elements, ..inner.state.clone() }
    }
}

impl Inner {
    /// Whether the next reply may be dropped when it has `bytes` bytes or more.
    fn too_large(&self, bytes: usize, most: usize) -> bool {
        self.waiting.front().is_some_and(|waiter| waiter.replies[waiter.answered] && waiter.received.len() + bytes > most)
    }

    /// Hands the next reply to whom it belongs.
    fn answer(&mut self, frame: Bytes) -> Result<(), Malformed> {
        let waiter = self.waiting.front_mut().ok_or(Malformed)?;
        waiter.answered += 1;
        self.waiting_replies -= 1;
        let last = waiter.answered == waiter.replies.len();
        if waiter.replies.len() > 1 {
            waiter.received.extend_from_slice(&frame);
        }
        if last && let Some(waiter) = self.waiting.pop_front() {
            let replies = if waiter.replies.len() > 1 { waiter.received.freeze() } else { frame };
            // Nobody waits any more for a call that ran out of time; its answer is dropped.
            let _ = waiter.sender.send(Ok(replies));
        }
        Ok(())
    }

    /// Ends all calls: those of which nothing was written before `written` certainly did nothing.
    fn fail_all(&mut self, written: u64, code: Code, detail: &'static str) {
        for waiter in self.waiting.drain(..) {
            let delivery = if waiter.start >= written { Delivery::NotSent } else { Delivery::Unknown };
            let _ = waiter.sender.send(Err(Failure { code, detail, delivery }));
        }
        self.waiting_replies = 0;
        self.queued = Vec::new();
    }
}
