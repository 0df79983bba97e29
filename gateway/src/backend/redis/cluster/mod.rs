//! Redis Cluster: one multiplexed connection to each primary per worker. A call goes where its first key lives; the nodes
//! correct what is out of date.

mod gather;
mod split;
mod topology;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use dbx_crds::config::Host;
use futures::future::BoxFuture;
use smallvec::SmallVec;
use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use self::{
    gather::{Job, Redirect},
    split::Merge,
    topology::{NOBODY, Topology},
};
use super::{Endpoint, Redis, State};
use crate::{
    backend::{Backend, Bounds, Failure, Own, Pending, Replies, Taken},
    error::{Code, Delivery},
    operation::{self, Split, position::first_key, resolve::resolve},
    resp::{Item, Reader},
};

/// How many slots there are.
const SLOTS: usize = 16384;
/// How often a cluster is asked again that is whole, and one that is not.
const PAUSES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(200));
/// How often the connections are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long one node may take to say what it knows.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a waiting call is sent elsewhere.
const REDIRECTS: usize = 5;
/// How long calls may still be answered by a node that is a primary no more.
const FAREWELL: Duration = Duration::from_secs(10);
/// The answer to what every node has a part of the answer to.
const EVERYWHERE: &[u8] = b"-DBXCLUSTER every node of a cluster has a part of the answer\r\n";

/// A primary.
struct Node {
    host: Host,
    redis: Redis,
    task: AbortHandle,
}

impl Node {
    fn is_up(&self) -> bool {
        self.redis.state().reachable
    }
}

/// A cluster as one worker reaches it.
struct Cluster {
    name: String,
    endpoint: Arc<Endpoint>,
    seeds: Vec<Host>,
    bounds: Bounds,
    inner: Mutex<Inner>,
    /// The topology is to be asked for.
    stale: Notify,
    turn: AtomicUsize,
}

struct Inner {
    nodes: Vec<Arc<Node>>,
    slots: Box<[u16]>,
    answered: bool,
    message: String,
    connections: u64,
}

/// The slot of a key: of what is in its first braces, if there is something.
fn slot(key: &[u8]) -> usize {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let rest = &key[open + 1..];
        memchr::memchr(b'}', rest).filter(|close| *close > 0).map(|close| &rest[..close])
    });
    usize::from(crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key))) % SLOTS
}

/// Starts the connections' tasks on this worker.
pub(super) fn connect(name: String, bounds: Bounds, endpoint: Arc<Endpoint>, seeds: Vec<Host>) -> Arc<dyn Backend> {
    let inner =
        Inner { nodes: Vec::new(), slots: vec![NOBODY; SLOTS].into(), answered: false, message: "connecting".into(), connections: 0 };
    let (inner, stale, turn) = (Mutex::new(inner), Notify::new(), AtomicUsize::new(0));
    let cluster = Arc::new(Cluster { name, endpoint, seeds, bounds, inner, stale, turn });
    tokio::spawn(keep(Arc::downgrade(&cluster)));
    Arc::new(Handle(cluster))
}

struct Handle(Arc<Cluster>);

/// Keeps the topology up to date until the worker ends.
async fn keep(cluster: Weak<Cluster>) {
    let mut asked = None::<Instant>;
    loop {
        let Some(cluster) = cluster.upgrade() else { return };
        let pause = if cluster.is_whole() { PAUSES.0 } else { PAUSES.1 };
        if asked.is_none_or(|asked| asked.elapsed() >= pause) {
            cluster.refresh().await;
            asked = Some(Instant::now());
        }
        if tokio::time::timeout(LOOK, cluster.stale.notified()).await.is_ok() {
            // Many calls may say the same at once.
            tokio::time::sleep(Duration::from_millis(20)).await;
            asked = None;
        }
    }
}

impl Cluster {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_whole(&self) -> bool {
        let inner = self.lock();
        inner.message.is_empty() && inner.nodes.iter().all(|node| node.is_up())
    }

    /// Asks nodes in turn, first those that are known to be there.
    async fn refresh(&self) {
        let mut hosts: Vec<Host> = self.lock().nodes.iter().filter(|node| node.is_up()).map(|node| node.host.clone()).collect();
        let turn = self.turn.fetch_add(1, Relaxed);
        if !hosts.is_empty() {
            let middle = turn % hosts.len();
            hosts.rotate_left(middle);
        }
        let mut told = String::new();
        for host in hosts.iter().chain(&self.seeds) {
            match tokio::time::timeout(PATIENCE, topology::ask(&self.endpoint, host, Instant::now() + PATIENCE)).await {
                Ok(Ok(topology)) => return self.learn(topology),
                Ok(Err(refused)) => told = format!("node {host}: {}", refused.message),
                Err(_) => told = format!("node {host}: no answer within {} ms", PATIENCE.as_millis()),
            }
        }
        let mut inner = self.lock();
        if inner.message != told {
            tracing::warn!(database = self.name, reason = told, "not connected");
            inner.message = told;
        }
    }

