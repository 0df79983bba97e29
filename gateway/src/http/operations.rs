//! The operations listener: whether the process lives, whether it should get calls, what it counts. Read-only; names no
//! host and no identity.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{metrics, worker::Workers};

/// Serves until the process ends.
pub async fn serve(workers: Workers, listener: TcpListener) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(measure))
        .with_state(Arc::new(workers));
    axum::serve(listener, routes).await
}

/// 200 once every database has answered once and the gateway is not about to stop.
async fn ready(State(workers): State<Arc<Workers>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let draining = workers.shared.drain.is_draining();
    let states = workers.states();
    let answered = states.iter().all(|(_, _, states)| !states.is_empty() && states.iter().all(|state| state.answered));
    let ready = answered && !draining;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut report = json!({ "ready": ready, "draining": draining });
    if query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="))) {
        let databases: Vec<Value> = states
            .iter()
            .map(|(name, kind, states)| {
                let reachable = !states.is_empty() && states.iter().all(|state| state.reachable);
                let message = states.iter().map(|state| state.message.as_str()).find(|message| !message.is_empty()).unwrap_or_default();
                json!({ "name": name, "kind": kind, "reachable": reachable, "answered": states.iter().all(|state| state.answered), "message": message })
            })
            .collect();
        report["databases"] = databases.into();
        let files = workers.shared.gate.files();
        report["keyFiles"] = files.map(|(path, revision)| json!({ "path": path, "revision": revision })).collect();
    }
    (status, Json(report))
}

async fn measure(State(workers): State<Arc<Workers>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render(&workers))
}
