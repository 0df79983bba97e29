//! Sessions: a connection that belongs to one client until the session ends, so that WATCH, MULTI and WAIT mean what they say.
//! Its calls are made one after the other. The connection is closed with it, so that nothing of it is left to the next.

use std::sync::Arc;

use bytes::BytesMut;
use smallvec::smallvec;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{
    super::{
        call::{self, InFlight},
        options::Options,
        pipeline,
    },
    call::{Answer, Caller, join, open},
    frame::{Frame, Id},
    mailbox::{Item, Mailbox},
};
use crate::{
    backend::Own,
    error::{Code, Delivery, Error},
    operation::{self, Mode, arguments::Arguments, encode::Plan, render},
    record::Trail,
    resp::{self, Reader},
    shared::Room,
};

/// What only a session can do, beside all that is a call.
const OWN: &[&str] = &["discard", "exec", "multi", "unwatch", "wait", "waitaof", "watch"];

/// The way into a session.
pub(super) struct Session {
    /// `None` when it takes no more.
    parts: Option<mpsc::Sender<Part>>,
    /// Dropped, it ends what runs.
    _end: oneshot::Sender<()>,
}

/// A call within a session.
struct Part {
    id: Id,
    operation: operation::Id,
    command: BytesMut,
    plan: Plan,
    options: Options,
    trail: Trail,
    _in_flight: InFlight<Arc<Room>>,
}

impl Session {
    /// Begins one. Its connection is made when the first call says where it has to lead.
    pub(super) fn begin(caller: Arc<Caller>, database: usize, mailbox: Arc<Mailbox>, id: Id, key: u32) -> Self {
        let (parts, calls) = mpsc::channel(caller.worker.shared.max_socket_calls);
        let (end, ended) = oneshot::channel();
        let worker = caller.worker.clone();
        worker.tasks.spawn(async move {
            let mut calls = calls;
            let running = Running { caller: caller.clone(), database, mailbox: mailbox.clone(), own: None, queued: None };
            if let Some(why) = running.run(&mut calls, ended).await {
                let mut text = b"{\"session\":".to_vec();
                id.write(&mut text);
                text.extend_from_slice(b",\"ended\":\"");
                text.extend_from_slice(why.as_bytes());
                text.extend_from_slice(b"\"}");
                mailbox.push(Item::Text(text));
            }
            // What was queued behind its end.
            calls.close();
            while let Ok(Part { id, .. }) = calls.try_recv() {
                let text = caller.refuse(Some(&id), &over());
                mailbox.push(Item::Answer(Answer { id, text, taken: None }));
            }
            mailbox.push(Item::Over(key));
        });
        Self { parts: Some(parts), _end: end }
    }

    /// Takes no more calls, and ends when those that it has are answered.
    pub(super) fn finish(&mut self) {
        self.parts = None;
    }

    /// Queues a call.
    pub(super) fn call(&self, caller: &Caller, database: usize, id: Id, frame: &Frame<'_>) -> Result<(), Error> {
        let options = caller.options(database, frame)?;
        let operation = operation::find(&frame.op)
            .ok_or_else(|| Error::new(Code::UnknownOperation, "a session takes operations, and none has this name").param("op"))?;
        let entry = operation.operation();
        if !OWN.contains(&entry.name) {
            call::check_callable(caller.database(database), operation, &options)?;
        }
        let arguments = Arguments::from_json(frame.args.map_or(&[][..], |args| args.get().as_bytes()))?;
        let mut command = BytesMut::new();
        let (plan, trail) = options.encode_any(caller.scope(database), operation, &arguments, &mut command)?;
        let refusal = plan.mode.refusal().filter(|_| !matches!(plan.mode, Mode::Session(_)));
        let entered = refusal.map_or_else(|| caller.enter(database, 1, None), Err);
        let (in_flight, trail) = trail.judged(entered)?;
        let part = Part { id, operation, command, plan, options, trail, _in_flight: in_flight };
        // There is room for all that a socket may have.
        let sent = self.parts.as_ref().and_then(|parts| parts.try_send(part).ok());
        sent.ok_or_else(over)
    }
}

/// What a call is told that comes too late.
fn over() -> Error {
    Error::backend(Code::Unavailable, "the session is over", Delivery::NotSent, true).param("session")
}

