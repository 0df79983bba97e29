//! Commands that wait until something happens, each on a connection of its own from a pool of their own. A task owns a waiting
//! command to its end: a caller that goes away has it withdrawn, and what it took by then put back.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use smallvec::smallvec;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Endpoint, Redis,
    pool::{Connection, Pool},
};
use crate::{
    backend::{self, Backend, Bounds, Elements, Failure, Taken},
    error::{self, Code, Delivery},
    operation::{self, undo},
    resp::{Item, Reader, write_command},
};

/// How long a call waits for a connection when all are in use: one may just be on its way back.
const FREE: Duration = Duration::from_millis(250);
/// Pauses between two attempts to withdraw a command, and to put something back: the first, doubled up to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// How long a withdrawn command may stay unanswered, and putting something back may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a server says to a command that has waited in vain.
const IN_VAIN: Bytes = Bytes::from_static(b"*-1\r\n");

/// What one worker has for commands that wait at a server.
pub(super) struct Waiting {
    pool: Arc<Pool>,
    endpoint: Arc<Endpoint>,
    /// Nothing is to wait any more.
    ended: CancellationToken,
    returned: AtomicU64,
    lost: AtomicU64,
    unknown: AtomicU64,
}

impl Waiting {
    pub(super) fn new(endpoint: Arc<Endpoint>, bounds: &Bounds) -> Arc<Self> {
        let full = "all connections for what waits are in use (sockets.maxWaitingConnections)";
        let pool = Pool::new(endpoint.clone(), bounds, bounds.waiting, full);
        let [returned, lost, unknown] = [0; 3].map(AtomicU64::new);
        Arc::new(Self { pool, endpoint, ended: CancellationToken::new(), returned, lost, unknown })
    }

    /// A connection for who keeps it for long.
    pub(super) async fn hold(&self, deadline: Instant) -> Result<Connection, Failure> {
        let permit = self.pool.permit(deadline.min(Instant::now() + FREE)).await?;
        self.pool.open(permit, deadline).await
    }

    /// How many connections are in use, and how many wait for the next call.
    pub(super) fn sizes(&self) -> (usize, usize) {
        self.pool.sizes()
    }

    pub(super) fn elements(&self) -> Elements {
        Elements { returned: self.returned.load(Relaxed), lost: self.lost.load(Relaxed), unknown: self.unknown.load(Relaxed) }
    }

    /// Ends what waits; done when nothing that was taken is on its way.
    pub(super) async fn settle(&self) {
        self.ended.cancel();
        self.pool.all_free().await;
    }
}

/// Carries out a command that may wait. What has to be put back goes to `home`.
pub(super) async fn wait(
    redis: Redis,
    operation: operation::Id,
    command: Bytes,
    until: Instant,
    home: Arc<dyn Backend>,
) -> Result<Taken, Failure> {
    let waiting = redis.2.clone();
    if waiting.ended.is_cancelled() {
        return Err(Failure { code: Code::Unavailable, detail: "the gateway is about to stop", delivery: Delivery::NotSent });
    }
    redis.check_up()?;
    let permit = waiting.pool.permit(until.min(Instant::now() + FREE)).await?;
    let (sender, receiver) = oneshot::channel();
    let call = Call { redis, waiting, operation, command, until, home };
    tokio::spawn(call.run(permit, sender));
    receiver.await.unwrap_or(Err(LOST))
}

const LOST: Failure = Failure { code: Code::Unavailable, detail: "the connection to the database was lost", delivery: Delivery::Unknown };

/// A waiting command.
struct Call {
    redis: Redis,
    waiting: Arc<Waiting>,
    operation: operation::Id,
    command: Bytes,
    until: Instant,
    home: Arc<dyn Backend>,
}

/// Why there is no reply.
enum NoReply {
    /// The connection has ended, or broke its protocol.
    Broken(Code),
    /// The server does not let anybody withdraw a command.
    Denied,
    /// The command was withdrawn, and is not answered.
    Silent,
}

impl Call {
    async fn run(self, permit: OwnedSemaphorePermit, mut caller: oneshot::Sender<Result<Taken, Failure>>) {
        let unsent = |code, detail| Err(Failure { code, detail, delivery: Delivery::NotSent });
        let opened = {
            let mut opening = pin!(self.open(permit));
            tokio::select! {
                biased;
                opened = &mut opening => opened,
                () = tokio::time::sleep_until(self.until) => {
                    let _ = caller.send(unsent(Code::Timeout, "no connection to the database before the deadline"));
                    // It is for the next: were it given up, callers without patience would have connections made for nothing.
                    if let Ok(connection) = opening.await {
                        drop(connection.release());
                    }
                    return;
                }
            }
        };
        let mut connection = match opened {
            Ok(connection) if caller.is_closed() => return drop(connection.release()),
            Ok(connection) => connection,
            Err(failure) => {
                let _ = caller.send(Err(failure));
                return;
            }
        };
        // A command that was not written to its end is not carried out when its connection is closed.
        let written = tokio::select! {
            biased;
            written = connection.write(&self.command) => written.map_err(|_| unsent(LOST.code, LOST.detail)),
            () = caller.closed() => return,
            () = tokio::time::sleep_until(self.until) => Err(unsent(Code::Timeout, "the database did not take the call in time")),
        };
        if let Err(failure) = written {
            let _ = caller.send(failure);
            return;
        }
        let ended = async {
            tokio::select! {
                () = caller.closed() => {}
                () = tokio::time::sleep_until(self.until) => {}
                () = self.waiting.ended.cancelled(), if undo::can_be_withdrawn(self.operation) => {}
            }
        };
        let reply = self.reply(&mut connection, ended).await;
        let (permit, answer) = match reply {
            Ok(frame) => {
                let taken = self.taken(frame, connection.release());
                // A caller that has gone leaves it behind to be put back.
                let _ = caller.send(Ok(taken));
                return;
            }
            Err(NoReply::Denied) => (connection.close(), Ok(Taken::new(IN_VAIN, None))),
            Err(NoReply::Broken(Code::BackendError)) => {
                (connection.close(), Err(Failure { code: Code::BackendError, detail: "the database broke its protocol", ..LOST }))
            }
            Err(NoReply::Broken(_)) => (connection.close(), Err(LOST)),
            Err(NoReply::Silent) => {
                (connection.close(), Err(Failure { code: Code::Timeout, detail: "the database did not answer in time", ..LOST }))
            }
        };
        drop(permit);
        // Who is told that the outcome is not known needs no count.
        let fails = answer.is_err();
        let told = caller.send(answer).is_ok() && fails;
        if !told && undo::takes(self.operation) {
            self.waiting.unknown.fetch_add(1, Relaxed);
        }
    }

