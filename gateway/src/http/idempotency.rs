//! `Idempotency-Key`: a change that is sent again is not made again. A marker is set first, the answer takes its place, and is given
//! to whoever comes with the same key and the same request. At most once: what may have happened is not tried again.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts},
};
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Scope, call,
    options::Options,
    request::{self, Media},
    resource, respond, taken,
};
use crate::{
    auth::Identity,
    error::{Code, Error},
    operation::{
        self,
        arguments::{Arguments, Given},
        encode::Encoding,
    },
    worker::{Database, Worker},
};

/// The header that names a change.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const PREFIX: &str = "dbx:idem:";
const LONGEST_KEY: usize = 255;
/// An answer of more bytes is not kept.
const LARGEST_ANSWER: usize = 64 << 10;
/// The media types that answers have; their places stand in records.
const TYPES: [&str; 3] = ["application/json", "application/problem+json", "application/octet-stream"];

type Hash = [u8; 32];

/// What is known of a change: the request's hash and how far it came.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Being made. For how many milliseconds it may still be, counted from the start of so many that the record lives.
    Pending { lease: u64, window: u64 },
    /// It may or may not have been made.
    Unknown,
    /// It was made, and its answer was too large to be kept.
    Unkept,
    /// It was made, or refused, and this was the answer.
    Answered { status: u16, media: u8, body: Bytes },
}

/// Whether a request is a change that has a key. What nothing takes is answered as if it had none.
pub(super) fn applies(parts: &Parts) -> bool {
    if !parts.headers.contains_key(&KEY) || matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let Some((_, name)) = parts.uri.path().strip_prefix("/api/v1/").and_then(|rest| rest.split_once('/')) else { return false };
    let by_name = parts.method == Method::POST && operation::find(name).map_or(!name.contains('/'), |id| id.operation().changes());
    by_name || resource::takes(name, &parts.method)
}

/// Answers a change that has a key. It is made by a task of its own: a client that leaves does not leave it half known.
pub(super) async fn answer(
    worker: Arc<Worker>,
    identity: Arc<Identity>,
    parts: Parts,
    body: Body,
    id: HeaderValue,
) -> Result<Response<Body>, Error> {
    let shared = &worker.shared;
    let path = parts.uri.path();
    let name = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next()).unwrap_or_default().to_owned();
    let Some(database) = worker.database(&name) else {
        return super::route(&worker, &identity, &parts, body, &id).await;
    };
    let key = parts.headers.get(&KEY).and_then(|key| key.to_str().ok()).filter(|key| (1..=LONGEST_KEY).contains(&key.len()));
    let key =
        key.ok_or_else(|| Error::new(Code::InvalidArgument, "expected 1 to 255 visible characters of ASCII").param("Idempotency-Key"))?;
    if let Some(allowance) = super::allowance(&worker, &identity, &parts) {
        // The record is a command as well, also where it is all that is needed.
        allowance.admit(&worker, database.index, 1, None)?;
    }
    let record = Record { key: record_key(&identity.name, key), name, identity };
    let body = request::body(&parts.headers, body, shared.max_body_bytes, shared.body_timeout).await?;
    let made = tokio::spawn(async move { record.make(&worker, &parts, body, &id).await });
    made.await.unwrap_or_else(|_| {
        let mut error = Error::new(Code::Internal, "the call ended without an answer");
        error.outcome_unknown = true;
        Err(error)
    })
}

/// Where what is known of a change is kept.
struct Record {
    key: String,
    name: String,
    identity: Arc<Identity>,
}

impl Record {
    /// Makes the change, unless it is known already.
    async fn make(&self, worker: &Arc<Worker>, parts: &Parts, body: Bytes, id: &HeaderValue) -> Result<Response<Body>, Error> {
        let shared = &worker.shared;
        let hash = hash_request(parts, &body);
        let room = &self.database(worker)?.room;
        let lease = milliseconds(room.max_call_timeout.max(shared.max_wait) + room.call_timeout);
        let pending = State::Pending { lease, window: milliseconds(shared.idempotency_window) };
        match self.claim(worker, &hash, &pending).await? {
            Some((known, _)) if known != hash => {
                Err(Error::new(Code::IdempotencyMismatch, "another request was made with this key").param("Idempotency-Key"))
            }
            Some((_, state)) => self.replay(worker, state, id).await,
            None => {
                let outcome = super::route(worker, &self.identity, parts, Body::from(body), id).await;
                self.settle(worker, &hash, outcome, id).await
            }
        }
    }