    fn learn(&self, topology: Topology) {
        let mut inner = self.lock();
        let mut nodes = Vec::with_capacity(topology.primaries.len());
        for host in topology.primaries {
            let known = inner.nodes.iter().position(|node| node.host == host);
            nodes.push(known.map_or_else(|| self.node(host), |at| inner.nodes.swap_remove(at)));
        }
        for node in std::mem::replace(&mut inner.nodes, nodes) {
            inner.connections += node.redis.state().connections;
            tokio::spawn(async move {
                tokio::time::sleep(FAREWELL).await;
                node.task.abort();
                node.redis.end();
            });
        }
        inner.message = match topology.slots.iter().filter(|slot| **slot == NOBODY).count() {
            0 => String::new(),
            count => format!("{count} of {SLOTS} slots have no node"),
        };
        inner.slots = topology.slots;
    }

    fn node(&self, host: Host) -> Arc<Node> {
        let endpoint = Arc::new(self.endpoint.at(host.clone()));
        let (redis, task) = Redis::start(format!("{} {host}", self.name), self.bounds.clone(), endpoint);
        Arc::new(Node { host, redis, task })
    }

    /// The node that another says has the slot.
    fn redirected(&self, redirect: &Redirect) -> Arc<Node> {
        self.stale.notify_one();
        let mut inner = self.lock();
        let at = inner.nodes.iter().position(|node| node.host == redirect.host).unwrap_or_else(|| {
            let node = self.node(redirect.host.clone());
            inner.nodes.push(node);
            inner.nodes.len() - 1
        });
        if !redirect.asking
            && let (Some(slot), Ok(index)) = (inner.slots.get_mut(redirect.slot), u16::try_from(at))
        {
            *slot = index;
        }
        inner.nodes[at].clone()
    }

    /// The node for a key, or any for none.
    fn node_for(&self, slot: Option<usize>) -> Result<Arc<Node>, Failure> {
        let inner = self.lock();
        let node = match slot {
            Some(slot) => inner.nodes.get(usize::from(inner.slots[slot])),
            None => {
                let turn = self.turn.fetch_add(1, Relaxed);
                let nodes = (0..inner.nodes.len()).map(|at| &inner.nodes[(turn + at) % inner.nodes.len()]);
                nodes.clone().find(|node| node.is_up()).or(nodes.clone().next())
            }
        };
        let detail = if inner.nodes.is_empty() { "the database has not been reached yet" } else { "no node of the cluster has the key" };
        node.cloned().ok_or(Failure { code: Code::Unavailable, detail, delivery: Delivery::NotSent })
    }

    /// Adds the commands that a call becomes.
    fn plan(&self, command: Bytes, droppable: bool, in_parts: bool, jobs: &mut Vec<Job>, failed: &mut Option<Failure>) -> Merge {
        let words = words(&command);
        let operation = resolve(&words);
        let key = first_key(operation, &words);
        let split = operation.map_or(Split::Never, |id| id.operation().split);
        if key.is_none() && split == Split::Nodes {
            return Merge::Ready(EVERYWHERE);
        }
        let mut job = |slot: Option<usize>, command: Bytes| {
            let node = self.node_for(slot).inspect_err(|failure| *failed = Some(failure.clone())).ok();
            node.map(|node| {
                jobs.push(Job { command, droppable, node, asking: false, outcome: None });
                jobs.len() - 1
            })
        };
        let parts = if in_parts { operation.and_then(|id| split::parts(id.operation(), &words)) } else { None };
        match parts {
            None => {
                job(key.map(slot), command.clone()).map_or(Merge::Ready(b"-DBXNOTSENT no node of the cluster has the key\r\n"), Merge::One)
            }
            Some(parts) => {
                let parts: Option<Vec<_>> =
                    parts.into_iter().map(|(slot, keys, command)| Some((job(Some(slot), command)?, keys))).collect();
                parts.map_or(Merge::Ready(b"-DBXLOST no node of the cluster has a part of the keys\r\n"), |parts| Merge::Parts {
                    split,
                    droppable,
                    parts,
                })
            }
        }
    }
}

/// A command's words.
fn words(command: &[u8]) -> SmallVec<[&[u8]; 8]> {
    let mut reader = Reader::new(command);
    let mut words = SmallVec::new();
    while let Ok(item) = reader.read() {
        if let Item::Bulk(Some(word)) = item {
            words.push(word);
        }
    }
    words
}

