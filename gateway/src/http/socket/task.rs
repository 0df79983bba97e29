//! The task of one socket: reads calls while there is room for them, sends answers and messages as the client takes them,
//! and says why when it closes.

mod ending;
mod intake;
mod outgoing;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream::FuturesUnordered};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, Utf8Bytes, protocol::frame::coding::CloseCode},
};

use super::{
    super::stream::Stream,
    NOT_KNOWN,
    call::{Answer, Caller},
    flow::Flow,
    frame::Id,
    line::Line,
    mailbox::Mailbox,
    session::Session,
    subscription::Subscription,
};
use crate::{backend::Taken, error::Error};

/// Rounds of reading and writing before other sockets have their turn.
const ROUNDS: usize = 8;
/// How long a client may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(2);

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
    line: Line,
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
    /// The client did not take all that was to be written.
    blocked: bool,
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
            line: Line::new(stream),
            state: State::Running,
            mailbox,
            work: FuturesUnordered::new(),
            open: HashMap::new(),
            calls: 0,
            subscriptions: HashMap::new(),
            sessions: HashMap::new(),
            flows: HashMap::new(),
            next_key: 0,
            blocked: false,
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
            let wrote = self.write(context).unwrap_or_else(|_| {
                // The client has gone, or all is said.
                self.state = State::Ending;
                false
            });
            // What is written ends in good-bye when it was the last; else only what is read is followed by something.
            let wrote = wrote && !matches!(self.state, State::Running);
            let progress = self.read(context) | wrote;
            if let State::Ending = self.state {
                return self.line.lock().poll_shutdown(context).map(|_| ());
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
                        self.line.lock().send_control(Message::Ping(Bytes::new()));
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
        if matches!(self.state, State::Draining) && self.calls == 0 && !self.line.lock().is_amid() && self.mailbox.is_empty() {
            self.say_restart();
        }
    }
}

/// What is counted as the close code of a connection that ended without one.
const LOST: u16 = 1006;

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
        let sent = self.line.lock().sent;
        worker.shared.sockets.fetch_sub(1, Relaxed);
        worker.counters.sockets.close(self.code, self.received, sent);
        if let Some(access) = &worker.access {
            access.socket(&crate::record::Socket {
                id: &self.caller.id,
                code: self.code,
                received: self.received,
                sent,
                milliseconds: u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
        }
    }
}
