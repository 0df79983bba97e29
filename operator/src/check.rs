//! Whether what was installed works: `helm test` runs this in a pod of its own. It changes nothing.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use dbx_crds::gateway::DbxGateway;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use kube::{Api, Client, api::PostParams};
use serde_json::json;

/// How long an operator may take to become ready: right after an installation its image has yet to be pulled.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(3);
/// How long until it is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks the operator at an address whether it is ready, and the API server whether it would take a gateway.
///
/// # Errors
/// When either says no, or nothing.
pub fn run(address: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        ready(address).await?;
        writeln!(std::io::stdout(), "the operator at {address} is ready")?;
        let namespace = takes_a_gateway().await?;
        writeln!(std::io::stdout(), "a DbxGateway in the namespace {namespace} would be accepted")?;
        Ok(())
    })
}

async fn ready(address: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let answer = tokio::time::timeout(ANSWER, ask(address)).await.context("no answer").flatten();
        match answer {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > PATIENCE => return Err(error.context(format!("the operator at {address} is not ready"))),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn ask(address: &str) -> anyhow::Result<()> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get("/readyz").header("host", "localhost").body(Empty::<bytes::Bytes>::new())?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let response = tokio::select! {
        response = &mut answer => response?,
        // The connection may be done before its last answer has been taken.
        _ = connection => answer.await?,
    };
    ensure!(response.status().is_success(), "it answers with the status {}", response.status());
    Ok(())
}

/// Creates a gateway without keeping it, which the definition and every rule of the installed version have to let pass.
async fn takes_a_gateway() -> anyhow::Result<String> {
    let client =
        Client::try_default().await.context("found no cluster: neither KUBECONFIG, ~/.kube/config nor a pod's ServiceAccount names one")?;
    let namespace = client.default_namespace().to_owned();
    let gateway: DbxGateway = serde_json::from_value(json!({
        "apiVersion": "dbx.dev/v1alpha1",
        "kind": "DbxGateway",
        "metadata": { "generateName": "check-" },
        "spec": { "config": { "databases": [{ "name": "redis", "redis": { "managed": {} } }], "auth": { "mode": "required" } } },
    }))?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    Api::<DbxGateway>::namespaced(client, &namespace).create(&params, &gateway).await.context("a DbxGateway is not accepted")?;
    Ok(namespace)
}
