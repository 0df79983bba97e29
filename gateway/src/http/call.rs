//! One call, whatever it came as: encode, queue, wait, shape. The same for calls by name, resources and pipelines.

use std::{cell::RefCell, ops::Deref, sync::atomic::Ordering};

use axum::body::Bytes;
use bytes::BytesMut;
use futures::future::{BoxFuture, Either};
use smallvec::smallvec;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Scope, options::Options, request::Media, scripts, sizes};
use crate::{
    auth::Rights,
    backend::{self, Failure, Pending, Replies, Taken, Where},
    error::{Code, Delivery, Error},
    operation::{
        Id, Mode,
        arguments::Arguments,
        bounds,
        encode::{Marks, Plan},
    },
    rates::Serving,
    record::Trail,
    resp,
    shared::{Room, Shared},
    worker::Database,
};

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

/// What a call is, once it has been encoded and may be made.
pub(super) type Admitted = (Plan, Trail);

impl Options {
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

    /// Encodes a call that its caller may make; on an error `out` is as before.
    pub(super) fn encode(&self, scope: Scope<'_>, id: Id, arguments: &Arguments<'_>, out: &mut BytesMut) -> Result<Admitted, Error> {
        let start = out.len();
        let (plan, trail) = self.encode_any(scope, id, arguments, out)?;
        match id.operation().mode.refusal().or_else(|| plan.mode.refusal()) {
            None => Ok((plan, trail)),
            Some(refusal) => {
                out.truncate(start);
                Err(trail.refused(refusal))
            }
        }
    }

    /// As [`encode`](Self::encode), also of what cannot share a connection.
    pub(super) fn encode_any(&self, scope: Scope<'_>, id: Id, arguments: &Arguments<'_>, out: &mut BytesMut) -> Result<Admitted, Error> {
        let start = out.len();
        let (operation, rules, rights) = (id.operation(), self.rules(&scope.worker.shared), scope.rights());
        let bounded = |out: &[u8]| bounds::check(id, out, sizes::limits(&scope.worker.shared));
        let is_recorded = self.recorded && scope.worker.audit.is_some();
        if rights.is_all() && !is_recorded {
            let plan = operation.encode_any(arguments, &rules, out)?;
            return bounded(&out[start..]).inspect_err(|_| out.truncate(start)).map(|()| (plan, Trail::NONE));
        }
        let mut marks = Marks::new();
        let encoded = operation.encode_marked(arguments, &rules, out, Some(&mut marks));
        let judged = encoded.and_then(|plan| {
            rights.admit(id, &plan, &marks, out, start)?;
            bounded(&out[start..]).map(|()| plan)
        });
        let admitted = if is_recorded {
            let command = &out[start..];
            scope.judged(operation.name, operation.access.class, judged, |admitted| names(&marks, command, rights, admitted))
        } else {
            judged.map(|plan| (plan, Trail::NONE))
        };
        admitted.inspect_err(|_| out.truncate(start))
    }
}

/// What is marked in a command, as its caller knows it.
pub(super) fn names<'c>(marks: &Marks, command: &'c [u8], rights: &Rights, admitted: bool) -> Vec<&'c [u8]> {
    let words = resp::words(command);
    let names = marks.iter().filter_map(|mark| words.get(mark.word).copied());
    // What has been admitted has the prefix by now.
    names.map(|name| if admitted { rights.heard(name) } else { name }).collect()
}

/// Counts calls being served, while it lives.
pub(super) struct InFlight<R: Deref<Target = Room>> {
    room: R,
    calls: usize,
    _serving: Option<Serving>,
}

impl<R: Deref<Target = Room>> InFlight<R> {
    /// Takes room for `calls`, or tells the caller to come back. What is refused has not begun. `now` is known by some.
    pub(super) fn enter(scope: Scope<'_>, room: R, calls: usize, now: Option<Instant>) -> Result<Self, Error> {
        let before = room.in_flight.fetch_add(calls, Ordering::Relaxed);
        let mut entered = Self { room, calls, _serving: None };
        if before + calls > entered.room.max_in_flight {
            return Err(Error::backend(
                Code::Unavailable,
                "the gateway serves as many calls to this database as it may (limits.maxInFlight)",
                Delivery::NotSent,
                true,
            ));
        }
        if let Some(allowance) = scope.allowance {
            entered._serving = Some(allowance.admit(scope.worker, scope.database.index, calls, now.map(Instant::into_std))?);
        }
        Ok(entered)
    }
}

