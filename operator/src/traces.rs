//! Traces, sent by OTLP over HTTP to where the usual variables of OpenTelemetry say. Without an endpoint nothing is recorded.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError, Request, Response, hyper::HyperClient};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::{runtime::Handle, task::spawn_blocking};
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::names::MANAGER;

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How long one export may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last one may take, when the Lease is free already.
const FAREWELL: Duration = Duration::from_secs(3);

/// What sends them.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins, if there is somewhere to send them to. What is sent goes by way of this runtime.
    pub(crate) fn begin(runtime: &Handle) -> anyhow::Result<Option<Self>> {
        let is_said = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        if !ENDPOINTS.iter().any(is_said) {
            return Ok(None);
        }
        let connector = HttpsConnectorBuilder::new().with_native_roots().context("no certificates are trusted")?;
        let client = HyperClient::new(connector.https_or_http().enable_http1().build(), PATIENCE, None);
        let client = Sender { runtime: runtime.clone(), client: Arc::new(client) };
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build().context("traces cannot be sent")?;
        let mut resource = Resource::builder();
        if !is_said(&"OTEL_SERVICE_NAME") {
            resource = resource.with_service_name(MANAGER);
        }
        Ok(Some(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())))
    }

    /// What records the operator's own spans.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let ours = filter_fn(|meta| meta.is_span() && meta.target().starts_with(env!("CARGO_CRATE_NAME")));
        tracing_opentelemetry::layer().with_tracer(self.0.tracer(MANAGER)).with_filter(ours)
    }

    /// Sends what is left.
    pub(crate) async fn end(self) {
        let end = spawn_blocking(move || self.0.shutdown_with_timeout(FAREWELL));
        if let Ok(Err(error)) = end.await {
            tracing::warn!(error = %error, "the last traces could not be sent");
        }
    }
}

/// Sends from the exporter's own thread by way of the runtime, which has what connections need.
#[derive(Debug)]
struct Sender {
    runtime: Handle,
    client: Arc<HyperClient<HttpsConnector<HttpConnector>>>,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let answer = self.runtime.spawn(async move { client.send_bytes(request).await }).await?;
        answer.inspect_err(|error| tracing::warn!(error = %error, "traces could not be sent"))
    }
}
