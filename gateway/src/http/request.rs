//! Reading a request before anybody knows what it calls: its id, whether it may come from where it comes from, its path,
//! its query, its media types, its body. Paths are matched raw and decoded by segment, so that `%2F` is part of a key.

use std::{borrow::Cow, io, net::IpAddr, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Uri, header},
};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::Deserialize;

use crate::{
    error::{Code, Error},
    operation,
};

/// The longest `X-Request-Id` that is taken over from a request.
const MAX_REQUEST_ID: usize = 128;

/// The request's own id if it is sane.
pub(super) fn own_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get("x-request-id")?;
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (!id.is_empty() && id.len() <= MAX_REQUEST_ID && id.as_bytes().iter().all(sane)).then(|| id.clone())
}

/// Refuses what a web page of somebody else's could send: an `Origin` that is neither the host nor in the CORS list and, where no
/// credential was shown, a `Host` that is neither local, an IP address nor configured (DNS rebinding needs a name).
pub(super) fn check_source(uri: &Uri, headers: &HeaderMap, is_known: bool, hosts: &[String], origins: &[String]) -> Result<(), Error> {
    let host = uri.authority().map(|authority| authority.as_str()).or_else(|| headers.get(header::HOST)?.to_str().ok());
    let allowed = is_known
        || host.is_some_and(|host| is_local(host_name(host)) || hosts.iter().any(|known| known.eq_ignore_ascii_case(host_name(host))));
    if !allowed {
        return Err(
            Error::new(Code::Forbidden, "the gateway is not known by this name; add it to `hosts` in the configuration").param("Host")
        );
    }
    // A browser names the origin of the gateway's own page as well.
    let is_own = |origin: &[u8]| {
        let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        host.is_some_and(|host| authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_bytes())))
    };
    match headers.get(header::ORIGIN) {
        Some(origin) if !is_own(origin.as_bytes()) && !origins.iter().any(|known| known.as_bytes() == origin.as_bytes()) => {
            Err(Error::new(Code::Forbidden, "pages of this origin may not call; add it to `cors.origins` in the configuration")
                .param("Origin"))
        }
        _ => Ok(()),
    }
}

/// Refuses an address that is longer than is read.
pub(super) fn check_length(uri: &Uri, most: usize) -> Result<(), Error> {
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > most { Err(too_long(most)) } else { Ok(()) }
}

pub(super) fn too_long(most: usize) -> Error {
    Error::new(
        Code::UriTooLong,
        format!("a request's path and query may have {most} bytes (limits.maxUrlBytes); by name, keys go in the body"),
    )
}

/// Refuses a request that two readers could take for different ones: more than one `Host`, and codings of a body of unknown
/// length that are not read here. Lengths that differ are refused by hyper; where there are both a length and chunks, it reads
/// chunks and closes the connection.
pub(super) fn check_framing(headers: &HeaderMap, body: &Body) -> Result<(), Error> {
    let mut hosts = headers.get_all(header::HOST).iter();
    if hosts.next().is_some() && hosts.next().is_some() {
        return Err(Error::new(Code::BadEncoding, "a request has one `Host`").param("Host"));
    }
    if body.size_hint().exact().is_some() {
        return Ok(());
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (Some(coding), None) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
        (Some(_), Some(_)) => {}
        _ => return Ok(()),
    }
    Err(Error::new(Code::UnsupportedMediaType, "the only transfer coding that is read is `chunked`").param("Transfer-Encoding"))
}

fn host_name(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_end_matches('.')
}

fn is_local(name: &str) -> bool {
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// Decodes one segment of a path.
pub(super) fn decode(segment: &str) -> Result<Cow<'_, [u8]>, Error> {
    if memchr::memchr(b'%', segment.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(segment.as_bytes()));
    }
    check_percent(segment, "path")?;
    Ok(percent_encoding::percent_decode_str(segment).into())
}

fn check_percent(text: &str, param: &'static str) -> Result<(), Error> {
    let bytes = text.as_bytes();
    let complete = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    match memchr::memchr_iter(b'%', bytes).find(|at| !complete(*at)) {
        None => Ok(()),
        Some(_) => Err(Error::new(Code::BadEncoding, "`%` has to be followed by two hexadecimal digits").param(param)),
    }
}

