//! What the process listens to in one database. A task on the main runtime knows which worker wants which topic, has each
//! subscribed to once, and hands what is heard to the workers in batches.
//!
//! The hub waits for a worker that is behind. Then the links wait for the hub, and the server for them: see [`link`].

mod link;
mod local;
mod places;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use dbx_crds::config::{Host, RedisAddress};
use tokio::sync::mpsc;

use self::{
    link::{Heard, Link, Order, Report},
    local::Local,
    places::Places,
};
use super::Endpoint;
use crate::backend::channels::{Channels, Event, Kind, Topic};

/// Batches that wait for one worker, and reports that wait for the hub.
const WAITING: usize = 16;

/// Events, each for the topic that has the ticket.
type Batch = Vec<(u64, Arc<Event>)>;

/// Where a subscription is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// The server; in a cluster, any.
    Any,
    /// A node of a cluster.
    Node(Host),
}

/// What a worker says.
enum Change {
    /// Here are its events to go.
    Enter { worker: usize, batches: mpsc::Sender<Batch> },
    /// It has listeners for a topic.
    Join { worker: usize, ticket: u64, topic: Topic },
    /// It has none any more.
    Leave { worker: usize, ticket: u64, topic: Topic },
}

/// What is counted for the whole process.
#[derive(Default)]
struct Tally {
    topics: AtomicUsize,
    messages: AtomicU64,
    delivered: AtomicU64,
    interruptions: AtomicU64,
}

/// The way to a database's hub.
pub struct Hub {
    is_cluster: bool,
    changes: mpsc::UnboundedSender<Change>,
    tally: Arc<Tally>,
}

impl Hub {
    /// Starts the hub's task; on the main runtime. It connects once somebody listens. Messages of more than `most` bytes are
    /// not kept.
    pub fn start(name: String, endpoint: Arc<Endpoint>, most: usize) -> Arc<Self> {
        let (changes, changed) = mpsc::unbounded_channel();
        let tally = Arc::<Tally>::default();
        let is_cluster = matches!(endpoint.address, RedisAddress::Cluster(_));
        let (reports, reported) = mpsc::channel(WAITING);
        let task = Task {
            name,
            most,
            workers: Vec::new(),
            topics: HashMap::new(),
            links: HashMap::new(),
            places: Places::new(endpoint),
            reports,
            numbers: 0,
            tally: tally.clone(),
            outgoing: Vec::new(),
        };
        tokio::spawn(task.run(changed, reported));
        Arc::new(Self { is_cluster, changes, tally })
    }

