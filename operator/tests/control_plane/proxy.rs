//! A way to the API server that counts what is written, and kills whoever writes after so many times.

use std::{
    convert::Infallible,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::client::{Body, Client};
use serde_json::json;

/// What goes through.
#[derive(Default)]
struct Traffic {
    writes: Vec<String>,
    /// After how many writes who is killed.
    fate: Option<(usize, u32)>,
    /// Whether nothing gets through.
    cut: bool,
}

/// The way.
pub(crate) struct Proxy {
    traffic: Arc<Mutex<Traffic>>,
    /// The configuration of a client that goes this way, with all rights.
    pub(crate) kubeconfig: PathBuf,
    folder: tempfile::TempDir,
}

impl Proxy {
    pub(crate) async fn start(client: Client) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let traffic: Arc<Mutex<Traffic>> = Arc::default();
        let seen = traffic.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, seen) = (client.clone(), seen.clone());
                let service = service_fn(move |request| forward(request, client.clone(), seen.clone()));
                // A connection ends with whoever is killed.
                tokio::spawn(
                    async move { hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await },
                );
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": { "server": server } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
            "users": [{ "name": "it", "user": {} }],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { traffic, kubeconfig, folder }
    }

    /// Kills a process after so many writes from now on.
    pub(crate) fn kill_after(&self, writes: usize, process: u32) {
        let mut traffic = self.traffic.lock().unwrap();
        traffic.writes.clear();
        traffic.fate = Some((writes, process));
    }

    /// Lets nothing through any more.
    pub(crate) fn cut(&self) {
        self.traffic.lock().unwrap().cut = true;
    }

    /// What was written since.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.traffic.lock().unwrap().writes.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.folder.path());
    }
}

async fn forward(request: Request<Incoming>, client: Client, traffic: Arc<Mutex<Traffic>>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let refused = || Response::builder().status(StatusCode::BAD_GATEWAY).body(Body::empty()).unwrap();
    let Ok(body) = body.collect().await else { return Ok(refused()) };
    let path = parts.uri.path().to_owned();
    let counts = parts.method != Method::GET && !path.contains("/leases") && !path.contains("/events");
    let what = format!("{} {path}", parts.method);
    let fate = {
        let mut traffic = traffic.lock().unwrap();
        if traffic.cut {
            return Ok(refused());
        }
        if counts && traffic.fate.is_some_and(|(left, _)| left == 0) {
            // It is being killed, and what it sends meanwhile never arrives.
            return Ok(refused());
        }
        counts.then(|| {
            traffic.writes.push(what);
            let (left, process) = traffic.fate.as_mut()?;
            *left -= 1;
            (*left == 0).then_some(*process)
        })
    };
    let answer = client.send(Request::from_parts(parts, Body::from(body.to_bytes()))).await;
    if let Some(process) = fate.flatten() {
        let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
    }
    Ok(answer.unwrap_or_else(|_| refused()))
}
