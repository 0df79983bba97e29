//! Calls over a WebSocket, by the same means as over HTTP: what is read is started at once, so that the calls of one read
//! reach the database in one write, and finished as its reply comes.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::{sync::oneshot, time::Instant};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    super::{
        Scope,
        call::{self, InFlight, Queued, Sent},
        options::Options,
        pipeline, raw, transaction, unknown_operation,
    },
    frame::{self, Frame, Id, Read},
};
use crate::{
    auth::Identity,
    backend::Taken,
    error::{Code, Error},
    operation::{self, Mode, arguments::Arguments, render},
    rates::Allowance,
    shared::Room,
    worker::{Database, Worker},
};

/// The path of a socket in the audit log.
const SOCKET: &str = "/ws";

/// What the calls of a socket have in common.
pub(super) struct Caller {
    pub(super) worker: Arc<Worker>,
    pub(super) identity: Arc<Identity>,
    /// How much it may do, if that is limited.
    pub(super) allowance: Option<Arc<Allowance>>,
    /// The database that the socket's path names.
    pub(super) database: Option<usize>,
    pub(super) options: Options,
    /// The socket was opened with a timeout for its calls.
    pub(super) has_timeout: bool,
    /// The socket's id, which problems carry.
    pub(super) id: String,
    /// The address that it was opened from.
    pub(super) client: Option<IpAddr>,
}

impl Caller {
    pub(super) fn database(&self, index: usize) -> &Arc<Database> {
        self.identity.database(&self.worker, index)
    }

    pub(super) fn scope(&self, database: usize) -> Scope<'_> {
        let (database, allowance) = (self.database(database), self.allowance.as_deref());
        Scope { worker: &self.worker, database, identity: &self.identity, allowance, id: &self.id, client: self.client }
    }

    /// Takes room for calls.
    pub(super) fn enter(&self, database: usize, calls: usize, now: Option<Instant>) -> Result<InFlight<Arc<Room>>, Error> {
        InFlight::enter(self.scope(database), self.database(database).room.clone(), calls, now)
    }

    /// Counts what is read and sent.
    pub(super) fn owe(&self, database: usize, bytes: usize) {
        if let Some(allowance) = &self.allowance {
            allowance.owe(database, bytes);
        }
    }

    /// The database that a call is for.
    pub(super) fn choose(&self, frame: &Frame<'_>) -> Result<usize, Error> {
        match (self.database, frame.database.as_deref()) {
            (Some(index), None) => Ok(index),
            (Some(index), Some(name)) if self.database(index).name == name => Ok(index),
            (Some(_), Some(_)) => {
                Err(Error::new(Code::InvalidArgument, "this socket is for the database that its path names").param("database"))
            }
            (None, Some(name)) => {
                let index = self.worker.databases.iter().position(|database| database.name == name);
                index.ok_or_else(|| Error::new(Code::UnknownDatabase, "no database of this gateway has this name").param("database"))
            }
            (None, None) => Err(Error::new(Code::MissingArgument, "say which database, or open `/api/v1/{database}/ws`").param("database")),
        }
    }

    /// The options of one call.
    pub(super) fn options(&self, database: usize, frame: &Frame<'_>) -> Result<Options, Error> {
        let room = &self.database(database).room;
        let mut options = self.options.of_call(room, frame.encoding.as_deref(), frame.timeout.as_deref())?;
        if !self.has_timeout && frame.timeout.is_none() {
            options.timeout = room.call_timeout;
        }
        Ok(options)
    }

    /// An answer that is an error.
    pub(super) fn refuse(&self, id: Option<&Id>, error: &Error) -> Vec<u8> {
        self.worker.counters.refuse(error.code);
        self.scope(self.database.unwrap_or_default()).denied(SOCKET, error);
        let mut out = Vec::with_capacity(256);
        open(id, &mut out);
        let at = out.len();
        pipeline::write_error(error, self.scope(0), &mut out);
        join(&mut out, at);
        out
    }
}

/// Begins an answer.
pub(super) fn open(id: Option<&Id>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    match id {
        Some(id) => id.write(out),
        None => out.extend_from_slice(b"null"),
    }
}

/// Makes the object that was written at `at` a continuation of the one that was begun before it.
pub(super) fn join(out: &mut [u8], at: usize) {
    out[at] = b',';
}

/// What is sent as the answer to a call.
pub(super) struct Answer {
    pub(super) id: Id,
    pub(super) text: Vec<u8>,
    /// What is put back unless this reaches the client.
    pub(super) taken: Option<Taken>,
}

/// A call on its way. Nothing in it borrows from its frame.
pub(super) struct Started {
    pub(super) id: Id,
    work: Work,
    /// What is read for good later finds its own room.
    _in_flight: Option<InFlight<Arc<Room>>>,
}

enum Work {
    Call {
        operation: operation::Id,
        queued: Queued,
        options: Options,
        started: Instant,
        cancel: Option<oneshot::Receiver<Error>>,
    },
    Pipeline(pipeline::Queued),
    Transaction(Box<transaction::Transaction>),
    Raw {
        queued: raw::Queued,
        options: Options,
    },
    /// One whose size has to be asked for before it is read for good.
    Whole {
        text: Utf8Bytes,
        options: Options,
    },
}

/// What a frame has started, and how it can be ended before its time.
pub(super) struct Begun {
    pub(super) started: Started,
    pub(super) cancel: Option<oneshot::Sender<Error>>,
}

fn arguments<'a>(frame: &Frame<'a>) -> Result<Arguments<'a>, Error> {
    Arguments::from_json(document(frame))
}

/// The document of a word of the gateway's own.
fn document<'a>(frame: &Frame<'a>) -> &'a [u8] {
    frame.args.map_or(&[][..], |args: &'a RawValue| args.get().as_bytes())
}

