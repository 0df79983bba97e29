//! What the gateway says of itself: its databases, the caller, the OpenAPI document, the meaning of errors.

use std::{
    fmt::Write,
    sync::{Arc, OnceLock},
};

use axum::{
    body::Body,
    http::{HeaderValue, Method, Response, request::Parts},
};
use dbx_crds::api_key::Time;
use serde_json::json;

use super::{docs, method_not_allowed, respond};
use crate::{
    auth::Identity,
    error::{Code, Error},
    operation,
    rates::Allowance,
    worker::{Database, Worker},
};

/// The pages that are not under `/api/v1`.
pub(super) const PATHS: &[&str] = &["/asyncapi.json", "/openapi.json", "/docs/errors"];

/// A page that is only read.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");

/// `/api/v1`, `/api/v1/whoami`, `/api/v1/keys` and `/api/v1/{database}`, as a caller may know of them.
pub(super) fn about(
    worker: &Worker,
    identity: &Identity,
    allowance: Option<&Allowance>,
    parts: &Parts,
    name: &str,
) -> Result<Response<Body>, Error> {
    let is_known = |database: &&Arc<Database>| !identity.rights(database.index).is_none();
    let document = match name {
        "" => {
            let known = worker.databases.iter().filter(is_known);
            let databases: Vec<_> = known.map(|database| json!({ "name": database.name, "kind": database.kind })).collect();
            json!({ "result": { "databases": databases } })
        }
        "whoami" => json!({ "result": {
            "identity": identity.name,
            "groups": identity.groups,
            "until": identity.until.map(|until| Time::from(until).to_string()),
            "grants": identity.grants,
            "limits": {
                "maxBodyBytes": worker.shared.max_body_bytes,
                "maxKeyBytes": worker.shared.max_key_bytes,
                "maxValueBytes": worker.shared.max_value_bytes,
                "maxPipelineCalls": worker.shared.max_pipeline_calls,
                "rates": allowance.map_or_else(|| json!([]), Allowance::report),
            },
        } }),
        "keys" => {
            if !identity.is_administrator() {
                return Err(Error::new(Code::Forbidden, "keys are told to who may administer every database (`admin`)"));
            }
            json!({ "result": { "keys": worker.shared.gate.keys() } })
        }
        _ => {
            let database = worker.database(name).filter(is_known).ok_or_else(super::unknown_database)?;
            let rights = identity.rights(database.index);
            let operations: Vec<_> = operation::ids().filter(|id| rights.may_call(*id)).map(|id| id.operation().name).collect();
            json!({ "result": { "name": name, "operations": operations } })
        }
    };
    read_only(&parts.method, || respond::json(document.to_string()))
}

/// Everything that is not under `/api/v1`.
pub(super) fn page(_worker: &Worker, method: &Method, path: &str) -> Result<Response<Body>, Error> {
    static ASYNCAPI: OnceLock<String> = OnceLock::new();
    static OPENAPI: OnceLock<String> = OnceLock::new();
    match path {
        "/asyncapi.json" => {
            read_only(method, || respond::json(ASYNCAPI.get_or_init(|| operation::asyncapi::document().to_string()).as_str()))
        }
        "/openapi.json" => read_only(method, || respond::json(OPENAPI.get_or_init(|| operation::openapi::document().to_string()).as_str())),
        "/docs/errors" => read_only(method, || respond::page(errors(), POLICY)),
        _ => match docs::part(path) {
            Some(part) => read_only(method, || part),
            None => Err(Error::new(Code::RouteNotFound, "the API is under /api/v1, its description at /openapi.json and /docs")),
        },
    }
}

fn read_only(method: &Method, respond: impl FnOnce() -> Response<Body>) -> Result<Response<Body>, Error> {
    match *method {
        Method::GET | Method::HEAD => Ok(respond()),
        Method::OPTIONS => Ok(respond::options("GET, HEAD, OPTIONS")),
        _ => Err(method_not_allowed("GET, HEAD, OPTIONS".into())),
    }
}

/// The page that a problem's `type` points to.
fn errors() -> String {
    let mut page =
        String::from("<!doctype html><meta charset=utf-8><title>Errors</title><h1>Errors</h1><table><tr><th>code<th>status<th>meaning");
    for code in Code::ALL {
        let (name, status, title) = (code.name(), code.status(), code.title());
        let _ = write!(page, "<tr id={name}><td><code>{name}</code><td>{status}<td>{title}");
    }
    page.push_str("</table>");
    page
}