    /// A connection of which it is known what the server calls it.
    async fn open(&self, permit: OwnedSemaphorePermit) -> Result<Connection, Failure> {
        let deadline = Instant::now() + self.waiting.endpoint.connect_timeout;
        let mut connection = self.waiting.pool.open(permit, deadline).await?;
        if connection.id.is_none() {
            let asked = connection.send(b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n", &[false], deadline).await;
            let reply = asked.map_err(|failure| Failure { delivery: Delivery::NotSent, ..failure })?;
            // A server that does not say has nothing withdrawn.
            let id = if let Ok(Item::Integer(id)) = Reader::new(&reply).read() { Bytes::copy_from_slice(id) } else { Bytes::new() };
            connection.id = Some(id);
        }
        Ok(connection)
    }

    /// Waits for the reply, from the moment on that it has `ended` by withdrawing the command.
    async fn reply(&self, connection: &mut Connection, ended: impl Future<Output = ()>) -> Result<Bytes, NoReply> {
        let (moves, id) = (connection.moves, connection.id.clone().unwrap_or_default());
        let mut reply = pin!(connection.frame(!self.operation.operation().changes()));
        tokio::select! {
            biased;
            reply = &mut reply => return reply.map_err(NoReply::Broken),
            () = ended => {}
        }
        if !undo::can_be_withdrawn(self.operation) {
            return Err(NoReply::Silent);
        }
        let mut unblock = BytesMut::new();
        write_command(&mut unblock, &[b"CLIENT", b"UNBLOCK", &id]);
        let deadline = Instant::now() + PATIENCE;
        let mut pause = PAUSES.0;
        while Instant::now() < deadline {
            // To another server the id means another connection.
            if id.is_empty() || self.waiting.endpoint.moves.load(Relaxed) != moves {
                return Err(NoReply::Denied);
            }
            // The server may not have read the command yet, so it is asked again until there is a reply.
            let withdraw = async {
                let denied = match self.redis.submit(&unblock, smallvec![true]) {
                    Ok(pending) => backend::replies(pending, deadline).await.is_ok_and(|reply| reply.starts_with(b"-")),
                    Err(_) => false,
                };
                tokio::time::sleep(pause).await;
                denied
            };
            tokio::select! {
                biased;
                reply = &mut reply => return reply.map_err(NoReply::Broken),
                denied = withdraw => if denied { return Err(NoReply::Denied) },
            }
            pause = (pause * 2).min(PAUSES.1);
        }
        Err(NoReply::Silent)
    }

    /// The answer. Until it is delivered it has the right to a connection, which bounds what waits to be put back.
    fn taken(&self, frame: Bytes, permit: OwnedSemaphorePermit) -> Taken {
        let Some((command, elements)) = undo::command(self.operation, &self.command, &frame) else { return Taken::new(frame, None) };
        let (waiting, home, worker) = (self.waiting.clone(), self.home.clone(), Handle::current());
        Taken::new(
            frame,
            Some(Box::new(move || {
                worker.spawn(async move {
                    let outcome = put_back(&*home, &command).await;
                    let count = match outcome {
                        Ok(()) => &waiting.returned,
                        Err(Delivery::Unknown) => &waiting.unknown,
                        Err(_) => &waiting.lost,
                    };
                    count.fetch_add(elements as u64, Relaxed);
                    if outcome.is_err() {
                        tracing::warn!(elements, ?outcome, "what nobody got could not be put back");
                    }
                    drop(permit);
                });
            })),
        )
    }
}

/// Puts something back, more than once only if it was certainly not done.
async fn put_back(home: &dyn Backend, command: &[u8]) -> Result<(), Delivery> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = PAUSES.0;
    loop {
        let outcome = match home.submit(command, smallvec![false]) {
            Ok(pending) => backend::replies(pending, deadline).await,
            Err(failure) => Err(failure),
        };
        let delivery = match outcome {
            Ok(reply) => {
                let Ok(Item::Error(line)) = Reader::new(&reply).read() else { return Ok(()) };
                let error = error::from_redis(line);
                match (error.outcome_unknown, error.retryable || error.code == Code::OutOfMemory) {
                    (true, _) => Delivery::Unknown,
                    (false, true) => Delivery::NotSent,
                    (false, false) => Delivery::Answered,
                }
            }
            Err(failure) => failure.delivery,
        };
        if delivery != Delivery::NotSent || Instant::now() + pause > deadline {
            return Err(delivery);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}
