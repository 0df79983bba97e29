//! One call, whatever it came as: encode, queue, wait, shape. The same for calls by name, resources and pipelines.

use std::{cell::RefCell, str::FromStr, sync::atomic::Ordering, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName},
};
use bytes::BytesMut;
use dbx_crds::config;
use smallvec::smallvec;
use tokio::time::Instant;

use super::request::{self, Media, Query};
use crate::{
    backend::{self, Failure, NodeId, Pending, Replies, Where},
    error::{Code, Delivery, Error},
    operation::{
        Id,
        arguments::Arguments,
        encode::{Encoding, Plan, Rules},
        position,
        render::Format,
    },
    resp,
    shared::Shared,
    worker::{Database, Worker},
};

/// The header that carries a call's deadline.
const TIMEOUT: HeaderName = HeaderName::from_static("dbx-timeout");

thread_local! {
    /// Where commands are encoded before they are queued; a worker's own, kept between calls.
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(4096));
}

/// Commands, and replies that are known beforehand, of more bytes than this have a connection of their own.
pub(super) const LARGE: usize = 1 << 20;

/// What a scratch buffer may keep.
const KEEP_SCRATCH: usize = LARGE;

/// Uses the worker's encoding buffer, which is empty at the start.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut BytesMut) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        let result = work(scratch);
        if scratch.capacity() > KEEP_SCRATCH {
            *scratch = BytesMut::with_capacity(4096);
        }
        result
    })
}

/// What a request says about its calls, besides their arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) encoding: Encoding,
    pub(super) integers_as_strings: bool,
    pub(super) timeout: Duration,
    /// Where in a cluster calls may be done.
    pub(super) place: Where,
    pub(super) accept: Media,
    /// The version of a value is wanted, however long it is.
    pub(super) etag: bool,
    /// The reply is known to be large: nobody should wait behind it.
    pub(super) alone: bool,
}

impl Options {
    /// Those of a call that the gateway makes for itself.
    pub(super) fn plain(timeout: Duration, encoding: Encoding, accept: Media) -> Self {
        Self { encoding, integers_as_strings: false, timeout, place: Where::default(), accept, etag: false, alone: false }
    }

    /// Reads headers and query. Takes its own parameters out of the query; what stays is the operation's.
    pub(super) fn take(shared: &Shared, headers: &HeaderMap, query: &mut Query<'_>) -> Result<Self, Error> {
        let mut options = Self::plain(shared.call_timeout, Encoding::Utf8, request::accept(headers)?);
        if let Some(value) = headers.get(&TIMEOUT) {
            options.timeout = timeout(shared, value.to_str().unwrap_or_default(), "DBX-Timeout")?;
        }
        if query.is_empty() {
            return Ok(options);
        }
        let mut failure = None;
        query.retain(|(name, value)| {
            let outcome = match &**name {
                "encoding" => encoding(value).map(|encoding| options.encoding = encoding),
                "integers" => integers(value).map(|strings| options.integers_as_strings = strings),
                "timeout" => timeout(shared, value, "timeout").map(|timeout| options.timeout = timeout),
                "split" => in_parts(value).map(|in_parts| options.place.in_parts = in_parts),
                "consistency" => eventual(value).map(|eventual| options.place.eventual = eventual),
                "node" => node(value).map(|node| options.place.node = Some(node)),
                "etag" => etag(value).map(|etag| options.etag = etag),
                _ => return true,
            };
            failure = failure.take().or(outcome.err());
            false
        });
        failure.map_or(Ok(options), Err)
    }

    /// Queues commands. A single one that others would wait behind goes alone; several may have to go to several servers.
    pub(super) fn submit(&self, database: &Database, commands: &mut BytesMut, replies: Replies) -> Result<Sent, Failure> {
        let Where { in_parts, eventual, node } = self.place;
        if replies.len() == 1 && (self.alone || commands.len() > LARGE) && !in_parts && node.is_none() {
            return Ok(Sent::Alone(std::mem::take(commands), replies));
        }
        if in_parts || eventual || node.is_some() {
            return database.backend.submit_where(commands, replies, &self.place).map(Sent::Shared);
        }
        database.backend.submit(commands, replies).map(Sent::Shared)
    }

