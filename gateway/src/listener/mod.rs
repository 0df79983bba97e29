//! A worker's listener: takes connections in, serves them until the gateway stops, then finishes what runs.

mod counted;
mod greeting;
mod patience;
mod proxy;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, http::Request};
use futures::FutureExt;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_util::{either::Either, sync::CancellationToken};

pub use self::counted::{Addresses, Counted};
use self::patience::Patience;
use crate::{
    error::Error,
    http::{self, stream::Stream},
    metrics::Failure,
    peer::Peer,
    tls,
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
pub async fn serve(worker: Arc<Worker>, listener: std::net::TcpListener, tls: Option<tls::Server>) -> std::io::Result<()> {
    let shared = worker.shared.clone();
    let listener = TcpListener::from_std(listener)?;
    let router = http::router(worker.clone());
    let door = Arc::new(Door { worker: worker.clone(), router, tls, closing: CancellationToken::new(), cut_off: CancellationToken::new() });
    let mut stopping = std::pin::pin!(shared.drain.stopping());
    loop {
        tokio::select! {
            accepted = listener.accept() => door.accept(accepted).await,
            () = &mut stopping => break,
        }
    }
    // Connections that the kernel has completed already would be reset with the listener.
    while let Some(accepted @ Ok(_)) = listener.accept().now_or_never() {
        door.accept(accepted).await;
    }
    drop(listener);
    let finish = async {
        tokio::time::sleep(LAST_REQUESTS).await;
        door.closing.cancel();
        worker.tasks.close();
        worker.tasks.wait().await;
    };
    // What waits is answered at once; what was taken is with its client, or back, before the process ends.
    let finish = async { tokio::join!(finish, worker.settle()) };
    if tokio::time::timeout(shared.drain_timeout, finish).await.is_err() {
        tracing::warn!("what still runs at the drain's deadline is cut off");
        door.cut_off.cancel();
        if tokio::time::timeout(LAST_RETURNS, worker.settle()).await.is_err() {
            tracing::warn!("what was taken for clients that are cut off could not be put back");
        }
    }
    Ok(())
}

/// What every connection of a worker meets.
struct Door {
    worker: Arc<Worker>,
    router: Router,
    tls: Option<tls::Server>,
    /// Connections end with what they are being answered.
    closing: CancellationToken,
    /// They end.
    cut_off: CancellationToken,
}

impl Door {
    async fn accept(self: &Arc<Self>, accepted: std::io::Result<(TcpStream, SocketAddr)>) {
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
                return;
            }
        };
        // Without it the connection still works, only slower.
        let _ = socket.set_nodelay(true);
        match Counted::enter(&self.worker.shared) {
            Some(counted) => _ = self.worker.tasks.spawn(self.clone().admit(socket, address.ip().to_canonical(), counted)),
            None => self.worker.counters.fail(Failure::Dropped),
        }
    }

    async fn admit(self: Arc<Self>, socket: TcpStream, address: IpAddr, mut counted: Counted) {
        let (transport, peer) = if self.tls.is_none() && !self.worker.shared.proxies.speak_first(address) {
            counted.arrive(address);
            (Either::Left(socket), Peer { address, certificate: None })
        } else {
            let greeting = Box::pin(greeting::greet(&self, socket, address, &mut counted));
            match self.closing.run_until_cancelled(greeting).await {
                Some(Ok(greeted)) => greeted,
                Some(Err(failure)) => return self.worker.counters.fail(failure),
                None => return,
            }
        };
        let refusal = counted.refusal();
        let stream = Stream::new(transport, self.worker.clone(), counted);
        match refusal {
            None => self.serve(stream, peer).await,
            Some(error) => self.turn_away(stream, &error).await,
        }
    }

    async fn serve(&self, stream: Stream, peer: Peer) {
        let shared = &self.worker.shared;
        let (heard, outgoing) = (stream.heard(), stream.outgoing());
        let mut builder = http1::Builder::new();
        builder
            .timer(Patience::new(heard, shared.header_timeout, shared.keep_alive_timeout))
            .header_read_timeout(shared.header_timeout)
            .max_buf_size(shared.max_header_bytes);
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let (answer, outgoing) = (router.call(request), outgoing.clone());
            async move { answer.await.map(|response| outgoing.watch(response)) }
        });
        let mut served = std::pin::pin!(builder.serve_connection(stream, service).with_upgrades());
        let ended = tokio::select! {
            biased;
            ended = served.as_mut() => ended,
            () = self.closing.cancelled() => {
                served.as_mut().graceful_shutdown();
                match self.cut_off.run_until_cancelled(served).await {
                    Some(ended) => ended,
                    None => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }

    /// Tells a client why it is not let in, whatever it wants to say.
    async fn turn_away(&self, stream: Stream, error: &Error) {
        self.worker.counters.refuse(error.code);
        let message = http::message(error, &self.worker.next_request_id());
        let mut stream = TokioIo::new(stream);
        // Nobody is left to tell when these fail.
        let _ = stream.write_all(&message).await;
        let _ = stream.shutdown().await;
    }
}
