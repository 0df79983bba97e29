//! `POST /transaction`: several calls that happen as one, and only if what is expected of watched keys holds. Everything is
//! read and encoded before anything is sent: one call that cannot be is the end of all.

use std::{borrow::Cow, time::Duration};

use axum::{body::Body, http::Response};
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    Incoming, Scope,
    atomic::{self, Commands, Expected, Outcome, Watch, last_word},
    call::{self, InFlight},
    options::Options,
    pipeline, request,
    request::Media,
    respond, sizes,
    version::Version,
};
use crate::{
    backend::Where,
    error::{Code, Error},
    operation::{
        self, Id,
        arguments::{Arguments, Given},
        encode::Plan,
    },
    record::Trail,
    resp,
};

/// `{"watch": […], "calls": […]}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(borrow, default)]
    watch: Vec<Expectation<'a>>,
    #[serde(borrow)]
    calls: Vec<&'a RawValue>,
}

/// A key and what is expected of it: one of the three.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow, default)]
    equals: Option<&'a RawValue>,
    #[serde(default)]
    absent: Option<bool>,
    #[serde(borrow, default)]
    version: Option<Cow<'a, str>>,
}

const SHAPE: &str = "{\"watch\"?: [{\"key\": …, \"equals\" | \"absent\" | \"version\": …}, …], \"calls\": [{\"op\": …, \"args\": {…}}, …]}";

struct Call {
    id: Id,
    plan: Plan,
    options: Options,
    trail: Trail,
}

/// A transaction that has been read and can be carried out.
pub(super) struct Transaction {
    watches: Vec<Watch>,
    calls: Vec<Call>,
    commands: Commands,
    timeout: Duration,
}

pub(super) async fn answer(incoming: Incoming<'_>, body: Body) -> Result<Response<Body>, Error> {
    let mut query = request::query(&incoming.parts.uri)?;
    let options = Options::take(&incoming.database.room, &incoming.parts.headers, &mut query)?;
    // What happens as one has no parts, and its place.
    let Where { in_parts, eventual, node } = options.place;
    let refused = [(in_parts, "split"), (eventual, "consistency"), (node.is_some(), "node")];
    let refused = refused.into_iter().find_map(|(is, name)| is.then_some(name.into()));
    if let Some(name) = query.into_iter().next().map(|(name, _)| name).or(refused) {
        return Err(
            Error::new(Code::UnknownArgument, "a transaction takes encoding, integers and timeout in its query").param(name.into_owned())
        );
    }
    if options.accept == Media::Bytes {
        return Err(Error::new(Code::NotAcceptable, "a transaction's answer is application/json").param("Accept"));
    }
    request::json_only(&incoming.parts.headers)?;
    let body = incoming.body(body).await?;
    let transaction = read(incoming.scope(), &body, &options)?;
    let _in_flight = InFlight::enter(incoming.scope(), &*incoming.database.room, transaction.len(), None)?;
    let mut out = Vec::new();
    transaction.run(incoming.scope(), &mut out).await?;
    Ok(respond::json(out))
}

/// Reads the document of a transaction and encodes all of it.
pub(super) fn read(scope: Scope<'_>, document: &[u8], options: &Options) -> Result<Transaction, Error> {
    let shared = &scope.worker.shared;
    let Document { watch, calls } = request::document(document, "calls", SHAPE)?;
    pipeline::check_count(&calls, shared, &scope.database.room)?;
    if watch.len() > shared.max_pipeline_calls {
        let detail = format!("at most {} keys may be watched (limits.maxPipelineCalls)", shared.max_pipeline_calls);
        return Err(Error::new(Code::PipelineTooLarge, detail).param("watch"));
    }
    let watches: Vec<Watch> = watch
        .iter()
        .enumerate()
        .map(|(index, expectation)| read_watch(expectation, options, scope).map_err(|error| within(error, "watch", index)))
        .collect::<Result<_, _>>()?;
    let mut bytes = BytesMut::new();
    let mut read = Vec::with_capacity(calls.len());
    for (index, call) in calls.iter().enumerate() {
        match encode(call, options, scope, &mut bytes) {
            Ok(call) => read.push(call),
            Err(mut error) => {
                // Those in front of it are not made, and nothing is said against them.
                read.into_iter().for_each(|call: Call| call.trail.forget());
                error.position = error.position.map(|position| position + pipeline::offset(call, document));
                return Err(within(error, "calls", index));
            }
        }
    }
    let commands = Commands {
        bytes,
        count: read.len(),
        droppable: read.iter().all(|call| !call.id.operation().changes()),
        // A second time, what was expected may hold no more because of the first.
        idempotent: watches.is_empty() && read.iter().all(|call| call.plan.idempotent),
    };
    let timeout = read.iter().map(|call| call.options.timeout).max().unwrap_or(options.timeout);
    Ok(Transaction { watches, calls: read, commands, timeout })
}

impl Transaction {
    /// How many calls it has.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Refuses what would have too many items.
    async fn ask(&self, scope: Scope<'_>, deadline: Instant) -> Result<(), Error> {
        let mut rest = &self.commands.bytes[..];
        let commands = self.calls.iter().map(|call| Some((call.id, resp::take_frame(&mut rest)?)));
        let refused = Box::pin(sizes::commands(scope, commands.collect(), deadline)).await;
        let refused = refused.into_iter().enumerate().find_map(|(index, error)| Some((index, error?)));
        refused.map_or(Ok(()), |(index, error)| Err(within(error, "calls", index)))
    }

