//! The task of one socket: reads calls while there is room for them, sends answers and messages as the client takes them,
//! and says why when it closes.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, Sink, Stream as _, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    io::AsyncWrite,
    sync::oneshot,
    time::{Instant, Sleep},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        error::{CapacityError, ProtocolError},
        protocol::{
            CloseFrame,
            frame::{
                Frame as WireFrame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

use super::{
    super::{entries, request, stream::Stream},
    WRITE,
    call::{self, Answer, Caller, open},
    flow::{self, Ack, Flow},
    frame::{self, Frame, Id, Read},
    mailbox::{Item, Mailbox},
    session::Session,
    subscription::{self, Subscription, Told},
};
use crate::{
    backend::Taken,
    error::{Code, Delivery, Error},
};

/// Frames that are read before what they have started is looked after.
const READ_AT_ONCE: usize = 64;
/// Rounds of reading and writing before other sockets have their turn.
const ROUNDS: usize = 8;
/// A frame that is read from this size on does not leave its memory to the socket.
const LARGE: usize = 64 << 10;
/// How long a client may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(2);
/// A client is asked to come back within this time.
const COME_BACK: u64 = 1000;

/// What runs under an id.
enum Open {
    /// It may be ended by an error, if it waits.
    Call(Option<oneshot::Sender<Error>>),
    Subscription(u32),
    Session(u32),
    Flow(u32),
}

enum State {
    /// It reads calls.
    Running,
    /// It reads no more and finishes what runs.
    Draining,
    /// It has said that it closes, and when it will not wait any longer.
    Closing(Instant),
    /// All is said; the connection is ended.
    Ending,
}

type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

pub(super) struct Socket {
    stream: WebSocketStream<TokioIo<Stream>>,
    caller: Arc<Caller>,
    state: State,
    mailbox: Arc<Mailbox>,
    work: FuturesUnordered<Work>,
    open: HashMap<Id, Open>,
    /// Calls being served, those in sessions included.
    calls: usize,
    subscriptions: HashMap<u32, Subscription>,
    sessions: HashMap<u32, Session>,
    flows: HashMap<u32, Flow>,
    next_key: u32,
    /// What is left of an answer that is sent in parts.
    rest: Option<Bytes>,
    /// Something may wait to be written.
    unflushed: bool,
    /// What is given up for good once the client has it.
    taken: Vec<Taken>,
    /// The memory of a large frame, until the next read has found another.
    kept: Option<Utf8Bytes>,
    opened: Instant,
    heard: Instant,
    asked: Instant,
    drains_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    draining: Option<BoxFuture<'static, ()>>,
    watching: Option<BoxFuture<'static, ()>>,
    received: u64,
    sent: u64,
    code: u16,
}

impl Socket {
    pub(super) fn new(stream: WebSocketStream<TokioIo<Stream>>, caller: Arc<Caller>) -> Self {
        let shared = caller.worker.shared.clone();
        shared.sockets.fetch_add(1, Relaxed);
        let now = Instant::now();
        let mailbox = Mailbox::new(shared.clone());
        Self {
            stream,
            state: State::Running,
            mailbox,
            work: FuturesUnordered::new(),
            open: HashMap::new(),
            calls: 0,
            subscriptions: HashMap::new(),
            sessions: HashMap::new(),
            flows: HashMap::new(),
            next_key: 0,
            rest: None,
            unflushed: false,
            taken: Vec::new(),
            kept: None,
            opened: now,
            heard: now,
            asked: now,
            drains_at: None,
            timer: Box::pin(tokio::time::sleep(shared.ping_interval.min(shared.idle_timeout))),
            draining: Some(Box::pin(async move { shared.drain.draining().await })),
            watching: None,
            received: 0,
            sent: 0,
            code: LOST,
            caller,
        }
    }

    /// Goes on as far as it can; whether it has come to its end.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(mut draining) = self.draining.take() {
            // Polled once, it wakes the task; a flag that is cheaper to look at says what for.
            let _ = draining.poll_unpin(context);
            self.watching = Some(draining);
        }
        if self.drains_at.is_none() && self.caller.worker.shared.drain.is_draining() {
            self.plan_drain();
        }
        for _ in 0..ROUNDS {
            if let State::Ending = self.state {
                return Pin::new(self.stream.get_mut()).poll_shutdown(context).map(|_| ());
            }
            self.look(context);
            let wrote = match self.write(context) {
                Ok(progress) => progress,
                Err(_) => return Poll::Ready(()),
            };
            if !(self.read(context) || wrote) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// What is due by the clock.
    fn look(&mut self, context: &mut Context<'_>) {
        while self.timer.poll_unpin(context).is_ready() {
            let shared = self.caller.worker.shared.clone();
            let now = Instant::now();
            if self.calls >= shared.max_socket_calls {
                // It is not listened to.
                self.heard = now;
            }
            let mut next = now + shared.ping_interval.min(shared.idle_timeout);
            match self.state {
                State::Closing(until) if now >= until => self.state = State::Ending,
                State::Closing(until) => next = until,
                State::Running | State::Draining if now >= self.heard + shared.idle_timeout => {
                    self.close(CloseCode::Away, "silent for too long");
                    next = now + FAREWELL;
                }
                State::Running | State::Draining => {
                    if let Some(at) = self.drains_at {
                        if now < at {
                            next = next.min(at);
                        } else if matches!(self.state, State::Running) {
                            next = next.min(self.drain(now));
                        } else {
                            self.calls = 0;
                        }
                    }
                    if now >= self.heard.max(self.asked) + shared.ping_interval {
                        self.asked = now;
                        // A client that does not take it will be found silent.
                        let _ = Pin::new(&mut self.stream).start_send(Message::Ping(Bytes::new()));
                        self.unflushed = true;
                    }
                }
                State::Ending => {}
            }
            self.timer.as_mut().reset(next);
        }
        if self.mailbox.has_overflowed() {
            self.close(CloseCode::Policy, "too slow for a subscription (sockets.maxQueuedBytes)");
        }
        if matches!(self.state, State::Draining) && self.calls == 0 && self.rest.is_none() && self.mailbox.is_empty() {
            let reason = format!("the gateway stops; come back after {}ms", random() % COME_BACK);
            self.close(CloseCode::Restart, reason);
        }
    }

    /// Chooses when it will stop, so that not all sockets of a gateway do so at once.
    fn plan_drain(&mut self) {
        let window = u64::try_from(self.caller.worker.shared.drain_propagation.as_millis()).unwrap_or(u64::MAX);
        let at = Instant::now() + Duration::from_millis(random() % window.max(1));
        self.drains_at = Some(at);
        self.timer.as_mut().reset(at);
    }

    /// Reads no more, ends what waits or goes on, and lets calls finish until the time that is returned.
    fn drain(&mut self, now: Instant) -> Instant {
        self.state = State::Draining;
        for open in self.open.values_mut() {
            if let Open::Call(cancel) = open
                && let Some(cancel) = cancel.take()
            {
                // Whoever does not wait any more has its answer.
                let _ = cancel.send(stopping());
            }
        }
        for subscription in self.subscriptions.values_mut() {
            if !subscription.stop() {
                self.calls -= 1;
                self.mailbox.push(Item::Text(self.caller.refuse(Some(&subscription.id), &stopping())));
            }
        }
        for flow in std::mem::take(&mut self.flows).into_values() {
            if !flow.is_answered() {
                self.mailbox.push(Item::Text(self.caller.refuse(Some(&flow.id), &stopping())));
            }
        }
        self.sessions.clear();
        let shared = &self.caller.worker.shared;
        let until = now + self.longest_call().min(shared.drain_timeout.saturating_sub(2 * FAREWELL));
        self.drains_at = Some(until);
        until
    }

    /// How long a call that has begun may take.
    fn longest_call(&self) -> Duration {
        self.caller.worker.databases.iter().map(|database| database.room.max_call_timeout).max().unwrap_or_default()
    }

    fn close(&mut self, code: CloseCode, reason: impl Into<Utf8Bytes>) {
        if matches!(self.state, State::Closing(_) | State::Ending) {
            return;
        }
        self.code = code.into();
        self.rest = None;
        let until = Instant::now() + FAREWELL;
        self.state = State::Closing(until);
        self.timer.as_mut().reset(until);
        // If it cannot be sent the client has gone already.
        let _ = Pin::new(&mut self.stream).start_send(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
        self.unflushed = true;
    }

    /// Sends what is ready, as long as the client takes it. Whether there was something.
    fn write(&mut self, context: &mut Context<'_>) -> Result<bool, tungstenite::Error> {
        let mut progress = false;
        while matches!(self.state, State::Running | State::Draining) {
            match Pin::new(&mut self.stream).poll_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(progress),
            }
            let Some(frame) = self.next(context) else { break };
            (progress, self.unflushed) = (true, true);
            self.sent += 1;
            Pin::new(&mut self.stream).start_send(Message::Frame(frame))?;
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(context)
        {
            flushed?;
            self.unflushed = false;
            self.taken.drain(..).for_each(Taken::delivered);
        }
        Ok(progress)
    }

    /// The next frame to be sent, if one is ready.
    fn next(&mut self, context: &mut Context<'_>) -> Option<WireFrame> {
        if let Some(rest) = self.rest.take() {
            return Some(self.part(OpCode::Data(Data::Continue), rest));
        }
        loop {
            if !self.work.is_empty()
                && let Poll::Ready(Some(answer)) = self.work.poll_next_unpin(context)
            {
                return Some(self.answer(answer));
            }
            let text = match self.mailbox.pop(context)? {
                Item::Answer(answer) => return Some(self.answer(answer)),
                Item::Text(text) => text,
                Item::Heard { subscription, topic, event } => match self.hear(subscription, topic, &event) {
                    Some(text) => text,
                    None => continue,
                },
                Item::Dropped(key, dropped) => match self.subscriptions.get(&key) {
                    Some(subscription) => subscription.missed(&dropped),
                    None => continue,
                },
                Item::Over(key) => {
                    self.sessions.remove(&key);
                    self.flows.remove(&key);
                    self.open.retain(|_, open| !matches!(open, Open::Session(ended) | Open::Flow(ended) if *ended == key));
                    continue;
                }
            };
            return Some(self.part(OpCode::Data(Data::Text), text.into()));
        }
    }

    fn answer(&mut self, answer: Answer) -> WireFrame {
        self.calls -= 1;
        self.open.remove(&answer.id);
        self.taken.extend(answer.taken);
        self.part(OpCode::Data(Data::Text), answer.text.into())
    }

    /// A frame of what fits into one; the rest goes in others, so that no more of it is copied than is about to be sent.
    fn part(&mut self, code: OpCode, mut text: Bytes) -> WireFrame {
        let rest = (text.len() > WRITE).then(|| text.split_off(WRITE));
        let last = rest.is_none();
        self.rest = rest;
        WireFrame::message(text, code, last)
    }

    fn hear(&mut self, key: u32, topic: usize, event: &crate::backend::channels::Event) -> Option<Vec<u8>> {
        // What was on its way to one that has ended is for nobody.
        let subscription = self.subscriptions.get_mut(&key)?;
        match subscription.hear(&self.caller, topic, event) {
            Told::Nothing => None,
            Told::Text(text) => Some(text),
            Told::Begun(text) => {
                self.calls -= 1;
                Some(text)
            }
            Told::Over(text) => {
                if !subscription.is_answered() {
                    self.calls -= 1;
                }
                let id = subscription.id.clone();
                self.open.remove(&id);
                self.subscriptions.remove(&key);
                Some(text)
            }
        }
    }

    /// Reads calls as long as there is room for them. Whether there was something.
    fn read(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        for _ in 0..READ_AT_ONCE {
            let has_room = self.calls < self.caller.worker.shared.max_socket_calls && !self.unflushed && self.rest.is_none();
            match self.state {
                State::Running if has_room => {}
                // The answer to a close is waited for, and nothing else is looked at.
                State::Closing(_) if !self.unflushed => {}
                _ => break,
            }
            let Poll::Ready(message) = Pin::new(&mut self.stream).poll_next(context) else { break };
            progress = true;
            self.kept = None;
            match message {
                Some(Ok(message)) => {
                    self.received += 1;
                    self.heard = Instant::now();
                    if matches!(self.state, State::Running) {
                        self.take(message);
                    }
                }
                Some(Err(error)) => self.fail(&error),
                // Nothing more comes.
                None => {
                    self.state = State::Ending;
                    break;
                }
            }
        }
        progress
    }

    /// Closes after what cannot be read.
    fn fail(&mut self, error: &tungstenite::Error) {
        match error {
            tungstenite::Error::Utf8(_) => self.close(CloseCode::Invalid, "a text frame is not UTF-8"),
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                self.close(CloseCode::Size, "a message is too large (limits.maxBodyBytes)");
            }
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | tungstenite::Error::Io(_) => {
                self.state = State::Ending;
            }
            error => self.close(CloseCode::Protocol, error.to_string().chars().take(120).collect::<String>()),
        }
    }

    fn take(&mut self, message: Message) {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return self.close(CloseCode::Unsupported, "frames are JSON text"),
            Message::Close(frame) => {
                self.code = frame.map_or(CloseCode::Status, |frame| frame.code).into();
                self.unflushed = true;
                let until = Instant::now() + FAREWELL;
                self.timer.as_mut().reset(until);
                self.state = State::Closing(until);
                return;
            }
            // A ping is answered by the next flush.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                self.unflushed = true;
                return;
            }
        };
        match frame::read(&text) {
            Read::Call(id, frame) => {
                if let Err(error) = self.begin(&id, &frame, &text) {
                    self.refuse(Some(&id), error);
                }
            }
            Read::Refused(id, error) => self.refuse(id.as_ref(), error),
            Read::Unreadable(error) => {
                let at = error.position.map_or(String::new(), |position| format!(" at byte {position}"));
                self.close(CloseCode::Invalid, format!("a frame is not JSON{at}"));
            }
        }
        if text.len() >= LARGE {
            self.kept = Some(text);
        }
    }

    fn refuse(&self, id: Option<&Id>, mut error: Error) {
        // A frame is not the body that positions are counted in.
        if id.is_none() {
            error.position = None;
        }
        self.mailbox.push(Item::Text(self.caller.refuse(id, &error)));
    }

    fn begin(&mut self, id: &Id, frame: &Frame<'_>, text: &Utf8Bytes) -> Result<(), Error> {
        if &*frame.op == "cancel" {
            return self.cancel(id, frame);
        }
        if self.open.contains_key(id) {
            return Err(Error::new(Code::Conflict, "another call with this id is running").param("id"));
        }
        let open = if let Some(session) = frame.session {
            let session = Id::read(session).map_err(|error| error.param("session"))?;
            let session = match self.open.get(&session) {
                Some(Open::Session(key)) => self.sessions.get(key),
                _ => None,
            };
            let session = session.ok_or_else(|| Error::new(Code::InvalidArgument, "no session has this id").param("session"))?;
            let database = self.caller.choose(frame)?;
            session.call(&self.caller, database, id.clone(), frame)?;
            Open::Call(None)
        } else {
            let database = self.caller.choose(frame)?;
            if flow::begins(frame) {
                self.check_subscriptions()?;
                let key = self.key();
                let flow = Flow::begin(&self.caller, database, &self.mailbox, id, frame, key)?;
                self.flows.insert(key, flow);
                self.open.insert(id.clone(), Open::Flow(key));
                return Ok(());
            }
            if &*frame.op == "ack" {
                self.acknowledge(id, frame)?;
                Open::Call(None)
            } else if let Some(kind) = subscription::kind(&frame.op) {
                self.check_subscriptions()?;
                let key = self.key();
                let subscription = Subscription::begin(&self.caller, database, &self.mailbox, kind, id.clone(), frame, key)?;
                self.subscriptions.insert(key, subscription);
                Open::Subscription(key)
            } else if &*frame.op == "session" {
                return self.begin_session(id, frame, database);
            } else {
                let begun = call::begin(&self.caller, id.clone(), frame, text, database)?;
                self.work.push(Box::pin(call::finish(self.caller.clone(), database, begun.started)));
                Open::Call(begun.cancel)
            }
        };
        self.calls += 1;
        self.open.insert(id.clone(), open);
        Ok(())
    }

    fn check_subscriptions(&self) -> Result<(), Error> {
        let most = self.caller.worker.shared.max_subscriptions;
        if self.subscriptions.len() + self.flows.len() < most {
            return Ok(());
        }
        Err(Error::new(Code::TooManySubscriptions, format!("a socket may have {most} subscriptions (sockets.maxSubscriptions)")))
    }

    /// Hands what a client has done with to its consumer.
    fn acknowledge(&self, id: &Id, frame: &Frame<'_>) -> Result<(), Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given<'a> {
            #[serde(borrow)]
            subscription: &'a RawValue,
            #[serde(borrow)]
            ids: Vec<std::borrow::Cow<'a, str>>,
        }
        const SHAPE: &str = "{\"subscription\": …, \"ids\": [\"1526919030474-55\", …]}";
        let given: Given<'_> = request::document(frame.args.map_or(&[][..], |args| args.get().as_bytes()), "args", SHAPE)?;
        if given.ids.is_empty() || !given.ids.iter().all(|id| entries::is_id(id)) {
            return Err(Error::new(Code::InvalidArgument, "expected ids of entries").param("ids"));
        }
        let flow = match self.open.get(&Id::read(given.subscription).map_err(|error| error.param("subscription"))?) {
            Some(Open::Flow(key)) => self.flows.get(key),
            _ => None,
        };
        let flow = flow.ok_or_else(|| Error::new(Code::InvalidArgument, "no consumer has this id").param("subscription"))?;
        let entries = given.ids.iter().map(|id| Bytes::copy_from_slice(id.as_bytes())).collect();
        flow.acknowledge(Ack { id: id.clone(), entries })
    }

    fn key(&mut self) -> u32 {
        self.next_key = self.next_key.wrapping_add(1);
        self.next_key
    }

    fn begin_session(&mut self, id: &Id, frame: &Frame<'_>, database: usize) -> Result<(), Error> {
        if frame.args.is_some_and(|args| args.get() != "{}") {
            return Err(Error::new(Code::UnknownArgument, "a session takes no arguments").param("args"));
        }
        let key = self.key();
        let session = Session::begin(self.caller.clone(), database, self.mailbox.clone(), id.clone(), key);
        self.sessions.insert(key, session);
        self.open.insert(id.clone(), Open::Session(key));
        let mut text = Vec::with_capacity(64);
        open(Some(id), &mut text);
        text.extend_from_slice(b",\"result\":{\"session\":");
        id.write(&mut text);
        text.extend_from_slice(b"}}");
        self.mailbox.push(Item::Text(text));
        Ok(())
    }

    /// Ends what runs under an id, if it can be ended: a call that waits, a subscription, a session. The result says whether.
    fn cancel(&mut self, id: &Id, frame: &Frame<'_>) -> Result<(), Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given<'a> {
            #[serde(borrow)]
            id: &'a RawValue,
        }
        let expected = || Error::new(Code::InvalidArgument, "expected {\"id\": …}, the id of what is to be ended").param("args");
        let given: Given<'_> = serde_json::from_str(frame.args.ok_or_else(expected)?.get()).map_err(|_| expected())?;
        let ended = match self.open.entry(Id::read(given.id)?) {
            Entry::Vacant(_) => false,
            Entry::Occupied(mut open) => match open.get_mut() {
                Open::Call(cancel) => {
                    let error = Error::new(Code::Cancelled, "the call was cancelled; it has taken nothing");
                    cancel.take().is_some_and(|cancel| cancel.send(error).is_ok())
                }
                Open::Session(key) => {
                    self.sessions.remove(key);
                    open.remove();
                    true
                }
                Open::Flow(key) => {
                    let flow = self.flows.remove(key);
                    let (target, _) = open.remove_entry();
                    if flow.is_some_and(|flow| !flow.is_answered()) {
                        self.mailbox.push(Item::Text(self.caller.refuse(Some(&target), &before_it_began())));
                    }
                    true
                }
                Open::Subscription(key) => {
                    let subscription = self.subscriptions.remove(key);
                    let (target, _) = open.remove_entry();
                    if subscription.is_some_and(|subscription| !subscription.is_answered()) {
                        self.calls -= 1;
                        self.mailbox.push(Item::Text(self.caller.refuse(Some(&target), &before_it_began())));
                    }
                    true
                }
            },
        };
        let mut text = Vec::with_capacity(48);
        super::call::open(Some(id), &mut text);
        text.extend_from_slice(if ended { b",\"result\":true}" } else { b",\"result\":false}" });
        self.mailbox.push(Item::Text(text));
        Ok(())
    }
}

fn before_it_began() -> Error {
    Error::new(Code::Cancelled, "the subscription was cancelled before it began")
}

fn stopping() -> Error {
    Error::backend(Code::Unavailable, "the gateway is about to stop", Delivery::NotSent, true)
}

/// What is counted as the close code of a connection that ended without one.
const LOST: u16 = 1006;

/// A number that nobody can foresee.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

impl Future for Socket {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.get_mut().advance(context)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.mailbox.close();
        let worker = &self.caller.worker;
        worker.shared.sockets.fetch_sub(1, Relaxed);
        worker.counters.sockets.close(self.code, self.received, self.sent);
        if worker.shared.access_log {
            tracing::info!(
                target: "dbx_gateway::access",
                request = self.caller.id,
                code = self.code,
                received = self.received,
                sent = self.sent,
                milliseconds = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
                "socket"
            );
        }
    }
}