impl<R: Deref<Target = Room>> Drop for InFlight<R> {
    fn drop(&mut self) {
        self.room.in_flight.fetch_sub(self.calls, Ordering::Relaxed);
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
pub(super) fn check_callable(database: &Database, id: Id, options: &Options) -> Result<(), Error> {
    if let Some(refusal) = id.operation().mode.refusal() {
        return Err(refusal);
    }
    check_supported(database, id)?;
    options.check_place(Some(id))
}

/// Encodes a call and queues it.
pub(super) fn start(scope: Scope<'_>, id: Id, arguments: &Arguments<'_>, options: &Options) -> Result<Queued, Error> {
    let (operation, database) = (id.operation(), scope.database);
    let refusal = |mode: Mode| match (mode, options.patience) {
        (Mode::Blocking(_), Some(_)) => None,
        _ => mode.refusal(),
    };
    if let Some(refusal) = refusal(operation.mode) {
        return Err(refusal);
    }
    check_supported(database, id)?;
    options.check_place(Some(id))?;
    with_scratch(|scratch| {
        let (plan, trail) = options.encode_any(scope, id, arguments, scratch)?;
        let refused = refusal(plan.mode).or_else(|| (options.accept == Media::Bytes && !plan.shape.is_one_value()).then(no_bytes));
        if let Some(refusal) = refused {
            return Err(trail.refused(refusal));
        }
        if let (Mode::Blocking(_), Some(patience)) = (plan.mode, options.patience) {
            let command = Bytes::copy_from_slice(scratch);
            let sent = Sent::Waiting(database.backend.wait(id, command, Instant::now() + patience));
            return Ok(Queued { plan, sent, script: None, trail });
        }
        let script = scripts::keep(id, scratch);
        scripts::by_hash(database, id, scratch);
        match options.submit(database, scratch, smallvec![!operation.changes()]) {
            Ok(sent) => Ok(Queued { plan, sent, script, trail }),
            Err(failure) => Err(trail.refused(failure.error(plan.idempotent))),
        }
    })
}

/// Does what takes long on the thread for it, so that the calls of this worker do not wait. Ends with its caller.
pub(super) async fn apart<T: Send + 'static>(
    shared: &Shared,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let task = AbortOnDropHandle::new(shared.large.spawn(work));
    task.await.unwrap_or_else(|_| Err(Error::new(Code::Internal, "the work on a large request ended early")))
}

/// A call on its way.
pub(super) struct Queued {
    pub(super) plan: Plan,
    pub(super) sent: Sent,
    /// The command as it would be sent whole, of those that run or load a script.
    script: Option<Bytes>,
    trail: Trail,
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
    pub(super) async fn render(&self, shared: &Shared, options: &Options) -> Result<Vec<u8>, Error> {
        self.render_behind(shared, options, Vec::new()).await
    }

    /// As [`render`](Self::render), behind what is written already.
    pub(super) async fn render_behind(&self, shared: &Shared, options: &Options, mut out: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (id, plan, frame, format) = (self.id, self.plan, &self.frame, options.format());
        let write = move |frame: &Bytes| {
            out.reserve(frame.len() + 32);
            id.operation().render(&plan, frame, &format, &mut out).map(|()| out)
        };
        if frame.len() <= LARGE {
            return write(frame);
        }
        let frame = frame.clone();
        Box::pin(apart(shared, async move { write(&frame) })).await
    }
}

/// Makes one call and waits for its reply. What can be done at once is done before anybody waits, so that the arguments need not be
/// kept.
pub(super) fn run(
    scope: Scope<'_>,
    id: Id,
    arguments: Result<Arguments<'_>, Error>,
    options: &Options,
) -> impl Future<Output = Result<Done, Error>> + Send {
    let started = Instant::now();
    let entered = InFlight::enter(scope, &*scope.database.room, 1, Some(started));
    let begin = move |arguments: &Arguments<'_>| start(scope, id, arguments, options);
    match (entered, arguments) {
        (Ok(in_flight), Ok(arguments)) if scope.worker.shared.max_result_items.is_some() => Either::Left(Box::pin(async move {
            let asked = sizes::one(scope, id, &arguments, options, started).await;
            let queued = asked.and_then(|()| begin(&arguments));
            wait(scope, id, in_flight, queued, started, options).await
        })),
        (Ok(in_flight), arguments) => {
            let queued = arguments.and_then(|arguments| begin(&arguments));
            Either::Right(Either::Left(wait(scope, id, in_flight, queued, started, options)))
        }
        (Err(full), _) => Either::Right(Either::Right(std::future::ready(Err(full)))),
    }
}

async fn wait(
    scope: Scope<'_>,
    id: Id,
    in_flight: InFlight<&Room>,
    queued: Result<Queued, Error>,
    started: Instant,
    options: &Options,
) -> Result<Done, Error> {
    // What waits has a bound of its own, and takes no room from the others.
    let _in_flight = (!matches!(queued, Ok(Queued { sent: Sent::Waiting(_), .. }))).then_some(in_flight);
    finish(scope, id, queued, started, options).await
}

/// Waits for the reply of a call that was started, and counts it.
pub(super) async fn finish(
    scope: Scope<'_>,
    id: Id,
    queued: Result<Queued, Error>,
    started: Instant,
    options: &Options,
) -> Result<Done, Error> {
    let (database, deadline) = (scope.database, started + options.timeout);
    let mut trail = Trail::NONE;
    let outcome = match queued {
        Ok(Queued { plan, sent, script, trail: begun }) => {
            trail = begun;
            match sent.reply(database, deadline).await {
                Ok((frame, taken)) => {
                    let done = Done { id, plan, frame, taken };
                    let done = match script {
                        Some(script) => Box::pin(scripted(database, done, &script, options, deadline)).await,
                        None => Ok(done),
                    };
                    done.map(|done| Done { frame: scope.seen(Some(id), done.frame), ..done })
                }
                Err(failure) => Err(failure.error(plan.idempotent)),
            }
        }
        Err(error) => Err(error),
    };
    let code = match &outcome {
        Ok(done) => crate::error::code_of(&done.frame),
        Err(error) => Some(error.code),
    };
    trail.end(code);
    scope.worker.counters.record(id, code, started.elapsed());
    outcome
}

/// Makes a call with the text of its script if the server does not have it, in which case it has done nothing; keeps a script
/// that the server has taken.
async fn scripted(database: &Database, done: Done, script: &[u8], options: &Options, deadline: Instant) -> Result<Done, Error> {
    if !crate::scripts::is_unknown(&done.frame) {
        scripts::learn(database, done.id, script, &done.frame);
        return Ok(done);
    }
    let Some(mut command) = scripts::by_text(database, done.id, script) else { return Ok(done) };
    let failed = |failure: Failure| failure.error(done.plan.idempotent);
    let sent = options.submit(database, &mut command, smallvec![!done.id.operation().changes()]).map_err(failed)?;
    let frame = sent.replies(database, deadline).await.map_err(failed)?;
    Ok(Done { frame, ..done })
}
