//! What a call can end in, other than a result: one table of stable codes, and the problem object (RFC 9457) that carries
//! one. An error says what the caller should do; causes are for the log. It never holds a key, a value or a secret.

use std::borrow::Cow;

use axum::http::HeaderValue;
use serde_json::{Map, Value, json};

/// Declares the codes with their HTTP status and title, in one place.
macro_rules! codes {
    ($($variant:ident $code:literal $status:literal $title:literal;)*) => {
        /// What a client matches on. Codes are never renamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the title of each says it")]
        pub enum Code { $($variant,)* }

        impl Code {
            /// All codes, in the order of the documentation.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// Its stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Its HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// What it means, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    MalformedJson "malformed_json" 400 "The body is not JSON";
    InvalidArgument "invalid_argument" 400 "An argument has a value it cannot have";
    MissingArgument "missing_argument" 400 "A required argument is missing";
    UnknownArgument "unknown_argument" 400 "The operation has no such argument";
    BadEncoding "bad_encoding" 400 "Bytes are not encoded as they have to be";
    WrongTransport "wrong_transport" 400 "The operation cannot be called in this way";
    CrossSlot "cross_slot" 400 "The keys live on several nodes of a cluster";
    Unauthenticated "unauthenticated" 401 "The request shows no credential that is taken";
    Forbidden "forbidden" 403 "The request is not allowed";
    UnknownOperation "unknown_operation" 404 "There is no such operation";
    UnknownDatabase "unknown_database" 404 "There is no such database";
    RouteNotFound "route_not_found" 404 "There is nothing at this path";
    KeyNotFound "key_not_found" 404 "The key does not exist";
    ScriptNotFound "script_not_found" 404 "The server does not have the script or function";
    GroupNotFound "group_not_found" 404 "The stream or its consumer group does not exist";
    MethodNotAllowed "method_not_allowed" 405 "The method is not allowed here";
    NotAcceptable "not_acceptable" 406 "The answer cannot be given in a media type the request accepts";
    RequestTimeout "request_timeout" 408 "The request took too long to arrive";
    WrongType "wrong_type" 409 "The key holds another type";
    Conflict "conflict" 409 "The call conflicts with the state of the data";
    IdempotencyInProgress "idempotency_in_progress" 409 "The change is being made by an earlier request";
    NotificationsOff "notifications_off" 409 "The server does not tell what happens to keys";
    PreconditionFailed "precondition_failed" 412 "A condition of the request does not hold";
    BodyTooLarge "body_too_large" 413 "The body is too large";
    KeyTooLarge "key_too_large" 413 "A key is too large";
    ValueTooLarge "value_too_large" 413 "A value is too large";
    PipelineTooLarge "pipeline_too_large" 413 "The pipeline has too many calls";
    ResultTooLarge "result_too_large" 413 "The result is too large";
    UriTooLong "uri_too_long" 414 "The path and query are too long";
    UnsupportedMediaType "unsupported_media_type" 415 "The body is of a media type the gateway does not read";
    RangeNotSatisfiable "range_not_satisfiable" 416 "The value has no bytes in the range";
    RedisError "redis_error" 422 "Redis refused the command";
    NotUtf8 "not_utf8" 422 "The result holds bytes that are not UTF-8";
    IdempotencyMismatch "idempotency_mismatch" 422 "The key belongs to another request";
    UpgradeRequired "upgrade_required" 426 "Only a WebSocket is served at this path";
    HeadersTooLarge "headers_too_large" 431 "The headers are too large";
    TooManyConnections "too_many_connections" 429 "The client has as many connections as it may";
    RateLimited "rate_limited" 429 "The caller has done as much as it may for now";
    TooManySubscriptions "too_many_subscriptions" 429 "The socket has as many subscriptions and sessions as it may";
    Cancelled "cancelled" 499 "The call was cancelled by its client";
    Internal "internal" 500 "The gateway failed";

    UnsupportedByServer "unsupported_by_server" 501 "The database's server does not have the command";
    BackendError "backend_error" 502 "The database answered with something that is not its protocol";
    BackendDenied "backend_denied" 502 "The database refused the gateway's own credentials";
    Unavailable "unavailable" 503 "The database or the gateway cannot serve the call now";
    Timeout "timeout" 504 "The database did not answer in time";
    OutOfMemory "out_of_memory" 507 "The database is out of memory";
}

/// Whether the database may have carried out a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It was certainly not written to the database.
    NotSent,
    /// It was written and not answered: it may have happened.
    Unknown,
    /// It was answered; the answer is the error.
    Answered,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What it is.
    pub code: Code,
    /// What happened, for a person. No key, no value, no secret.
    pub detail: Cow<'static, str>,
    /// The argument, query parameter or header that is at fault.
    pub param: Option<Cow<'static, str>>,
    /// The byte of the body at fault, counted from 0.
    pub position: Option<usize>,
    /// The database's own error line.
    pub redis: Option<String>,
    /// The same call may be sent again and cannot do harm by that.
    pub retryable: bool,
    /// The call may or may not have been carried out.
    pub outcome_unknown: bool,
    /// The methods that are allowed, for `method_not_allowed`.
    pub allow: Option<Box<str>>,
    /// When to come back, and why, for what a limit of rate refuses.
    pub limited: Option<Box<Limited>>,
    /// The audit log has it already, if it is one for it.
    pub recorded: bool,
}

/// What a limit of rate says of itself when it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// After how many seconds to come back.
    pub retry_after: u64,
    /// The fields `RateLimit-Policy` and `RateLimit`.
    pub fields: Option<(HeaderValue, HeaderValue)>,
}

