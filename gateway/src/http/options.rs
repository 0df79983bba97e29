//! What a request wishes for its calls besides their arguments: headers and parameters that every operation has.

use std::{str::FromStr, time::Duration};

use axum::http::{HeaderMap, HeaderName};
use dbx_crds::config;

use super::request::{self, Media, Query};
use crate::{
    backend::{NodeId, Where},
    error::{Code, Error},
    operation::{
        Id,
        encode::{Encoding, Rules},
        position,
        render::Format,
    },
    shared::{Room, Shared},
};

/// The header that carries a call's deadline.
const TIMEOUT: HeaderName = HeaderName::from_static("dbx-timeout");

/// What a request says about its calls, besides their arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) encoding: Encoding,
    pub(super) integers_as_strings: bool,
    pub(super) timeout: Duration,
    /// Where in a cluster calls may be done.
    pub(super) place: Where,
    pub(super) accept: Media,
    /// The version of a value is wanted, however long it is.
    pub(super) etag: bool,
    /// The reply is known to be large: nobody should wait behind it.
    pub(super) alone: bool,
    /// How long a blocking call may wait at most, where one can.
    pub(super) patience: Option<Duration>,
    /// The timeout is the caller's own.
    pub(super) timed: bool,
    /// The calls are somebody's, whom the audit log is about.
    pub(super) recorded: bool,
}

impl Options {
    /// Those of a call that the gateway makes for itself.
    pub(super) fn plain(timeout: Duration, encoding: Encoding, accept: Media) -> Self {
        Self {
            encoding,
            integers_as_strings: false,
            timeout,
            place: Where::default(),
            accept,
            etag: false,
            alone: false,
            patience: None,
            timed: false,
            recorded: false,
        }
    }

    /// The same for a call that is only looked at, and made later or not at all.
    pub(super) fn unrecorded(self) -> Self {
        Self { recorded: false, ..self }
    }

    /// Reads headers and query. Takes its own parameters out of the query; what stays is the operation's.
    pub(super) fn take(room: &Room, headers: &HeaderMap, query: &mut Query<'_>) -> Result<Self, Error> {
        let mut options = Self::plain(room.call_timeout, Encoding::Utf8, request::accept(headers)?);
        options.recorded = true;
        if let Some(value) = headers.get(&TIMEOUT) {
            options.set_timeout(timeout(room, value.to_str().unwrap_or_default(), "DBX-Timeout")?);
        }
        if query.is_empty() {
            return Ok(options);
        }
        let mut failure = None;
        query.retain(|(name, value)| {
            let outcome = match &**name {
                "encoding" => encoding(value).map(|encoding| options.encoding = encoding),
                "integers" => integers(value).map(|strings| options.integers_as_strings = strings),
                "timeout" => timeout(room, value, "timeout").map(|timeout| options.set_timeout(timeout)),
                "split" => in_parts(value).map(|in_parts| options.place.in_parts = in_parts),
                "consistency" => eventual(value).map(|eventual| options.place.eventual = eventual),
                "node" => node(value).map(|node| options.place.node = Some(node)),
                "etag" => etag(value).map(|etag| options.etag = etag),
                _ => return true,
            };
            failure = failure.take().or(outcome.err());
            false
        });
        failure.map_or(Ok(options), Err)
    }

    /// Those of one call among several, which may have its own.
    pub(super) fn of_call(&self, room: &Room, given: Option<&str>, patience: Option<&str>) -> Result<Self, Error> {
        let mut options = *self;
        if let Some(given) = given {
            options.encoding = encoding(given)?;
        }
        if let Some(patience) = patience {
            options.set_timeout(timeout(room, patience, "timeout")?);
        }
        Ok(options)
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.timed = true;
    }

    /// Lets a blocking call wait: for `longest`, or until the deadline that the caller has set.
    pub(super) fn waiting(mut self, longest: Duration) -> Self {
        self.patience = Some(if self.timed { longest.min(self.timeout) } else { longest });
        self
    }

    pub(super) fn rules(&self, shared: &Shared) -> Rules {
        Rules { encoding: self.encoding, max_key_bytes: shared.max_key_bytes, max_value_bytes: shared.max_value_bytes }
    }

    pub(super) fn format(&self) -> Format {
        Format { encoding: self.encoding, integers_as_strings: self.integers_as_strings }
    }

    /// Refuses what a call cannot wish for.
    pub(super) fn check_place(&self, id: Option<Id>) -> Result<(), Error> {
        let Where { eventual, node, .. } = self.place;
        if eventual && id.is_none_or(|id| id.operation().changes()) {
            return Err(
                Error::new(Code::InvalidArgument, "a change is made at the primary; only reads can be eventual").param("consistency")
            );
        }
        if node.is_some() && id.is_some_and(|id| position::has_keys(id.operation())) {
            return Err(Error::new(Code::InvalidArgument, "the keys of this operation say which node it goes to").param("node"));
        }
        Ok(())
    }
}

/// Reads a call's encoding.
pub(super) fn encoding(value: &str) -> Result<Encoding, Error> {
    match value {
        "base64" => Ok(Encoding::Base64),
        "utf8" => Ok(Encoding::Utf8),
        _ => Err(Error::new(Code::InvalidArgument, "expected `utf8` or `base64`").param("encoding")),
    }
}

/// Whether integers that a double cannot hold are to be strings.
fn integers(value: &str) -> Result<bool, Error> {
    match value {
        "string" => Ok(true),
        "number" => Ok(false),
        _ => Err(Error::new(Code::InvalidArgument, "expected `number` or `string`").param("integers")),
    }
}

fn etag(value: &str) -> Result<bool, Error> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::new(Code::InvalidArgument, "expected `true` or `false`").param("etag")),
    }
}

/// Whether a call may be done in parts.
fn in_parts(value: &str) -> Result<bool, Error> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::new(Code::InvalidArgument, "expected `true` or `false`").param("split")),
    }
}

/// Whether a call may read what is not the newest.
fn eventual(value: &str) -> Result<bool, Error> {
    match value {
        "eventual" => Ok(true),
        "strong" => Ok(false),
        _ => Err(Error::new(Code::InvalidArgument, "expected `strong` or `eventual`").param("consistency")),
    }
}

fn node(value: &str) -> Result<NodeId, Error> {
    NodeId::parse(value)
        .ok_or_else(|| Error::new(Code::InvalidArgument, "expected the id of a node, as `/cluster/nodes` lists it").param("node"))
}

/// Reads a call's deadline, which is capped.
fn timeout(room: &Room, value: &str, param: &'static str) -> Result<Duration, Error> {
    let timeout = config::Duration::from_str(value)
        .map_err(|_| Error::new(Code::InvalidArgument, "expected a duration such as 250ms or 2s").param(param))?
        .value();
    // Nothing can be answered in no time.
    if timeout.is_zero() {
        return Err(Error::new(Code::InvalidArgument, "has to be longer than nothing").param(param));
    }
    Ok(timeout.min(room.max_call_timeout))
}