    pub(super) fn rules(&self, shared: &Shared) -> Rules {
        Rules { encoding: self.encoding, max_key_bytes: shared.max_key_bytes, max_value_bytes: shared.max_value_bytes }
    }

    pub(super) fn format(&self) -> Format {
        Format { encoding: self.encoding, integers_as_strings: self.integers_as_strings }
    }
}

/// Reads a call's encoding.
pub(super) fn encoding(value: &str) -> Result<Encoding, Error> {
    match value {
        "base64" => Ok(Encoding::Base64),
        "utf8" => Ok(Encoding::Utf8),
        _ => Err(Error::new(Code::InvalidArgument, "expected `utf8` or `base64`").param("encoding")),
    }
}

/// Whether integers that a double cannot hold are to be strings.
fn integers(value: &str) -> Result<bool, Error> {
    match value {
        "string" => Ok(true),
        "number" => Ok(false),
        _ => Err(Error::new(Code::InvalidArgument, "expected `number` or `string`").param("integers")),
    }
}

fn etag(value: &str) -> Result<bool, Error> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::new(Code::InvalidArgument, "expected `true` or `false`").param("etag")),
    }
}

/// Whether a call may be done in parts.
fn in_parts(value: &str) -> Result<bool, Error> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::new(Code::InvalidArgument, "expected `true` or `false`").param("split")),
    }
}

/// Whether a call may read what is not the newest.
fn eventual(value: &str) -> Result<bool, Error> {
    match value {
        "eventual" => Ok(true),
        "strong" => Ok(false),
        _ => Err(Error::new(Code::InvalidArgument, "expected `strong` or `eventual`").param("consistency")),
    }
}

fn node(value: &str) -> Result<NodeId, Error> {
    NodeId::parse(value)
        .ok_or_else(|| Error::new(Code::InvalidArgument, "expected the id of a node, as `/cluster/nodes` lists it").param("node"))
}

/// Refuses what a call cannot wish for.
pub(super) fn check_place(id: Option<Id>, options: &Options) -> Result<(), Error> {
    let Where { eventual, node, .. } = options.place;
    if eventual && id.is_none_or(|id| id.operation().changes()) {
        return Err(Error::new(Code::InvalidArgument, "a change is made at the primary; only reads can be eventual").param("consistency"));
    }
    if node.is_some() && id.is_some_and(|id| position::has_keys(id.operation())) {
        return Err(Error::new(Code::InvalidArgument, "the keys of this operation say which node it goes to").param("node"));
    }
    Ok(())
}

/// Reads a call's deadline, which is capped.
pub(super) fn timeout(shared: &Shared, value: &str, param: &'static str) -> Result<Duration, Error> {
    let timeout = config::Duration::from_str(value)
        .map_err(|_| Error::new(Code::InvalidArgument, "expected a duration such as 250ms or 2s").param(param))?;
    Ok(timeout.value().min(shared.max_call_timeout))
}

/// Counts calls being served, while it lives.
pub(super) struct InFlight<'a> {
    shared: &'a Shared,
    calls: usize,
}

impl<'a> InFlight<'a> {
    /// Takes room for `calls`, or tells the caller to come back.
    pub(super) fn enter(shared: &'a Shared, calls: usize) -> Result<Self, Error> {
        let before = shared.in_flight.fetch_add(calls, Ordering::Relaxed);
        let entered = Self { shared, calls };
        if before + calls > shared.max_in_flight {
            return Err(Error::backend(
                Code::Unavailable,
                "the gateway serves as many calls as it may (limits.maxInFlight)",
                Delivery::NotSent,
                true,
            ));
        }
        Ok(entered)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(self.calls, Ordering::Relaxed);
    }
}