/// Starts what one frame asks for. The calls of a table's operation that fails at once are counted as failed.
pub(super) fn begin(caller: &Caller, id: Id, frame: &Frame<'_>, text: &Utf8Bytes, database: usize) -> Result<Begun, Error> {
    let options = caller.options(database, frame)?;
    let shared = &caller.worker.shared;
    let enter = |calls: usize| caller.enter(database, calls, None);
    let plain = |work: Work, in_flight| Begun { started: Started { id: id.clone(), work, _in_flight: in_flight }, cancel: None };
    let waits = || operation::find(&frame.op).is_some_and(|operation| matches!(operation.operation().mode, Mode::Blocking(_)));
    if shared.max_result_items.is_some() && frame.op != "transaction" && !waits() {
        return Ok(plain(Work::Whole { text: text.clone(), options }, None));
    }
    let scope = caller.scope(database);
    match &*frame.op {
        "pipeline" => {
            let calls = pipeline::read(document(frame), shared, &scope.database.room)?;
            let in_flight = enter(calls.len())?;
            Ok(plain(Work::Pipeline(pipeline::queue(scope, &calls, document(frame), &options, Vec::new())), Some(in_flight)))
        }
        "transaction" => {
            let transaction = transaction::read(scope, document(frame), &options)?;
            let in_flight = enter(transaction.len())?;
            Ok(plain(Work::Transaction(Box::new(transaction)), Some(in_flight)))
        }
        "raw" => {
            let in_flight = enter(1)?;
            let queued = raw::queue(scope, document(frame), &options)?;
            Ok(plain(Work::Raw { queued, options }, Some(in_flight)))
        }
        name => {
            let operation = operation::find(name).ok_or_else(unknown_operation)?;
            let started = Instant::now();
            let in_flight = caller.enter(database, 1, Some(started))?;
            let begun = arguments(frame).and_then(|arguments| call::start(scope, operation, &arguments, &options));
            let queued = begun.inspect_err(|error| scope.worker.counters.record(operation, Some(error.code), started.elapsed()))?;
            let (end, cancel) = match queued.sent {
                Sent::Waiting(_) => {
                    let (end, cancel) = oneshot::channel();
                    (Some(end), Some(cancel))
                }
                _ => (None, None),
            };
            let work = Work::Call { operation, queued, options, started, cancel };
            Ok(Begun { started: Started { id, work, _in_flight: Some(in_flight) }, cancel: end })
        }
    }
}

/// Waits for what was started, and writes its answer.
pub(super) async fn finish(caller: Arc<Caller>, database: usize, started: Started) -> Answer {
    let Started { id, work, _in_flight } = started;
    let scope = caller.scope(database);
    let mut text = Vec::with_capacity(64);
    open(Some(&id), &mut text);
    let at = text.len();
    let mut taken = None;
    let done = match work {
        Work::Call { operation, queued, options, started, cancel } => {
            let finished = call::finish(scope, operation, Ok(queued), started, &options);
            let finished = match cancel {
                None => finished.await,
                Some(cancel) => Box::pin(cancellable(finished, cancel)).await,
            };
            match finished {
                Ok(mut done) => {
                    taken = done.taken.take();
                    let rendered = done.render_behind(&scope.worker.shared, &options, std::mem::take(&mut text)).await;
                    rendered.map(|rendered| text = rendered)
                }
                Err(error) => Err(error),
            }
        }
        Work::Whole { text: frame, options } => Box::pin(whole(scope, &frame, &options, &mut text)).await,
        Work::Pipeline(queued) => {
            queued.finish(scope, &mut text).await;
            Ok(())
        }
        Work::Transaction(transaction) => Box::pin(transaction.run(scope, &mut text)).await,
        Work::Raw { queued, options } => {
            let reply: Result<Bytes, Error> = queued.reply(scope).await;
            reply.and_then(|frame| render::render_raw(&frame, &options.format(), &mut text))
        }
    };
    match done {
        Ok(()) => join(&mut text, at),
        Err(error) => text = caller.refuse(Some(&id), &error),
    }
    caller.owe(database, text.len());
    Answer { id, text, taken }
}

/// Reads a frame a second time and makes its calls one step after the other.
async fn whole(scope: Scope<'_>, frame: &str, options: &Options, out: &mut Vec<u8>) -> Result<(), Error> {
    let Read::Call(_, frame) = frame::read(frame) else { return Err(Error::new(Code::Internal, "a frame was read in two ways")) };
    let room = &*scope.database.room;
    match &*frame.op {
        "pipeline" => {
            let calls = pipeline::read(document(&frame), &scope.worker.shared, room)?;
            let _in_flight = InFlight::enter(scope, room, calls.len(), None)?;
            pipeline::run(scope, &calls, document(&frame), options, out).await;
            Ok(())
        }
        "raw" => {
            let _in_flight = InFlight::enter(scope, room, 1, None)?;
            let frame = raw::run(scope, document(&frame), options).await?;
            render::render_raw(&frame, &options.format(), out)
        }
        name => {
            let operation = operation::find(name).ok_or_else(unknown_operation)?;
            let done = call::run(scope, operation, arguments(&frame), options).await?;
            let rendered = done.render_behind(&scope.worker.shared, options, std::mem::take(out)).await;
            rendered.map(|rendered| *out = rendered)
        }
    }
}

async fn cancellable<T>(finished: impl Future<Output = Result<T, Error>>, cancel: oneshot::Receiver<Error>) -> Result<T, Error> {
    tokio::select! {
        biased;
        finished = finished => finished,
        Ok(error) = cancel => Err(error),
    }
}
