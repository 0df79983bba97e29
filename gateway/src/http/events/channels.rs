//! Channels and key events as server-sent events: `GET /channels/{channel}`, `GET /channels?pattern=`, and
//! `GET /keys/{key}?observe`. A stream begins with the confirmation; a refusal before that is the answer.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Body,
    http::{Method, Response, header},
};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Queue, Slow, described, response, write};
use crate::{
    auth::{Identity, Rights},
    backend::channels::{Event, Kind, Listener, Topic},
    error::{self, Code, Error},
    http::{
        Incoming, entries, method_not_allowed, options,
        request::{self, Query},
        resource::KEY_BASE64,
        respond, unknown_operation,
    },
    operation::{self, Class, encode::Encoding, event, observe, param::Role},
    resp::{Item, Reader},
    worker::Database,
};

/// What a path asks to hear.
pub(in crate::http) enum Source<'a> {
    /// The channel of this raw segment.
    Channel(&'a str),
    /// The channels that the query names.
    Pattern,
    /// What happens to the key of this raw segment, or the query's.
    Key(&'a str),
}

/// Whether a request is for an event stream, or for a place where there are only those.
pub(in crate::http) fn find<'a>(path: &'a str, method: &Method, query: Option<&str>) -> Option<Source<'a>> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match path.split_once('/') {
        None if path == "channels" => Some(Source::Pattern),
        Some(("channels", channel)) if !channel.is_empty() && !channel.contains('/') && *method != Method::POST => {
            Some(Source::Channel(channel))
        }
        Some(("keys", key)) if reads && !key.contains('/') => {
            let asks = |pair: &str| pair.split('=').next() == Some("observe");
            query.is_some_and(|query| query.split('&').any(asks)).then_some(Source::Key(key))
        }
        _ => None,
    }
}

/// What a request says of its stream.
struct Options {
    encoding: Encoding,
    slow: Slow,
    /// Key events of these names alone; without any, all.
    events: Vec<String>,
}

/// Answers with a stream.
pub(in crate::http) async fn answer(incoming: Incoming<'_>, source: Source<'_>) -> Result<Response<Body>, Error> {
    let allow = if matches!(source, Source::Channel(_)) { "GET, HEAD, OPTIONS, POST" } else { "GET, HEAD, OPTIONS" };
    match incoming.parts.method {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => return Ok(respond::options(allow)),
        _ => return Err(method_not_allowed(allow.into())),
    }
    check_accept(&incoming)?;
    let mut query = request::query(&incoming.parts.uri)?;
    let mut options = Options { encoding: Encoding::Utf8, slow: Slow::Close, events: Vec::new() };
    if let Some(value) = take(&mut query, "encoding") {
        options.encoding = options::encoding(&value)?;
    }
    options.slow = Slow::read(take(&mut query, "slow").as_deref())?;
    let channels = &incoming.database.channels;
    let (topic, observed) = match source {
        Source::Channel(raw) => {
            let kind = if flag(&mut query, "sharded")? { Kind::Shard } else { Kind::Channel };
            (Topic { kind, name: Bytes::copy_from_slice(&named(raw, "channel")?) }, None)
        }
        Source::Pattern => {
            let pattern = take(&mut query, "pattern")
                .ok_or_else(|| Error::new(Code::MissingArgument, "a glob of channels, or the channel in the path").param("pattern"))?;
            (Topic { kind: Kind::Pattern, name: Bytes::from(pattern.into_owned()) }, None)
        }
        Source::Key(raw) => {
            let key = key(&mut query, raw)?;
            if !flag(&mut query, "observe")? {
                return Err(Error::new(Code::InvalidArgument, "expected `true`, or nothing").param("observe"));
            }
            if let Some(events) = take(&mut query, "events") {
                options.events = events.split(',').map(str::to_owned).collect();
            }
            (observe::topic(&observe::escape(&key)), Some(Bytes::from(key.into_owned())))
        }
    };
    if let Some((name, _)) = query.into_iter().next() {
        return Err(Error::new(Code::UnknownArgument, "the stream has no such parameter").param(name.into_owned()));
    }
    let most = incoming.worker.shared.max_key_bytes;
    if topic.name.len() > most {
        return Err(Error::new(Code::KeyTooLarge, format!("a channel's name may have at most {most} bytes (limits.maxKeyBytes)")));
    }
    if incoming.parts.method == Method::HEAD {
        return Ok(described(Body::empty()));
    }
    let place = incoming.seat()?;
    let key_events = observed.is_some();
    let scope = incoming.scope();
    let (word, class) = match (&observed, topic.kind) {
        (Some(_), _) => ("observe", Class::Read),
        (None, Kind::Pattern) => ("psubscribe", Class::Subscribe),
        (None, Kind::Shard) => ("ssubscribe", Class::Subscribe),
        (None, _) => ("subscribe", Class::Subscribe),
    };
    let name = observed.clone().unwrap_or_else(|| topic.name.clone());
    let topic = scope.begun(word, class, &[name], admit(scope.rights(), topic, observed))?;
    if key_events {
        check_notifications(incoming.database).await?;
    }
    let queue = Queue::new(incoming.worker, options.slow);
    // Whatever ends this, also a client that does not wait, ends the subscription with it.
    let response = response(queue.clone(), place, incoming.identity.clone());
    let (first, confirmed) = oneshot::channel();
    let id = incoming.id.to_str().unwrap_or_default().to_owned();
    let (identity, database) = (incoming.identity.clone(), incoming.database.index);
    let ear = Ear { queue: queue.clone(), options, key_events, identity, database, id, first: Mutex::new(Some(first)) };
    queue.feed(channels.listen(topic, Arc::new(ear)));
    let patience = incoming.database.room.call_timeout;
    // While the database cannot be reached the stream says so: a browser would never come back after an error.
    match tokio::time::timeout(patience, confirmed).await {
        Ok(Ok(Some(refused))) => Err(refused),
        _ => Ok(response),
    }
}

