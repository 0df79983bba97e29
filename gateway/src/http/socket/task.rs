//! The task of one socket: reads calls while there is room for them, sends answers and messages as the client takes them,
//! and says why when it closes.

mod intake;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{FutureExt, Sink, Stream as _, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hyper_util::rt::TokioIo;
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
    super::stream::Stream,
    NOT_KNOWN, WRITE,
    call::{Answer, Caller},
    flow::Flow,
    frame::Id,
    mailbox::{Item, Mailbox},
    session::Session,
    subscription::{Subscription, Told},
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
const LARGE: usize = 16 << 10;
/// How long a client may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long one may take that was too slow.
const SLOW_FAREWELL: Duration = Duration::from_secs(30);
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
    /// The client did not take all that was to be written.
    blocked: bool,
    /// Something was written in this round.
    wrote: bool,
    /// What is given up for good once the client has it.
    taken: Vec<Taken>,
    /// The memory of a large frame, until the next read has begun with another. Without it the socket would read into it again and
    /// keep it for good.
    kept: Option<Utf8Bytes>,
    opened: Instant,
    heard: Instant,
    asked: Instant,
    /// When it begins to drain, and when it waits no longer for calls that run.
    drains_at: Option<Instant>,
    ends_at: Option<Instant>,
    /// When the client's credential ends.
    known_until: Option<Instant>,
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
        let (now, identity) = (Instant::now(), caller.identity.clone());
        let left = identity.until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
        let ends = left.and_then(|left| now.checked_add(left));
        let look = now + shared.ping_interval.min(shared.idle_timeout);
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
            blocked: false,
            wrote: false,
            taken: Vec::new(),
            kept: None,
            opened: now,
            heard: now,
            asked: now,
            drains_at: None,
            ends_at: None,
            known_until: ends,
            timer: Box::pin(tokio::time::sleep_until(ends.map_or(look, |ends| look.min(ends)))),
            draining: Some(Box::pin(async move {
                tokio::select! {
                    () = shared.drain.draining() => {}
                    () = identity.withdrawn() => {}
                }
            })),
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
        if self.caller.identity.is_withdrawn() {
            self.close(NOT_KNOWN, "the credential is not taken any more");
        }
        for _ in 0..ROUNDS {
            self.look(context);
            if self.write(context).is_err() {
                // The client has gone, or all is said.
                self.state = State::Ending;
            }
            // What is written ends in good-bye when it was the last; else only what is read is followed by something.
            let wrote = std::mem::take(&mut self.wrote) && !matches!(self.state, State::Running);
            let progress = self.read(context) | wrote;
            if let State::Ending = self.state {
                return Pin::new(self.stream.get_mut()).poll_shutdown(context).map(|_| ());
            }
            if !progress {
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
                State::Running | State::Draining if self.known_until.is_some_and(|until| now >= until) => {
                    self.close(NOT_KNOWN, "the credential has ended");
                    next = now + FAREWELL;
                }
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
                        } else if self.ends_at.is_some_and(|end| now >= end) {
                            self.say_restart();
                            next = now + FAREWELL;
                        } else if let Some(end) = self.ends_at {
                            next = next.min(end);
                        }
                    }
                    if now >= self.heard.max(self.asked) + shared.ping_interval {
                        self.asked = now;
                        // A client that does not take it will be found silent.
                        let _ = Pin::new(&mut self.stream).start_send(Message::Ping(Bytes::new()));
                        self.unflushed = true;
                    }
                    next = self.known_until.map_or(next, |until| next.min(until));
                }
                State::Ending => {}
            }
            self.timer.as_mut().reset(next);
        }
        if self.mailbox.watch(context) {
            self.close(CloseCode::Policy, "too slow for a subscription (sockets.maxQueuedBytes)");
        }
        if matches!(self.state, State::Draining) && self.calls == 0 && self.rest.is_none() && self.mailbox.is_empty() {
            self.say_restart();
        }
    }

    /// Closes because the gateway stops. The reason is for programs: when to come back, so that not all do at once.
    fn say_restart(&mut self) {
        self.close(CloseCode::Restart, format!("{{\"reconnectAfter\":{}}}", random() % COME_BACK));
    }

    /// Chooses when it will stop, so that not all sockets of a gateway do so at once.
    fn plan_drain(&mut self) {
        let window = u64::try_from(self.caller.worker.shared.drain_propagation.as_millis()).unwrap_or(u64::MAX);
        let at = Instant::now() + Duration::from_millis(random() % window.max(1));
        self.drains_at = Some(at);
        if matches!(self.state, State::Running) {
            self.timer.as_mut().reset(at);
        }
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
        let mut unanswered = 0;
        self.subscriptions.retain(|_, subscription| {
            let answered = subscription.stop();
            if !answered {
                unanswered += 1;
                self.open.remove(&subscription.id);
                self.mailbox.push(Item::Text(self.caller.refuse(Some(&subscription.id), &stopping())));
            }
            answered
        });
        self.calls -= unanswered;
        for flow in std::mem::take(&mut self.flows).into_values() {
            self.open.remove(&flow.id);
            if !flow.is_answered() {
                self.mailbox.push(Item::Text(self.caller.refuse(Some(&flow.id), &stopping())));
            }
        }
        self.sessions.values_mut().for_each(Session::finish);
        let shared = &self.caller.worker.shared;
        // Time to say good-bye is kept, but not more than half of a short drain.
        let patience = shared.drain_timeout.saturating_sub(2 * FAREWELL).max(shared.drain_timeout / 2);
        let until = now + self.longest_call().min(patience);
        self.ends_at = Some(until);
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
        if self.rest.take().is_some() {
            // What is sent by half has not reached its client.
            self.taken.clear();
        }
        // Nothing more is heard for it.
        self.subscriptions.clear();
        self.flows.clear();
        // One that is slow to read is slow to read this as well.
        let patience = if code == CloseCode::Policy { SLOW_FAREWELL } else { FAREWELL };
        let until = Instant::now() + patience;
        self.state = State::Closing(until);
        self.timer.as_mut().reset(until);
        // If it cannot be sent the client has gone already.
        let _ = Pin::new(&mut self.stream).start_send(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
        self.unflushed = true;
    }

    /// Sends what is ready, as long as the client takes it.
    fn write(&mut self, context: &mut Context<'_>) -> Result<(), tungstenite::Error> {
        while matches!(self.state, State::Running | State::Draining) {
            let ready = Pin::new(&mut self.stream).poll_ready(context);
            if !self.is_taken(ready)? {
                return Ok(());
            }
            let Some(frame) = self.next(context) else { break };
            (self.wrote, self.unflushed) = (true, true);
            self.sent += 1;
            Pin::new(&mut self.stream).start_send(Message::Frame(frame))?;
        }
        if self.unflushed {
            let flushed = Pin::new(&mut self.stream).poll_flush(context);
            if self.is_taken(flushed)? {
                self.unflushed = false;
                self.taken.drain(..).for_each(Taken::delivered);
            }
        }
        Ok(())
    }

    /// Whether the client takes what is written. One that takes what it had not taken before is alive.
    fn is_taken(&mut self, outcome: Poll<Result<(), tungstenite::Error>>) -> Result<bool, tungstenite::Error> {
        match outcome {
            Poll::Ready(done) => {
                done?;
                if std::mem::take(&mut self.blocked) {
                    self.heard = Instant::now();
                }
                Ok(true)
            }
            Poll::Pending => {
                self.blocked = true;
                Ok(false)
            }
        }
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
            let text = match self.mailbox.pop()? {
                Item::Answer(answer) => return Some(self.answer(answer)),
                Item::Text(text) => text,
                Item::Heard { subscription, topic, event } => {
                    match self.tell(subscription, |subscription, caller| subscription.hear(caller, topic, &event)) {
                        Some(text) => text,
                        None => continue,
                    }
                }
                Item::Checked(key, outcome) => match self.tell(key, |subscription, caller| subscription.checked(caller, outcome)) {
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

    /// What a subscription makes of something, for its client.
    fn tell(&mut self, key: u32, what: impl FnOnce(&mut Subscription, &Caller) -> Told) -> Option<Vec<u8>> {
        // What was on its way to one that has ended is for nobody.
        let subscription = self.subscriptions.get_mut(&key)?;
        match what(subscription, &self.caller) {
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
            let message = Pin::new(&mut self.stream).poll_next(context);
            self.kept = None;
            let Poll::Ready(message) = message else { break };
            progress = true;
            match message {
                Some(Ok(message)) => {
                    self.received += 1;
                    self.heard = Instant::now();
                    if matches!(self.state, State::Running) {
                        self.take(message);
                    }
                }
                // Who cannot be understood will not be understood to say good-bye.
                Some(Err(_)) if matches!(self.state, State::Closing(_)) => self.state = State::Ending,
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
        if let Some(access) = &worker.access {
            access.socket(&crate::record::Socket {
                id: &self.caller.id,
                code: self.code,
                received: self.received,
                sent: self.sent,
                milliseconds: u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
        }
    }
}
