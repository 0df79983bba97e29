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
            let outcome =
                match &**name {
                    "encoding" => encoding(value).map(|encoding| options.encoding = encoding),
                    "integers" => one_of("integers", value, [("number", false), ("string", true)])
                        .map(|strings| options.integers_as_strings = strings),
                    "timeout" => timeout(room, value, "timeout").map(|timeout| options.set_timeout(timeout)),
                    "split" => flag("split", value).map(|in_parts| options.place.in_parts = in_parts),
                    "consistency" => one_of("consistency", value, [("strong", false), ("eventual", true)])
                        .map(|eventual| options.place.eventual = eventual),
                    "node" => node(value).map(|node| options.place.node = Some(node)),
                    "etag" => flag("etag", if value.is_empty() { "true" } else { value }).map(|etag| options.etag = etag),
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

/// Reads a parameter that is one of two words.
fn one_of<T>(param: &'static str, value: &str, [one, other]: [(&str, T); 2]) -> Result<T, Error> {
    match value {
        _ if value == one.0 => Ok(one.1),
        _ if value == other.0 => Ok(other.1),
        _ => Err(Error::new(Code::InvalidArgument, format!("expected `{}` or `{}`", one.0, other.0)).param(param)),
    }
}

fn flag(param: &'static str, value: &str) -> Result<bool, Error> {
    one_of(param, value, [("true", true), ("false", false)])
}

/// Reads a call's encoding.
pub(super) fn encoding(value: &str) -> Result<Encoding, Error> {
    one_of("encoding", value, [("utf8", Encoding::Utf8), ("base64", Encoding::Base64)])
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
