//! The data listener. axum carries every request to [`answer`], which finds out what it calls: the raw path is matched
//! here, since keys hold any byte. Nothing in here names a database.

mod atomic;
mod bytes;
mod call;
mod compression;
mod docs;
mod entries;
mod events;
mod idempotency;
pub mod operations;
mod options;
mod pages;
mod pipeline;
mod precondition;
mod raw;
mod recorded;
mod request;
mod resource;
mod respond;
mod scripts;
mod sizes;
mod socket;
pub mod stream;
pub mod taken;
mod transaction;
mod version;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ::bytes::Bytes;
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, Response, header, request::Parts},
    middleware::map_response_with_state,
};
use dbx_crds::config::Origins;
use options::Options;
use request::Media;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use resource::fuzzing;
pub(crate) use respond::message;
use tokio::time::Instant;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    auth::{Identity, Rights, gate::Credential},
    error::{Code, Error},
    operation::{self, arguments::Arguments},
    peer::Peer,
    rates::{Allowance, Seat},
    record,
    worker::{Database, Worker},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What the paths of the API begin with.
const API: &str = "/api/v1";
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The data listener's routes for one worker.
pub fn router(worker: Arc<Worker>) -> Router {
    let router = Router::new().fallback(answer);
    let router = match cors(&worker.shared.origins) {
        Some(layer) => router.layer(layer).layer(map_response_with_state(worker.clone(), identify)),
        None => router,
    };
    router.with_state(worker)
}

fn cors(Origins(origins): &Origins) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods(methods)
            .allow_headers([
                header::CONTENT_TYPE,
                header::ACCEPT,
                header::AUTHORIZATION,
                header::IF_MATCH,
                header::IF_NONE_MATCH,
                header::RANGE,
                HeaderName::from_static("dbx-timeout"),
                REQUEST_ID,
                idempotency::KEY,
            ])
            .expose_headers([
                REQUEST_ID,
                header::RETRY_AFTER,
                respond::RATE_LIMIT_POLICY,
                respond::RATE_LIMIT,
                header::ETAG,
                header::CONTENT_RANGE,
                idempotency::REPLAYED,
            ])
    })
}

/// Gives what every answer has to what the CORS layer answers by itself.
async fn identify(State(worker): State<Arc<Worker>>, mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().entry(REQUEST_ID).or_insert_with(|| worker.next_request_id());
    respond::secure(&mut response, worker.shared.serves_tls);
    response
}

/// Answers one request, whatever it is.
async fn answer(State(worker): State<Arc<Worker>>, request: Request) -> Response<Body> {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    worker.shared.gate.take_from_query(&mut parts);
    let id = request::own_id(&parts.headers).unwrap_or_else(|| worker.next_request_id());
    let outcome = match body.size_hint().exact().is_some_and(|length| length <= call::LARGE as u64) {
        true => outcome(&worker, &parts, body, &id).await,
        false => {
            let (worker, parts, id) = (worker.clone(), parts.clone(), id.clone());
            call::apart(&worker.shared.clone(), async move { outcome(&worker, &parts, body, &id).await }).await
        }
    };
    let mut response = match outcome {
        Ok(response) => response,
        Err(error) => {
            worker.counters.refuse(error.code);
            recorded::refused(&worker, &parts, &id, &error);
            if error.code == Code::Internal {
                tracing::error!(request = id.to_str().unwrap_or_default(), detail = &*error.detail, "internal error");
            }
            respond::problem(&error, &id)
        }
    };
    if worker.shared.drain.is_draining() {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    response.headers_mut().insert(REQUEST_ID, id);
    respond::secure(&mut response, worker.shared.serves_tls);
    if parts.headers.contains_key(header::ACCEPT_ENCODING) && compression::applies(&response) {
        response = Box::pin(compression::compress(&parts.headers, response)).await;
    }
    if let Some(access) = &worker.access {
        let id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        access.request(&record::Request {
            id: id.unwrap_or_default(),
            client: client(&worker, &parts),
            method: parts.method.as_str(),
            path: known(&worker, parts.uri.path()),
            status: response.status().as_u16(),
            bytes: if parts.method == Method::HEAD { Some(0) } else { response.body().size_hint().exact() },
            microseconds: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        });
    }
    response
}

/// The address that a request comes from.
fn client(worker: &Worker, parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<Peer>().map(|peer| peer.client(&parts.headers, &worker.shared))
}

async fn outcome(worker: &Arc<Worker>, parts: &Parts, body: Body, id: &HeaderValue) -> Result<Response<Body>, Error> {
    let shared = &worker.shared;
    request::check_length(&parts.uri, shared.max_url_bytes)?;
    request::check_framing(&parts.headers, &body)?;
    let check_source = |is_known| request::check_source(&parts.uri, &parts.headers, is_known, &shared.hosts, &shared.origins.0);
    let path = parts.uri.path();
    if path.strip_prefix(API).is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        check_source(shared.gate.is_closed())?;
        return pages::page(worker, &parts.method, path);
    }
    let credential = shared.gate.credential(parts)?;
    if matches!(credential, Credential::None) && shared.gate.is_closed() && socket::asks_later(parts) {
        check_source(true)?;
        return socket::open_unknown(worker, parts, id);
    }
    let identity = &shared.gate.identify(&credential).await?;
    check_source(!identity.is_anonymous())?;
    match idempotency::applies(parts) {
        false => route(worker, identity, parts, body, id).await,
        true => Box::pin(idempotency::answer(worker.clone(), identity.clone(), parts.clone(), body, id.clone())).await,
    }
}

