//! Redis Cluster: one multiplexed connection to each primary per worker, and to a replica once somebody wants to read from it.
//! A call goes where its keys live; the nodes correct what is out of date.

mod alone;
pub(super) mod gather;
mod plan;
mod scan;
mod split;
pub(super) mod topology;
mod view;

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
use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use self::{
    gather::{HOPS, Redirect, redirect},
    plan::slot_of,
    topology::{NOBODY, Topology},
};
use super::{Endpoint, Redis, State};
use crate::{
    backend::{Backend, Bounds, Failure, Own, Pending, Replies, Taken, Where},
    error::{Code, Delivery},
    operation::{self, position::keys},
    resp::words,
};

/// A call that waits is sent from node to node.
const MOVING: Failure = Failure { code: Code::Unavailable, detail: "the keys are moving to another node", delivery: Delivery::NotSent };
/// How many slots there are.
const SLOTS: usize = 16384;
/// How often a cluster is asked again that is whole, and one that is not.
const PAUSES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(200));
/// How often the connections are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long one node may take to say what it knows.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long calls may still be answered by a node that is a primary no more.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long a call waits for a connection to a node that it was sent to.
const CONNECTING: Duration = Duration::from_secs(2);

/// A primary, or a replica to read from.
struct Node {
    host: Host,
    redis: Redis,
    task: AbortHandle,
}

impl Node {
    fn is_up(&self) -> bool {
        self.redis.state().reachable
    }

    /// Waits for the connection; what becomes of a call without one is for the call to find out.
    async fn connected(&self) {
        let until = Instant::now() + CONNECTING;
        while !self.is_up() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
    /// Where the replicas of each node are, as far as that is known.
    replicas: Vec<Vec<Host>>,
    /// Connections beside those to primaries: to replicas that are read from, and to nodes that a caller has named.
    others: Vec<Arc<Node>>,
    answered: bool,
    message: String,
    connections: u64,
}

/// The slot of a key: of what is in its first braces, if there is something.
pub(super) fn slot(key: &[u8]) -> usize {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let rest = &key[open + 1..];
        memchr::memchr(b'}', rest).filter(|close| *close > 0).map(|close| &rest[..close])
    });
    usize::from(crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key))) % SLOTS
}

/// Starts the connections' tasks on this worker.
pub(super) fn connect(name: String, bounds: Bounds, endpoint: Arc<Endpoint>, seeds: Vec<Host>) -> Arc<dyn Backend> {
    let inner = Inner {
        nodes: Vec::new(),
        slots: vec![NOBODY; SLOTS].into(),
        replicas: Vec::new(),
        others: Vec::new(),
        answered: false,
        message: "connecting".into(),
        connections: 0,
    };
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
            nodes.push(known.map_or_else(|| self.node(host, false), |at| inner.nodes.swap_remove(at)));
        }
        let others = std::mem::take(&mut inner.others);
        let (others, gone) = others.into_iter().partition(|node| topology.replicas.iter().flatten().any(|host| node.host == *host));
        inner.others = others;
        for node in std::mem::replace(&mut inner.nodes, nodes).into_iter().chain::<Vec<_>>(gone) {
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
        inner.replicas = topology.replicas;
    }

    fn node(&self, host: Host, reads_replica: bool) -> Arc<Node> {
        let endpoint = Arc::new(Endpoint { reads_replica, ..self.endpoint.at(host.clone()) });
        let (redis, task) = Redis::start(format!("{} {host}", self.name), self.bounds.clone(), endpoint);
        Arc::new(Node { host, redis, task })
    }

    /// A connection beside those to primaries.
    fn other(&self, inner: &mut Inner, host: &Host) -> Arc<Node> {
        let known = inner.others.iter().find(|node| node.host == *host).cloned();
        known.unwrap_or_else(|| {
            let node = self.node(host.clone(), true);
            inner.others.push(node.clone());
            node
        })
    }

    /// The node at one of these places.
    fn at(&self, hosts: &[Host]) -> Option<Arc<Node>> {
        let mut inner = self.lock();
        let known = inner.nodes.iter().chain(&inner.others).find(|node| hosts.contains(&node.host)).cloned();
        known.or_else(|| hosts.first().map(|host| self.other(&mut inner, host)))
    }

    /// A replica that has the slot, if one is connected; that is begun here.
    fn replica_for(&self, slot: usize) -> Option<Arc<Node>> {
        let mut inner = self.lock();
        let hosts = inner.replicas.get(usize::from(inner.slots[slot]))?.clone();
        let turn = self.turn.fetch_add(1, Relaxed);
        let nodes: Vec<_> = hosts.iter().map(|host| self.other(&mut inner, host)).collect();
        (0..nodes.len()).map(|at| &nodes[(turn + at) % nodes.len()]).find(|node| node.is_up()).cloned()
    }

    /// All primaries, each in turn first.
    fn primaries(&self) -> Vec<Arc<Node>> {
        let mut nodes = self.lock().nodes.clone();
        if !nodes.is_empty() {
            let middle = self.turn.fetch_add(1, Relaxed) % nodes.len();
            nodes.rotate_left(middle);
        }
        nodes
    }

    /// The node that another says has the slot.
    fn redirected(&self, redirect: &Redirect) -> Arc<Node> {
        self.stale.notify_one();
        let mut inner = self.lock();
        let at = inner.nodes.iter().position(|node| node.host == redirect.host).unwrap_or_else(|| {
            let node = self.node(redirect.host.clone(), false);
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
}

impl Backend for Handle {
    fn submit(&self, commands: &[u8], replies: Replies) -> Result<Pending, Failure> {
        self.0.send(commands, replies, &Where::default())
    }

    fn submit_where(&self, commands: &[u8], replies: Replies, wishes: &Where) -> Result<Pending, Failure> {
        self.0.send(commands, replies, wishes)
    }

    fn supports(&self, operation: operation::Id) -> bool {
        self.0.lock().nodes.first().is_none_or(|node| node.redis.supports(operation))
    }

    fn own<'a>(&'a self, commands: &'a [u8], deadline: Instant) -> BoxFuture<'a, Result<Box<dyn Own>, Failure>> {
        Box::pin(alone::own(&self.0, commands, false, deadline))
    }

    fn hold<'a>(&'a self, commands: &'a [u8], deadline: Instant) -> BoxFuture<'a, Result<Box<dyn Own>, Failure>> {
        Box::pin(alone::own(&self.0, commands, true, deadline))
    }

    fn wait(&self, operation: operation::Id, command: Bytes, until: Instant) -> BoxFuture<'static, Result<Taken, Failure>> {
        let cluster = self.0.clone();
        let home: Arc<dyn Backend> = Arc::new(Handle(self.0.clone()));
        Box::pin(async move {
            let words = words(&command);
            let Ok(slot) = slot_of(&keys(Some(operation), &words)) else {
                let detail = "the keys do not live in the same slot; nothing was done";
                return Err(Failure { code: Code::CrossSlot, detail, delivery: Delivery::Answered });
            };
            let mut node = cluster.node_for(slot)?;
            for _ in 0..HOPS {
                let taken = super::waiting::wait(node.redis.clone(), operation, command.clone(), until, home.clone()).await?;
                // A node that sends it elsewhere has not waited.
                let Some(redirect) = redirect(&taken.frame, &node.host).filter(|redirect| !redirect.asking) else { return Ok(taken) };
                node = cluster.redirected(&redirect);
                tokio::time::timeout_at(until, node.connected()).await.map_err(|_| MOVING)?;
            }
            Err(MOVING)
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
