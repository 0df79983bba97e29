//! JSON in fewer bytes, for clients that ask for it (RFC 9110, content codings). What is short, or a value as it is, stays as it
//! is; who does not ask pays nothing.

use std::io::{self, Write};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use super::respond;

/// An answer of no more bytes than this would gain nothing.
pub(super) const SHORT: u64 = 1 << 10;
/// Bytes that are compressed in one go; then it is the other calls' turn.
const PIECE: usize = 64 << 10;
/// The levels that cost least: an answer is read once.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Zstd,
    Gzip,
}

impl Coding {
    /// All of them, the better one first.
    pub(super) const ALL: [Self; 2] = [Self::Zstd, Self::Gzip];

    /// Its name in headers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Whether a client reads it.
    pub(super) fn is_accepted(self, asked: &HeaderMap) -> bool {
        quality(asked, self.name()) > 0.0
    }

    /// The one that a client prefers to others, and to none.
    fn preferred(asked: &HeaderMap) -> Option<Self> {
        let plain = quality(asked, "identity");
        let mut best = None;
        for coding in Self::ALL {
            let quality = quality(asked, coding.name());
            if quality > 0.0 && quality >= plain && best.is_none_or(|(_, most)| quality > most) {
                best = Some((coding, quality));
            }
        }
        best.map(|(coding, _)| coding)
    }

    /// The entity tag of a representation in this coding. A byte that differs is another representation.
    pub(super) fn tag(self, plain: &HeaderValue) -> Option<HeaderValue> {
        let plain = plain.to_str().ok()?.strip_suffix('"')?;
        HeaderValue::try_from(format!("{plain}-{}\"", self.name())).ok()
    }

    async fn encode(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let room = Vec::with_capacity(bytes.len() / 4);
        match self {
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(room, ZSTD_LEVEL)?;
                // It takes no more memory than these bytes need.
                encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
                write(&mut encoder, bytes).await?;
                encoder.finish()
            }
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::new(GZIP_LEVEL));
                write(&mut encoder, bytes).await?;
                encoder.finish()
            }
        }
    }
}

async fn write(encoder: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let mut pieces = bytes.chunks(PIECE);
    if let Some(first) = pieces.next() {
        encoder.write_all(first)?;
    }
    for piece in pieces {
        tokio::task::yield_now().await;
        encoder.write_all(piece)?;
    }
    Ok(())
}

/// How much a client wants a coding, from 0 to 1; not at all when it does not say.
fn quality(asked: &HeaderMap, coding: &str) -> f32 {
    let lines = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let mut others = 0.0;
    for member in lines.flat_map(|line| line.split(',')) {
        let (name, weight) = member.split_once(';').unwrap_or((member, "q=1"));
        let weight = weight.trim().to_ascii_lowercase();
        // What cannot be read is not wanted.
        let quality = weight.strip_prefix("q=").and_then(|weight| weight.parse().ok()).unwrap_or(0.0);
        match name.trim() {
            name if name.eq_ignore_ascii_case(coding) => return quality,
            "*" => others = quality,
            _ => {}
        }
    }
    others
}

/// Whether an answer gains by being compressed.
pub(super) fn applies(response: &Response<Body>) -> bool {
    response.body().size_hint().exact().is_some_and(|length| length > SHORT)
        && response.status() != StatusCode::PARTIAL_CONTENT
        && response.headers().get(header::CONTENT_TYPE).is_some_and(respond::is_json)
}

/// The answer in the coding that the client likes best, if it likes one of ours.
pub(super) async fn compress(asked: &HeaderMap, response: Response<Body>) -> Response<Body> {
    let Some(coding) = Coding::preferred(asked) else { return response };
    let (mut parts, body) = response.into_parts();
    // It is whole already: nothing is waited for and nothing copied.
    let plain = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_else(|_| Bytes::new());
    let body = match coding.encode(&plain).await {
        Ok(encoded) if encoded.len() < plain.len() => encoded.into(),
        _ => return Response::from_parts(parts, plain.into()),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    parts.headers.entry(header::VARY).or_insert(respond::VARY);
    if let Some(tag) = parts.headers.get(header::ETAG).and_then(|tag| coding.tag(tag)) {
        parts.headers.insert(header::ETAG, tag);
    }
    Response::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_coding_that_it_prefers() {
        for (asked, coding) in [
            ("gzip", Some(Coding::Gzip)),
            ("GZIP ; Q=0.5", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("zstd;q=0.5, gzip;q=0.9", Some(Coding::Gzip)),
            ("*", Some(Coding::Zstd)),
            ("*, zstd;q=0", Some(Coding::Gzip)),
            ("gzip;q=0", None),
            ("gzip;q=x", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0, gzip", Some(Coding::Gzip)),
            ("br", None),
            ("", None),
        ] {
            let asked = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(asked))]);
            assert_eq!(Coding::preferred(&asked), coding, "{asked:?}");
        }
        assert_eq!(Coding::preferred(&HeaderMap::new()), None);
    }
}
