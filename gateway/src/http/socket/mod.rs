//! `GET /api/v1/{database}/ws`: the same calls as over HTTP, many at once over one WebSocket, and those that are answered more
//! than once. One task of the worker serves a socket; what it reads at once it sends at once, and what is ready together
//! leaves together.

mod call;
mod consumer;
mod flow;
mod frame;
mod mailbox;
mod session;
mod subscription;
mod task;

use std::{sync::Arc, time::Duration};

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
        protocol::{Role, WebSocketConfig},
    },
};

use self::{call::Caller, task::Socket};
use super::{
    call::Options,
    request::{self, Media},
    stream::Stream,
};
use crate::{
    auth::Identity,
    error::{Code, Delivery, Error},
    worker::Worker,
};

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
    let shared = &worker.shared;
    if parts.method != Method::GET {
        return match parts.method {
            Method::OPTIONS => Ok(super::respond::options("GET, OPTIONS")),
            _ => Err(super::method_not_allowed("GET, OPTIONS".into())),
        };
    }
    let mut query = request::query(&parts.uri)?;
    let room = &worker.databases[database.unwrap_or_default()].room;
    let mut options = Options::take(room, &parts.headers, &mut query)?;
    let has_timeout = options.timeout != room.call_timeout;
    if let Some((name, _)) = query.into_iter().next() {
        return Err(
            Error::new(Code::UnknownArgument, "a socket takes encoding, integers, split and timeout in its query").param(name.into_owned())
        );
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
    let allowance = super::allowance(worker, identity, parts);
    let seat = allowance.as_ref().map(|allowance| allowance.seat(database)).transpose()?;
    if offers(parts) {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(WRITE)
        .max_message_size(Some(shared.max_body_bytes))
        .max_frame_size(Some(shared.max_body_bytes));
    let (identity, id) = (identity.clone(), id.to_str().unwrap_or_default().to_owned());
    let client = super::client(worker, parts);
    let caller = Arc::new(Caller { worker: worker.clone(), identity, allowance, database, options, has_timeout, id, client });
    worker.tasks.spawn(async move {
        let _seat = seat;
        let Ok(upgraded) = upgrade.await else { return };
        // It is what the listener gave to hyper.
        let Ok(parts) = upgraded.downcast::<Stream>() else { return };
        // Copied, so that hyper's buffer is not kept for a few bytes or none.
        let (mut stream, read) = (parts.io, parts.read_buf.to_vec());
        drop(parts.read_buf);
        stream.leave_http();
        let stream = WebSocketStream::from_partially_read(TokioIo::new(stream), read, Role::Server, Some(config)).await;
        Socket::new(stream, caller).await;
    });
    Ok(response)
}

fn offers(parts: &Parts) -> bool {
    let offered = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|list| list.split(',')).any(|name| name.trim() == PROTOCOL)
}
