//! What a socket makes of what it reads: calls are begun, and what cannot be one is refused.

use std::{
    borrow::Cow,
    collections::hash_map::Entry,
    task::{Context, Poll},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes, protocol::frame::coding::CloseCode};

use super::{
    super::{
        super::{entries, request},
        call::{self, open},
        flow::{self, Ack, Flow},
        frame::{self, Frame, Id, Read},
        mailbox::Item,
        session::Session,
        subscription::{self, Subscription},
    },
    FAREWELL, Open, Socket, State,
};
use crate::error::{Code, Error};

/// Frames that are read before what they have started is looked after.
const READ_AT_ONCE: usize = 64;
/// A frame that is read from this size on does not leave its memory to the socket.
const LARGE: usize = 16 << 10;

impl Socket {
    /// Reads calls as long as there is room for them. Whether there was something.
    pub(super) fn read(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        for _ in 0..READ_AT_ONCE {
            let mut wire = self.line.lock();
            match self.state {
                State::Running if self.calls < self.caller.worker.shared.max_socket_calls && wire.is_quiet() => {}
                // The answer to a close is waited for, and nothing else is looked at.
                State::Closing(_) if !wire.unflushed => {}
                _ => break,
            }
            let message = wire.poll_next(context);
            drop(wire);
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

    fn take(&mut self, message: Message) {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return self.close(CloseCode::Unsupported, "frames are JSON text"),
            Message::Close(frame) => {
                self.code = frame.map_or(CloseCode::Status, |frame| frame.code).into();
                self.line.lock().unflushed = true;
                let until = Instant::now() + FAREWELL;
                self.timer.as_mut().reset(until);
                self.state = State::Closing(until);
                return;
            }
            // A ping is answered by the next flush.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                self.line.lock().unflushed = true;
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
        if &*frame.op == "authenticate" {
            return Err(
                Error::new(Code::Conflict, "the client of this socket is known already; another one needs another socket").param("op")
            );
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
            self.caller.owe(database, text.len());
            session.call(&self.caller, database, id.clone(), frame)?;
            Open::Call(None)
        } else {
            let database = self.caller.choose(frame)?;
            self.caller.owe(database, text.len());
            if flow::begins(frame) {
                self.check_room()?;
                // What goes on costs as much as a call.
                self.caller.enter(database, 1, None)?;
                let key = self.key();
                let flow = Flow::begin(&self.caller, database, &self.mailbox, id, frame, key)?;
                self.flows.insert(key, flow);
                self.open.insert(id.clone(), Open::Flow(key));
                return Ok(());
            }
            if &*frame.op == "ack" {
                self.caller.enter(database, 1, None)?;
                self.acknowledge(id, frame)?;
                Open::Call(None)
            } else if let Some(kind) = subscription::kind(&frame.op) {
                self.check_room()?;
                self.caller.enter(database, 1, None)?;
                let key = self.key();
                let ways = (&self.mailbox, &self.line);
                let subscription = Subscription::begin(&self.caller, database, ways, kind, id.clone(), frame, key)?;
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

    /// Whether one more may go on for as long as its client likes.
    fn check_room(&self) -> Result<(), Error> {
        let most = self.caller.worker.shared.max_subscriptions;
        if self.subscriptions.len() + self.flows.len() + self.sessions.len() < most {
            return Ok(());
        }
        let detail = format!("a socket may have {most} subscriptions and sessions (sockets.maxSubscriptions)");
        Err(Error::new(Code::TooManySubscriptions, detail))
    }

    /// Hands what a client has done with to its consumer.
    fn acknowledge(&self, id: &Id, frame: &Frame<'_>) -> Result<(), Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given<'a> {
            #[serde(borrow)]
            subscription: &'a RawValue,
            #[serde(borrow)]
            ids: Vec<Cow<'a, str>>,
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
        self.check_room()?;
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
        let given: Given<'_> = frame
            .args
            .filter(|args| args.get().starts_with('{'))
            .and_then(|args| serde_json::from_str(args.get()).ok())
            .ok_or_else(expected)?;
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
        open(Some(id), &mut text);
        text.extend_from_slice(if ended { b",\"result\":true}" } else { b",\"result\":false}" });
        self.mailbox.push(Item::Text(text));
        Ok(())
    }
}

fn before_it_began() -> Error {
    Error::new(Code::Cancelled, "the subscription was cancelled before it began")
}
