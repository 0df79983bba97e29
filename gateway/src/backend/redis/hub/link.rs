//! One subscription connection: subscribes to what it is ordered to, again after every loss, and reports what it hears, one
//! report for what one read brought. It reads on only when the report is taken: a process that cannot keep up is pushed back
//! upon the server, which ends the connection when too much waits (`client-output-buffer-limit`); that is an interruption
//! like any other, so nothing is lost unsaid.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::{Buf, Bytes, BytesMut};
use dbx_crds::config::{Host, RedisAddress};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::MissedTickBehavior,
};

use super::Place;
use crate::{
    backend::{
        channels::{Kind, Message, Topic},
        redis::{
            Endpoint,
            connection::{self, Opened},
            greeting::Commands,
            sentinel,
        },
    },
    resp::{self, Item, Malformed, Reader, Scanner},
};

/// How much is read at once.
const READ: usize = 64 << 10;
/// Messages from this size on stay where they were read; smaller ones are copied, so that they do not keep the buffer alive.
const COPY_BELOW: usize = 16 << 10;
/// The longest pause between two attempts to connect, before jitter at most doubles it.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// After this much silence the server is asked whether it lives; after as much again it does not.
const SILENCE: Duration = Duration::from_secs(5);

/// What a link has to do.
pub(super) enum Order {
    /// Subscribe; the number tells this order from others for the same topic.
    Subscribe(Topic, u64),
    /// Unsubscribe.
    Unsubscribe(Topic),
}

/// What a link has heard.
pub(super) enum Heard {
    /// The order was carried out.
    Subscribed(Topic, u64),
    /// The server refused it.
    Refused(Topic, u64, Bytes),
    /// Another node has the slot: which one, if it was said.
    Moved(Topic, u64, Option<Host>),
    /// A message.
    Message(Topic, Message),
    /// A message was too large to keep.
    Skipped,
    /// Nothing is subscribed to any more, or not yet.
    Interrupted,
}

/// What was heard at once.
pub(super) struct Report {
    pub(super) place: Place,
    pub(super) heard: Vec<Heard>,
}

pub(super) struct Link {
    pub(super) name: String,
    pub(super) place: Place,
    /// Tried in turn.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) reports: mpsc::Sender<Report>,
    /// The largest message that is kept.
    pub(super) most: usize,
    pub(super) wanted: HashMap<Topic, u64>,
}

/// The hub wants nothing more of the link.
struct Ended;

/// A command that has not been answered.
enum Asked {
    Subscribe(Topic),
    Unsubscribe(Topic),
    Ping,
}

/// Why a connection is of no use.
type Loss = String;