/// What is listened to, as the database knows it, if the caller may.
fn admit(rights: &Rights, topic: Topic, observed: Option<Bytes>) -> Result<Topic, Error> {
    let operation = |name| operation::find(name).ok_or_else(unknown_operation);
    if let Some(key) = observed {
        let key = rights.key(operation("get")?, Role::METADATA, key)?;
        return Ok(observe::topic(&observe::escape(&key)));
    }
    let name = match topic.kind {
        Kind::Pattern => rights.pattern(operation("psubscribe")?, topic.name)?,
        Kind::Shard => rights.channel(operation("ssubscribe")?, topic.name)?,
        _ => rights.channel(operation("subscribe")?, topic.name)?,
    };
    Ok(Topic { kind: topic.kind, name })
}

pub(super) fn take<'a>(query: &mut Query<'a>, name: &str) -> Option<Cow<'a, str>> {
    query.iter().position(|(known, _)| known == name).map(|at| query.remove(at).1)
}

pub(super) fn flag(query: &mut Query<'_>, name: &'static str) -> Result<bool, Error> {
    match take(query, name).as_deref() {
        None | Some("false") => Ok(false),
        Some("" | "true") => Ok(true),
        Some(_) => Err(Error::new(Code::InvalidArgument, "expected `true` or `false`").param(name)),
    }
}

fn named<'a>(raw: &'a str, param: &'static str) -> Result<Cow<'a, [u8]>, Error> {
    let name = request::decode(raw)?;
    match &*name {
        b"" | b"." | b".." => Err(Error::new(Code::InvalidArgument, "paths cannot hold an empty name, `.` and `..`").param(param)),
        _ => Ok(name),
    }
}

/// The key of a raw segment, or the query's.
pub(super) fn key<'a>(query: &mut Query<'_>, raw: &'a str) -> Result<Cow<'a, [u8]>, Error> {
    match take(query, KEY_BASE64) {
        Some(text) if raw.is_empty() => Ok(request::base64(&text, KEY_BASE64)?.into()),
        Some(_) => Err(Error::new(Code::InvalidArgument, "the key is in the path already").param(KEY_BASE64)),
        None => named(raw, "key"),
    }
}

pub(super) fn check_accept(incoming: &Incoming<'_>) -> Result<(), Error> {
    let Some(accept) = incoming.parts.headers.get(header::ACCEPT) else { return Ok(()) };
    let accept = accept.to_str().unwrap_or_default().to_ascii_lowercase();
    let fits = |range: &str| matches!(range.split(';').next().unwrap_or_default().trim(), "" | "*/*" | "text/*" | "text/event-stream");
    if accept.split(',').any(fits) {
        return Ok(());
    }
    Err(Error::new(Code::NotAcceptable, "this is text/event-stream").param("Accept"))
}

/// Asks whether the server tells of changes to keys. One that does not answer the question is believed to.
pub(in crate::http) async fn check_notifications(database: &Database) -> Result<(), Error> {
    let asked = entries::command(database, &[b"CONFIG", b"GET", observe::SETTING.as_bytes()]).await;
    let Ok(frame) = asked else { return Ok(()) };
    let mut reader = Reader::new(&frame);
    let (Ok(Item::Array(Some(2))), Ok(_), Ok(Item::Bulk(Some(flags)))) = (reader.read(), reader.read(), reader.read()) else {
        return Ok(());
    };
    observe::check(flags)
}

/// Writes what is heard into a queue.
struct Ear {
    queue: Arc<Queue>,
    options: Options,
    key_events: bool,
    identity: Arc<Identity>,
    database: usize,
    id: String,
    /// Told once what came first: nothing, or why there will be nothing.
    first: Mutex<Option<oneshot::Sender<Option<Error>>>>,
}

impl Ear {
    fn tell(&self, refused: Option<Error>) -> bool {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.is_some_and(|first| first.send(refused).is_ok())
    }
}

impl Listener for Ear {
    fn hear(&self, event: &Arc<Event>, _: bool) {
        let encoding = self.options.encoding;
        let rights = self.identity.rights(self.database);
        match &**event {
            Event::Message(message) if self.key_events => {
                let Some((key, name)) = observe::read(message) else { return };
                let Some(key) = operation::find("get").and_then(|get| rights.told(get, key)) else { return };
                if self.options.events.is_empty() || self.options.events.iter().any(|event| event.as_bytes() == name) {
                    let members = event::key_members(key, name, encoding);
                    self.queue.push(write("message", None, &[b"{", &members[1..]]));
                }
            }
            Event::Message(message) if !rights.hears(&message.channel) => {}
            Event::Message(message) => self.queue.push(write("message", None, &[b"{", &event::members(message, rights, encoding)[1..]])),
            Event::Subscribed => {
                self.queue.push(write("subscribed", None, &[b"{}"]));
                self.tell(None);
            }
            Event::Interrupted => {
                self.queue.push(write("interrupted", None, &[b"{}"]));
                self.tell(None);
            }
            Event::Refused(line) => {
                let error = rights.hide_in(error::from_redis(line));
                let problem = error.problem(&self.id).to_string();
                self.tell(Some(error));
                self.queue.end(write("error", None, &[problem.as_bytes()]));
            }
        }
    }
}