impl Handle {
    fn send(&self, commands: &[u8], replies: &Replies, in_parts: bool) -> Result<Pending, Failure> {
        let mut rest = Bytes::copy_from_slice(commands);
        let (mut jobs, mut merges, mut failed) = (Vec::new(), Vec::new(), None);
        for droppable in replies {
            let end = crate::resp::Scanner::default().scan(&rest).ok().flatten().unwrap_or(rest.len());
            merges.push(self.0.plan(rest.split_to(end), *droppable, in_parts, &mut jobs, &mut failed));
        }
        if let (Some(failure), true) = (failed, jobs.is_empty()) {
            return Err(failure);
        }
        let sent = gather::send(&mut jobs);
        if jobs.iter().any(|job| job.outcome.is_some()) {
            self.0.stale.notify_one();
        }
        Ok(Pending::Gathered(Box::pin(gather::gather(self.0.clone(), jobs, sent, merges))))
    }
}

impl Backend for Handle {
    fn submit(&self, commands: &[u8], replies: Replies) -> Result<Pending, Failure> {
        self.send(commands, &replies, false)
    }

    fn submit_in_parts(&self, commands: &[u8], replies: Replies) -> Result<Pending, Failure> {
        self.send(commands, &replies, true)
    }

    fn supports(&self, operation: operation::Id) -> bool {
        self.0.lock().nodes.first().is_none_or(|node| node.redis.supports(operation))
    }

    fn own<'a>(&'a self, commands: &'a [u8], deadline: Instant) -> BoxFuture<'a, Result<Box<dyn Own>, Failure>> {
        Box::pin(async move {
            let end = crate::resp::Scanner::default().scan(commands).ok().flatten().unwrap_or(commands.len());
            let words = words(&commands[..end]);
            let node = self.0.node_for(first_key(resolve(&words), &words).map(slot))?;
            node.redis.own(commands, deadline).await
        })
    }

    fn wait(&self, operation: operation::Id, command: Bytes, until: Instant) -> BoxFuture<'static, Result<Taken, Failure>> {
        let cluster = self.0.clone();
        let home: Arc<dyn Backend> = Arc::new(Handle(self.0.clone()));
        Box::pin(async move {
            let mut node = cluster.node_for(first_key(Some(operation), &words(&command)).map(slot))?;
            for _ in 0..REDIRECTS {
                let taken = super::waiting::wait(node.redis.clone(), operation, command.clone(), until, home.clone()).await?;
                match gather::redirect(&taken.frame, &node.host) {
                    Some(redirect) if !redirect.asking => node = cluster.redirected(&redirect),
                    _ => return Ok(taken),
                }
            }
            Err(Failure { code: Code::Unavailable, detail: "no node of the cluster has the key", delivery: Delivery::NotSent })
        })
    }

    fn settle(&self) -> BoxFuture<'static, ()> {
        let nodes = self.0.lock().nodes.clone();
        Box::pin(async move {
            futures::future::join_all(nodes.iter().map(|node| node.redis.settle())).await;
        })
    }

    fn state(&self) -> State {
        let mut inner = self.0.lock();
        let states: Vec<State> = inner.nodes.iter().map(|node| node.redis.state()).collect();
        let reachable = inner.message.is_empty() && states.iter().all(|state| state.reachable);
        inner.answered |= reachable;
        let told = |(node, state): (&Arc<Node>, &State)| (!state.reachable).then(|| format!("node {}: {}", node.host, state.message));
        let message = if inner.message.is_empty() {
            inner.nodes.iter().zip(&states).find_map(told).unwrap_or_default()
        } else {
            inner.message.clone()
        };
        State {
            answered: inner.answered,
            reachable,
            message,
            pending: states.iter().map(|state| state.pending).sum(),
            connections: inner.connections + states.iter().map(|state| state.connections).sum::<u64>(),
            own_busy: states.iter().map(|state| state.own_busy).sum(),
            own_idle: states.iter().map(|state| state.own_idle).sum(),
            waiting_busy: states.iter().map(|state| state.waiting_busy).sum(),
            waiting_idle: states.iter().map(|state| state.waiting_idle).sum(),
            elements: states.iter().map(|state| state.elements).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!((slot(b"{foo}a"), slot(b"a{foo}{b}")), (12182, 12182));
        assert_ne!(slot(b"{}foo"), slot(b"foo"));
        assert_eq!(slot(b"foo{"), usize::from(crc16::State::<crc16::XMODEM>::calculate(b"foo{")) % SLOTS);
    }
}