/// A query's parameters, in order.
pub(super) type Query<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Decodes the query.
pub(super) fn query(uri: &Uri) -> Result<Query<'_>, Error> {
    let Some(query) = uri.query() else { return Ok(Vec::new()) };
    check_percent(query, "query")?;
    let part = |text: &str| -> Result<String, Error> {
        let spaced = text.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
        decoded.map_err(|_| Error::new(Code::BadEncoding, "a query parameter is not UTF-8; send bytes with encoding=base64").param("query"))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((part(name)?.into(), part(value)?.into()))
        })
        .collect()
}

/// Decodes base64 that stands under a name.
pub(super) fn base64(text: &str, param: &'static str) -> Result<Vec<u8>, Error> {
    operation::base64(text).map_err(|error| error.param(param))
}

/// What was read from JSON, if that is an object: serde would take the members from an array as well.
pub(super) fn of_object<T>(text: &[u8], read: serde_json::Result<T>) -> serde_json::Result<T> {
    match read {
        Ok(_) if !text.trim_ascii_start().starts_with(b"{") => Err(serde::de::Error::custom("expected an object")),
        read => read,
    }
}

/// Reads a body that has one shape, `expected`; a member at fault is named `param`.
pub(super) fn document<'a, T: Deserialize<'a>>(body: &'a [u8], param: &'static str, expected: &str) -> Result<T, Error> {
    of_object(body, serde_json::from_slice(body)).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Error::new(Code::InvalidArgument, format!("expected {expected}")).param(param),
        _ => operation::arguments::read_error(&error, body),
    })
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Bytes,
}

/// The body's media type.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Media, Error> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Media::Json) };
    if value.as_bytes() == b"application/json" {
        return Ok(Media::Json);
    }
    let essence = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "" | "application/json" | "application/x-www-form-urlencoded" => Ok(Media::Json),
        "application/octet-stream" => Ok(Media::Bytes),
        other if other.ends_with("+json") => Ok(Media::Json),
        _ => Err(Error::new(Code::UnsupportedMediaType, "send application/json, or application/octet-stream for a value as it is")
            .param("Content-Type")),
    }
}

/// Refuses a body that is not JSON, where there is no value to take it as.
pub(super) fn json_only(headers: &HeaderMap) -> Result<(), Error> {
    match content_type(headers)? {
        Media::Json => Ok(()),
        Media::Bytes => Err(Error::new(Code::UnsupportedMediaType, "this takes a JSON object").param("Content-Type")),
    }
}

/// The media type the answer is wanted in: whichever of the two comes first, JSON when it is all the same.
pub(super) fn accept(headers: &HeaderMap) -> Result<Media, Error> {
    let Some(value) = headers.get(header::ACCEPT) else { return Ok(Media::Json) };
    if value.as_bytes() == b"*/*" || value.as_bytes() == b"application/json" {
        return Ok(Media::Json);
    }
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let wanted = text.split(',').filter(|range| !range.replace(' ', "").contains(";q=0,") && !range.trim_end().ends_with(";q=0"));
    for range in wanted {
        match range.split(';').next().unwrap_or_default().trim() {
            "" | "*/*" | "application/*" | "application/json" | "application/problem+json" => return Ok(Media::Json),
            "application/octet-stream" => return Ok(Media::Bytes),
            _ => {}
        }
    }
    Err(Error::new(Code::NotAcceptable, "answers are application/json, or application/octet-stream for one value").param("Accept"))
}