    /// Sets the marker, unless there is a record already.
    async fn claim(&self, worker: &Arc<Worker>, hash: &Hash, pending: &State) -> Result<Option<(Hash, State)>, Error> {
        let State::Pending { window, .. } = pending else { return Ok(None) };
        let record = write(hash, pending);
        let more = [("px", Given::Text(window.to_string().into())), flag("nx"), flag("get")];
        let done = self.set(worker, &record, more).await?;
        let found = operation::render::value(&done.frame)?;
        found
            .map(|record| read(record).ok_or_else(|| Error::new(Code::Conflict, "the record of this key is not one of the gateway's")))
            .transpose()
    }

    /// The answer of a change that is known already.
    async fn replay(&self, worker: &Arc<Worker>, state: State, id: &HeaderValue) -> Result<Response<Body>, Error> {
        match state {
            State::Pending { lease, window } => {
                let mut arguments = Arguments::default();
                arguments.push("key", Given::Bytes(self.key.as_bytes().into()));
                let done = self.call(worker, "pttl", arguments).await?;
                let left = operation::render::value(&done.frame)?.and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
                if window.saturating_sub(left.unwrap_or(window)) < lease {
                    return Err(Error::new(Code::IdempotencyInProgress, Code::IdempotencyInProgress.title()).retryable());
                }
                Err(unknown())
            }
            State::Unknown => Err(unknown()),
            State::Unkept => Err(Error::new(Code::Conflict, "the change was made already; its answer was too large to be kept")),
            State::Answered { status, media, body } => {
                let mut response = Response::new(Body::from(renamed(status, body, id)));
                *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let media = TYPES.get(usize::from(media)).copied().unwrap_or(TYPES[0]);
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                Ok(response)
            }
        }
    }

    /// Keeps what became of the change.
    async fn settle(
        &self,
        worker: &Arc<Worker>,
        hash: &Hash,
        outcome: Result<Response<Body>, Error>,
        id: &HeaderValue,
    ) -> Result<Response<Body>, Error> {
        let (response, error) = match outcome {
            Ok(response) => (response, None),
            Err(error) => (respond::problem(&error, id), Some(error)),
        };
        let mut response = response;
        let taken = taken::detach(&mut response);
        let (parts, body) = response.into_parts();
        // A body of ours is in memory, and ends.
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let whole = body.len() <= LARGEST_ANSWER;
        let kept = match &error {
            // Nothing was done: the next is the first. Who may do nothing leaves nothing behind.
            Some(error) if error.retryable || error.code == Code::Forbidden => {
                let mut arguments = Arguments::default();
                arguments.push("keys", Given::Bytes(self.key.as_bytes().into()));
                self.call(worker, "del", arguments).await.map(|_| ())
            }
            Some(error) if error.outcome_unknown => self.keep(worker, &write(hash, &State::Unknown)).await,
            _ if !whole => self.keep(worker, &write(hash, &State::Unkept)).await,
            _ => {
                let media = parts.headers.get(header::CONTENT_TYPE).and_then(|media| TYPES.iter().position(|known| media == known));
                let media = u8::try_from(media.unwrap_or(0)).unwrap_or(0);
                self.keep(worker, &write(hash, &State::Answered { status: parts.status.as_u16(), media, body: body.clone() })).await
            }
        };
        let is_kept = kept.is_ok();
        if let Err(error) = kept {
            tracing::warn!(code = error.code.name(), "the answer to a change with an Idempotency-Key could not be kept");
        }
        match error {
            Some(error) => Err(error),
            None => {
                let response = Response::from_parts(parts, body.into());
                Ok(match taken {
                    // Whoever comes with the key gets it from the record.
                    Some(taken) if whole && is_kept => {
                        taken.delivered();
                        response
                    }
                    Some(taken) => taken::attach(response, taken),
                    None => response,
                })
            }
        }
    }

    async fn keep(&self, worker: &Arc<Worker>, record: &[u8]) -> Result<(), Error> {
        self.set(worker, record, [flag("keepttl"), flag("xx")]).await.map(|_| ())
    }

