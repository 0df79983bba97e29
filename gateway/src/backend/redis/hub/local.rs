//! Who listens on one worker. Everything here happens on that worker's thread; the hub only hands it batches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use tokio::sync::mpsc;

use super::{Batch, Change, Tally};
use crate::backend::channels::{Channels, Counts, Event, Kind, Listener, Topic};

/// Listeners to a message that is alone, which may be written to each at once, before others of the worker have their turn.
const TURN: usize = 32;

/// A database's channels as one worker hears them.
pub(super) struct Local {
    worker: usize,
    is_cluster: bool,
    changes: mpsc::UnboundedSender<Change>,
    registry: Arc<Mutex<Registry>>,
    tally: Arc<Tally>,
}

/// Who listens to what. Each time that a topic gets its first listener it gets a new ticket, so that what was heard for
/// those before is not taken for theirs.
#[derive(Default)]
struct Registry {
    last: u64,
    tickets: HashMap<Topic, u64>,
    topics: HashMap<u64, Heard>,
}

struct Heard {
    topic: Topic,
    /// The last event that was no message.
    status: Option<Arc<Event>>,
    /// In the order of their ids.
    listeners: Arc<Vec<(u64, Arc<dyn Listener>)>>,
}

fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Local {
    /// Starts the worker's task; on its runtime.
    pub(super) fn start(
        worker: usize,
        is_cluster: bool,
        changes: mpsc::UnboundedSender<Change>,
        batches: mpsc::Receiver<Batch>,
        tally: Arc<Tally>,
    ) -> Self {
        let registry = Arc::new(Mutex::new(Registry::default()));
        tokio::spawn(hand_on(registry.clone(), batches, tally.clone()));
        Self { worker, is_cluster, changes, registry, tally }
    }
}

impl Channels for Local {
    fn listen(&self, mut topic: Topic, listener: Arc<dyn Listener>) -> Box<dyn Send + Sync> {
        // One server is everywhere, and subscribes only once to the same glob.
        if topic.kind == Kind::Everywhere && !self.is_cluster {
            topic.kind = Kind::Pattern;
        }
        let mut registry = lock(&self.registry);
        registry.last += 1;
        let id = registry.last;
        let ticket = *registry.tickets.entry(topic.clone()).or_insert(id);
        let heard =
            registry.topics.entry(ticket).or_insert_with(|| Heard { topic: topic.clone(), status: None, listeners: Arc::default() });
        Arc::make_mut(&mut heard.listeners).push((id, listener.clone()));
        let status = heard.status.clone();
        if ticket == id {
            // The hub lives as long as the process.
            let _ = self.changes.send(Change::Join { worker: self.worker, ticket, topic });
        }
        drop(registry);
        if let Some(status) = status {
            listener.hear(&status, false);
        }
        Box::new(Listening { worker: self.worker, changes: self.changes.clone(), registry: self.registry.clone(), ticket, id })
    }

    fn counts(&self) -> Counts {
        Counts {
            topics: self.tally.topics.load(Relaxed),
            messages: self.tally.messages.load(Relaxed),
            delivered: self.tally.delivered.load(Relaxed),
            interruptions: self.tally.interruptions.load(Relaxed),
        }
    }
}

/// Ends listening when dropped.
struct Listening {
    worker: usize,
    changes: mpsc::UnboundedSender<Change>,
    registry: Arc<Mutex<Registry>>,
    ticket: u64,
    id: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut registry = lock(&self.registry);
        // A topic that was refused is gone already.
        let Some(heard) = registry.topics.get_mut(&self.ticket) else { return };
        let listeners = Arc::make_mut(&mut heard.listeners);
        if let Ok(at) = listeners.binary_search_by_key(&self.id, |(id, _)| *id) {
            listeners.remove(at);
        }
        if listeners.is_empty()
            && let Some(heard) = registry.topics.remove(&self.ticket)
        {
            registry.tickets.remove(&heard.topic);
            let _ = self.changes.send(Change::Leave { worker: self.worker, ticket: self.ticket, topic: heard.topic });
        }
    }
}

/// Calls the listeners. Not under the lock: one that hears may stop listening.
async fn hand_on(registry: Arc<Mutex<Registry>>, mut batches: mpsc::Receiver<Batch>, tally: Arc<Tally>) {
    while let Some(batch) = batches.recv().await {
        if let [(ticket, event)] = &batch[..]
            && matches!(**event, Event::Message(_))
        {
            spread(&registry, *ticket, event, &tally).await;
            continue;
        }
        let mut delivered = 0;
        for (ticket, event) in batch {
            let listeners = {
                let mut registry = lock(&registry);
                let Some(heard) = registry.topics.get_mut(&ticket) else { continue };
                if !matches!(*event, Event::Message(_)) {
                    heard.status = Some(event.clone());
                }
                let listeners = heard.listeners.clone();
                // Who asks again later may have been given the right by then.
                if matches!(*event, Event::Refused(_))
                    && let Some(heard) = registry.topics.remove(&ticket)
                {
                    registry.tickets.remove(&heard.topic);
                }
                listeners
            };
            for (_, listener) in listeners.iter() {
                listener.hear(&event, false);
            }
            if matches!(*event, Event::Message(_)) {
                delivered += listeners.len() as u64;
            }
        }
        tally.delivered.fetch_add(delivered, Relaxed);
        // Other tasks of the worker run in between.
        tokio::task::yield_now().await;
    }
}

/// Hands on a message that is alone, turn by turn.
async fn spread(registry: &Mutex<Registry>, ticket: u64, event: &Arc<Event>, tally: &Tally) {
    // Who begins to listen meanwhile is not meant.
    let (mut heard, last) = (0, lock(registry).last);
    loop {
        let Some(listeners) = lock(registry).topics.get(&ticket).map(|heard| heard.listeners.clone()) else { return };
        let left = &listeners[listeners.partition_point(|(id, _)| *id <= heard)..];
        let turn = &left[..left.partition_point(|(id, _)| *id <= last).min(TURN)];
        tally.delivered.fetch_add(turn.len() as u64, Relaxed);
        for (id, listener) in turn {
            listener.hear(event, true);
            heard = *id;
        }
        let is_over = turn.len() < TURN;
        drop(listeners);
        tokio::task::yield_now().await;
        if is_over {
            return;
        }
    }
}