/// Reads a body of at most `most` bytes that arrives within `time`.
pub(super) async fn body(headers: &HeaderMap, mut body: Body, most: usize, time: Duration) -> Result<Bytes, Error> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Error::new(Code::UnsupportedMediaType, "bodies are read as they are; send this one without compressing it")
            .param("Content-Encoding"));
    }
    let too_large = || Error::new(Code::BodyTooLarge, format!("a body may have at most {most} bytes (limits.maxBodyBytes)"));
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    if headers.get(header::CONTENT_LENGTH).is_none() && headers.get(header::TRANSFER_ENCODING).is_none() {
        return Ok(Bytes::new());
    }
    let read = async {
        let mut all = Vec::new();
        let mut first = Bytes::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + all.len() + data.len() > most {
                return Err(too_large());
            }
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                if all.is_empty() {
                    // Room that is never written to is never taken from the machine.
                    all.reserve_exact(first.len() + usize::try_from(body.size_hint().lower()).unwrap_or_default().min(most) + data.len());
                    all.extend_from_slice(&std::mem::take(&mut first));
                }
                all.extend_from_slice(&data);
            }
            if body.is_end_stream() {
                break;
            }
        }
        Ok(if all.is_empty() { first } else { all.into() })
    };
    match tokio::time::timeout(time, read).await {
        Ok(read) => read,
        Err(_) => Err(Error::new(Code::RequestTimeout, "the body did not arrive in time (limits.bodyTimeout)").retryable()),
    }
}

/// Why a body cannot be read to its end.
fn broken(error: &(dyn std::error::Error + 'static)) -> Error {
    let cause = std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            Error::new(Code::BadEncoding, "the chunks of the body are not those of HTTP/1.1").param("Transfer-Encoding")
        }
        _ => Error::new(Code::RequestTimeout, "the body ended early"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(host: &str, origin: Option<&'static str>) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert("origin", HeaderValue::from_static(origin));
        }
        check_source(&Uri::from_static("/"), &headers, false, &["cache.shop.svc".into()], &["https://app.example".into()])
    }

    #[test]
    fn only_known_hosts_and_origins_may_call() {
        for host in
            ["localhost", "localhost:3000", "LOCALHOST.", "127.0.0.1:1", "[::1]:3000", "[::1]", "10.0.0.7:3000", "cache.shop.svc:3000"]
        {
            assert_eq!(source(host, None), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:3000", ""] {
            assert_eq!(source(host, None).unwrap_err().param.as_deref(), Some("Host"), "{host}");
        }
        assert_eq!(source("localhost", Some("https://app.example")), Ok(()));
        assert_eq!(source("localhost", Some("https://evil.example")).unwrap_err().param.as_deref(), Some("Origin"));
        assert_eq!(source("localhost", Some("null")).unwrap_err().param.as_deref(), Some("Origin"));
    }

    #[test]
    fn segments_hold_any_byte() {
        assert_eq!(&*decode("a%2Fb%00%FF").unwrap(), b"a/b\0\xff");
        assert_eq!(decode("%zz").unwrap_err().code, Code::BadEncoding);
        assert_eq!(decode("a%2").unwrap_err().code, Code::BadEncoding);
    }

    #[test]
    fn queries_are_decoded_or_refused() {
        let uri = |text: &'static str| Uri::from_static(text);
        assert_eq!(
            query(&uri("/?a=1&b=x+y%26&c")).unwrap(),
            [("a".into(), "1".into()), ("b".into(), "x y&".into()), ("c".into(), "".into())]
        );
        assert_eq!(query(&uri("/?a=%FF")).unwrap_err().code, Code::BadEncoding);
        assert_eq!(query(&uri("/?a=%F")).unwrap_err().code, Code::BadEncoding);
    }

    #[test]
    fn media_types_are_told_apart() {
        let with = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(header::HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        assert_eq!(content_type(&with("content-type", "application/vnd.x+json; charset=utf-8")), Ok(Media::Json));
        assert_eq!(content_type(&with("content-type", "application/octet-stream")), Ok(Media::Bytes));
        assert_eq!(content_type(&with("content-type", "text/plain")).unwrap_err().code, Code::UnsupportedMediaType);
        assert_eq!(accept(&with("accept", "text/html, application/octet-stream;q=0.9, */*;q=0.1")), Ok(Media::Bytes));
        assert_eq!(accept(&with("accept", "text/html, */*;q=0.1")), Ok(Media::Json));
        assert_eq!(accept(&with("accept", "text/html")).unwrap_err().code, Code::NotAcceptable);
    }
}