/// Whether an operation can be called at all: over this transport, and on this server.
pub(super) fn check_callable(database: &Database, id: Id, options: &Options) -> Result<(), Error> {
    let operation = id.operation();
    if let Some(refusal) = operation.refusal() {
        return Err(refusal);
    }
    if !database.backend.supports(id) {
        return Err(Error::new(
            Code::UnsupportedByServer,
            format!("the server of this database has no {}", operation.command.words.join(" ")),
        ));
    }
    check_place(Some(id), options)
}

/// Encodes a call and queues it.
pub(super) fn start(
    shared: &Shared,
    database: &Database,
    id: Id,
    arguments: &Arguments<'_>,
    options: &Options,
) -> Result<(Plan, Sent), Error> {
    check_callable(database, id, options)?;
    let operation = id.operation();
    with_scratch(|scratch| {
        let plan = operation.encode(arguments, &options.rules(shared), scratch)?;
        if options.accept == Media::Bytes && !plan.shape.is_one_value() {
            return Err(no_bytes());
        }
        let sent = options.submit(database, scratch, smallvec![!operation.changes()]);
        Ok((plan, sent.map_err(|failure| failure.error(plan.idempotent))?))
    })
}

/// Commands on their way.
pub(super) enum Sent {
    /// Queued on the connection that calls share.
    Shared(Pending),
    /// Waiting for a connection of their own.
    Alone(BytesMut, Replies),
}

impl Sent {
    /// The frames of all commands, one behind the other.
    pub(super) async fn replies(self, database: &Database, deadline: Instant) -> Result<Bytes, Failure> {
        match self {
            Self::Shared(pending) => backend::replies(pending, deadline).await,
            // Boxed, since its size would be that of every call.
            Self::Alone(commands, replies) => Box::pin(alone(database, commands, replies, deadline)).await,
        }
    }
}

async fn alone(database: &Database, commands: BytesMut, replies: Replies, deadline: Instant) -> Result<Bytes, Failure> {
    let mut own = database.backend.own(&commands, deadline).await?;
    let frames = own.exchange(&commands, replies, deadline).await?;
    own.give_back();
    Ok(frames)
}

/// What asks for a value's bytes, and is answered with something else, is not even tried.
pub(super) fn no_bytes() -> Error {
    Error::new(Code::NotAcceptable, "the result is not one value, so it has no bytes of its own").param("Accept")
}

/// Takes the next of several replies.
pub(super) fn next_reply<'a>(replies: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    resp::take_frame(replies).ok_or_else(|| Error::new(Code::BackendError, "the database answered fewer calls than it was sent"))
}

/// A call's reply, and how to read it.
pub(super) struct Done {
    pub(super) id: Id,
    pub(super) plan: Plan,
    pub(super) frame: Bytes,
}

impl Done {
    /// Whether the reply is null: there is nothing under the key.
    pub(super) fn is_null(&self) -> bool {
        matches!(&*self.frame, b"$-1\r\n" | b"*-1\r\n")
    }

    /// The call's result, or error, as JSON.
    pub(super) fn render(&self, options: &Options) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(self.frame.len() + 32);
        self.id.operation().render(&self.plan, &self.frame, &options.format(), &mut out)?;
        Ok(out)
    }
}

/// Makes one call and waits for its reply.
pub(super) async fn run(
    worker: &Worker,
    database: &Database,
    id: Id,
    arguments: Result<Arguments<'_>, Error>,
    options: &Options,
) -> Result<Done, Error> {
    let started = Instant::now();
    let _in_flight = InFlight::enter(&worker.shared, 1)?;
    let queued = arguments.and_then(|arguments| start(&worker.shared, database, id, &arguments, options));
    let outcome = match queued {
        Ok((plan, sent)) => match sent.replies(database, started + options.timeout).await {
            Ok(frame) => Ok(Done { id, plan, frame }),
            Err(failure) => Err(failure.error(plan.idempotent)),
        },
        Err(error) => Err(error),
    };
    let code = match &outcome {
        Ok(done) => crate::error::code_of(&done.frame),
        Err(error) => Some(error.code),
    };
    worker.counters.record(id, code, started.elapsed());
    outcome
}
