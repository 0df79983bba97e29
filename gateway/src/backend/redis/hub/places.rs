//! Where a topic is subscribed to. Without a cluster there is one place. In a cluster channels and globs are heard on any
//! node, a shard channel where its slot is, and what each node says only itself on every primary.

use std::{sync::Arc, time::Duration};

use dbx_crds::config::{Host, RedisAddress};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::Place;
use crate::backend::{
    channels::{Kind, Topic},
    redis::{
        Endpoint,
        cluster::{
            gather, slot,
            topology::{self, Topology},
        },
    },
};

/// How often the cluster is asked again while topics depend on it.
const PAUSE: Duration = Duration::from_secs(2);
/// How soon at the earliest it is asked when something speaks against what is known.
const SOONEST: Duration = Duration::from_millis(100);
/// How long one node may take to say what it knows.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is known of the places.
pub(super) struct Places {
    endpoint: Arc<Endpoint>,
    /// Of a cluster: what its nodes say.
    cluster: Option<Cluster>,
}

struct Cluster {
    seeds: Vec<Host>,
    doubt: Arc<Notify>,
    latest: watch::Receiver<Option<Arc<Topology>>>,
    known: Option<Arc<Topology>>,
}

impl Places {
    /// Where topics of a database are.
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        let cluster = match &endpoint.address {
            RedisAddress::Cluster(seeds) => {
                let (told, latest) = watch::channel(None);
                let doubt = Arc::new(Notify::new());
                tokio::spawn(look(endpoint.clone(), seeds.clone(), doubt.clone(), told));
                Some(Cluster { seeds: seeds.clone(), doubt, latest, known: None })
            }
            _ => None,
        };
        Self { endpoint, cluster }
    }

    /// Ends once the cluster looks different.
    pub(super) async fn changed(&mut self) {
        let Some(cluster) = &mut self.cluster else { return std::future::pending().await };
        if cluster.latest.changed().await.is_err() {
            return std::future::pending().await;
        }
        cluster.known.clone_from(&cluster.latest.borrow_and_update());
    }

    /// What is known may not be true.
    pub(super) fn doubt(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.doubt.notify_one();
        }
    }

    /// Whether a node is a primary of the cluster.
    pub(super) fn has(&self, host: &Host) -> bool {
        let known = self.cluster.as_ref().and_then(|cluster| cluster.known.as_ref());
        known.is_some_and(|known| known.primaries.contains(host))
    }

    /// Where a topic is to be subscribed to, if that is known.
    pub(super) fn of(&self, topic: &Topic) -> Option<Vec<Place>> {
        let Some(cluster) = &self.cluster else { return Some(vec![Place::Any]) };
        match topic.kind {
            Kind::Channel | Kind::Pattern => Some(vec![Place::Any]),
            Kind::Shard => {
                let known = cluster.known.as_ref()?;
                let node = known.primaries.get(usize::from(known.slots[slot(&topic.name)]))?;
                Some(vec![Place::Node(node.clone())])
            }
            Kind::Everywhere => Some(cluster.known.as_ref()?.primaries.iter().cloned().map(Place::Node).collect()),
        }
    }

    /// How a place is reached.
    pub(super) fn endpoints(&self, place: &Place) -> Vec<Arc<Endpoint>> {
        match (place, &self.cluster) {
            (Place::Node(host), _) => vec![Arc::new(self.endpoint.at(host.clone()))],
            (Place::Any, None) => vec![self.endpoint.clone()],
            (Place::Any, Some(cluster)) => {
                let known = cluster.known.iter().flat_map(|known| &known.primaries);
                known.chain(&cluster.seeds).map(|host| Arc::new(self.endpoint.at(host.clone()))).collect()
            }
        }
    }
}

/// Asks the cluster from the first doubt on.
async fn look(endpoint: Arc<Endpoint>, seeds: Vec<Host>, doubt: Arc<Notify>, told: watch::Sender<Option<Arc<Topology>>>) {
    doubt.notified().await;
    while !told.is_closed() {
        let known = told.borrow().clone();
        let nodes = known.iter().flat_map(|known| &known.primaries);
        for host in nodes.chain(&seeds) {
            let asked = tokio::time::timeout(PATIENCE, topology::ask(&endpoint, host, Instant::now() + PATIENCE)).await;
            if let Ok(Ok(topology)) = asked {
                told.send_replace(Some(Arc::new(topology)));
                break;
            }
        }
        tokio::time::sleep(SOONEST).await;
        let _ = tokio::time::timeout(PAUSE, doubt.notified()).await;
    }
}

/// The node that an error line says has the slot.
pub(super) fn moved(line: &[u8], asked: Option<&Host>) -> Option<Host> {
    let (_, host) = std::str::from_utf8(line.strip_prefix(b"MOVED ")?).ok()?.split_once(' ')?;
    gather::host_of(host, asked?)
}
