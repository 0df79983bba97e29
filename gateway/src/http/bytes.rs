//! A value as it is, when it is asked for as octets: its length comes first, so that a long one is read where nobody waits behind
//! it, a part of it alone when only that is wanted (RFC 9110, ranges), and not at all for HEAD.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, Method, Response, StatusCode, header},
};

use super::{
    Incoming,
    call::{self, LARGE},
    options::Options,
    precondition::{self, HASHED, Place, Preconditions},
    respond,
};
use crate::{
    error::{Code, Error},
    operation::{self, Id, arguments::Given},
};

const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// Operations that read a value, and those that read its length and a part of it.
const PARTS: &[(&str, &str, &str)] = &[("get", "strlen", "getrange")];

/// The operations that read the length and a part of what this one reads.
pub(super) fn parts(id: Id) -> Option<(Id, Id)> {
    let (_, length, part) = PARTS.iter().find(|(whole, ..)| *whole == id.operation().name)?;
    Some((operation::find(length)?, operation::find(part)?))
}

/// Answers GET and HEAD for a value's octets.
pub(super) async fn read(
    incoming: Incoming<'_>,
    place: Place<'_>,
    (length, part): (Id, Id),
    options: &Options,
    preconditions: &Preconditions,
) -> Result<Response<Body>, Error> {
    let scope = incoming.scope();
    // Numbers are octets too.
    let done = call::run(scope, length, Ok(place.arguments.clone()), options).await?;
    let length: u64 = operation::render::value(&done.frame)?.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0);
    let head = incoming.parts.method == Method::HEAD;
    let whole = length <= HASHED as u64 || options.etag || !preconditions.is_empty();
    if head && !whole {
        let mut response = respond::bytes(axum::body::Bytes::new());
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        response.headers_mut().insert(header::ACCEPT_RANGES, BYTES);
        return Ok(response);
    }
    let range = if head { None } else { range(incoming, length) };
    match range {
        Some(Range::Nowhere) if length > 0 => Ok(unsatisfiable(incoming, length)),
        Some(Range::Part(first, last)) if !whole => {
            let mut arguments = place.arguments;
            for (name, at) in [("start", first), ("end", last)] {
                arguments.push(name, Given::Text(Cow::Owned(at.to_string())));
            }
            let options = Options { alone: last - first >= LARGE as u64, ..*options };
            let done = call::run(scope, part, Ok(arguments), &options).await?;
            let response = incoming.result(&done, &options).await?;
            let found = operation::render::value(&done.frame)?.map_or(0, <[u8]>::len) as u64;
            match found {
                // It has become shorter since its length was read.
                0 => Ok(unsatisfiable(incoming, first)),
                _ => Ok(partial(response, first, first + found - 1, length.max(first + found))),
            }
        }
        range => {
            let options = Options { alone: length > LARGE as u64, ..*options };
            let done = call::run(scope, place.read, Ok(place.arguments), &options).await?;
            if done.is_null() {
                return Err(Error::new(Code::KeyNotFound, Code::KeyNotFound.title()));
            }
            let mut response = precondition::read(incoming, &done, &options, preconditions).await?;
            response.headers_mut().insert(header::ACCEPT_RANGES, BYTES);
            let (Some(range), StatusCode::OK) = (range, response.status()) else { return Ok(response) };
            let value = operation::render::value(&done.frame)?.unwrap_or_default();
            match range.of(value.len() as u64) {
                Range::Part(first, last) => {
                    let piece =
                        usize::try_from(first).ok().zip(usize::try_from(last).ok()).and_then(|(first, last)| value.get(first..=last));
                    *response.body_mut() = done.frame.slice_ref(piece.unwrap_or_default()).into();
                    Ok(partial(response, first, last, value.len() as u64))
                }
                _ => Ok(unsatisfiable(incoming, value.len() as u64)),
            }
        }
    }
}

/// A range of a value's bytes, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Part(u64, u64),
    Nowhere,
}

impl Range {
    /// The same range of a value that may have changed its length.
    fn of(self, length: u64) -> Self {
        match self {
            Self::Part(first, last) if first < length => Self::Part(first, last.min(length - 1)),
            _ => Self::Nowhere,
        }
    }
}

/// The one range that is asked for. Several, or what is no range of bytes, are answered with the whole, as is a range of a version
/// that may be another (`If-Range`).
fn range(incoming: Incoming<'_>, length: u64) -> Option<Range> {
    let headers = &incoming.parts.headers;
    let value = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE))?;
    read_range(value.to_str().ok()?, length)
}

fn read_range(text: &str, length: u64) -> Option<Range> {
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let range = match (first, last) {
        ("", suffix) => match number(suffix)? {
            0 => Range::Nowhere,
            suffix => Range::Part(length.saturating_sub(suffix), u64::MAX),
        },
        (first, "") => Range::Part(number(first)?, u64::MAX),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Range::Part(first, last))?
        }
    };
    Some(range.of(length))
}

fn partial(mut response: Response<Body>, first: u64, last: u64, length: u64) -> Response<Body> {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = HeaderValue::try_from(format!("bytes {first}-{last}/{length}")).expect("digits are visible ASCII");
    response.headers_mut().insert(header::CONTENT_RANGE, range);
    response.headers_mut().insert(header::ACCEPT_RANGES, BYTES);
    response
}

/// There is nothing in the range; how long the value is.
fn unsatisfiable(incoming: Incoming<'_>, length: u64) -> Response<Body> {
    let error = Error::new(Code::RangeNotSatisfiable, "the value has no bytes in this range").param("Range");
    incoming.worker.counters.refuse(error.code);
    let mut response = respond::problem(&error, incoming.id);
    let range = HeaderValue::try_from(format!("bytes */{length}")).expect("digits are visible ASCII");
    response.headers_mut().insert(header::CONTENT_RANGE, range);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (text, range) in [
            ("bytes=0-0", Some(Range::Part(0, 0))),
            ("bytes=2-99", Some(Range::Part(2, 9))),
            ("bytes=3-", Some(Range::Part(3, 9))),
            ("bytes=-4", Some(Range::Part(6, 9))),
            ("bytes=-40", Some(Range::Part(0, 9))),
            ("bytes=10-", Some(Range::Nowhere)),
            ("bytes=-0", Some(Range::Nowhere)),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("bytes=+1-2", None),
            ("bytes=-", None),
            ("items=0-1", None),
            ("bytes", None),
        ] {
            assert_eq!(read_range(text, 10), range, "{text}");
        }
        assert_eq!(read_range("bytes=-1", 0), Some(Range::Nowhere));
    }
}
