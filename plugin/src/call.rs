//! `kubectl dbx call`: a call through a port-forward. The token comes from a Secret, a file or the environment, since arguments
//! are seen by others.

use std::{io::IsTerminal, sync::Arc};

use anyhow::{Context, anyhow, bail, ensure};
use dbx_crds::{
    api_key::{DbxApiKey, TOKEN},
    gateway::{DbxGateway, pods::DATA_PORT},
};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use k8s_openapi::api::core::v1::Secret;
use kube::{Config, client::ConfigExt};
use tokio_rustls::rustls::{
    ClientConfig,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};

use crate::{
    args::Call,
    cluster::Cluster,
    keys, output,
    tunnel::{Tls, Tunnel},
};

/// Method, path and body.
#[derive(Debug, PartialEq)]
struct Wanted {
    method: String,
    path: String,
    body: String,
}

pub(crate) async fn run(cluster: &Cluster, call: &Call) -> anyhow::Result<bool> {
    let gateway: DbxGateway = cluster.get(&call.name).await?;
    let wanted = wanted(call, &gateway)?;
    let token = token(cluster, call, &gateway).await?;
    let tls = tls(cluster, call, &gateway).await?;
    let pod = cluster.ready_pods(&call.name).await?.remove(0);
    let mut tunnel = Tunnel::open(cluster, &pod, DATA_PORT, tls).await?;
    let mut request = Request::builder().method(wanted.method.as_str()).uri(&wanted.path).header("host", format!("localhost:{DATA_PORT}"));
    if !wanted.body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Full::from(wanted.body)).with_context(|| format!("{} {}", wanted.method, wanted.path))?;
    let response = tunnel.send(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut last = b'\n';
    // As it comes, since a stream of events has no end.
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        last = bytes.last().copied().unwrap_or(last);
        output::write(&bytes)?;
    }
    if last != b'\n' && std::io::stdout().is_terminal() {
        output::write("\n")?;
    }
    let well = status.as_u16() < 400;
    if !well {
        eprintln!("kubectl dbx: {pod} answers {status}");
    }
    Ok(well)
}

fn wanted(call: &Call, gateway: &DbxGateway) -> anyhow::Result<Wanted> {
    let (first, second) = (call.what[0].as_str(), call.what.get(1).map(String::as_str));
    let (method, path) =
        if first.starts_with('/') { (None, Some(first)) } else { (Some(first), second.filter(|second| second.starts_with('/'))) };
    if let Some(path) = path {
        ensure!(call.database.is_none(), "--database is for an operation by name; a path names the database");
        ensure!(method.is_some() || second.is_none(), "a body is given with -d");
        let method = method.unwrap_or(if call.data.is_some() { "POST" } else { "GET" });
        return Ok(Wanted { method: method.to_uppercase(), path: path.into(), body: call.data.clone().unwrap_or_default() });
    }
    let operation = first;
    ensure!(second.is_none() || call.data.is_none(), "{operation} has its arguments twice: once without -d is enough");
    let body = second.or(call.data.as_deref()).unwrap_or("{}").to_owned();
    serde_json::from_str::<serde_json::Map<_, _>>(&body)
        .with_context(|| format!("the arguments of {operation} are a JSON object, as in '{{\"key\":\"a\"}}'; a path begins with /"))?;
    let names: Vec<&str> = gateway.spec.config.databases.iter().map(|database| database.name.as_str()).collect();
    let database = match (call.database.as_deref(), names.as_slice()) {
        (Some(name), _) | (None, &[name]) => name,
        _ => bail!("{} has {}: say which with --database", call.name, names.join(", ")),
    };
    Ok(Wanted { method: "POST".into(), path: format!("/api/v1/{database}/{operation}"), body })
}

async fn token(cluster: &Cluster, call: &Call, gateway: &DbxGateway) -> anyhow::Result<Option<String>> {
    let text = match (&call.key, &call.token_file) {
        (Some(name), _) => {
            let key = cluster.get::<DbxApiKey>(name).await?;
            ensure!(keys::is_of(&key, gateway), "{name} is a key to another gateway: {}", key.spec.gateway_ref.name);
            let token = secret(cluster, &key.spec.secret_name, TOKEN).await;
            String::from_utf8(token.with_context(|| format!("the key {name} is {}", keys::ready(&key).1))?)?
        }
        (None, Some(file)) => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
        (None, None) => std::env::var(TOKEN).unwrap_or_default(),
    };
    let token = text.trim();
    Ok((!token.is_empty()).then(|| token.to_owned()))
}

/// What believes a gateway that serves TLS: its Service's name has to be in a certificate of the right CA.
async fn tls(cluster: &Cluster, call: &Call, gateway: &DbxGateway) -> anyhow::Result<Option<Tls>> {
    let Some(tls) = &gateway.spec.config.listen.tls else { return Ok(None) };
    let ca = match (&call.cacert, &tls.certificate_from.secret_key_ref) {
        _ if call.insecure => Vec::new(),
        (Some(file), _) => std::fs::read(file).with_context(|| file.display().to_string())?,
        (None, Some(certificate)) => {
            let ca = secret(cluster, &certificate.name, "ca.crt").await;
            ca.context("by which CA the gateway is believed: say --cacert FILE, or --insecure")?
        }
        (None, None) => bail!("say by which CA the gateway is believed, --cacert FILE, or --insecure"),
    };
    let name = format!("{}.{}.svc", call.name, cluster.namespace);
    Ok(Some((believing(&ca, call.insecure)?, name.try_into()?)))
}

/// TLS that believes who shows a certificate of a CA, or whatever is shown; as the client of Kubernetes does it.
fn believing(ca: &[u8], insecure: bool) -> anyhow::Result<Arc<ClientConfig>> {
    let mut config = Config::new(hyper::Uri::from_static("https://gateway"));
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca).map(|found| Ok(found?.to_vec())).collect();
    config.root_cert = Some(certificates.map_err(|error: pem::Error| anyhow!("the CA certificates: {error}"))?);
    config.accept_invalid_certs = insecure;
    Ok(Arc::new(config.rustls_client_config()?))
}

/// A key of a Secret.
async fn secret(cluster: &Cluster, name: &str, key: &str) -> anyhow::Result<Vec<u8>> {
    let data = cluster.get::<Secret>(name).await?.data;
    Ok(data.and_then(|mut data| data.remove(key)).with_context(|| format!("the Secret {name} has no {key}"))?.0)
}

#[cfg(test)]
#[path = "tests/call.rs"]
mod tests;
