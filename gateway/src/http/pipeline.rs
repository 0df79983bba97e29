//! `POST /pipeline`: several calls in one request, written together, answered in order, one result or error each. Not
//! atomic: calls of others may come in between, and a failed one does not stop the next.

use std::{borrow::Cow, time::Duration};

use axum::{body::Body, http::Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    Incoming, Scope,
    call::{self, InFlight, Sent},
    options::Options,
    request, respond, sizes, unknown_operation,
};
use crate::{
    backend::{self, Replies},
    error::{Code, Error},
    operation::{self, Id, arguments::Arguments, encode::Plan},
    record::Trail,
    shared::{Room, Shared},
};

/// `{"calls": […]}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(borrow)]
    calls: Vec<&'a RawValue>,
}

/// One call. Its members are those of a call over every transport.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encoding: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    timeout: Option<Cow<'a, str>>,
}

/// A call that has been queued, or why not.
enum Slot {
    Queued { id: Id, plan: Plan, options: Options, trail: Trail },
    Refused { id: Option<Id>, error: Error },
}

/// A pipeline on its way: what each of its calls has become, and the replies to those that were queued.
pub(super) struct Queued {
    slots: Vec<Slot>,
    sent: Option<Result<Sent, backend::Failure>>,
    started: Instant,
    longest: Duration,
}

pub(super) async fn answer(incoming: Incoming<'_>, body: Body) -> Result<Response<Body>, Error> {
    let shared = &incoming.worker.shared;
    let mut query = request::query(&incoming.parts.uri)?;
    let options = Options::take(&incoming.database.room, &incoming.parts.headers, &mut query)?;
    if let Some((name, _)) = query.into_iter().next() {
        return Err(Error::new(
            Code::UnknownArgument,
            "a pipeline takes consistency, encoding, integers, node, split and timeout in its query",
        )
        .param(name.into_owned()));
    }
    if options.accept == request::Media::Bytes {
        return Err(Error::new(Code::NotAcceptable, "a pipeline's answer is application/json").param("Accept"));
    }
    request::json_only(&incoming.parts.headers)?;
    let body = incoming.body(body).await?;
    let calls = read(&body, shared, &incoming.database.room)?;
    let _in_flight = InFlight::enter(incoming.scope(), &*incoming.database.room, calls.len(), None)?;
    let mut out = Vec::new();
    run(incoming.scope(), &calls, &body, &options, &mut out).await;
    Ok(respond::json(out))
}

/// Asks for sizes if there is a limit, queues all calls, and appends their answer.
pub(super) async fn run(scope: Scope<'_>, calls: &[&RawValue], document: &[u8], options: &Options, out: &mut Vec<u8>) {
    let refused = match scope.worker.shared.max_result_items {
        Some(_) => Box::pin(sizes::several(scope, calls, options, Instant::now())).await,
        None => Vec::new(),
    };
    queue(scope, calls, document, options, refused).finish(scope, out).await;
}

/// Reads the document of a pipeline.
pub(super) fn read<'a>(document: &'a [u8], shared: &Shared, room: &Room) -> Result<Vec<&'a RawValue>, Error> {
    let Document { calls } = request::document(document, "calls", "{\"calls\": [{\"op\": …, \"args\": {…}}, …]}")?;
    check_count(&calls, shared, room)?;
    Ok(calls)
}

impl Queued {
    /// Waits for the replies and appends the answer, a JSON object.
    pub(super) async fn finish(self, scope: Scope<'_>, out: &mut Vec<u8>) {
        let Self { slots, sent, started, longest } = self;
        let outcome = match sent {
            None => Ok(Bytes::new()),
            Some(Err(failure)) => Err(failure),
            Some(Ok(sent)) => sent.replies(scope.database, started + longest).await,
        };
        out.reserve(16 * slots.len() + outcome.as_ref().map_or(0, Bytes::len));
        out.extend_from_slice(b"{\"result\":[");
        let mut replies = outcome.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        let mut pause = out.len() + call::LARGE;
        for (index, slot) in slots.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if out.len() > pause {
                // Others of this worker get their turn.
                tokio::task::yield_now().await;
                pause = out.len() + call::LARGE;
            }
            let (id, result, trail) = match slot {
                Slot::Refused { id, error } => (id, Err(error), Trail::NONE),
                Slot::Queued { id, plan, options, trail } => match &outcome {
                    Err(failure) => (Some(id), Err(failure.error(plan.idempotent)), trail),
                    Ok(_) => (Some(id), render(scope, id, &plan, &options, &mut replies, out), trail),
                },
            };
            let code = result.as_ref().err().map(|error| error.code);
            trail.end(code);
            if let Some(id) = id {
                scope.worker.counters.record(id, code, started.elapsed());
            }
            if let Err(error) = result {
                write_error(&error, scope, out);
            }
        }
        out.extend_from_slice(b"]}");
    }
}