async fn route(
    worker: &Arc<Worker>,
    identity: &Arc<Identity>,
    parts: &Parts,
    body: Body,
    id: &HeaderValue,
) -> Result<Response<Body>, Error> {
    let rest = parts.uri.path().strip_prefix(API).unwrap_or_default();
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    if rest == "ws" {
        return socket::open(worker, identity, None, parts, id);
    }
    let Some((name, rest)) = rest.split_once('/').filter(|(_, rest)| !rest.is_empty()) else {
        return pages::about(worker, identity, allowance(worker, identity, parts).as_deref(), parts, rest.trim_end_matches('/'));
    };
    let Some(index) = worker.databases.iter().position(|database| database.name == name) else {
        return Err(unknown_database());
    };
    let database = identity.database(worker, index);
    let allowance = allowance(worker, identity, parts);
    let incoming = Incoming { worker, database, identity, allowance: allowance.as_ref(), parts, id };
    let mut response = match call(incoming, rest, body).await {
        Ok(response) => response,
        Err(error) => {
            incoming.scope().denied(known(worker, parts.uri.path()), &error);
            return Err(Error { recorded: true, ..error });
        }
    };
    if let Some(allowance) = &allowance {
        allowance.owe(index, response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default());
        if let Some((policy, rest)) = allowance.tightest(index) {
            respond::insert_rate(&mut response, policy, rest);
        }
    }
    Ok(response)
}

/// What the caller of a request may do, if that is limited.
fn allowance(worker: &Worker, identity: &Arc<Identity>, parts: &Parts) -> Option<Arc<Allowance>> {
    let rates = worker.shared.rates.as_ref()?;
    Some(rates.allowance(identity, || client(worker, parts).unwrap_or(Ipv4Addr::UNSPECIFIED.into())))
}

/// Answers a request that names a database.
async fn call(incoming: Incoming<'_>, rest: &str, body: Body) -> Result<Response<Body>, Error> {
    let Incoming { worker, database, identity, parts, id, .. } = incoming;
    if let Some(source) = events::channels::find(rest, &parts.method, parts.uri.query()) {
        return Box::pin(events::channels::answer(incoming, source)).await;
    }
    if let Some(key) = events::streams::find(rest, &parts.method, parts.uri.query()) {
        return Box::pin(events::streams::answer(incoming, key)).await;
    }
    match (rest, &parts.method) {
        ("ws", _) => socket::open(worker, identity, Some(database.index), parts, id),
        ("pipeline", &Method::POST) => Box::pin(pipeline::answer(incoming, body)).await,
        ("raw", &Method::POST) => Box::pin(raw::answer(incoming, body)).await,
        ("transaction", &Method::POST) => Box::pin(transaction::answer(incoming, body)).await,
        ("pipeline" | "raw" | "transaction", method) => only_post(method),
        (name, &Method::POST) if !name.contains('/') => match operation::find(name) {
            Some(operation) => incoming.by_name(operation, body).await,
            None if resource::exists(rest) => resource::answer(incoming, rest, body).await,
            None => Err(unknown_operation()),
        },
        _ => resource::answer(incoming, rest, body).await,
    }
}

/// The beginning of a path that is the gateway's own words. What follows may be a key, also where none belongs.
fn known<'p>(worker: &Worker, path: &'p str) -> &'p str {
    if pages::PATHS.contains(&path) || docs::PATHS.contains(&path) {
        return path;
    }
    let Some(rest) = path.strip_prefix("/api/v1/") else { return if path == "/api/v1" { path } else { "/" } };
    let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let word = rest.split('/').next().unwrap_or_default();
    let start = "/api/v1/".len();
    if matches!(name, "keys" | "whoami") || worker.database(name).is_some() {
        let known = !word.is_empty()
            && (matches!(word, "pipeline" | "raw" | "transaction" | "ws") || resource::begins(word) || operation::find(word).is_some());
        return &path[..start + name.len() + if known { 1 + word.len() } else { 0 }];
    }
    &path[..start - 1]
}

