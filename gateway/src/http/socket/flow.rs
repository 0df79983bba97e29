//! What goes on until it is ended and has a task of its own: a stream that is followed, and the loop of a consumer.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::smallvec;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    super::{
        entries::{self, Follower, Next},
        options::Options,
        request,
    },
    FOREVER,
    call::{Answer, Caller, open},
    consumer::{self, Consumer},
    frame::{Frame, Id},
    mailbox::{Item, Mailbox},
    subscription,
};
use crate::{
    auth::Rights,
    backend::channels::Message,
    error::{Code, Delivery, Error},
    operation::{self, Class, arguments::Arguments, encode::Encoding, event, param::Role},
    resp::{self, Item as Reply, Reader},
};

/// What a flow has to be told.
pub(super) struct Ack {
    /// The call that says so.
    pub(super) id: Id,
    pub(super) entries: Vec<Bytes>,
}

/// Something that goes on; it ends when this is dropped.
pub(super) struct Flow {
    pub(super) id: Id,
    answered: Arc<AtomicBool>,
    acks: Option<mpsc::Sender<Ack>>,
    _task: AbortOnDropHandle<()>,
}

/// Where a flow's frames go, and under which name.
pub(super) struct Outlet {
    pub(super) caller: Arc<Caller>,
    pub(super) database: usize,
    pub(super) id: Id,
    pub(super) encoding: Encoding,
    mailbox: Arc<Mailbox>,
    answered: Arc<AtomicBool>,
}

impl Outlet {
    /// Answers the call: from now on its frames follow.
    pub(super) fn begun(&self) {
        let mut text = Vec::with_capacity(64);
        open(Some(&self.id), &mut text);
        text.extend_from_slice(b",\"result\":{\"subscription\":");
        self.id.write(&mut text);
        text.extend_from_slice(b"}}");
        self.answered.store(true, Relaxed);
        self.mailbox.push(Item::Text(text));
    }

    /// Sends a frame that begins with the flow's name, and waits until there is room for the next.
    pub(super) async fn tell(&self, rest: &[u8]) {
        let mut text = Vec::with_capacity(rest.len() + 32);
        text.extend_from_slice(b"{\"subscription\":");
        self.id.write(&mut text);
        text.extend_from_slice(rest);
        self.caller.owe(self.database, text.len());
        self.mailbox.push(Item::Text(text));
        self.mailbox.room().await;
    }

    /// Sends entries, as XRANGE answers them.
    pub(super) async fn entries(&self, entries: &[u8], more: &[u8]) -> Result<(), Error> {
        let mut rest = b",\"entries\":".to_vec();
        let in_base64 = entries::write(entries, self.encoding, &mut rest)?;
        rest.extend_from_slice(more);
        if in_base64 {
            rest.extend_from_slice(b",\"encoding\":\"base64\"");
        }
        rest.push(b'}');
        self.tell(&rest).await;
        Ok(())
    }

    /// The answer to an acknowledgement.
    pub(super) fn answer(&self, id: Id, outcome: Result<i64, Error>) {
        let text = match outcome {
            Err(error) => self.caller.refuse(Some(&id), &self.hidden(error)),
            Ok(count) => {
                let mut text = Vec::with_capacity(32);
                open(Some(&id), &mut text);
                text.extend_from_slice(format!(",\"result\":{count}}}").as_bytes());
                text
            }
        };
        self.mailbox.push(Item::Answer(Answer { id, text, taken: None }));
    }

    /// An error as the caller may read it.
    fn hidden(&self, error: Error) -> Error {
        self.caller.scope(self.database).rights().hide_in(error)
    }

    async fn fail(&self, error: Error) {
        let error = self.hidden(error);
        if self.answered.swap(true, Relaxed) {
            let problem = error.problem(&self.caller.id).to_string();
            self.tell(format!(",\"error\":{problem}}}").as_bytes()).await;
        } else {
            self.mailbox.push(Item::Text(self.caller.refuse(Some(&self.id), &error)));
        }
    }
}

/// A place in a stream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Following<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow, default)]
    from: Option<Cow<'a, str>>,
}

/// A channel whose messages are read from the stream that keeps them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replaying<'a> {
    #[serde(borrow)]
    channels: &'a RawValue,
    #[serde(borrow)]
    replay: Following<'a>,
}

