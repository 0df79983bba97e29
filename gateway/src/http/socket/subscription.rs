//! Subscriptions of a socket: one call that goes on being answered. The messages are the database's hub's; here is what the
//! client is told of them.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{
        events::{Slow, channels::check_notifications},
        options::Options,
        request,
    },
    call::{Caller, open},
    frame::{Frame, Id},
    line::Line,
    mailbox::{Ear, Item, Mailbox},
};
use crate::{
    backend::channels::{Event, Kind, Message, Topic},
    error::{self, Code, Delivery, Error},
    operation::{
        Class,
        arguments::{Arguments, Given},
        encode::Encoding,
        event, find, observe,
    },
    resp,
};

/// The operations that subscribe, and to what.
const SUBSCRIBING: &[(&str, Kind)] = &[("psubscribe", Kind::Pattern), ("ssubscribe", Kind::Shard), ("subscribe", Kind::Channel)];

/// The word of the gateway's own that subscribes to what happens to keys.
const OBSERVE: &str = "observe";

/// The arguments of `observe`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Observing<'a> {
    #[serde(borrow)]
    keys: &'a RawValue,
    #[serde(borrow, default)]
    events: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    slow: Option<Cow<'a, str>>,
}

/// What an operation subscribes to, if it does.
pub(super) fn kind(op: &str) -> Option<Kind> {
    let known = SUBSCRIBING.iter().find(|(name, _)| *name == op).map(|(_, kind)| *kind);
    known.or_else(|| (op == OBSERVE).then_some(Kind::Everywhere))
}

/// How a subscription tells of messages.
pub(super) struct Voice {
    caller: Arc<Caller>,
    database: usize,
    id: Id,
    /// What every frame begins with: the name of the subscription.
    head: Box<[u8]>,
    encoding: Encoding,
    /// Of key events: which are wanted; without any, all.
    observed: Option<Vec<String>>,
}

/// A subscription to one or more topics of a kind.
pub(super) struct Subscription {
    voice: Arc<Voice>,
    /// By topic: whether it is heard.
    up: Vec<bool>,
    /// The server is known to tell of what is observed, if anything is.
    checked: bool,
    answered: bool,
    interrupted: bool,
    topics: Vec<Box<dyn Send + Sync>>,
}

/// What an event makes of a subscription.
pub(super) enum Told {
    /// Nothing that its client needs to know.
    Nothing,
    /// A frame.
    Text(Vec<u8>),
    /// It has begun: the answer to the call.
    Begun(Vec<u8>),
    /// It is over: the answer to the call, or a last frame.
    Over(Vec<u8>),
}

impl Voice {
    fn new(caller: Arc<Caller>, database: usize, id: Id, encoding: Encoding, observed: Option<Vec<String>>) -> Self {
        let mut head = b"{\"subscription\":".to_vec();
        id.write(&mut head);
        Self { caller, database, id, head: head.into(), encoding, observed }
    }

    /// What a client is told of a message, if anything.
    pub(super) fn message(&self, message: &Message) -> Option<Vec<u8>> {
        let rights = self.caller.scope(self.database).rights();
        let text = match &self.observed {
            None if !rights.hears(&message.channel) => return None,
            None => self.with(&event::members(message, rights, self.encoding)),
            Some(events) => {
                let (key, name) = observe::read(message)?;
                let key = rights.told(find("get")?, key)?;
                if !events.is_empty() && !events.iter().any(|event| event.as_bytes() == name) {
                    return None;
                }
                self.with(&event::key_members(key, name, self.encoding))
            }
        };
        self.caller.owe(self.database, text.len());
        Some(text)
    }

    /// Whether nothing may be told any more.
    pub(super) fn is_over(&self) -> bool {
        self.caller.identity.is_withdrawn()
    }

    /// A frame, exactly as large as it is.
    fn with(&self, rest: &[u8]) -> Vec<u8> {
        [&*self.head, rest].concat()
    }
}

