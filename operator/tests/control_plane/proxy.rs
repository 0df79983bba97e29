//! A way to the API server that counts what is asked and written, kills whoever writes after so many times, and has the troubles
//! that API servers have.

use std::{
    convert::Infallible,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::AUTHORIZATION, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::client::{Body, Client};
use serde_json::json;
use tokio::sync::watch;

/// What is wrong with the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody takes a connection.
    Gone,
    /// Connections are taken, and nothing is ever answered.
    Silent,
    /// Every second request is answered with this status.
    Every2nd(u16),
    /// Watches end as soon as they begin.
    ClosedWatches,
    /// Watches say that what they are to begin with is too old.
    OldWatches,
}

/// What goes through.
#[derive(Default)]
struct Traffic {
    requests: usize,
    writes: Vec<String>,
    /// After how many writes who is killed.
    fate: Option<(usize, u32)>,
    trouble: Option<Trouble>,
    /// What has to be shown.
    token: String,
}

/// The way.
pub(crate) struct Proxy {
    traffic: Arc<Mutex<Traffic>>,
    /// Its change ends every connection.
    broken: watch::Sender<()>,
    /// The configuration of a client that goes this way, with all rights.
    pub(crate) kubeconfig: PathBuf,
    folder: tempfile::TempDir,
}

const TOKEN: &str = "token";

impl Proxy {
    pub(crate) async fn start(client: Client) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let traffic = Arc::new(Mutex::new(Traffic { token: "first".into(), ..Traffic::default() }));
        let broken = watch::Sender::new(());
        let (seen, ends) = (traffic.clone(), broken.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                {
                    let mut traffic = seen.lock().unwrap();
                    if traffic.trouble == Some(Trouble::Gone) {
                        traffic.requests += 1;
                        continue;
                    }
                }
                let (client, seen, mut end) = (client.clone(), seen.clone(), ends.subscribe());
                let service = service_fn(move |request| forward(request, client.clone(), seen.clone()));
                // A connection ends with whoever is killed.
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = connection => {}
                        _ = end.changed() => {}
                    }
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(TOKEN), "first").unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": { "server": server } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
            "users": [{ "name": "it", "user": { "tokenFile": folder.path().join(TOKEN) } }],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { traffic, broken, kubeconfig, folder }
    }

    /// Kills a process after so many writes from now on.
    pub(crate) fn kill_after(&self, writes: usize, process: u32) {
        let mut traffic = self.traffic.lock().unwrap();
        traffic.writes.clear();
        traffic.fate = Some((writes, process));
    }

    /// Begins a trouble, or ends it; every connection breaks.
    pub(crate) fn trouble(&self, trouble: Option<Trouble>) {
        self.traffic.lock().unwrap().trouble = trouble;
        self.broken.send_replace(());
    }

    /// Takes another token from now on, and no other.
    pub(crate) fn take_only(&self, token: &str) {
        self.traffic.lock().unwrap().token = token.into();
        self.broken.send_replace(());
    }

    /// Writes the file of the token anew, as a kubelet does.
    pub(crate) fn write_token(&self, token: &str) {
        std::fs::write(self.folder.path().join(TOKEN), token).unwrap();
    }

    /// How much was asked so far.
    pub(crate) fn requests(&self) -> usize {
        self.traffic.lock().unwrap().requests
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

/// What is answered instead of the API server.
fn instead(traffic: &Traffic, request: &hyper::http::request::Parts) -> Option<Response<Body>> {
    let answer = |status: u16, body: String| Some(Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap());
    let status = |code: u16, reason: &str| json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code });
    let shown = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shown != Some(&format!("Bearer {}", traffic.token)) {
        return answer(401, status(401, "Unauthorized").to_string());
    }
    let watches = request.uri.query().is_some_and(|query| query.contains("watch=true"));
    match traffic.trouble? {
        // What has got that far is answered like what nobody listens to behind a load balancer.
        Trouble::Gone => answer(502, String::new()),
        Trouble::Silent => None,
        Trouble::Every2nd(code) => traffic.requests.is_multiple_of(2).then(|| answer(code, status(code, "Trouble").to_string()))?,
        Trouble::ClosedWatches => watches.then(|| answer(200, String::new()))?,
        Trouble::OldWatches => {
            let event = json!({ "type": "ERROR", "object": status(410, "Expired") });
            watches.then(|| answer(200, format!("{event}\n")))?
        }
    }
}

async fn forward(request: Request<Incoming>, client: Client, traffic: Arc<Mutex<Traffic>>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let refused = || Response::builder().status(StatusCode::BAD_GATEWAY).body(Body::empty()).unwrap();
    let Ok(body) = body.collect().await else { return Ok(refused()) };
    let path = parts.uri.path().to_owned();
    let counts = parts.method != Method::GET && !path.contains("/leases") && !path.contains("/events");
    let what = format!("{} {path}", parts.method);
    let is_silent = traffic.lock().unwrap().trouble == Some(Trouble::Silent);
    if is_silent {
        traffic.lock().unwrap().requests += 1;
        std::future::pending::<()>().await;
    }
    let fate = {
        let mut traffic = traffic.lock().unwrap();
        traffic.requests += 1;
        if let Some(answer) = instead(&traffic, &parts) {
            return Ok(answer);
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
    // It goes on with an identity of its own.
    let mut parts = parts;
    parts.headers.remove(AUTHORIZATION);
    let answer = client.send(Request::from_parts(parts, Body::from(body.to_bytes()))).await;
    if let Some(process) = fate.flatten() {
        let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
    }
    Ok(answer.unwrap_or_else(|_| refused()))
}
