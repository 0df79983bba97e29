//! One call, whatever it came as: encode, queue, wait, shape. The same for calls by name, resources and pipelines.

use std::{cell::RefCell, ops::Deref, str::FromStr, sync::atomic::Ordering, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName},
};
use bytes::BytesMut;
use dbx_crds::config;
use futures::future::BoxFuture;
use smallvec::smallvec;
use tokio::time::Instant;

use super::request::{self, Media, Query};
use crate::{
    backend::{self, Failure, Pending, Replies, Taken},
    error::{Code, Delivery, Error},
    operation::{
        Id, Mode,
        arguments::Arguments,
        encode::{Encoding, Plan, Rules},
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
    /// A call whose keys live on several nodes may be done in parts.
    pub(super) in_parts: bool,
    pub(super) accept: Media,
    /// The version of a value is wanted, however long it is.
    pub(super) etag: bool,
    /// The reply is known to be large: nobody should wait behind it.
    pub(super) alone: bool,
    /// How long a blocking call may wait at most, where one can.
    pub(super) patience: Option<Duration>,
}

impl Options {
    /// Those of a call that the gateway makes for itself.
    pub(super) fn plain(timeout: Duration, encoding: Encoding, accept: Media) -> Self {
        Self { encoding, integers_as_strings: false, timeout, in_parts: false, accept, etag: false, alone: false, patience: None }
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
                "split" => in_parts(value).map(|in_parts| options.in_parts = in_parts),
                "etag" => etag(value).map(|etag| options.etag = etag),
                _ => return true,
            };
            failure = failure.take().or(outcome.err());
            false
        });
        failure.map_or(Ok(options), Err)
    }

    /// Those of one call among several, which may have its own.
    pub(super) fn of_call(&self, shared: &Shared, given: Option<&str>, patience: Option<&str>) -> Result<Self, Error> {
        let mut options = *self;
        if let Some(given) = given {
            options.encoding = encoding(given)?;
        }
        if let Some(patience) = patience {
            options.timeout = timeout(shared, patience, "timeout")?;
        }
        Ok(options)
    }

    /// Queues commands. A single one that others would wait behind goes alone; several may have to go to several servers.
    pub(super) fn submit(&self, database: &Database, commands: &mut BytesMut, replies: Replies) -> Result<Sent, Failure> {
        if self.in_parts {
            return database.backend.submit_in_parts(commands, replies).map(Sent::Shared);
        }
        if replies.len() == 1 && (self.alone || commands.len() > LARGE) {
            return Ok(Sent::Alone(std::mem::take(commands), replies));
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

/// Reads a call's deadline, which is capped.
fn timeout(shared: &Shared, value: &str, param: &'static str) -> Result<Duration, Error> {
    let timeout = config::Duration::from_str(value)
        .map_err(|_| Error::new(Code::InvalidArgument, "expected a duration such as 250ms or 2s").param(param))?;
    Ok(timeout.value().min(shared.max_call_timeout))
}

/// Counts calls being served, while it lives.
pub(super) struct InFlight<S: Deref<Target = Shared>> {
    shared: S,
    calls: usize,
}

impl<S: Deref<Target = Shared>> InFlight<S> {
    /// Takes room for `calls`, or tells the caller to come back.
    pub(super) fn enter(shared: S, calls: usize) -> Result<Self, Error> {
        let before = shared.in_flight.fetch_add(calls, Ordering::Relaxed);
        let entered = Self { shared, calls };
        if before + calls > entered.shared.max_in_flight {
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

impl<S: Deref<Target = Shared>> Drop for InFlight<S> {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(self.calls, Ordering::Relaxed);
    }
}

/// Whether the server has what an operation needs.
pub(super) fn check_supported(database: &Database, id: Id) -> Result<(), Error> {
    if database.backend.supports(id) {
        return Ok(());
    }
    let command = id.operation().command.words.join(" ");
    Err(Error::new(Code::UnsupportedByServer, format!("the server of this database has no {command}")))
}

/// Whether an operation can be called at all where calls share a connection, and on this server.
pub(super) fn check_callable(database: &Database, id: Id) -> Result<(), Error> {
    match id.operation().mode.refusal() {
        Some(refusal) => Err(refusal),
        None => check_supported(database, id),
    }
}

/// Encodes a call and queues it.
pub(super) fn start(
    shared: &Shared,
    database: &Database,
    id: Id,
    arguments: &Arguments<'_>,
    options: &Options,
) -> Result<(Plan, Sent), Error> {
    let operation = id.operation();
    let refusal = |mode: Mode| match (mode, options.patience) {
        (Mode::Blocking(_), Some(_)) => None,
        _ => mode.refusal(),
    };
    if let Some(refusal) = refusal(operation.mode) {
        return Err(refusal);
    }
    check_supported(database, id)?;
    with_scratch(|scratch| {
        let plan = operation.encode_any(arguments, &options.rules(shared), scratch)?;
        if let Some(refusal) = refusal(plan.mode) {
            return Err(refusal);
        }
        if options.accept == Media::Bytes && !plan.shape.is_one_value() {
            return Err(no_bytes());
        }
        if let (Mode::Blocking(_), Some(patience)) = (plan.mode, options.patience) {
            let command = Bytes::copy_from_slice(scratch);
            return Ok((plan, Sent::Waiting(database.backend.wait(id, command, Instant::now() + patience))));
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
    /// One that may wait for long.
    Waiting(BoxFuture<'static, Result<Taken, Failure>>),
}

impl Sent {
    /// The frames of all commands, one behind the other.
    pub(super) async fn replies(self, database: &Database, deadline: Instant) -> Result<Bytes, Failure> {
        match self {
            Self::Shared(pending) => backend::replies(pending, deadline).await,
            // Boxed, since its size would be that of every call.
            Self::Alone(commands, replies) => Box::pin(alone(database, commands, replies, deadline)).await,
            Self::Waiting(waiting) => {
                let taken = waiting.await?;
                let frame = taken.frame.clone();
                taken.delivered();
                Ok(frame)
            }
        }
    }

    /// The frame of the one command, and what has to be put back if nobody gets it.
    async fn reply(self, database: &Database, deadline: Instant) -> Result<(Bytes, Option<Taken>), Failure> {
        match self {
            Self::Waiting(waiting) => waiting.await.map(|taken| (taken.frame.clone(), Some(taken))),
            sent => sent.replies(database, deadline).await.map(|frame| (frame, None)),
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
    /// What a call that has waited took, until the client has it.
    pub(super) taken: Option<Taken>,
}

impl Done {
    /// Whether the reply is null: there is nothing under the key.
    pub(super) fn is_null(&self) -> bool {
        matches!(&*self.frame, b"$-1\r\n" | b"*-1\r\n")
    }

    /// The call's result, or error, as JSON.
    pub(super) fn render(&self, options: &Options) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(self.frame.len() + 32);
        self.render_into(options, &mut out)?;
        Ok(out)
    }

    /// As [`render`](Self::render), appended; on an error `out` is as before.
    pub(super) fn render_into(&self, options: &Options, out: &mut Vec<u8>) -> Result<(), Error> {
        self.id.operation().render(&self.plan, &self.frame, &options.format(), out)
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
    let _in_flight = InFlight::enter(&*worker.shared, 1)?;
    let queued = arguments.and_then(|arguments| start(&worker.shared, database, id, &arguments, options));
    finish(worker, database, id, queued, started, options).await
}

/// Waits for the reply of a call that was started, and counts it.
pub(super) async fn finish(
    worker: &Worker,
    database: &Database,
    id: Id,
    queued: Result<(Plan, Sent), Error>,
    started: Instant,
    options: &Options,
) -> Result<Done, Error> {
    let outcome = match queued {
        Ok((plan, sent)) => match sent.reply(database, started + options.timeout).await {
            Ok((frame, taken)) => Ok(Done { id, plan, frame, taken }),
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
