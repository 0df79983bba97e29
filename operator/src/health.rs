//! What the operator says about itself: `/livez` is tied to the reconcile loop, `/readyz` to the first lists.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::{listed::Listed, metrics::Metrics};

/// A reconcile that takes longer than this hangs: every request in it has a deadline of its own.
const LONGEST: Duration = Duration::from_secs(300);

/// What the probes are answered from.
#[derive(Debug, Default)]
pub(crate) struct Health {
    running: Mutex<Vec<Instant>>,
}

impl Health {
    /// Notes that a reconcile started; it is over when the result is dropped.
    pub(crate) fn start(self: &Arc<Self>) -> Running {
        let at = Instant::now();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).push(at);
        Running { health: self.clone(), at }
    }

    fn is_live(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().all(|started| started.elapsed() < LONGEST)
    }
}

/// A reconcile that runs.
pub(crate) struct Running {
    health: Arc<Health>,
    at: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.health.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = running.iter().position(|at| *at == self.at) {
            running.swap_remove(index);
        }
    }
}

/// Serves probes and metrics for as long as the process runs.
pub(crate) async fn serve(listener: TcpListener, health: Arc<Health>, listed: Arc<Listed>, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (health, listed, metrics) = (health.clone(), listed.clone(), metrics.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &health, &listed, &metrics);
                async { Ok::<_, Infallible>(response) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(error = %error, "a connection ended early");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, health: &Health, listed: &Listed, metrics: &Metrics) -> Response<Full<Bytes>> {
    let probe =
        |good: bool| if good { (StatusCode::OK, b"ok\n".to_vec()) } else { (StatusCode::SERVICE_UNAVAILABLE, b"not ok\n".to_vec()) };
    let (status, body) = match request.uri().path() {
        "/livez" => probe(health.is_live()),
        // One that waits for its turn is ready for it.
        "/readyz" => probe(metrics.leader.get() == 0 || listed.is_complete()),
        "/metrics" => match metrics.text() {
            Ok(text) => (StatusCode::OK, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n").into_bytes()),
        },
        _ => (StatusCode::NOT_FOUND, b"there are /livez, /readyz and /metrics\n".to_vec()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}