fn only_post(method: &Method) -> Result<Response<Body>, Error> {
    match *method {
        Method::OPTIONS => Ok(respond::options("OPTIONS, POST")),
        _ => Err(method_not_allowed("OPTIONS, POST".into())),
    }
}

fn method_not_allowed(allow: String) -> Error {
    let mut error = Error::new(Code::MethodNotAllowed, format!("allowed here: {allow}"));
    error.allow = Some(allow.into());
    error
}

fn unknown_database() -> Error {
    Error::new(Code::UnknownDatabase, "no database of this gateway has this name; `GET /api/v1` lists them").param("database")
}

fn unknown_operation() -> Error {
    Error::new(Code::UnknownOperation, "no operation has this name; `/openapi.json` lists them").param("op")
}

/// A request that names a database, and what it needs on its way.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    worker: &'a Arc<Worker>,
    database: &'a Arc<Database>,
    identity: &'a Arc<Identity>,
    allowance: Option<&'a Arc<Allowance>>,
    parts: &'a Parts,
    id: &'a HeaderValue,
}

/// The place of an event stream, for as long as it is open.
struct Place {
    _seat: Seat,
    allowance: Arc<Allowance>,
    database: usize,
}

impl Place {
    /// Counts what is sent.
    fn owe(&self, bytes: usize) {
        self.allowance.owe(self.database, bytes);
    }
}

/// What a call needs to know of where it is made, whatever it came over.
#[derive(Clone, Copy)]
struct Scope<'a> {
    worker: &'a Worker,
    database: &'a Arc<Database>,
    identity: &'a Arc<Identity>,
    /// How much the caller may do, if that is limited.
    allowance: Option<&'a Allowance>,
    /// The id of the request, or of the socket.
    id: &'a str,
    /// The address that the caller calls from, where it is recorded.
    client: Option<IpAddr>,
}

impl<'a> Scope<'a> {
    /// What the caller may do here.
    fn rights(&self) -> &'a Rights {
        self.identity.rights(self.database.index)
    }

    /// A reply as the caller may see it.
    fn seen(&self, operation: Option<operation::Id>, frame: Bytes) -> Bytes {
        let rights = self.rights();
        if rights.sees_all() { frame } else { rights.hide(operation, &frame) }
    }
}

impl<'a> Incoming<'a> {
    fn scope(&self) -> Scope<'a> {
        let allowance = self.allowance.map(|allowance| &**allowance);
        let (worker, database, identity) = (self.worker, self.database, self.identity);
        let recorded = worker.audit.as_ref().and_then(|_| client(worker, self.parts));
        Scope { worker, database, identity, allowance, id: self.id.to_str().unwrap_or_default(), client: recorded }
    }

    async fn body(&self, body: Body) -> Result<axum::body::Bytes, Error> {
        let shared = &self.worker.shared;
        let body = request::body(&self.parts.headers, body, shared.max_body_bytes, shared.body_timeout).await?;
        if let Some(allowance) = self.allowance {
            allowance.owe(self.database.index, body.len());
        }
        Ok(body)
    }

    /// A place for an event stream, which costs as much as a call.
    fn seat(&self) -> Result<Option<Place>, Error> {
        let Some(allowance) = self.allowance else { return Ok(None) };
        allowance.admit(self.worker, self.database.index, 1, None)?;
        Ok(Some(Place { _seat: allowance.seat(Some(self.database.index))?, allowance: allowance.clone(), database: self.database.index }))
    }

    /// `POST /api/v1/{database}/{operation}`: the body is the arguments.
    async fn by_name(self, operation: operation::Id, body: Body) -> Result<Response<Body>, Error> {
        let mut query = request::query(&self.parts.uri)?;
        let options = Options::take(&self.database.room, &self.parts.headers, &mut query)?.waiting(self.worker.shared.max_wait);
        if let Some((name, _)) = query.into_iter().next() {
            return Err(Error::new(
                Code::UnknownArgument,
                "arguments go in the body; the query takes encoding, integers, split and timeout",
            )
            .param(name.into_owned()));
        }
        request::json_only(&self.parts.headers)?;
        let body = self.body(body).await?;
        let mut done = call::run(self.scope(), operation, Arguments::from_json(&body), &options).await?;
        let response = self.result(&done, &options).await?;
        Ok(match done.taken.take() {
            Some(taken) => taken::attach(response, taken),
            None => response,
        })
    }

    /// The answer to a call: its result as JSON, or the bytes of its one value when they are asked for.
    async fn result(&self, done: &call::Done, options: &Options) -> Result<Response<Body>, Error> {
        if options.accept == Media::Json {
            return Ok(respond::json(done.render(&self.worker.shared, options).await?));
        }
        match operation::render::value(&done.frame)? {
            Some(value) => Ok(respond::bytes(done.frame.slice_ref(value))),
            None => Err(Error::new(Code::KeyNotFound, Code::KeyNotFound.title())),
        }
    }
}