impl Link {
    /// Works until nobody gives orders any more.
    pub(super) async fn run(mut self) {
        let delays = || {
            let builder = ExponentialBuilder::default().with_min_delay(Duration::from_millis(20)).with_max_delay(LONGEST_PAUSE);
            builder.with_jitter().without_max_times().build()
        };
        let (mut backoff, mut told, mut turn) = (delays(), String::new(), 0);
        loop {
            while self.wanted.is_empty() {
                let Some(order) = self.orders.recv().await else { return };
                self.note(order);
            }
            let endpoint = self.endpoints[turn % self.endpoints.len()].clone();
            turn += 1;
            let loss = match connection::connect(&endpoint, Commands::Known).await {
                Err(refused) => refused.message,
                Ok(opened) => {
                    tracing::info!(database = self.name, "listening");
                    backoff = delays();
                    told.clear();
                    match self.listen(opened, &endpoint).await {
                        Ok(Ended) => return,
                        Err(loss) => loss,
                    }
                }
            };
            if told != loss {
                tracing::warn!(database = self.name, reason = loss, "not listening");
                told = loss;
            }
            let mut pause = pin!(tokio::time::sleep(backoff.next().unwrap_or(LONGEST_PAUSE)));
            loop {
                // Also who comes only now is told that nothing is heard.
                if self.report(vec![Heard::Interrupted]).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = &mut pause => break,
                    order = self.orders.recv() => match order {
                        Some(order) => self.note(order),
                        None => return,
                    },
                }
            }
        }
    }

    fn note(&mut self, order: Order) {
        match order {
            Order::Subscribe(topic, number) => self.wanted.insert(topic, number),
            Order::Unsubscribe(topic) => self.wanted.remove(&topic),
        };
    }

    async fn report(&self, heard: Vec<Heard>) -> Result<(), Ended> {
        self.reports.send(Report { place: self.place.clone(), heard }).await.map_err(|_| Ended)
    }

    async fn listen(&mut self, opened: Opened, endpoint: &Endpoint) -> Result<Ended, Loss> {
        let Opened { mut stream, primary, .. } = opened;
        let mut moved = pin!(async {
            match (&endpoint.address, &primary) {
                (RedisAddress::Sentinel(sentinels, name), Some(current)) => sentinel::moved(endpoint, sentinels, name, current).await,
                _ => std::future::pending().await,
            }
        });
        let node = if let RedisAddress::Tcp(host) = &endpoint.address { Some(host.clone()) } else { None };
        let mut session = Session { node, ..Session::default() };
        for topic in self.wanted.keys() {
            session.ask(Asked::Subscribe(topic.clone()));
        }
        let mut tick = tokio::time::interval(SILENCE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let mut heard_since = true;
        loop {
            if !session.out.is_empty() {
                let write = async {
                    stream.write_all(&session.out).await?;
                    stream.flush().await
                };
                let written = tokio::time::timeout(SILENCE, write).await.map_err(|_| "stopped reading")?;
                written.map_err(|error| format!("connection lost: {error}"))?;
                session.out.clear();
            }
            session.input.reserve(READ);
            tokio::select! {
                read = stream.read_buf(&mut session.input) => {
                    match read {
                        Ok(0) => return Err("the server closed the connection".into()),
                        Ok(_) => heard_since = true,
                        Err(error) => return Err(format!("connection lost: {error}")),
                    }
                    let heard = session.take(&mut self.wanted, self.most)?;
                    if !heard.is_empty() && self.report(heard).await.is_err() {
                        return Ok(Ended);
                    }
                }
                order = self.orders.recv() => {
                    let mut next = order;
                    // What has gathered is said at once.
                    loop {
                        let Some(order) = next else { return Ok(Ended) };
                        session.ask(match &order {
                            Order::Subscribe(topic, _) => Asked::Subscribe(topic.clone()),
                            Order::Unsubscribe(topic) => Asked::Unsubscribe(topic.clone()),
                        });
                        self.note(order);
                        match self.orders.try_recv() {
                            Ok(order) => next = Some(order),
                            Err(_) => break,
                        }
                    }
                }
                _ = tick.tick() => {
                    if !heard_since && session.asked.iter().any(|asked| matches!(asked, Asked::Ping)) {
                        return Err("stopped answering".into());
                    }
                    if !heard_since {
                        session.ask(Asked::Ping);
                    }
                    heard_since = false;
                }
                () = &mut moved => {
                    endpoint.moves.fetch_add(1, Relaxed);
                    return Err("another server is the primary".into());
                }
            }
        }
    }
}

/// What is under way on one connection.
#[derive(Default)]
struct Session {
    out: BytesMut,
    input: BytesMut,
    scanner: Scanner,
    discarding: bool,
    /// In the order in which they are answered.
    asked: VecDeque<Asked>,
    /// The node that is spoken to; of no use outside of a cluster.
    node: Option<Host>,
    /// How many commands about a topic are not answered.
    pending: HashMap<Topic, usize>,
}

fn words(kind: Kind) -> (&'static [u8], &'static [u8]) {
    match kind {
        Kind::Channel => (b"SUBSCRIBE", b"UNSUBSCRIBE"),
        Kind::Pattern | Kind::Everywhere => (b"PSUBSCRIBE", b"PUNSUBSCRIBE"),
        Kind::Shard => (b"SSUBSCRIBE", b"SUNSUBSCRIBE"),
    }
}

impl Session {
    fn ask(&mut self, asked: Asked) {
        match &asked {
            Asked::Ping => resp::write_command(&mut self.out, &[b"PING"]),
            Asked::Subscribe(topic) => resp::write_command(&mut self.out, &[words(topic.kind).0, &topic.name]),
            Asked::Unsubscribe(topic) => resp::write_command(&mut self.out, &[words(topic.kind).1, &topic.name]),
        }
        if let Asked::Subscribe(topic) | Asked::Unsubscribe(topic) = &asked {
            *self.pending.entry(topic.clone()).or_default() += 1;
        }
        self.asked.push_back(asked);
    }

    /// Takes all that has arrived whole.
    fn take(&mut self, wanted: &mut HashMap<Topic, u64>, most: usize) -> Result<Vec<Heard>, Loss> {
        let broken = |Malformed| "not RESP2".to_owned();
        let mut all = Vec::new();
        loop {
            if self.discarding {
                if !self.scanner.discard(&mut self.input).map_err(broken)? {
                    return Ok(all);
                }
                self.discarding = false;
                self.scanner = Scanner::default();
                all.push(Heard::Skipped);
            }
            let Some(length) = self.scanner.scan(&self.input).map_err(broken)? else {
                self.discarding = self.scanner.least(&self.input) > most;
                if self.discarding {
                    continue;
                }
                return Ok(all);
            };
            self.scanner = Scanner::default();
            let frame = if length < COPY_BELOW {
                let frame = Bytes::copy_from_slice(&self.input[..length]);
                self.input.advance(length);
                frame
            } else {
                self.input.split_to(length).freeze()
            };
            all.extend(self.understand(&frame, wanted)?);
        }
    }

