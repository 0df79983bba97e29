//! `GET /streams/{key}?follow`: the entries of a stream as server-sent events. Each carries its id, so that a browser that comes
//! back says where it was (`Last-Event-ID`), and misses nothing that the stream still has.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderName, Method, Response},
};
use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use super::{Queue, Slow, channels, described, response, write};
use crate::{
    error::{Code, Error},
    http::{
        Incoming,
        entries::{self, Follower, Next},
        options, request,
    },
    operation::encode::Encoding,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The raw segment of the key, if a request is for a stream's entries as events.
pub(in crate::http) fn find<'a>(path: &'a str, method: &Method, query: Option<&str>) -> Option<&'a str> {
    let key = path.strip_prefix("streams/").filter(|key| !key.contains('/') && matches!(*method, Method::GET | Method::HEAD))?;
    query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("follow"))).then_some(key)
}

/// Answers with a stream.
pub(in crate::http) async fn answer(incoming: Incoming<'_>, raw: &str) -> Result<Response<Body>, Error> {
    channels::check_accept(&incoming)?;
    let mut query = request::query(&incoming.parts.uri)?;
    let encoding = channels::take(&mut query, "encoding").map_or(Ok(Encoding::Utf8), |value| options::encoding(&value))?;
    let key = channels::key(&mut query, raw)?;
    if !channels::flag(&mut query, "follow")? {
        return Err(Error::new(Code::InvalidArgument, "expected `true`, or nothing").param("follow"));
    }
    let from = channels::take(&mut query, "from");
    if let Some((name, _)) = query.into_iter().next() {
        return Err(Error::new(Code::UnknownArgument, "the stream has no such parameter").param(name.into_owned()));
    }
    // A browser that comes back to the same address knows better where it was.
    let last = incoming.parts.headers.get(LAST_EVENT_ID).map(|id| (id.to_str().unwrap_or_default(), "Last-Event-ID"));
    let from = last.or(from.as_deref().map(|from| (from, "from")));
    if let Some((_, param)) = from.filter(|(id, _)| !entries::is_id(id)) {
        return Err(Error::new(Code::InvalidArgument, "expected the id of an entry, such as 1526919030474-55").param(param));
    }
    let most = incoming.worker.shared.max_key_bytes;
    if key.len() > most {
        return Err(Error::new(Code::KeyTooLarge, format!("a key may have at most {most} bytes (limits.maxKeyBytes)")).param("key"));
    }
    if incoming.parts.method == Method::HEAD {
        return Ok(described(Body::empty()));
    }
    let key = entries::may_follow(incoming.scope(), Bytes::copy_from_slice(&key))?;
    let place = incoming.seat()?;
    let follower = Follower::begin(incoming.database.clone(), key, from.map(|(id, _)| id)).await;
    let follower = follower.map_err(|error| incoming.scope().rights().hide_in(error))?;
    let queue = Queue::new(incoming.worker, Slow::Close);
    let (feed, id) = (queue.clone(), incoming.id.to_str().unwrap_or_default().to_owned());
    let (identity, database) = (incoming.identity.clone(), incoming.database.index);
    let task = tokio::spawn(async move {
        if let Err(error) = follow(follower, &feed, encoding).await {
            let error = identity.rights(database).hide_in(error);
            feed.end(write("error", None, &[error.problem(&id).to_string().as_bytes()]));
        }
    });
    queue.feed(Box::new(AbortOnDropHandle::new(task)));
    Ok(response(queue, place, incoming.identity.clone()))
}

async fn follow(mut follower: Follower, queue: &Arc<Queue>, encoding: Encoding) -> Result<(), Error> {
    let mut interrupted = false;
    queue.push(write("subscribed", None, &[b"{}"]));
    loop {
        match follower.next().await? {
            Next::Interrupted => {
                interrupted = true;
                queue.push(write("interrupted", None, &[b"{}"]));
            }
            Next::Entries(found) => {
                if std::mem::take(&mut interrupted) {
                    queue.push(write("subscribed", None, &[b"{}"]));
                }
                for entry in entries::each(&found) {
                    let id = entries::id(entry).and_then(|id| std::str::from_utf8(id).ok());
                    queue.room().await;
                    queue.push(write("message", id, &[&entries::object(entry, encoding)?]));
                }
            }
        }
    }
}
