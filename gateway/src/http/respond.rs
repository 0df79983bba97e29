//! Answers: a result, a value's bytes, a problem.

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
};

use hyper::body::Body as _;

use super::compression::SHORT;
use crate::error::{Code, Error};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// What a credential has to be (RFC 6750), to who has shown none, and to who has shown one that is not taken.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"dbx\"");
const CHALLENGE_AGAIN: HeaderValue = HeaderValue::from_static("Bearer realm=\"dbx\", error=\"invalid_token\"");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// Browsers that came over TLS once come over nothing else for a year.
const ONLY_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// The quota of the limit of rate that is the next to refuse, and what is left of it (draft-ietf-httpapi-ratelimit-headers).
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// After how many seconds to come back, when the gateway or its database is not available.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What an answer depends on besides its URL, for caches.
pub(super) const VARY: HeaderValue = HeaderValue::from_static("Accept, Accept-Encoding, Authorization");

/// A JSON document that has been written already.
pub(super) fn json(body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    if response.body().size_hint().lower() > SHORT {
        response.headers_mut().insert(header::VARY, VARY);
    }
    response
}

/// Whether a `Content-Type` of ours is that of JSON.
pub(super) fn is_json(content_type: &HeaderValue) -> bool {
    content_type == JSON || content_type == PROBLEM
}

/// A value as it is.
pub(super) fn bytes(body: Bytes) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, BYTES);
    response
}

/// A page or text of the gateway's own. Pages of others neither learn of it nor get it.
pub(super) fn text(content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    response
}

/// A page, and what it may do.
pub(super) fn page(body: impl Into<Body>, policy: HeaderValue) -> Response<Body> {
    let mut response = text("text/html; charset=utf-8", body);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// Tells browsers what holds for every answer.
pub(super) fn secure(response: &mut Response<Body>, serves_tls: bool) {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if serves_tls {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, ONLY_TLS);
    }
}

/// An answer to OPTIONS.
pub(super) fn options(allow: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    insert_allow(&mut response, allow);
    response
}

/// A problem object (RFC 9457).
pub(super) fn problem(error: &Error, request_id: &HeaderValue) -> Response<Body> {
    let body = error.problem(request_id.to_str().unwrap_or_default()).to_string();
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM);
    if error.code == Code::Unavailable {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    if let Some(limited) = &error.limited {
        response.headers_mut().insert(header::RETRY_AFTER, limited.retry_after.into());
        if let Some((policy, rest)) = limited.fields.clone() {
            insert_rate(&mut response, policy, rest);
        }
    }
    if error.code == Code::Unauthenticated {
        let challenge = if error.param.is_none() { CHALLENGE } else { CHALLENGE_AGAIN };
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if error.code == Code::UpgradeRequired {
        response.headers_mut().insert(header::UPGRADE, WEBSOCKET);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(allow) = &error.allow {
        insert_allow(&mut response, allow);
    }
    response
}

/// A whole message of HTTP/1.1 with a problem, after which the connection is closed: for clients that never become a request.
pub(crate) fn message(error: &Error, request_id: &HeaderValue) -> Vec<u8> {
    let id = request_id.to_str().unwrap_or_default();
    let (status, body) = (StatusCode::from_u16(error.code.status()).unwrap_or_default(), error.problem(id).to_string());
    let retry = if error.code == Code::Unavailable { "retry-after: 1\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\nx-content-type-options: nosniff\r\nx-request-id: {id}\r\n{retry}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Says what is left of a limit of rate.
pub(super) fn insert_rate(response: &mut Response<Body>, policy: HeaderValue, rest: HeaderValue) {
    response.headers_mut().insert(RATE_LIMIT_POLICY, policy);
    response.headers_mut().insert(RATE_LIMIT, rest);
}

fn insert_allow(response: &mut Response<Body>, allow: &str) {
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
}
