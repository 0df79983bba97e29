//! `/docs`: the OpenAPI document as a page from which calls can be made. All of it is in the program; it asks nobody else.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response, header},
};

use super::respond;

/// The paths of the page and its parts.
pub(super) const PATHS: &[&str] = &["/docs", "/docs/page.js", "/docs/swagger-ui.css", "/docs/swagger-ui.js"];

/// Scripts, styles and calls are the gateway's alone. The library has its icons in its styles.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The page or the part of it at a path, if there is one.
pub(super) fn part(path: &str) -> Option<Response<Body>> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    Some(match path {
        "/docs" => respond::page(include_str!("docs/page.html"), POLICY),
        "/docs/page.js" => respond::text(SCRIPT, include_str!("docs/page.js")),
        "/docs/swagger-ui.js" => compressed(SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"))),
        "/docs/swagger-ui.css" => compressed("text/css; charset=utf-8", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"))),
        _ => return None,
    })
}

/// A file that is kept compressed; every browser reads that.
fn compressed(content_type: &'static str, file: &'static [u8]) -> Response<Body> {
    let mut response = respond::text(content_type, Bytes::from_static(file));
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}
