//! A worker: one thread with a runtime, a listener and database connections of its own, so that a call never leaves it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, http::HeaderValue};
use futures::FutureExt;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::{
    app::App,
    backend::Backend,
    error::{Code, Delivery, Error},
    http,
    metrics::Counters,
};

/// Connections that the kernel holds for a listener while its worker is busy.
const BACKLOG: i32 = 4096;

/// How long, once nobody is let in, a connection may still begin its request: its client may have been let in just now.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

/// A database as a worker serves it.
pub struct Database {
    /// Its name in paths.
    pub name: String,
    /// What kind it is.
    pub kind: &'static str,
    /// This worker's way to it.
    pub backend: Arc<dyn Backend>,
}

/// What one thread needs to serve calls.
pub struct Worker {
    /// What it shares with the others.
    pub app: Arc<App>,
    /// Its databases, in the order of the configuration.
    pub databases: Vec<Database>,
    /// Its counters.
    pub counters: Counters,
    request_ids: AtomicU64,
}

impl Worker {
    /// Connects a worker's databases. Runs on the worker's runtime.
    pub fn new(app: Arc<App>, databases: Vec<Database>, first_request_id: u64) -> Self {
        Self { app, databases, counters: Counters::default(), request_ids: AtomicU64::new(first_request_id) }
    }

    /// The database of that name.
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|database| database.name == name)
    }

    /// An id that no other request of this process has, and hardly one of another.
    pub fn next_request_id(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // An odd factor permutes the 64-bit numbers, so ids do not repeat and do not look alike.
        let number = self.request_ids.fetch_add(1, Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let text: [u8; 16] = std::array::from_fn(|digit| DIGITS[(number >> (60 - 4 * digit)) as usize & 15]);
        HeaderValue::from_bytes(&text).expect("hexadecimal digits are visible ASCII")
    }
}

/// Binds a listener that shares its port with those of the other workers.
pub fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves until the gateway stops, then finishes what runs within the drain's time.
pub async fn serve(worker: Arc<Worker>, listener: std::net::TcpListener) -> std::io::Result<()> {
    let app = worker.app.clone();
    let listener = TcpListener::from_std(listener)?;
    let router = http::router(worker.clone());
    let graceful = GracefulShutdown::new();
    let mut stopping = std::pin::pin!(app.drain.stopping());
    loop {
        tokio::select! {
            accepted = listener.accept() => accept(&worker, &router, &graceful, accepted).await,
            () = &mut stopping => break,
        }
    }
    // Connections that the kernel has completed already would be reset with the listener.
    while let Some(accepted @ Ok(_)) = listener.accept().now_or_never() {
        accept(&worker, &router, &graceful, accepted).await;
    }
    drop(listener);
    let finish = async {
        tokio::time::sleep(LAST_REQUESTS).await;
        graceful.shutdown().await;
    };
    if tokio::time::timeout(app.drain_timeout, finish).await.is_err() {
        tracing::warn!("calls still running at the drain's deadline are cut off");
    }
    Ok(())
}

async fn accept(worker: &Arc<Worker>, router: &Router, graceful: &GracefulShutdown, accepted: std::io::Result<(TcpStream, SocketAddr)>) {
    let app = &worker.app;
    let stream = match accepted {
        Ok((stream, _)) => stream,
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(20)).await;
            return;
        }
    };
    let connection = Counted::enter(app);
    if app.connections.load(Relaxed) > app.max_connections {
        tokio::spawn(turn_away(stream, worker.clone(), connection));
        return;
    }
    // Without it the connection still works, only slower.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(app.header_timeout).max_buf_size(app.max_header_bytes);
    let served = builder.serve_connection(http::stream::Stream::new(stream, worker.clone()), TowerToHyperService::new(router.clone()));
    let served = graceful.watch(served);
    tokio::spawn(async move {
        let _connection = connection;
        if let Err(error) = served.await {
            tracing::debug!(%error, "connection ended");
        }
    });
}

/// Tells a client that there are too many connections, whatever it wants to say.
async fn turn_away(stream: TcpStream, worker: Arc<Worker>, _connection: Counted) {
    let error = Error::backend(Code::Unavailable, "too many connections (limits.maxConnections)", Delivery::NotSent, true);
    worker.counters.refuse(error.code);
    let message = http::message(&error, &worker.next_request_id());
    let mut stream = TokioIo::new(http::stream::Stream::new(stream, worker));
    // Nobody is left to tell when these fail.
    let _ = stream.write_all(&message).await;
    let _ = stream.shutdown().await;
}

/// A client connection, counted while it lives.
struct Counted(Arc<App>);

impl Counted {
    fn enter(app: &Arc<App>) -> Self {
        app.connections.fetch_add(1, Relaxed);
        Self(app.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
