//! A server for JWKS on this machine, over HTTP or HTTPS, that remembers who asked for what.

use std::{
    convert::Infallible,
    future::{Future, pending},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{Request, Response, header::AUTHORIZATION};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// What the server does with requests.
#[derive(Clone)]
pub(super) enum Answer {
    /// A document for each path; 404 for others.
    Documents(Vec<(&'static str, String)>),
    /// The same response to everybody.
    Always(u16, Vec<(&'static str, String)>, Bytes),
    /// None, ever.
    Silence,
}

impl Answer {
    pub(super) fn keys(document: &Value) -> Self {
        Self::Documents(vec![("/keys", document.to_string())])
    }
}

/// A server, as long as the test runs.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    answer: Mutex<Answer>,
    /// The path and the credential of each request.
    seen: Mutex<Vec<(String, Option<String>)>>,
}

impl Server {
    pub(super) async fn start(answer: Answer) -> Self {
        Self::with(answer, None).await
    }

    /// A server on HTTPS, and its CA in PEM. The certificate is for the name.
    pub(super) async fn tls(answer: Answer, name: &str) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        (Self::with(answer, Some(TlsAcceptor::from(Arc::new(config)))).await, made.cert.pem())
    }

    async fn with(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { answer: Mutex::new(answer), seen: Mutex::default() });
        let server = Self { address, state: state.clone() };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, tls) = (state.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => state.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                state.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    /// Where the server is, in a URL.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn answer(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }

    pub(super) fn seen(&self) -> Vec<(String, Option<String>)> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many requests there were.
    pub(super) fn requests(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }
}

impl State {
    async fn serve(self: &Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| self.clone().respond(request));
        // A client that goes away early is one of the tests.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let credential = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        self.seen.lock().unwrap().push((request.uri().to_string(), credential));
        let answer = self.answer.lock().unwrap().clone();
        let (status, headers, body) = match answer {
            Answer::Documents(documents) => match documents.into_iter().find(|(path, _)| *path == request.uri().path()) {
                Some((_, document)) => (200, vec![("content-type", "application/json".to_owned())], Bytes::from(document)),
                None => (404, Vec::new(), Bytes::new()),
            },
            Answer::Always(status, headers, body) => (status, headers, body),
            Answer::Silence => pending().await,
        };
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::new(body)).unwrap())
    }
}

/// Waits until something holds, or the test has failed.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    const PATIENCE: Duration = Duration::from_secs(20);
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("never: {what}"));
}
