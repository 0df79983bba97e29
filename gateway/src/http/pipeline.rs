//! `POST /pipeline`: several calls in one request, written together, answered in order, one result or error each. Not
//! atomic: calls of others may come in between, and a failed one does not stop the next.

use std::borrow::Cow;

use axum::{body::Body, http::Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    Incoming,
    call::{self, InFlight, Options, Sent},
    request, respond, unknown_operation,
};
use crate::{
    backend::{self, Replies},
    error::{Code, Error},
    operation::{self, Id, arguments::Arguments, encode::Plan},
    shared::Shared,
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
    Queued { id: Id, plan: Plan, options: Options },
    Refused { id: Option<Id>, error: Error },
}

pub(super) async fn answer(incoming: Incoming<'_>, body: Body) -> Result<Response<Body>, Error> {
    let shared = &incoming.worker.shared;
    let started = Instant::now();
    let mut query = request::query(&incoming.parts.uri)?;
    let options = Options::take(shared, &incoming.parts.headers, &mut query)?;
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
    let Document { calls } = request::document(&body, "calls", "{\"calls\": [{\"op\": …, \"args\": {…}}, …]}")?;
    check_count(&calls, shared)?;
    let _in_flight = InFlight::enter(shared, calls.len())?;

    let (slots, sent) = queue(&incoming, &calls, &body, &options);
    let longest = slots.iter().filter_map(|slot| if let Slot::Queued { options, .. } = slot { Some(options.timeout) } else { None }).max();
    let outcome = match sent {
        None => Ok(Bytes::new()),
        Some(Err(failure)) => Err(failure),
        Some(Ok(sent)) => sent.replies(incoming.database, started + longest.unwrap_or(options.timeout)).await,
    };
    let mut out = Vec::with_capacity(16 * slots.len() + outcome.as_ref().map_or(0, Bytes::len));
    out.extend_from_slice(b"{\"result\":[");
    let mut replies = outcome.as_ref().map_or(&[][..], |bytes| &bytes[..]);
    for (index, slot) in slots.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let (id, result) = match slot {
            Slot::Refused { id, error } => (*id, Err(error.clone())),
            Slot::Queued { id, plan, options } => match &outcome {
                Err(failure) => (Some(*id), Err(failure.error(plan.idempotent))),
                Ok(_) => (Some(*id), render(*id, plan, options, &mut replies, &mut out)),
            },
        };
        let code = result.as_ref().err().map(|error| error.code);
        if let Some(id) = id {
            incoming.worker.counters.record(id, code, started.elapsed());
        }
        if let Err(error) = result {
            write_error(&error, &incoming, &mut out);
        }
    }
    out.extend_from_slice(b"]}");
    Ok(respond::json(out))
}

/// Whether there are as many calls as there may be.
pub(super) fn check_count(calls: &[&RawValue], shared: &Shared) -> Result<(), Error> {
    // More calls than may be in flight would never find room.
    let most = shared.max_pipeline_calls.min(shared.max_in_flight);
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

type Queued = Option<Result<Sent, backend::Failure>>;

/// Encodes all calls into one write and queues it.
fn queue(incoming: &Incoming<'_>, calls: &[&RawValue], body: &[u8], options: &Options) -> (Vec<Slot>, Queued) {
    let shared = &incoming.worker.shared;
    call::with_scratch(|scratch| {
        let mut slots = Vec::with_capacity(calls.len());
        let mut replies = Replies::new();
        for call in calls {
            let mut id = None;
            let encoded = prepare(call, options, incoming).and_then(|(operation, given, options)| {
                id = Some(operation);
                call::check_callable(incoming.database, operation, &options)?;
                let plan = operation.operation().encode(&given, &options.rules(shared), scratch)?;
                Ok((operation, plan, options))
            });
            slots.push(match encoded {
                Ok((id, plan, options)) => {
                    replies.push(!id.operation().changes());
                    Slot::Queued { id, plan, options }
                }
                Err(mut error) => {
                    error.position = error.position.map(|position| position + offset(call, body));
                    Slot::Refused { id, error }
                }
            });
        }
        let queued = (!replies.is_empty()).then(|| options.submit(incoming.database, scratch, replies));
        (slots, queued)
    })
}

/// Reads one call.
pub(super) fn prepare<'a>(call: &'a RawValue, options: &Options, incoming: &Incoming<'_>) -> Result<(Id, Arguments<'a>, Options), Error> {
    let call: Call<'a> = serde_json::from_str(call.get()).map_err(|_| {
        Error::new(Code::InvalidArgument, "expected a call: {\"op\": …, \"args\": {…}, \"encoding\"?: …, \"timeout\"?: …}").param("calls")
    })?;
    let id = operation::find(&call.op).ok_or_else(unknown_operation)?;
    let mut options = *options;
    if let Some(encoding) = &call.encoding {
        options.encoding = call::encoding(encoding)?;
    }
    if let Some(timeout) = &call.timeout {
        options.timeout = call::timeout(&incoming.worker.shared, timeout, "timeout")?;
    }
    let given = Arguments::from_json(call.args.map_or(&[][..], |args| args.get().as_bytes()))?;
    Ok((id, given, options))
}

/// Takes the next reply and writes it; leaves `out` as it was on an error.
pub(super) fn render(id: Id, plan: &Plan, options: &Options, replies: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let frame = call::next_reply(replies)?;
    id.operation().render(plan, frame, &options.format(), out)
}

/// Writes the error of one call among several.
pub(super) fn write_error(error: &Error, incoming: &Incoming<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":");
    out.extend_from_slice(error.problem(incoming.id.to_str().unwrap_or_default()).to_string().as_bytes());
    out.push(b'}');
}