    /// Carries it out and appends the answer, a JSON object; on an error nothing is appended.
    pub(super) async fn run(self, scope: Scope<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let started = Instant::now();
        let asked = match scope.worker.shared.max_result_items {
            Some(_) => self.ask(scope, started + self.timeout).await,
            None => Ok(()),
        };
        if let Err(error) = asked {
            self.calls.into_iter().for_each(|call| call.trail.end(Some(error.code)));
            return Err(error);
        }
        let done = atomic::run(scope.database, &self.watches, &self.commands, started + self.timeout).await.and_then(frames);
        let done = done.and_then(|frames| match crate::error::code_of(&frames) {
            Some(Code::ResultTooLarge) => Err(Error::new(Code::ResultTooLarge, Code::ResultTooLarge.title())),
            _ => Ok(frames),
        });
        let done = done.map_err(|error| scope.rights().hide_in(error));
        let frames = match done {
            Ok(frames) => frames,
            Err(error) => {
                for call in self.calls {
                    scope.worker.counters.record(call.id, Some(error.code), started.elapsed());
                    call.trail.end(Some(error.code));
                }
                return Err(error);
            }
        };
        out.reserve(16 * self.calls.len() + frames.len());
        out.extend_from_slice(b"{\"result\":[");
        let mut replies = &frames[..];
        for (index, Call { id, plan, options, trail }) in self.calls.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let result = pipeline::render(scope, id, &plan, &options, &mut replies, out);
            let code = result.as_ref().err().map(|error| error.code);
            scope.worker.counters.record(id, code, started.elapsed());
            trail.end(code);
            if let Err(error) = result {
                pipeline::write_error(&error, scope, out);
            }
        }
        out.extend_from_slice(b"]}");
        Ok(())
    }
}

/// The replies, or why there are none.
fn frames(outcome: Outcome) -> Result<bytes::Bytes, Error> {
    match outcome {
        Outcome::Done(frames) => Ok(frames),
        Outcome::Unexpected(index) => Err(Error::new(Code::PreconditionFailed, "a watched key is not what is expected; nothing was done")
            .param(format!("watch[{index}]"))),
        // Whoever reads the keys anew may do better.
        Outcome::Changed => Err(Error::new(Code::Conflict, "a watched key was changed meanwhile; nothing was done").param("watch")),
        Outcome::Refused(at, error) => Err(refused(at, error)),
    }
}

fn refused(at: Option<usize>, mut error: Error) -> Error {
    if matches!(error.code, Code::RedisError | Code::Conflict | Code::UnsupportedByServer) {
        error.code = Code::Conflict;
        error.detail = "the database refused a call beforehand; nothing was done".into();
    }
    match at {
        Some(index) => error.param(format!("calls[{index}]")),
        None => error,
    }
}

/// Names the element that an error is of.
fn within(mut error: Error, list: &str, index: usize) -> Error {
    error.param = Some(match error.param {
        Some(param) if param != "calls" => format!("{list}[{index}].{param}").into(),
        _ => format!("{list}[{index}]").into(),
    });
    error
}

fn encode(call: &RawValue, options: &Options, scope: Scope<'_>, out: &mut BytesMut) -> Result<Call, Error> {
    let (id, given, options) = pipeline::prepare(call, options, scope)?;
    call::check_callable(scope.database, id, &options)?;
    let (plan, trail) = options.encode(scope, id, &given, out)?;
    Ok(Call { id, plan, options, trail })
}

fn read_watch(given: &Expectation<'_>, options: &Options, scope: Scope<'_>) -> Result<Watch, Error> {
    let find = |name: &str| operation::find(name).ok_or_else(super::unknown_operation);
    let mut arguments = Arguments::default();
    arguments.push("key", Given::Json(given.key));
    // Key and value are read as everywhere: as those of operations.
    let mut read = BytesMut::new();
    options.encode(scope, find("get")?, &arguments, &mut read)?.1.forget();
    let key = last_word(&read);
    let expected = match (given.equals, given.absent, &given.version) {
        (Some(value), None, None) => {
            arguments.push("value", Given::Json(value));
            let mut value = BytesMut::new();
            let encoded = find("set")?.operation().encode(&arguments, &options.rules(&scope.worker.shared), &mut value);
            encoded.map_err(|error| match error.param.as_deref() {
                Some("value") => error.param("equals"),
                _ => error,
            })?;
            Expected::Equal(last_word(&value))
        }
        (None, Some(true), None) => Expected::Absent,
        (None, None, Some(tag)) => {
            let version = Version::parse(tag);
            Expected::Version(vec![
                version.ok_or_else(|| Error::new(Code::InvalidArgument, "expected an ETag of a value").param("version"))?,
            ])
        }
        _ => return Err(Error::new(Code::InvalidArgument, "expected one of `equals`, `\"absent\": true` and `version`")),
    };
    Ok(Watch { key, read, expected })
}