    /// The channels as one worker hears them; on its runtime.
    pub fn channels(&self, worker: usize) -> Arc<dyn Channels> {
        let (batches, receiver) = mpsc::channel(WAITING);
        // The task ends only with the process.
        let _ = self.changes.send(Change::Enter { worker, batches });
        Arc::new(Local::start(worker, self.is_cluster, self.changes.clone(), receiver, self.tally.clone()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Waiting,
    Subscribed,
    Interrupted,
}

/// A topic that somebody listens to.
struct Subscription {
    /// The ticket of each worker that has listeners.
    tickets: Vec<(usize, u64)>,
    status: Status,
    parts: Vec<Part>,
}

/// A subscription at one place.
struct Part {
    place: Place,
    number: u64,
    confirmed: bool,
}

struct Task {
    name: String,
    most: usize,
    workers: Vec<Option<mpsc::Sender<Batch>>>,
    topics: HashMap<Topic, Subscription>,
    links: HashMap<Place, mpsc::UnboundedSender<Order>>,
    places: Places,
    reports: mpsc::Sender<Report>,
    numbers: u64,
    tally: Arc<Tally>,
    /// By worker: what the next batch has.
    outgoing: Vec<Batch>,
}

impl Task {
    async fn run(mut self, mut changed: mpsc::UnboundedReceiver<Change>, mut reported: mpsc::Receiver<Report>) {
        loop {
            tokio::select! {
                change = changed.recv() => match change {
                    Some(change) => self.change(change),
                    None => return,
                },
                Some(report) = reported.recv() => self.hear(report),
                () = self.places.changed() => self.rearrange(),
            }
            self.tally.topics.store(self.topics.len(), Relaxed);
            for (worker, batch) in self.outgoing.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty()) {
                if let Some(Some(worker)) = self.workers.get(worker) {
                    // A worker that has ended hears nothing.
                    let _ = worker.send(std::mem::take(batch)).await;
                }
                batch.clear();
            }
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Enter { worker, batches } => {
                let count = self.workers.len().max(worker + 1);
                self.workers.resize(count, None);
                self.outgoing.resize(count, Vec::new());
                self.workers[worker] = Some(batches);
            }
            Change::Join { worker, ticket, topic } => {
                let is_new = !self.topics.contains_key(&topic);
                let subscription = self.topics.entry(topic.clone()).or_insert_with(Subscription::new);
                subscription.tickets.push((worker, ticket));
                let event = match subscription.status {
                    Status::Waiting => None,
                    Status::Subscribed => Some(Event::Subscribed),
                    Status::Interrupted => Some(Event::Interrupted),
                };
                self.outgoing[worker].extend(event.map(|event| (ticket, Arc::new(event))));
                if is_new {
                    self.arrange(&topic);
                }
            }
            Change::Leave { worker, ticket, topic } => {
                let Entry::Occupied(mut entry) = self.topics.entry(topic) else { return };
                entry.get_mut().tickets.retain(|known| *known != (worker, ticket));
                if entry.get().tickets.is_empty() {
                    let (topic, subscription) = entry.remove_entry();
                    for part in subscription.parts {
                        self.order(&part.place, Order::Unsubscribe(topic.clone()));
                    }
                }
            }
        }
    }

    fn hear(&mut self, Report { place, heard }: Report) {
        for heard in heard {
            match heard {
                Heard::Message(mut topic, mut message) => {
                    self.tally.messages.fetch_add(1, Relaxed);
                    if topic.kind == Kind::Pattern {
                        message.pattern = Some(topic.name.clone());
                        if place != Place::Any {
                            topic.kind = Kind::Everywhere;
                        }
                    }
                    if let Some(subscription) = self.topics.get(&topic).filter(|subscription| subscription.hears(&place)) {
                        subscription.tell(&mut self.outgoing, Event::Message(message));
                    }
                }
                Heard::Subscribed(topic, number) => {
                    if let Some(subscription) = self.topics.get_mut(&topic)
                        && let Some(part) = subscription.part(&place, number)
                    {
                        part.confirmed = true;
                        subscription.settle(&mut self.outgoing);
                    }
                }
                Heard::Refused(topic, number, line) => self.refuse(&place, topic, number, line),
                Heard::Moved(topic, number, host) => {
                    let Some(subscription) = self.topics.get_mut(&topic) else { continue };
                    if subscription.part(&place, number).is_none() {
                        continue;
                    }
                    subscription.parts.clear();
                    subscription.interrupt(&mut self.outgoing, &self.tally);
                    self.places.doubt();
                    // Without a hint, the next look at the cluster tells.
                    if let Some(host) = host {
                        self.subscribe(&topic, Place::Node(host));
                    }
                }
                Heard::Skipped => {
                    let heard = self.topics.values_mut().filter(|subscription| subscription.hears(&place));
                    for subscription in heard {
                        subscription.interrupt(&mut self.outgoing, &self.tally);
                        subscription.settle(&mut self.outgoing);
                    }
                }
                Heard::Interrupted => {
                    for subscription in self.topics.values_mut() {
                        let mut parts = subscription.parts.iter_mut().filter(|part| part.place == place);
                        if let Some(part) = parts.next() {
                            part.confirmed = false;
                            subscription.interrupt(&mut self.outgoing, &self.tally);
                        }
                    }
                    if place != Place::Any {
                        self.places.doubt();
                    }
                }
            }
        }
    }

    fn refuse(&mut self, place: &Place, topic: Topic, number: u64, line: Bytes) {
        let Entry::Occupied(mut entry) = self.topics.entry(topic) else { return };
        if entry.get_mut().part(place, number).is_none() {
            return;
        }
        let (topic, subscription) = entry.remove_entry();
        subscription.tell(&mut self.outgoing, Event::Refused(line));
        for part in subscription.parts.iter().filter(|part| part.place != *place) {
            self.order(&part.place, Order::Unsubscribe(topic.clone()));
        }
    }

    /// The cluster looks different than before.
    fn rearrange(&mut self) {
        let placed = self.topics.keys().filter(|topic| matches!(topic.kind, Kind::Shard | Kind::Everywhere));
        for topic in placed.cloned().collect::<Vec<_>>() {
            self.arrange(&topic);
        }
        // A node that has left is not listened to any more.
        let places = &self.places;
        self.links.retain(|place, _| match place {
            Place::Any => true,
            Place::Node(host) => places.has(host),
        });
    }

    /// Has a topic subscribed to where it belongs, and nowhere else.
    fn arrange(&mut self, topic: &Topic) {
        let Some(places) = self.places.of(topic) else {
            // Nobody knows yet.
            if let Some(subscription) = self.topics.get_mut(topic) {
                subscription.interrupt(&mut self.outgoing, &self.tally);
            }
            return self.places.doubt();
        };
        let Some(subscription) = self.topics.get_mut(topic) else { return };
        let (keep, leave): (Vec<Part>, Vec<Part>) = subscription.parts.drain(..).partition(|part| places.contains(&part.place));
        let fresh: Vec<Place> = places.into_iter().filter(|place| !keep.iter().any(|part| part.place == *place)).collect();
        subscription.parts = keep;
        for part in leave {
            self.order(&part.place, Order::Unsubscribe(topic.clone()));
        }
        for place in fresh {
            self.subscribe(topic, place);
        }
        if let Some(subscription) = self.topics.get_mut(topic) {
            if subscription.status == Status::Subscribed && !subscription.is_confirmed() {
                subscription.interrupt(&mut self.outgoing, &self.tally);
            }
            subscription.settle(&mut self.outgoing);
        }
    }

    fn subscribe(&mut self, topic: &Topic, place: Place) {
        self.numbers += 1;
        if let Some(subscription) = self.topics.get_mut(topic) {
            subscription.parts.push(Part { place: place.clone(), number: self.numbers, confirmed: false });
        }
        if !self.links.contains_key(&place) {
            let (orders, receiver) = mpsc::unbounded_channel();
            let name = match &place {
                Place::Any => self.name.clone(),
                Place::Node(host) => format!("{} {host}", self.name),
            };
            let link = Link {
                name,
                place: place.clone(),
                endpoints: self.places.endpoints(&place),
                orders: receiver,
                reports: self.reports.clone(),
                most: self.most,
                wanted: HashMap::new(),
            };
            tokio::spawn(link.run());
            self.links.insert(place.clone(), orders);
        }
        self.order(&place, Order::Subscribe(topic.clone(), self.numbers));
    }

    fn order(&self, place: &Place, order: Order) {
        if let Some(link) = self.links.get(place) {
            // A link ends only when it is dropped here.
            let _ = link.send(order);
        }
    }
}

impl Subscription {
    fn new() -> Self {
        Self { tickets: Vec::new(), status: Status::Waiting, parts: Vec::new() }
    }

    fn part(&mut self, place: &Place, number: u64) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.place == *place && part.number == number)
    }

    /// Whether what is said at a place is meant for those who listen now.
    fn hears(&self, place: &Place) -> bool {
        self.status != Status::Waiting && self.parts.iter().any(|part| part.confirmed && part.place == *place)
    }

    fn is_confirmed(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| part.confirmed)
    }

    fn tell(&self, outgoing: &mut [Batch], event: Event) {
        let event = Arc::new(event);
        for (worker, ticket) in &self.tickets {
            outgoing[*worker].push((*ticket, event.clone()));
        }
    }

    fn interrupt(&mut self, outgoing: &mut [Batch], tally: &Tally) {
        if self.status == Status::Subscribed {
            tally.interruptions.fetch_add(1, Relaxed);
        }
        if self.status != Status::Interrupted {
            self.status = Status::Interrupted;
            self.tell(outgoing, Event::Interrupted);
        }
    }

    /// Says that everything is heard, once it is.
    fn settle(&mut self, outgoing: &mut [Batch]) {
        if self.status != Status::Subscribed && self.is_confirmed() {
            self.status = Status::Subscribed;
            self.tell(outgoing, Event::Subscribed);
        }
    }
}
