//! HTTP through a port-forward to a pod.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::cluster::{Cluster, failed};

/// How long it may take to reach a pod.
const PATIENCE: Duration = Duration::from_secs(15);

/// What believes a server, and the name it has to have.
pub(crate) type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// A connection to a port of a pod.
pub(crate) struct Tunnel {
    sender: SendRequest<Full<Bytes>>,
    /// What is dropped with it: the forward ends.
    _forward: Portforwarder,
}

impl Tunnel {
    pub(crate) async fn open(cluster: &Cluster, pod: &str, port: u16, tls: Option<Tls>) -> anyhow::Result<Self> {
        let open = async {
            let mut forward = cluster.api::<Pod>().portforward(pod, &[port]).await.map_err(failed)?;
            let stream = forward.take_stream(port).context("the API server forwards another port")?;
            Ok(Self { sender: speak(stream, tls).await?, _forward: forward })
        };
        let opened = tokio::time::timeout(PATIENCE, open).await.with_context(|| format!("not reached within {PATIENCE:?}"));
        // The API server does not always say which verb is missing.
        opened.flatten().with_context(|| format!("port-forward to {pod}, for which you need `get` and `create` on `pods/portforward`"))
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        self.sender.send_request(request).await.context("the pod does not answer through the port-forward")
    }

    /// The body of what is read from a path.
    pub(crate) async fn read(&mut self, path: &str) -> anyhow::Result<String> {
        let request = Request::get(path).header("host", "localhost").body(Full::default())?;
        let exchange = async {
            let body = self.send(request).await?.into_body().collect().await?.to_bytes();
            Ok(String::from_utf8_lossy(&body).into_owned())
        };
        tokio::time::timeout(PATIENCE, exchange).await.with_context(|| format!("no answer within {PATIENCE:?}"))?
    }
}

/// Begins HTTP on a stream, within TLS when that is asked for.
pub(crate) async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tls: Option<Tls>,
) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    match tls {
        None => http(stream).await,
        Some((config, name)) => http(TlsConnector::from(config).connect(name, stream).await.context("TLS")?).await,
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
