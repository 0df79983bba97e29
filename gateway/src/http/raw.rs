//! `POST /raw`: any command, its words as they are, its reply in the shapes of RESP2. Words that an operation has are that
//! operation; what would change the connection that all calls share is refused.

use std::borrow::Cow;

use axum::{body::Body, http::Response};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::smallvec;
use tokio::time::Instant;

use super::{
    Incoming, Scope,
    call::{self, InFlight, LARGE, Sent},
    options::Options,
    request,
    request::Media,
    respond, sizes,
};
use crate::{
    auth,
    error::{Code, Error},
    operation::{self, Class, bounds, encode::Encoding},
    record::Trail,
    resp,
    worker::Database,
};

/// `{"command": ["SET", "a", "1"]}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(borrow)]
    command: Vec<&'a RawValue>,
}

/// A raw command on its way.
pub(super) struct Queued {
    known: Option<operation::Id>,
    sent: Sent,
    started: Instant,
    options: Options,
    trail: Trail,
}

pub(super) async fn answer(incoming: Incoming<'_>, body: Body) -> Result<Response<Body>, Error> {
    let mut query = request::query(&incoming.parts.uri)?;
    let options = Options::take(&incoming.database.room, &incoming.parts.headers, &mut query)?;
    if let Some((name, _)) = query.into_iter().next() {
        return Err(Error::new(
            Code::UnknownArgument,
            "a raw command takes consistency, encoding, integers, node, split and timeout in its query",
        )
        .param(name.into_owned()));
    }
    request::json_only(&incoming.parts.headers)?;
    let body = incoming.body(body).await?;
    let _in_flight = InFlight::enter(incoming.scope(), &*incoming.database.room, 1, None)?;
    let frame = run(incoming.scope(), &body, &options).await?;
    if options.accept == Media::Bytes {
        return match operation::render::value(&frame)? {
            Some(value) => Ok(respond::bytes(frame.slice_ref(value))),
            None => Err(Error::new(Code::KeyNotFound, Code::KeyNotFound.title())),
        };
    }
    let format = options.format();
    let write = move |frame: &Bytes| {
        let mut out = Vec::with_capacity(frame.len() + 32);
        operation::render::render_raw(frame, &format, &mut out).map(|()| out)
    };
    let out = if frame.len() <= LARGE { write(&frame) } else { call::apart(&incoming.worker.shared, async move { write(&frame) }).await };
    Ok(respond::json(out?))
}

/// Asks for sizes if there is a limit, queues the command and waits for its reply.
pub(super) async fn run(scope: Scope<'_>, document: &[u8], options: &Options) -> Result<Bytes, Error> {
    if scope.worker.shared.max_result_items.is_some() {
        Box::pin(ask(scope, document, options)).await?;
    }
    queue(scope, document, options)?.reply(scope).await
}

/// Refuses what would have too many items.
async fn ask(scope: Scope<'_>, document: &[u8], options: &Options) -> Result<(), Error> {
    let shared = &scope.worker.shared;
    let words = words(document, options, shared.max_value_bytes)?;
    let slices: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
    let Some(id) = operation::resolve::resolve(&slices) else { return Ok(()) };
    let mut command = BytesMut::new();
    resp::write_command(&mut command, &slices);
    // Whoever may not make the call is told so, and recorded, when it is made.
    if scope.rights().admit_raw(Some(id), &mut command).is_err() {
        return Ok(());
    }
    let asked = sizes::encoded(scope, id, &command, options, Instant::now()).await;
    asked.map_err(|error| error.param("command"))
}

/// Reads the document of a raw command and queues it.
pub(super) fn queue(scope: Scope<'_>, document: &[u8], options: &Options) -> Result<Queued, Error> {
    let started = Instant::now();
    let shared = &scope.worker.shared;
    let words = words(document, options, shared.max_value_bytes)?;
    let slices: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
    let known = operation::resolve::resolve(&slices);
    check(known, &slices, options, scope.database)?;
    let changes = known.is_none_or(|id| id.operation().changes());
    let sent = call::with_scratch(|scratch| {
        resp::write_command(scratch, &slices);
        scope.rights().admit_raw(known, scratch).map_err(|error| error.param("command"))?;
        if let Some(id) = known {
            bounds::check(id, scratch, sizes::limits(shared)).map_err(|error| error.param("command"))?;
        }
        options.submit(scope.database, scratch, smallvec![!changes]).map_err(|failure| failure.error(true))
    });
    // What is not known may be anything.
    let (word, class) = known.map_or(("raw", Class::Admin), |id| (id.operation().name, id.operation().access.class));
    let (sent, trail) = scope.judged(word, class, sent, |_| known.map_or_else(Vec::new, |id| auth::raw_names(id, &slices)))?;
    Ok(Queued { known, sent, started, options: *options, trail })
}

impl Queued {
    /// Waits for the reply.
    pub(super) async fn reply(self, scope: Scope<'_>) -> Result<Bytes, Error> {
        let idempotent = self.known.is_some_and(|id| id.operation().idempotent);
        let outcome = self.sent.replies(scope.database, self.started + self.options.timeout).await;
        let outcome = outcome.map_err(|failure| failure.error(idempotent));
        let code = outcome.as_ref().map_or_else(|error| Some(error.code), |frame| crate::error::code_of(frame));
        self.trail.end(code);
        if let Some(id) = self.known {
            scope.worker.counters.record(id, code, self.started.elapsed());
        }
        outcome.map(|frame| scope.seen(self.known, frame))
    }
}

/// Reads the words: strings, or numbers as their literal text.
fn words<'a>(body: &'a [u8], options: &Options, most: usize) -> Result<Vec<Cow<'a, [u8]>>, Error> {
    const SHAPE: &str = "{\"command\": [\"SET\", \"a\", \"1\"]}: strings or numbers";
    let expected = || Error::new(Code::InvalidArgument, format!("expected {SHAPE}")).param("command");
    let document: Document<'a> = request::document(body, "command", SHAPE)?;
    if document.command.is_empty() {
        return Err(expected());
    }
    let word = |(index, raw): (usize, &&'a RawValue)| {
        let text = raw.get();
        let word: Cow<'a, [u8]> = match text.as_bytes()[0] {
            b'"' => match serde_json::from_str::<Text<'a>>(text).map_err(|_| expected())?.0 {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
            b'-' | b'0'..=b'9' => Cow::Borrowed(text.as_bytes()),
            _ => return Err(expected()),
        };
        // The command's own name is text whatever the encoding.
        let word = match options.encoding {
            Encoding::Base64 if index > 0 => Cow::Owned(request::base64(std::str::from_utf8(&word).unwrap_or_default(), "command")?),
            _ => word,
        };
        if word.len() > most {
            return Err(
                Error::new(Code::ValueTooLarge, format!("a word may have at most {most} bytes (limits.maxValueBytes)")).param("command")
            );
        }
        Ok(word)
    };
    document.command.iter().enumerate().map(word).collect()
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn check(known: Option<operation::Id>, words: &[&[u8]], options: &Options, database: &Database) -> Result<(), Error> {
    let reason = match known {
        Some(id) => {
            call::check_callable(database, id, options)?;
            operation::resolve::waits(id, words)
        }
        None => {
            options.check_place(None)?;
            operation::resolve::unshareable(words)
        }
    };
    reason.map_or(Ok(()), |reason| Err(Error::new(Code::WrongTransport, reason).param("command")))
}
