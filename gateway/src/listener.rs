//! A worker's listener: takes connections in, serves them until the gateway stops, then finishes what runs.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::Router;
use futures::FutureExt;
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Code, Delivery, Error},
    http,
    peer::Peer,
    shared::Shared,
    worker::Worker,
};

/// Connections that the kernel holds for a listener while its worker is busy.
const BACKLOG: i32 = 4096;

/// How long, once nobody is let in, a connection may still begin its request: its client may have been let in just now.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

/// How long, after the last connections were cut off, what was taken for their clients may need to be put back.
const LAST_RETURNS: Duration = Duration::from_secs(1);

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
    let shared = worker.shared.clone();
    let listener = TcpListener::from_std(listener)?;
    let router = http::router(worker.clone());
    let (closing, cut_off) = (CancellationToken::new(), CancellationToken::new());
    let mut stopping = std::pin::pin!(shared.drain.stopping());
    loop {
        tokio::select! {
            accepted = listener.accept() => accept(&worker, &router, &closing, &cut_off, accepted).await,
            () = &mut stopping => break,
        }
    }
    // Connections that the kernel has completed already would be reset with the listener.
    while let Some(accepted @ Ok(_)) = listener.accept().now_or_never() {
        accept(&worker, &router, &closing, &cut_off, accepted).await;
    }
    drop(listener);
    let finish = async {
        tokio::time::sleep(LAST_REQUESTS).await;
        closing.cancel();
        worker.tasks.close();
        worker.tasks.wait().await;
    };
    // What waits is answered at once; what was taken is with its client, or back, before the process ends.
    let finish = async { tokio::join!(finish, worker.settle()) };
    if tokio::time::timeout(shared.drain_timeout, finish).await.is_err() {
        tracing::warn!("what still runs at the drain's deadline is cut off");
        cut_off.cancel();
        if tokio::time::timeout(LAST_RETURNS, worker.settle()).await.is_err() {
            tracing::warn!("what was taken for clients that are cut off could not be put back");
        }
    }
    Ok(())
}

async fn accept(
    worker: &Arc<Worker>,
    router: &Router,
    closing: &CancellationToken,
    cut_off: &CancellationToken,
    accepted: std::io::Result<(TcpStream, SocketAddr)>,
) {
    let shared = &worker.shared;
    let (stream, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(20)).await;
            return;
        }
    };
    // Without it the connection still works, only slower.
    let _ = stream.set_nodelay(true);
    let stream = http::stream::Stream::new(stream, worker.clone(), Counted::enter(shared));
    if shared.connections.load(Relaxed) > shared.max_connections {
        worker.tasks.spawn(turn_away(stream, worker.clone()));
        return;
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(shared.header_timeout).max_buf_size(shared.max_header_bytes);
    let (router, outgoing) = (TowerToHyperService::new(router.clone()), stream.outgoing());
    let peer = Peer { address: peer.ip().to_canonical() };
    let service = service_fn(move |mut request: hyper::Request<_>| {
        request.extensions_mut().insert(peer.clone());
        let (answer, outgoing) = (router.call(request), outgoing.clone());
        async move { answer.await.map(|response| outgoing.watch(response)) }
    });
    let served = builder.serve_connection(stream, service).with_upgrades();
    let (closing, cut_off) = (closing.clone(), cut_off.clone());
    worker.tasks.spawn(async move {
        let mut served = std::pin::pin!(served);
        let ended = tokio::select! {
            biased;
            ended = served.as_mut() => ended,
            () = closing.cancelled() => {
                served.as_mut().graceful_shutdown();
                match cut_off.run_until_cancelled(served).await {
                    Some(ended) => ended,
                    None => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    });
}

/// Tells a client that there are too many connections, whatever it wants to say.
async fn turn_away(stream: http::stream::Stream, worker: Arc<Worker>) {
    let error = Error::backend(Code::Unavailable, "too many connections (limits.maxConnections)", Delivery::NotSent, true);
    worker.counters.refuse(error.code);
    let message = http::message(&error, &worker.next_request_id());
    let mut stream = TokioIo::new(stream);
    // Nobody is left to tell when these fail.
    let _ = stream.write_all(&message).await;
    let _ = stream.shutdown().await;
}

/// A client connection, counted while it lives.
pub struct Counted(Arc<Shared>);

impl Counted {
    fn enter(shared: &Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