impl Error {
    /// An error of a request: the same request will fail again.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            param: None,
            position: None,
            redis: None,
            retryable: false,
            outcome_unknown: false,
            allow: None,
            limited: None,
            recorded: false,
        }
    }

    /// An error of the backend. It may be sent again if the database certainly did not see it, or `idempotent`.
    pub fn backend(code: Code, detail: impl Into<Cow<'static, str>>, delivery: Delivery, idempotent: bool) -> Self {
        let mut error = Self::new(code, detail);
        error.retryable = match delivery {
            Delivery::NotSent => true,
            Delivery::Unknown => idempotent,
            Delivery::Answered => false,
        };
        error.outcome_unknown = delivery == Delivery::Unknown && !idempotent;
        error
    }

    /// Names what is at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says which byte of the body is at fault.
    #[must_use]
    pub fn position(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }

    /// Says that the call may be sent again.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// The problem object. The same over every transport.
    pub fn problem(&self, request_id: &str) -> Value {
        let mut problem = Map::new();
        problem.insert("type".into(), format!("/docs/errors#{}", self.code.name()).into());
        problem.insert("title".into(), self.code.title().into());
        problem.insert("status".into(), self.code.status().into());
        problem.insert("detail".into(), json!(self.detail));
        problem.insert("code".into(), self.code.name().into());
        problem.insert("requestId".into(), request_id.into());
        problem.insert("retryable".into(), self.retryable.into());
        if let Some(param) = &self.param {
            problem.insert("param".into(), json!(param));
        }
        if let Some(position) = self.position {
            problem.insert("position".into(), position.into());
        }
        if let Some(line) = &self.redis {
            problem.insert("redis".into(), line.as_str().into());
        }
        if let Some(limited) = &self.limited {
            problem.insert("retryAfter".into(), limited.retry_after.into());
        }
        if self.outcome_unknown {
            problem.insert("outcome".into(), "unknown".into());
        }
        Value::Object(problem)
    }
}