    async fn set<'a, const N: usize>(
        &'a self,
        worker: &Arc<Worker>,
        value: &'a [u8],
        more: [(&'static str, Given<'a>); N],
    ) -> Result<call::Done, Error> {
        let mut arguments = Arguments::default();
        arguments.push("key", Given::Bytes(self.key.as_bytes().into()));
        arguments.push("value", Given::Bytes(value.into()));
        more.into_iter().for_each(|(name, given)| arguments.push(name, given));
        self.call(worker, "set", arguments).await
    }

    fn database<'w>(&self, worker: &'w Worker) -> Result<&'w Arc<Database>, Error> {
        worker.database(&self.name).ok_or_else(|| Error::new(Code::UnknownDatabase, Code::UnknownDatabase.title()))
    }

    async fn call(&self, worker: &Worker, name: &str, arguments: Arguments<'_>) -> Result<call::Done, Error> {
        let database = self.database(worker)?;
        let id = operation::find(name).ok_or_else(super::unknown_operation)?;
        let options = Options::plain(database.room.call_timeout, Encoding::Utf8, Media::Json);
        // Its records are the gateway's own.
        let scope = Scope { worker, database, identity: &worker.own, allowance: None, id: "", client: None };
        let done = call::run(scope, id, Ok(arguments), &options).await.map_err(|mut error| {
            // Whatever became of the record, the change was not made.
            error.retryable |= std::mem::take(&mut error.outcome_unknown);
            error
        })?;
        operation::render::value(&done.frame)?;
        Ok(done)
    }
}

fn flag<'a>(name: &'static str) -> (&'static str, Given<'a>) {
    (name, Given::Text("true".into()))
}

fn unknown() -> Error {
    let mut error = Error::new(Code::Conflict, "the change may or may not have been made: whoever made it did not say");
    error.outcome_unknown = true;
    error
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn record_key(identity: &str, key: &str) -> String {
    let hash = Sha256::new().chain_update(identity).chain_update([0]).chain_update(key).finalize();
    hash.iter().fold(PREFIX.to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// What has to be the same for a request to be the same.
fn hash_request(parts: &Parts, body: &[u8]) -> Hash {
    let mut hash = Sha256::new().chain_update(parts.method.as_str()).chain_update([0]);
    hash.update(parts.uri.path_and_query().map_or("", |path| path.as_str()));
    for name in [header::CONTENT_TYPE, header::ACCEPT, header::IF_MATCH, header::IF_NONE_MATCH] {
        hash.update([0]);
        hash.update(parts.headers.get(name).map_or(&b""[..], HeaderValue::as_bytes));
    }
    hash.chain_update([0]).chain_update(body).finalize().into()
}

/// A problem names the request that it answers.
fn renamed(status: u16, body: Bytes, id: &HeaderValue) -> Bytes {
    match serde_json::from_slice::<Value>(&body) {
        Ok(mut problem) if status >= 400 => {
            problem["requestId"] = id.to_str().unwrap_or_default().into();
            problem.to_string().into()
        }
        _ => body,
    }
}

fn write(hash: &Hash, state: &State) -> Vec<u8> {
    let mut record = Vec::with_capacity(64);
    record.push(match state {
        State::Pending { .. } => b'p',
        State::Unknown => b'u',
        State::Unkept => b'l',
        State::Answered { .. } => b'a',
    });
    record.extend_from_slice(hash);
    match state {
        State::Pending { lease, window } => {
            record.extend_from_slice(&lease.to_be_bytes());
            record.extend_from_slice(&window.to_be_bytes());
        }
        State::Unknown | State::Unkept => {}
        State::Answered { status, media, body } => {
            record.extend_from_slice(&status.to_be_bytes());
            record.push(*media);
            record.extend_from_slice(body);
        }
    }
    record
}

fn read(record: &[u8]) -> Option<(Hash, State)> {
    let (kind, rest) = record.split_first()?;
    let (hash, rest) = rest.split_first_chunk::<32>()?;
    let state = match kind {
        b'p' => {
            let (lease, rest) = rest.split_first_chunk()?;
            State::Pending { lease: u64::from_be_bytes(*lease), window: u64::from_be_bytes(*rest.first_chunk()?) }
        }
        b'u' => State::Unknown,
        b'l' => State::Unkept,
        b'a' => {
            let (status, rest) = rest.split_first_chunk()?;
            let (media, body) = rest.split_first()?;
            State::Answered { status: u16::from_be_bytes(*status), media: *media, body: Bytes::copy_from_slice(body) }
        }
        _ => return None,
    };
    Some((*hash, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        for state in [
            State::Pending { lease: 70_000, window: 86_400_000 },
            State::Unknown,
            State::Unkept,
            State::Answered { status: 412, media: 1, body: Bytes::from_static(b"{}") },
        ] {
            assert_eq!(read(&write(&[7; 32], &state)), Some(([7; 32], state)));
        }
        for record in [&b""[..], b"p", b"x0123456789012345678901234567890123", b"p01234567890123456789012345678901short"] {
            assert_eq!(read(record), None, "{record:?}");
        }
    }

    #[test]
    fn identities_do_not_share_keys() {
        assert_ne!(record_key("a", "b"), record_key("ab", ""));
        assert_eq!(record_key("a", "b").len(), PREFIX.len() + 64);
    }
}
