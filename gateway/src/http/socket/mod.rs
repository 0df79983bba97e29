//! `GET /api/v1/{database}/ws`: the same calls as over HTTP, many at once over one WebSocket, and those that are answered more
//! than once. One task of the worker serves a socket; what it reads at once it sends at once, and what is ready together
//! leaves together.

mod call;
mod consumer;
mod flow;
mod frame;
mod greeting;
mod line;
mod mailbox;
mod session;
mod subscription;
mod task;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, Response, header, request::Parts},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::server::create_response_with_body,
        protocol::{Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use self::{call::Caller, greeting::Guest, task::Socket};
use super::{
    options::Options,
    request::{self, Media},
    stream::Stream,
};
use crate::{
    auth::{Identity, gate::subprotocols},
    error::{Code, Delivery, Error},
    worker::Worker,
};

/// How a socket is closed whose client shows no credential that is taken, or no longer.
const NOT_KNOWN: CloseCode = CloseCode::Library(4401);
/// The subprotocol: what the frames of a socket mean.
const PROTOCOL: &str = "dbx.v1";
/// What a socket reads at once. An idle one keeps as much.
const READ: usize = 4 << 10;
/// Answers that have gathered are written when they have so many bytes, or when no more is ready. A socket that was busy keeps
/// as much.
const WRITE: usize = 16 << 10;
/// A blocking call over a socket waits until its client withdraws it.
const FOREVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// Opens a socket to the database of that index, or to all of them.
pub(super) fn open(
    worker: &Arc<Worker>,
    identity: &Arc<Identity>,
    database: Option<usize>,
    parts: &Parts,
    id: &HeaderValue,
) -> Result<Response<Body>, Error> {
    if parts.method == Method::OPTIONS {
        return Ok(super::respond::options("GET, OPTIONS"));
    }
    let (response, opening) = Opening::read(worker, identity, database, parts, id)?;
    let allowance = super::allowance(worker, identity, parts);
    let seat = allowance.as_ref().map(|allowance| allowance.seat(database)).transpose()?;
    let caller = Arc::new(Caller { allowance, ..opening.caller });
    worker.tasks.spawn(async move {
        let _seat = seat;
        if let Some(stream) = stream(opening.upgrade, &caller.worker, None).await {
            Socket::new(stream, caller).await;
        }
    });
    Ok(response)
}

/// Whether a request without a credential opens a socket, on which one can be shown.
pub(super) fn asks_later(parts: &Parts) -> bool {
    parts.uri.path().ends_with("/ws") && parts.headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// Opens a socket on which the client says first who it is. Browsers can send no header with it.
pub(super) fn open_unknown(worker: &Arc<Worker>, parts: &Parts, id: &HeaderValue) -> Result<Response<Body>, Error> {
    let database = parts.uri.path().strip_prefix(super::API).and_then(|rest| rest.strip_prefix('/')?.strip_suffix("/ws"));
    let (response, opening) = Opening::read(worker, &worker.own, None, parts, id)?;
    let client = super::client(worker, parts).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let guest = Guest { caller: opening.caller, client, database: database.map(ToOwned::to_owned) };
    let of = worker.clone();
    worker.tasks.spawn(async move {
        let Some(mut stream) = stream(opening.upgrade, &of, Some(greeting::LONGEST)).await else { return };
        if let Some((caller, _seat)) = guest.greet(&mut stream).await {
            Socket::new(stream, Arc::new(caller)).await;
        }
    });
    Ok(response)
}

/// What the opening of a socket says.
struct Opening {
    upgrade: OnUpgrade,
    /// What its calls have in common; without an allowance.
    caller: Caller,
}

impl Opening {
    fn read(
        worker: &Arc<Worker>,
        identity: &Arc<Identity>,
        database: Option<usize>,
        parts: &Parts,
        id: &HeaderValue,
    ) -> Result<(Response<Body>, Self), Error> {
        let shared = &worker.shared;
        if parts.method != Method::GET {
            return Err(super::method_not_allowed("GET, OPTIONS".into()));
        }
        let mut query = request::query(&parts.uri)?;
        let room = &worker.databases[database.unwrap_or_default()].room;
        let mut options = Options::take(room, &parts.headers, &mut query)?;
        let has_timeout = options.timeout != room.call_timeout;
        if let Some((name, _)) = query.into_iter().next() {
            let error = Error::new(Code::UnknownArgument, "a socket takes encoding, integers, split and timeout in its query");
            return Err(error.param(name.into_owned()));
        }
        (options.accept, options.patience) = (Media::Json, Some(FOREVER));
        let mut asked = Request::new(());
        (*asked.method_mut(), *asked.version_mut(), *asked.headers_mut()) = (parts.method.clone(), parts.version, parts.headers.clone());
        let mut response = create_response_with_body(&asked, Body::empty)
            .map_err(|error| Error::new(Code::UpgradeRequired, format!("this is not the opening of a WebSocket (RFC 6455): {error}")))?;
        let upgrade = parts.extensions.get::<OnUpgrade>().cloned();
        let upgrade = upgrade.ok_or_else(|| Error::new(Code::UpgradeRequired, "a WebSocket is opened over HTTP/1.1"))?;
        if shared.drain.is_draining() {
            return Err(Error::backend(Code::Unavailable, "the gateway is about to stop", Delivery::NotSent, true));
        }
        if subprotocols(&parts.headers).any(|name| name == PROTOCOL) {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        }
        let id = id.to_str().unwrap_or_default().to_owned();
        let (worker, identity, client) = (worker.clone(), identity.clone(), super::client(worker, parts));
        let caller = Caller { worker, identity, allowance: None, database, options, has_timeout, id, client };
        Ok((response, Self { upgrade, caller }))
    }
}

/// The socket that a connection becomes. `most` is how much of it is read before the client is known.
async fn stream(upgrade: OnUpgrade, worker: &Worker, most: Option<usize>) -> Option<WebSocketStream<TokioIo<Stream>>> {
    let shared = &worker.shared;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(WRITE)
        .max_message_size(Some(shared.max_body_bytes))
        .max_frame_size(Some(shared.max_body_bytes));
    // It is what the listener gave to hyper.
    let parts = upgrade.await.ok()?.downcast::<Stream>().ok()?;
    // Copied, so that hyper's buffer is not kept for a few bytes or none.
    let (mut stream, read) = (parts.io, parts.read_buf.to_vec());
    drop(parts.read_buf);
    stream.leave_http();
    if let Some(most) = most {
        stream.read_at_most(most);
    }
    Some(WebSocketStream::from_partially_read(TokioIo::new(stream), read, Role::Server, Some(config)).await)
}
