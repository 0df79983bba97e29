//! Conditional requests (RFC 9110): what `If-Match` and `If-None-Match` make a request depend on. A read is compared with what
//! was read; a change is made only if the value is still as expected.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
};
use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    Incoming,
    atomic::{self, Commands, Expected, Outcome, Watch},
    call::{self, Done, InFlight},
    compression::Coding,
    options::Options,
    respond,
    version::Version,
};
use crate::{
    error::{Code, Error},
    operation::{self, Id, arguments::Arguments},
};

/// Values up to this size have a version without being asked for it.
pub(super) const HASHED: usize = 64 << 10;
/// How often a change is tried again when somebody else changed the key to what is still expected.
const ATTEMPTS: usize = 16;

const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, no-cache");

/// What a request depends on.
#[derive(Default)]
pub(super) struct Preconditions {
    only: Option<Tags>,
    not: Option<Tags>,
}

enum Tags {
    Any,
    These { versions: Vec<Version>, texts: Vec<String> },
}

impl Preconditions {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        Ok(Self { only: tags(headers, &header::IF_MATCH, "If-Match")?, not: tags(headers, &header::IF_NONE_MATCH, "If-None-Match")? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.only.is_none() && self.not.is_none()
    }

    /// What each header expects of the value that is to be changed.
    fn expected(self) -> impl Iterator<Item = (&'static str, Expected)> {
        let only = self.only.map(|tags| match tags {
            Tags::Any => ("If-Match", Expected::Present),
            Tags::These { versions, .. } => ("If-Match", Expected::Version(versions)),
        });
        let not = self.not.map(|tags| match tags {
            Tags::Any => ("If-None-Match", Expected::Absent),
            Tags::These { versions, .. } => ("If-None-Match", Expected::Other(versions)),
        });
        only.into_iter().chain(not)
    }
}

/// Reads a list of entity tags. One that no value of ours can have is no mistake: it matches nothing.
fn tags(headers: &HeaderMap, name: &HeaderName, param: &'static str) -> Result<Option<Tags>, Error> {
    let mut tags: Option<Tags> = None;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| Error::new(Code::InvalidArgument, "expected entity tags or `*`").param(param))?;
        if text.trim() == "*" {
            return Ok(Some(Tags::Any));
        }
        let Tags::These { versions, texts } = tags.get_or_insert_with(|| Tags::These { versions: Vec::new(), texts: Vec::new() }) else {
            continue;
        };
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            if !tag.ends_with('"') || !tag.trim_start_matches("W/").starts_with('"') {
                return Err(Error::new(Code::InvalidArgument, "expected entity tags in double quotes, or `*`").param(param));
            }
            versions.extend(Version::parse(tag));
            texts.push(tag.trim_start_matches("W/").to_owned());
        }
    }
    Ok(tags)
}

/// The answer to reading a single value: with its version, or without the value if the client has that version.
pub(super) async fn read(
    incoming: Incoming<'_>,
    done: &Done,
    options: &Options,
    preconditions: &Preconditions,
) -> Result<Response<Body>, Error> {
    // What is no byte string, or too long to be hashed for nothing, has no version.
    let value = done.frame.first().filter(|kind| **kind == b'$').and_then(|_| operation::render::value(&done.frame).ok().flatten());
    let wanted = |value: &&[u8]| value.len() <= HASHED || options.etag || !preconditions.is_empty();
    let Some(version) = value.filter(wanted).map(Version::of) else { return incoming.result(done, options).await };
    if let Some(Tags::These { versions, .. }) = &preconditions.only
        && !versions.contains(&version)
    {
        return Err(unexpected("If-Match"));
    }
    let tag = version.tag(options);
    let known = match &preconditions.not {
        None => None,
        Some(Tags::Any) => Some(tag.clone()),
        Some(Tags::These { texts, .. }) => known(texts, &tag, &incoming.parts.headers),
    };
    let (mut response, tag) = match known {
        Some(tag) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            (response, tag)
        }
        None => (incoming.result(done, options).await?, tag),
    };
    let headers = response.headers_mut();
    headers.reserve(4);
    headers.insert(header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    headers.insert(header::VARY, respond::VARY);
    Ok(response)
}

/// The tag among those a client has that stands for the representation it would get, plain or in a coding that it reads.
fn known(texts: &[String], plain: &HeaderValue, asked: &HeaderMap) -> Option<HeaderValue> {
    let has = |tag: &HeaderValue| texts.iter().any(|text| text.as_bytes() == tag.as_bytes());
    if has(plain) {
        return Some(plain.clone());
    }
    let coded = Coding::ALL.into_iter().filter(|coding| coding.is_accepted(asked));
    coded.filter_map(|coding| coding.tag(plain)).find(has)
}

/// A value that a change depends on: the call that reads it, whose last word is its key.
pub(super) struct Place<'a> {
    pub(super) read: Id,
    pub(super) arguments: Arguments<'a>,
}

/// Makes a change if its preconditions hold.
pub(super) async fn change(
    incoming: Incoming<'_>,
    place: Place<'_>,
    preconditions: Preconditions,
    id: Id,
    given: &Arguments<'_>,
    options: &Options,
) -> Result<Done, Error> {
    let started = Instant::now();
    let _in_flight = InFlight::enter(incoming.scope(), &*incoming.database.room, 1, Some(started))?;
    let attempt = async {
        call::check_callable(incoming.database, id, options)?;
        let scope = incoming.scope();
        let mut read = BytesMut::new();
        options.encode(scope, place.read, &place.arguments, &mut read)?.1.forget();
        let key = atomic::last_word(&read);
        let mut bytes = BytesMut::new();
        let (plan, trail) = options.encode(scope, id, given, &mut bytes)?;
        let (names, watches): (Vec<_>, Vec<_>) =
            preconditions.expected().map(|(name, expected)| (name, Watch { key: key.clone(), read: read.clone(), expected })).unzip();
        let commands = Commands { bytes, count: 1, droppable: !id.operation().changes(), idempotent: false };
        let attempts = async {
            for _ in 0..ATTEMPTS {
                let outcome = atomic::run(incoming.database, &watches, &commands, started + options.timeout).await;
                // A key of another type has no version, and is not what anybody expects here; what is at fault is not a watch.
                match outcome.map_err(|error| Error { param: None, ..error })? {
                    Outcome::Done(frame) => return Ok(Done { id, plan, frame: scope.seen(Some(id), frame), taken: None }),
                    Outcome::Unexpected(index) => return Err(unexpected(names[index])),
                    Outcome::Refused(_, error) => return Err(scope.rights().hide_in(error)),
                    Outcome::Changed => {}
                }
            }
            Err(Error::new(Code::Conflict, "others change the key all the time; nothing was done"))
        };
        let outcome = attempts.await;
        trail.end(code_of(&outcome));
        outcome
    };
    let outcome = attempt.await;
    let code = code_of(&outcome);
    incoming.worker.counters.record(id, code, started.elapsed());
    outcome
}

fn code_of(outcome: &Result<Done, Error>) -> Option<Code> {
    match outcome {
        Ok(done) => crate::error::code_of(&done.frame),
        Err(error) => Some(error.code),
    }
}

fn unexpected(header: &'static str) -> Error {
    Error::new(Code::PreconditionFailed, "the value is not the one that the request expects; nothing was done").param(header)
}

/// Where no single value is, nothing can be expected of it.
pub(super) fn no_version(preconditions: &Preconditions) -> Error {
    let header = if preconditions.only.is_some() { "If-Match" } else { "If-None-Match" };
    Error::new(Code::InvalidArgument, "there is no single value here that has a version").param(header)
}