const FOLLOW: &str = "{\"key\": …, \"from\"?: \"the id of the last entry that was seen\"}";
const REPLAY: &str = "{\"channels\": [one], \"replay\": {\"key\": …, \"from\"?: \"the id of the last message that was seen\"}}";

/// What a flow does.
enum Plan {
    /// Hands on entries; of a channel, messages.
    Follow {
        key: Bytes,
        from: Option<String>,
        channel: Option<Bytes>,
    },
    Consume(Consumer, mpsc::Receiver<Ack>),
    /// Hands on what a server says of every command.
    Monitor(BytesMut),
}

/// Whether a call begins a flow.
pub(super) fn begins(frame: &Frame<'_>) -> bool {
    let replays = || frame.args.and_then(|args| Arguments::from_json(args.get().as_bytes()).ok()?.remove("replay")).is_some();
    matches!(&*frame.op, "follow" | "consume" | "monitor") || (frame.op == "subscribe" && replays())
}

impl Flow {
    pub(super) fn begin(
        caller: &Arc<Caller>,
        database: usize,
        mailbox: &Arc<Mailbox>,
        id: &Id,
        frame: &Frame<'_>,
        key: u32,
    ) -> Result<Self, Error> {
        let options = caller.options(database, frame)?;
        let document = frame.args.map_or(&b"{}"[..], |args| args.get().as_bytes());
        let scope = caller.scope(database);
        let word = |operation: &str, argument: &str, value: &RawValue| word(caller, &options, operation, argument, value);
        let key_of = |operation: &str, role: Role, value: &RawValue| {
            let id = operation::find(operation).ok_or_else(super::super::unknown_operation)?;
            let key = word("xlen", "key", value)?;
            scope.begun("consume", id.operation().access.class, std::slice::from_ref(&key), scope.rights().key(id, role, key.clone()))
        };
        let follow = |following: Following<'_>, channel| {
            let from = following.from.map(Cow::into_owned);
            if from.as_deref().is_some_and(|from| !entries::is_id(from)) {
                return Err(Error::new(Code::InvalidArgument, "expected the id of an entry, such as 1526919030474-55").param("from"));
            }
            Ok(Plan::Follow { key: entries::may_follow(scope, word("xlen", "key", following.key)?)?, from, channel })
        };
        let (acks, heard) = mpsc::channel(caller.worker.shared.max_socket_calls);
        let mut consumes = None;
        let plan = match &*frame.op {
            "follow" => follow(request::document(document, "args", FOLLOW)?, None)?,
            "subscribe" => {
                let Replaying { channels, replay } = request::document(document, "args", REPLAY)?;
                let subscribe = operation::find("subscribe").ok_or_else(super::super::unknown_operation)?;
                let channel = word("subscribe", "channels", channels)?;
                let admitted = scope.rights().channel(subscribe, channel.clone());
                follow(replay, Some(scope.begun("subscribe", Class::Subscribe, &[channel], admitted)?))?
            }
            "monitor" => {
                let monitor = operation::find("monitor").ok_or_else(super::super::unknown_operation)?;
                super::super::call::check_supported(caller.database(database), monitor)?;
                let mut command = BytesMut::new();
                options.encode_any(scope, monitor, &Arguments::from_json(document)?, &mut command)?.1.end(None);
                Plan::Monitor(command)
            }
            _ => {
                consumes = Some(acks);
                // It does what these do.
                let read = |value: &RawValue| {
                    for operation in ["xgroup_create", "xack", "xpending", "xclaim"] {
                        key_of(operation, Role::METADATA, value)?;
                    }
                    key_of("xreadgroup", Role::READ_WRITE, value)
                };
                Plan::Consume(Consumer::read(document, read, |value| key_of("xadd", Role::WRITE, value))?, heard)
            }
        };
        let answered = Arc::new(AtomicBool::new(false));
        let outlet = Outlet {
            caller: caller.clone(),
            database,
            id: id.clone(),
            encoding: options.encoding,
            mailbox: mailbox.clone(),
            answered: answered.clone(),
        };
        let task = caller.worker.tasks.spawn(async move {
            let ended = match plan {
                Plan::Follow { key, from, channel } => follow_stream(&outlet, key, from, channel).await,
                Plan::Consume(consumer, acks) => consumer::run(&outlet, consumer, acks).await,
                Plan::Monitor(command) => monitor(&outlet, &command).await,
            };
            if let Err(error) = ended {
                outlet.fail(error).await;
            }
            outlet.mailbox.push(Item::Over(key));
        });
        Ok(Self { id: id.clone(), answered, acks: consumes, _task: AbortOnDropHandle::new(task) })
    }

    /// Whether its call has been answered; if not, it never will be by itself.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.swap(true, Relaxed)
    }

    /// Hands on what a client has done with.
    pub(super) fn acknowledge(&self, ack: Ack) -> Result<(), Error> {
        let acks =
            self.acks.as_ref().ok_or_else(|| Error::new(Code::InvalidArgument, "only a consumer acknowledges").param("subscription"))?;
        acks.try_send(ack)
            .map_err(|_| Error::backend(Code::Unavailable, "too many acknowledgements wait for the database", Delivery::NotSent, true))
    }
}