/// Whether there are as many calls as there may be.
pub(super) fn check_count(calls: &[&RawValue], shared: &Shared, room: &Room) -> Result<(), Error> {
    // More calls than may be in flight would never find room.
    let most = shared.max_pipeline_calls.min(room.max_in_flight);
    match calls.len() {
        0 => Err(Error::new(Code::InvalidArgument, "at least one call is needed").param("calls")),
        count if count > most => {
            Err(Error::new(Code::PipelineTooLarge, format!("there may be at most {most} calls (limits.maxPipelineCalls)")).param("calls"))
        }
        _ => Ok(()),
    }
}

/// Where a call stands in the request's body: positions of errors count from the body's start.
pub(super) fn offset(call: &RawValue, body: &[u8]) -> usize {
    (call.get().as_ptr() as usize).wrapping_sub(body.as_ptr() as usize)
}

/// Encodes all calls into one write and queues it; those that are refused already are not.
pub(super) fn queue(scope: Scope<'_>, calls: &[&RawValue], document: &[u8], options: &Options, mut refused: Vec<Option<Error>>) -> Queued {
    let started = Instant::now();
    call::with_scratch(|scratch| {
        let mut slots = Vec::with_capacity(calls.len());
        let mut replies = Replies::new();
        let mut longest = Duration::ZERO;
        for (index, call) in calls.iter().enumerate() {
            let mut id = None;
            let encoded = prepare(call, options, scope).and_then(|(operation, given, options)| {
                id = Some(operation);
                call::check_callable(scope.database, operation, &options)?;
                if let Some(error) = refused.get_mut(index).and_then(Option::take) {
                    return Err(error);
                }
                let (plan, trail) = options.encode(scope, operation, &given, scratch)?;
                Ok((operation, plan, options, trail))
            });
            slots.push(match encoded {
                Ok((id, plan, options, trail)) => {
                    replies.push(!id.operation().changes());
                    longest = longest.max(options.timeout);
                    Slot::Queued { id, plan, options, trail }
                }
                Err(mut error) => {
                    error.position = error.position.map(|position| position + offset(call, document));
                    Slot::Refused { id, error }
                }
            });
        }
        let sent = (!replies.is_empty()).then(|| options.submit(scope.database, scratch, replies));
        Queued { slots, sent, started, longest }
    })
}

/// Reads one call.
pub(super) fn prepare<'a>(call: &'a RawValue, options: &Options, scope: Scope<'_>) -> Result<(Id, Arguments<'a>, Options), Error> {
    let call: Call<'a> = request::of_object(call.get().as_bytes(), serde_json::from_str(call.get())).map_err(|_| {
        Error::new(Code::InvalidArgument, "expected a call: {\"op\": …, \"args\": {…}, \"encoding\"?: …, \"timeout\"?: …}").param("calls")
    })?;
    let id = operation::find(&call.op).ok_or_else(unknown_operation)?;
    let options = options.of_call(&scope.database.room, call.encoding.as_deref(), call.timeout.as_deref())?;
    let given = Arguments::from_json(call.args.map_or(&[][..], |args| args.get().as_bytes()))?;
    Ok((id, given, options))
}

/// Takes the next reply and writes it; leaves `out` as it was on an error.
pub(super) fn render(
    scope: Scope<'_>,
    id: Id,
    plan: &Plan,
    options: &Options,
    replies: &mut &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let frame = call::next_reply(replies)?;
    if !scope.rights().sees_all() {
        let frame = scope.seen(Some(id), Bytes::copy_from_slice(frame));
        return id.operation().render(plan, &frame, &options.format(), out);
    }
    id.operation().render(plan, frame, &options.format(), out)
}

/// Writes the error of one call among several.
pub(super) fn write_error(error: &Error, scope: Scope<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":");
    out.extend_from_slice(error.problem(scope.id).to_string().as_bytes());
    out.push(b'}');
}
