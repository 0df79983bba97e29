//! HTTP through a port-forward to a pod.

use std::time::Duration;

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

use crate::cluster::Cluster;

/// How long it may take to reach a pod.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection to a port of a pod.
pub(crate) struct Tunnel {
    sender: SendRequest<Full<Bytes>>,
    /// What is dropped with it: the forward ends.
    _forward: Portforwarder,
}

impl Tunnel {
    pub(crate) async fn open(cluster: &Cluster, pod: &str, port: u16) -> anyhow::Result<Self> {
        let open = async {
            let ports = [port];
            let forward = cluster.api::<Pod>().portforward(pod, &ports).await;
            let mut forward = forward.map_err(|error| cluster.asked("create", "pods/portforward", pod).failed(error))?;
            let stream = forward.take_stream(port).context("the API server forwards another port")?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok(Self { sender, _forward: forward })
        };
        tokio::time::timeout(PATIENCE, open).await.with_context(|| format!("{pod} is not reached within {PATIENCE:?}"))?
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