/// What a call is told whose session was ended while it ran.
fn cancelled(part: &Part) -> Error {
    Error::backend(Code::Cancelled, "the session was ended", Delivery::Unknown, part.plan.idempotent)
}

struct Running {
    caller: Arc<Caller>,
    database: usize,
    mailbox: Arc<Mailbox>,
    own: Option<Box<dyn Own>>,
    /// The calls since MULTI.
    queued: Option<Vec<(operation::Id, Plan, Options)>>,
}

impl Running {
    /// Why it has ended, unless its client has ended it.
    async fn run(mut self, calls: &mut mpsc::Receiver<Part>, mut ended: oneshot::Receiver<()>) -> Option<&'static str> {
        loop {
            let next = tokio::select! {
                biased;
                _ = &mut ended => return None,
                next = timeout(self.caller.worker.shared.idle_timeout, calls.recv()) => next,
            };
            let Ok(part) = next else { return Some("idle") };
            let part = part?;
            let started = Instant::now();
            let mut text = Vec::with_capacity(64);
            open(Some(&part.id), &mut text);
            let at = text.len();
            let exchanged = tokio::select! {
                biased;
                exchanged = self.exchange(&part, started + part.options.timeout, &mut text) => exchanged,
                _ = &mut ended => Err((cancelled(&part), true)),
            };
            let (done, lost) = match exchanged {
                Ok(()) => (None, false),
                Err((error, lost)) => (Some(error), lost),
            };
            let counters = &self.caller.worker.counters;
            let code = done.as_ref().map(|error| error.code);
            counters.record(part.operation, code, started.elapsed());
            part.trail.end(code);
            match &done {
                None => join(&mut text, at),
                Some(error) => text = self.caller.refuse(Some(&part.id), error),
            }
            self.caller.owe(self.database, text.len());
            self.mailbox.push(Item::Answer(Answer { id: part.id, text, taken: None }));
            if lost {
                return ended.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty).then_some("lost");
            }
            tokio::select! {
                biased;
                _ = &mut ended => return None,
                () = self.mailbox.room() => {}
            }
        }
    }

    /// Makes one call and appends its result. An error says whether the session has lost its connection by it.
    async fn exchange(&mut self, part: &Part, deadline: Instant, out: &mut Vec<u8>) -> Result<(), (Error, bool)> {
        let Part { operation, command, plan, options, .. } = part;
        let failed = |failure: crate::backend::Failure| (failure.error(plan.idempotent), true);
        let own = match &mut self.own {
            Some(own) => own,
            None => {
                let own = self.caller.database(self.database).backend.hold(command, deadline).await.map_err(failed)?;
                self.own.insert(own)
            }
        };
        let droppable = !operation.operation().changes();
        let frame = own.exchange(command, smallvec![droppable], deadline).await.map_err(failed)?;
        let keep = |error| (error, false);
        let name = operation.operation().name;
        if &frame[..] == b"+QUEUED\r\n"
            && let Some(queued) = &mut self.queued
        {
            queued.push((*operation, *plan, *options));
            return render::render_raw(&frame, &options.format(), out).map_err(keep);
        }
        let queued = matches!(name, "exec" | "discard").then(|| self.queued.take()).flatten();
        if name == "multi" && frame.starts_with(b"+") {
            self.queued = Some(Vec::new());
        }
        match queued.filter(|_| name == "exec" && frame.starts_with(b"*") && !frame.starts_with(b"*-")) {
            None => {
                let frame = self.caller.scope(self.database).seen(Some(*operation), frame);
                operation.operation().render(plan, &frame, &options.format(), out).map_err(keep)
            }
            Some(queued) => self.results(&queued, &frame, out).map_err(keep),
        }
    }

    /// The results of a transaction, each in the shape of its own operation.
    fn results(&self, queued: &[(operation::Id, Plan, Options)], frame: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let mut reader = Reader::new(frame);
        reader.read().map_err(|resp::Malformed| Error::new(Code::BackendError, Code::BackendError.title()))?;
        let mut replies = &frame[reader.position()..];
        out.extend_from_slice(b"{\"result\":[");
        for (index, (operation, plan, options)) in queued.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if let Err(error) = pipeline::render(self.caller.scope(self.database), *operation, plan, options, &mut replies, out) {
                pipeline::write_error(&error, self.caller.scope(self.database), out);
            }
        }
        out.extend_from_slice(b"]}");
        Ok(())
    }
}