/// The one word that an argument becomes in an operation.
fn word(caller: &Caller, options: &Options, operation: &str, argument: &str, value: &RawValue) -> Result<Bytes, Error> {
    let id = operation::find(operation).ok_or_else(super::super::unknown_operation)?;
    let mut command = BytesMut::new();
    id.operation().encode_any(&Arguments::of(argument, value), &options.rules(&caller.worker.shared), &mut command)?;
    let mut words = subscription::names(&command);
    match (words.pop(), words.is_empty()) {
        (Some(word), true) => Ok(word),
        _ => Err(Error::new(Code::InvalidArgument, "expected exactly one").param(argument.to_owned())),
    }
}

/// Hands on a stream's entries until the flow is ended.
async fn follow_stream(outlet: &Outlet, key: Bytes, from: Option<String>, channel: Option<Bytes>) -> Result<(), Error> {
    let mut follower = Follower::begin(outlet.caller.database(outlet.database).clone(), key, from.as_deref()).await?;
    outlet.begun();
    let rights = outlet.caller.scope(outlet.database).rights();
    let mut interrupted = false;
    loop {
        match follower.next().await? {
            Next::Interrupted => {
                interrupted = true;
                outlet.tell(b",\"interrupted\":true}").await;
            }
            Next::Entries(entries) => {
                if std::mem::take(&mut interrupted) {
                    outlet.tell(b",\"resumed\":true}").await;
                }
                match &channel {
                    None => outlet.entries(&entries, b"").await?,
                    Some(channel) => {
                        for entry in entries::each(&entries) {
                            if let Some(message) = message(entry, channel, rights, outlet.encoding) {
                                outlet.tell(&message).await;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Hands on the lines of MONITOR until the flow is ended or the connection lost.
async fn monitor(outlet: &Outlet, command: &[u8]) -> Result<(), Error> {
    let failed = |failure: crate::backend::Failure| failure.error(true);
    let deadline = Instant::now() + outlet.caller.database(outlet.database).room.call_timeout;
    let mut own = outlet.caller.database(outlet.database).backend.hold(command, deadline).await.map_err(failed)?;
    entries::check(own.exchange(command, smallvec![true], deadline).await.map_err(failed)?)?;
    outlet.begun();
    loop {
        let frame = own.exchange(b"", smallvec![true], Instant::now() + FOREVER).await.map_err(failed)?;
        let frame = entries::check(frame)?;
        let Ok(Reply::Simple(line)) = Reader::new(&frame).read() else {
            return Err(Error::new(Code::BackendError, Code::BackendError.title()));
        };
        let line = serde_json::Value::from(String::from_utf8_lossy(line));
        outlet.tell(format!(",\"line\":{line}}}").as_bytes()).await;
    }
}

/// A kept message as the rest of a frame, with its id: what `publish_and_keep` has put into the stream for this channel.
fn message(entry: &[u8], channel: &Bytes, rights: &Rights, encoding: Encoding) -> Option<Vec<u8>> {
    let [id, b"channel", of, b"message", payload] = resp::words(entry)[..] else { return None };
    // Who has a prefix keeps the name without it.
    if of != &channel[..] && of != rights.heard(channel) {
        return None;
    }
    let message = Message::new(channel.clone(), None, Bytes::copy_from_slice(payload));
    let mut rest = b",\"id\":\"".to_vec();
    rest.extend_from_slice(id);
    rest.push(b'"');
    rest.extend_from_slice(&event::members(&message, rights, encoding));
    Some(rest)
}