/// Words that open a Redis error line, or the whole of it; what they mean here, and whether the same call may do better later.
const REDIS_WORDS: &[(&str, Code, bool)] = &[
    ("WRONGTYPE", Code::WrongType, false),
    ("EXECABORT", Code::Conflict, false),
    ("BUSYGROUP", Code::Conflict, false),
    ("BUSYKEY", Code::Conflict, false),
    ("NOSCRIPT", Code::ScriptNotFound, false),
    ("ERR Function not found", Code::ScriptNotFound, false),
    ("NOGROUP", Code::GroupNotFound, false),
    ("NOAUTH", Code::BackendDenied, false),
    ("WRONGPASS", Code::BackendDenied, false),
    ("NOPERM", Code::BackendDenied, false),
    ("LOADING", Code::Unavailable, true),
    ("BUSY", Code::Unavailable, true),
    ("MASTERDOWN", Code::Unavailable, true),
    ("CLUSTERDOWN", Code::Unavailable, true),
    ("TRYAGAIN", Code::Unavailable, true),
    ("READONLY", Code::Unavailable, true),
    ("UNBLOCKED", Code::Unavailable, true),
    ("NOREPLICAS", Code::Unavailable, true),
    ("MISCONF", Code::Unavailable, true),
    ("OOM", Code::OutOfMemory, false),
    ("ERR no such key", Code::KeyNotFound, false),
    ("CROSSSLOT", Code::CrossSlot, false),
    ("MOVED", Code::Unavailable, true),
    ("ASK", Code::Unavailable, true),
    ("DBXNODE", Code::InvalidArgument, false),
    ("DBXNOTSENT", Code::Unavailable, true),
    ("DBXLOST", Code::Unavailable, false),
    ("DBXTOOLARGE", Code::ResultTooLarge, false),
];

/// Reads an error line of Redis (without its leading `-`). It may hold what the caller sent, so it goes to the caller and
/// never to the log.
pub fn from_redis(line: &[u8]) -> Error {
    let (code, retryable) = meaning(line);
    let mut error = Error::new(code, code.title());
    error.retryable = retryable;
    if code == Code::ScriptNotFound {
        error.detail = "nothing was done; load a script with `script_load` or send it with `eval`, a function with `function_load`".into();
    }
    let text = String::from_utf8_lossy(line);
    match text.strip_prefix("DBX").and_then(|own| own.split_once(' ')) {
        // The gateway's own words in the place of a reply.
        Some((word, detail)) => {
            error.detail = detail.to_owned().into();
            error.outcome_unknown = word == "LOST";
            error.param = (word == "NODE").then_some("node".into());
        }
        None => error.redis = Some(text.into_owned()),
    }
    error
}

/// The code of a reply that is an error line; `None` for any other.
pub fn code_of(frame: &[u8]) -> Option<Code> {
    let line = frame.strip_prefix(b"-")?;
    Some(meaning(&line[..memchr::memchr(b'\r', line).unwrap_or(line.len())]).0)
}

fn meaning(line: &[u8]) -> (Code, bool) {
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let found = REDIS_WORDS.iter().find(|(known, _, _)| known.as_bytes() == word || known.as_bytes() == line);
    found.map_or((Code::RedisError, false), |(_, code, retryable)| (*code, *retryable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_do_harm_is_retryable() {
        let lost = |delivery, idempotent| {
            let error = Error::backend(Code::Unavailable, "", delivery, idempotent);
            (error.retryable, error.outcome_unknown)
        };
        assert_eq!(lost(Delivery::NotSent, false), (true, false));
        assert_eq!(lost(Delivery::Unknown, true), (true, false));
        assert_eq!(lost(Delivery::Unknown, false), (false, true));
        assert_eq!(lost(Delivery::Answered, true), (false, false));
    }

    #[test]
    fn redis_words_have_codes() {
        assert_eq!(from_redis(b"WRONGTYPE Operation against").code, Code::WrongType);
        assert_eq!(from_redis(b"BUSYGROUP x").code, Code::Conflict);
        assert!(from_redis(b"LOADING Redis is loading").retryable);
        assert_eq!(from_redis(b"ERR value is not an integer").code, Code::RedisError);
        assert_eq!(code_of(b"-ERR no such key\r\n"), Some(Code::KeyNotFound));
        assert_eq!(code_of(b"-ERR no such keys\r\n"), Some(Code::RedisError));
        assert_eq!(code_of(b"-OOM x\r\n"), Some(Code::OutOfMemory));
        assert_eq!(code_of(b"+OK\r\n"), None);
    }
}