impl Subscription {
    /// Begins to listen. The answer is sent when the database has confirmed it.
    pub(super) fn begin(
        caller: &Arc<Caller>,
        database: usize,
        (mailbox, line): (&Arc<Mailbox>, &Line),
        kind: Kind,
        id: Id,
        frame: &Frame<'_>,
        key: u32,
    ) -> Result<Self, Error> {
        let options = caller.options(database, frame)?;
        let document = frame.args.map_or(&b"{}"[..], |args| args.get().as_bytes());
        let scope = caller.scope(database);
        let rights = scope.rights();
        let (names, slow, observed) = match kind {
            Kind::Everywhere => {
                let given: Observing<'_> = request::document(document, "args", OBSERVING)?;
                let keys = words(caller, database, "psubscribe", &Arguments::of("patterns", given.keys), &options);
                let keys = keys.map_err(|error| error.param("keys"))?;
                let glob = |glob: Bytes| rights.observed(glob).map(|glob| observe::topic(&glob).name);
                let names = keys.iter().cloned().map(glob).collect();
                let names: Vec<_> = scope.begun(OBSERVE, Class::Read, &keys, names)?;
                let events = given.events.unwrap_or_default().into_iter().map(Cow::into_owned).collect();
                (names, Slow::read(given.slow.as_deref())?, Some(events))
            }
            _ => {
                let mut arguments = Arguments::from_json(document)?;
                let slow = match arguments.remove("slow") {
                    None => Slow::read(None)?,
                    Some(Given::Json(value)) => Slow::read(Some(value.get().trim_matches('"')))?,
                    Some(_) => Slow::read(Some(""))?,
                };
                let operation = find(&frame.op).ok_or_else(super::super::unknown_operation)?;
                let admit = |name: Bytes| match kind {
                    Kind::Pattern => rights.pattern(operation, name),
                    _ => rights.channel(operation, name),
                };
                let names = words(caller, database, &frame.op, &arguments, &options)?;
                let admitted = names.iter().cloned().map(admit).collect();
                (scope.begun(&frame.op, Class::Subscribe, &names, admitted)?, slow, None)
            }
        };
        let checked = observed.is_none();
        if !checked {
            let (caller, mailbox) = (caller.clone(), mailbox.clone());
            caller.worker.tasks.clone().spawn(async move {
                let outcome = check_notifications(caller.database(database)).await;
                mailbox.push(Item::Checked(key, outcome));
            });
        }
        let voice = Arc::new(Voice::new(caller.clone(), database, id, options.encoding, observed));
        let dropped = Arc::new(AtomicU64::new(0));
        let channels = &caller.database(database).channels;
        let listen = |(index, name): (usize, Bytes)| {
            let ear = Ear {
                mailbox: mailbox.clone(),
                line: line.clone(),
                subscription: key,
                voice: voice.clone(),
                topic: index,
                slow,
                dropped: dropped.clone(),
            };
            channels.listen(Topic { kind, name }, Arc::new(ear))
        };
        let up = vec![false; names.len()];
        let topics = names.into_iter().enumerate().map(listen).collect();
        Ok(Self { voice, up, checked, answered: false, interrupted: false, topics })
    }

    /// The id of its call.
    pub(super) fn id(&self) -> &Id {
        &self.voice.id
    }

    /// The server tells of what is observed, or does not.
    pub(super) fn checked(&mut self, caller: &Caller, outcome: Result<(), Error>) -> Told {
        match outcome {
            Err(error) => self.over(caller, &error),
            Ok(()) => {
                self.checked = true;
                self.begun()
            }
        }
    }

    /// Answers the call once all of it is heard.
    fn begun(&mut self) -> Told {
        if self.answered || !self.checked || !self.up.iter().all(|up| *up) {
            return Told::Nothing;
        }
        self.answered = true;
        let mut text = Vec::with_capacity(64);
        open(Some(self.id()), &mut text);
        text.extend_from_slice(b",\"result\":{\"subscription\":");
        self.id().write(&mut text);
        text.extend_from_slice(b"}}");
        Told::Begun(text)
    }

    /// Whether its call has been answered.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Listens no more; what was heard is still told. Whether its call has been answered.
    pub(super) fn stop(&mut self) -> bool {
        self.topics.clear();
        self.answered
    }

    /// Tells what was heard on one of its topics.
    pub(super) fn hear(&mut self, caller: &Caller, topic: usize, event: &Event) -> Told {
        match event {
            Event::Message(message) => self.voice.message(message).map_or(Told::Nothing, Told::Text),
            Event::Subscribed => {
                self.up[topic] = true;
                if !self.up.iter().all(|up| *up) {
                    return Told::Nothing;
                }
                if !self.answered {
                    return self.begun();
                }
                if !std::mem::take(&mut self.interrupted) {
                    return Told::Nothing;
                }
                Told::Text(self.voice.with(b",\"resumed\":true}"))
            }
            Event::Interrupted => {
                self.up[topic] = false;
                if !self.answered {
                    let detail = "the database cannot be reached, so nothing is heard";
                    return self.over(caller, &Error::backend(Code::Unavailable, detail, Delivery::NotSent, true));
                }
                if std::mem::replace(&mut self.interrupted, true) {
                    return Told::Nothing;
                }
                Told::Text(self.voice.with(b",\"interrupted\":true}"))
            }
            Event::Refused(line) => self.over(caller, &caller.scope(self.voice.database).rights().hide_in(error::from_redis(line))),
        }
    }

    /// Tells how many messages were dropped.
    pub(super) fn missed(&self, dropped: &AtomicU64) -> Vec<u8> {
        self.voice.with(format!(",\"dropped\":{}}}", dropped.swap(0, Relaxed)).as_bytes())
    }

    fn over(&self, caller: &Caller, error: &Error) -> Told {
        let refusal = caller.refuse(Some(self.id()), error);
        if !self.answered {
            return Told::Over(refusal);
        }
        // The call has been answered; what follows goes by the name of the subscription.
        Told::Over(self.voice.with(format!(",\"error\":{}}}", error.problem(&caller.id)).as_bytes()))
    }
}

const OBSERVING: &str = "{\"keys\": [\"cart:*\", …], \"events\"?: [\"set\", \"expired\", …], \"slow\"?: \"close\" | \"drop\"}";

/// What an operation's arguments are as words.
fn words(caller: &Caller, database: usize, operation: &str, arguments: &Arguments<'_>, options: &Options) -> Result<Vec<Bytes>, Error> {
    let operation = find(operation).ok_or_else(super::super::unknown_operation)?;
    super::super::call::check_supported(caller.database(database), operation)?;
    let mut command = BytesMut::new();
    operation.operation().encode_any(arguments, &options.rules(&caller.worker.shared), &mut command)?;
    Ok(names(&command))
}

/// The words behind the first of an encoded command.
pub(super) fn names(command: &[u8]) -> Vec<Bytes> {
    resp::words(command).into_iter().skip(1).map(Bytes::copy_from_slice).collect()
}