    fn understand(&mut self, frame: &Bytes, wanted: &mut HashMap<Topic, u64>) -> Result<Option<Heard>, Loss> {
        let broken = |Malformed| "not what a subscriber is told".to_owned();
        let mut reader = Reader::new(frame);
        match reader.read().map_err(broken)? {
            Item::Error(line) => return self.failed(frame.slice_ref(line), wanted),
            Item::Array(Some(2..)) => {}
            Item::Simple(_) => return self.answered(None, false, wanted),
            _ => return Err("not what a subscriber is told".into()),
        }
        let mut next = || match reader.read().map_err(broken)? {
            Item::Bulk(Some(text)) => Ok(frame.slice_ref(text)),
            _ => Err("not what a subscriber is told".to_owned()),
        };
        let (word, name) = (next()?, next()?);
        let topic = |kind| Topic { kind, name: name.clone() };
        let message = |channel, payload| Message { channel, pattern: None, payload, rendered: Default::default() };
        match &*word {
            b"message" => Ok(Some(Heard::Message(topic(Kind::Channel), message(name.clone(), next()?)))),
            b"smessage" => Ok(Some(Heard::Message(topic(Kind::Shard), message(name.clone(), next()?)))),
            b"pmessage" => Ok(Some(Heard::Message(topic(Kind::Pattern), message(next()?, next()?)))),
            b"subscribe" => self.answered(Some(topic(Kind::Channel)), true, wanted),
            b"psubscribe" => self.answered(Some(topic(Kind::Pattern)), true, wanted),
            b"ssubscribe" => self.answered(Some(topic(Kind::Shard)), true, wanted),
            b"unsubscribe" => self.answered(Some(topic(Kind::Channel)), false, wanted),
            b"punsubscribe" => self.answered(Some(topic(Kind::Pattern)), false, wanted),
            b"sunsubscribe" => {
                let topic = topic(Kind::Shard);
                let own = matches!(self.asked.front(), Some(Asked::Unsubscribe(asked)) if *asked == topic);
                if own {
                    return self.answered(Some(topic), false, wanted);
                }
                // The node gives the slot away, and says so unasked.
                Ok(wanted.remove(&topic).map(|number| Heard::Moved(topic, number, None)))
            }
            b"pong" => self.answered(None, false, wanted),
            _ => Err("not what a subscriber is told".into()),
        }
    }

    /// An answer to the first command; anything else means that the two sides are out of step.
    fn answered(&mut self, said: Option<Topic>, subscribed: bool, wanted: &HashMap<Topic, u64>) -> Result<Option<Heard>, Loss> {
        let fits = |topic: &Topic| said.as_ref().is_some_and(|said| said.name == topic.name && words(said.kind) == words(topic.kind));
        let topic = match self.asked.pop_front() {
            Some(Asked::Ping) if said.is_none() => return Ok(None),
            Some(Asked::Subscribe(topic)) if subscribed && fits(&topic) => topic,
            Some(Asked::Unsubscribe(topic)) if !subscribed && fits(&topic) => topic,
            _ => return Err("an answer that fits no command".into()),
        };
        let last = self.settle(&topic);
        let number = wanted.get(&topic).copied().filter(|_| last && subscribed);
        Ok(number.map(|number| Heard::Subscribed(topic, number)))
    }

    fn failed(&mut self, line: Bytes, wanted: &mut HashMap<Topic, u64>) -> Result<Option<Heard>, Loss> {
        let topic = match self.asked.pop_front() {
            Some(Asked::Subscribe(topic)) => topic,
            // It was not subscribed to, then.
            Some(Asked::Unsubscribe(topic)) => {
                self.settle(&topic);
                return Ok(None);
            }
            Some(Asked::Ping) | None => return Err(String::from_utf8_lossy(&line).into_owned()),
        };
        let moved = super::places::moved(&line, self.node.as_ref());
        if moved.is_some() && topic.kind != Kind::Shard {
            return Err("an answer that fits no command".into());
        }
        // The same goes for what was ordered after it; there the last answer counts.
        if !self.settle(&topic) {
            return Ok(None);
        }
        let Some(number) = wanted.remove(&topic) else { return Ok(None) };
        Ok(Some(match moved {
            Some(host) => Heard::Moved(topic, number, Some(host)),
            None => Heard::Refused(topic, number, line),
        }))
    }

    /// One command about a topic less; whether it was the last.
    fn settle(&mut self, topic: &Topic) -> bool {
        let Some(count) = self.pending.get_mut(topic) else { return true };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.pending.remove(topic);
        }
        last
    }
}
