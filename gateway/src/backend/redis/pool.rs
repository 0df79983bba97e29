//! Connections that one call has to itself: for transactions, conditions, and values that others would wait behind. A worker
//! keeps a bounded number; one that is not certainly clean is closed.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use smallvec::smallvec;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Endpoint, connection, greeting::Commands};
use crate::{
    backend::{Bounds, Committed, Failure, Own, Replies, TOO_LARGE},
    error::{Code, Delivery},
    resp::{self, Item, Malformed, Reader, Scanner},
};

/// How long a connection waits for the next call before it is closed.
const IDLE: Duration = Duration::from_secs(30);
/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(10);
/// What is read at once, and what an idle connection's buffer may keep.
const READ: usize = 64 << 10;

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

struct Idle {
    socket: Box<dyn Socket>,
    since: Instant,
    /// How often the endpoint had moved when the connection was made.
    moves: u64,
    id: Option<Bytes>,
}

/// The connections of one worker. Its lock is only ever taken by that worker's thread, by the one for large requests, and
/// by a look at the state.
pub(super) struct Pool {
    endpoint: Arc<Endpoint>,
    result_bytes: usize,
    size: usize,
    full: &'static str,
    free: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

impl Pool {
    /// An empty pool; its idle connections are closed by a task of this worker. `full` is said when all `size` are in use.
    pub(super) fn new(endpoint: Arc<Endpoint>, bounds: &Bounds, size: usize, full: &'static str) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(size));
        let pool = Arc::new(Self { endpoint, result_bytes: bounds.result_bytes, size, full, free, idle: Mutex::default() });
        tokio::spawn(sweep(Arc::downgrade(&pool)));
        pool
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are in use, and how many wait for the next call.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.size - self.free.available_permits(), self.idle().len())
    }

    /// The connection used last, or a new one.
    pub(super) async fn take(self: &Arc<Self>, deadline: Instant) -> Result<Connection, Failure> {
        let permit = self.permit(deadline).await?;
        self.open(permit, deadline).await
    }

    /// The right to a connection, once one is free.
    pub(super) async fn permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        match tokio::time::timeout_at(deadline, self.free.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(unsent(Code::Unavailable, self.full)),
        }
    }

    /// The connection used last, or a new one, for who has the right to one.
    pub(super) async fn open(self: &Arc<Self>, permit: OwnedSemaphorePermit, deadline: Instant) -> Result<Connection, Failure> {
        let moves = self.endpoint.moves.load(Relaxed);
        let (socket, id) = loop {
            let kept = self.idle().pop();
            let Some(mut kept) = kept else { break (self.connect(deadline).await?, None) };
            if kept.moves == moves && is_quiet(&mut *kept.socket) {
                break (kept.socket, kept.id);
            }
        };
        Ok(Connection { pool: self.clone(), socket, moves, id, input: BytesMut::new(), permit })
    }

    /// Waits until nobody has a connection, nor the right to one.
    pub(super) async fn all_free(&self) {
        // The semaphore is never closed, and a configuration has no more of them than fit.
        let _ = self.free.acquire_many(u32::try_from(self.size).unwrap_or(u32::MAX)).await;
    }

    async fn connect(&self, deadline: Instant) -> Result<Box<dyn Socket>, Failure> {
        match tokio::time::timeout_at(deadline, connection::connect(&self.endpoint, Commands::Known)).await {
            Ok(Ok(opened)) => Ok(Box::new(opened.stream)),
            Ok(Err(refused)) => Err(unsent(refused.down.code, refused.down.detail)),
            Err(_) => Err(unsent(Code::Timeout, "no connection to the database before the deadline")),
        }
    }
}

fn unsent(code: Code, detail: &'static str) -> Failure {
    Failure { code, detail, delivery: Delivery::NotSent }
}

/// Whether nothing has arrived since the last call, not even the end.
fn is_quiet(socket: &mut dyn Socket) -> bool {
    let mut byte = [0];
    let mut context = Context::from_waker(std::task::Waker::noop());
    matches!(Pin::new(socket).poll_read(&mut context, &mut ReadBuf::new(&mut byte)), Poll::Pending)
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.idle().retain(|idle| idle.since.elapsed() < IDLE);
    }
}

/// A connection while a call has it.
pub(super) struct Connection {
    pool: Arc<Pool>,
    socket: Box<dyn Socket>,
    /// How often the endpoint had moved when it was made.
    pub(super) moves: u64,
    /// What the server calls it, once it was asked.
    pub(super) id: Option<Bytes>,
    input: BytesMut,
    permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Writes a command whose reply is read by [`frame`](Self::frame).
    pub(super) async fn write(&mut self, command: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(command).await?;
        self.socket.flush().await
    }

    /// As [`give_back`](Own::give_back), but keeps the right to one.
    pub(super) fn release(self) -> OwnedSemaphorePermit {
        let Self { pool, socket, moves, id, input, permit } = self;
        // What nobody has asked for belongs to no call.
        if input.is_empty() {
            pool.idle().push(Idle { socket, since: Instant::now(), moves, id });
        }
        permit
    }

    /// Closes it, but keeps the right to one.
    pub(super) fn close(self) -> OwnedSemaphorePermit {
        self.permit
    }

    pub(super) async fn send(&mut self, commands: &[u8], replies: &[bool], deadline: Instant) -> Result<Bytes, Failure> {
        let mut delivery = Delivery::NotSent;
        match tokio::time::timeout_at(deadline, self.write(commands)).await {
            Ok(Ok(())) => delivery = Delivery::Unknown,
            Ok(Err(_)) => return Err(Failure { code: Code::Unavailable, detail: "the connection to the database was lost", delivery }),
            Err(_) => return Err(Failure { code: Code::Timeout, detail: "the database did not take the call in time", delivery }),
        }
        match tokio::time::timeout_at(deadline, self.receive(replies)).await {
            Ok(Ok(frames)) => Ok(frames),
            Ok(Err(code)) => {
                let detail = match code {
                    Code::BackendError => "the database broke its protocol",
                    _ => "the connection to the database was lost",
                };
                Err(Failure { code, detail, delivery })
            }
            Err(_) => Err(Failure { code: Code::Timeout, detail: "the database did not answer in time", delivery }),
        }
    }

    /// Reads a reply for each of `replies`; a single one is handed out as it lies in the buffer.
    async fn receive(&mut self, replies: &[bool]) -> Result<Bytes, Code> {
        let mut all = BytesMut::new();
        for droppable in replies {
            let frame = self.frame(*droppable).await?;
            if replies.len() == 1 {
                return Ok(frame);
            }
            all.extend_from_slice(&frame);
        }
        Ok(all.freeze())
    }

    /// The next reply. Dropped half-way, it can be called again if the reply is not droppable.
    pub(super) async fn frame(&mut self, droppable: bool) -> Result<Bytes, Code> {
        let broken = |Malformed| Code::BackendError;
        let most = self.pool.result_bytes;
        let mut scanner = Scanner::default();
        loop {
            if let Some(length) = scanner.scan(&self.input).map_err(broken)? {
                let frame = self.input.split_to(length).freeze();
                return Ok(if droppable && length > most { Bytes::from_static(TOO_LARGE) } else { frame });
            }
            let least = scanner.least(&self.input);
            if droppable && least.max(self.input.len()) > most {
                while !scanner.discard(&mut self.input).map_err(broken)? {
                    self.read(READ).await?;
                }
                return Ok(Bytes::from_static(TOO_LARGE));
            }
            // A long byte string is read into the room that it needs, once: the buffer would double for more.
            self.read(match (least + 2).saturating_sub(self.input.len()) {
                0..=2 => READ,
                rest => rest,
            })
            .await?;
        }
    }

    async fn read(&mut self, room: usize) -> Result<(), Code> {
        if self.input.capacity() - self.input.len() < room.min(READ) {
            self.input.reserve(room);
        }
        match self.socket.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(Code::Unavailable),
            Ok(_) => Ok(()),
        }
    }
}

impl Own for Connection {
    fn exchange<'a>(&'a mut self, commands: &'a [u8], replies: Replies, deadline: Instant) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(async move {
            let one = replies.len() == 1;
            // Of several commands, those whose bytes were taken may have been carried out.
            self.send(commands, &replies, deadline).await.map_err(|failure| match one {
                true => failure,
                false => Failure { delivery: Delivery::Unknown, ..failure },
            })
        })
    }

    fn watch<'a>(
        &'a mut self,
        keys: &'a [&'a [u8]],
        reads: &'a [u8],
        count: usize,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(async move {
            let mut out = BytesMut::with_capacity(reads.len() + 64);
            resp::write_array(&mut out, keys.len() + 1);
            resp::write_bulk(&mut out, b"WATCH");
            keys.iter().for_each(|key| resp::write_bulk(&mut out, key));
            out.extend_from_slice(reads);
            let replies: Replies = std::iter::repeat_n(true, count + 1).collect();
            let mut frames =
                self.send(&out, &replies, deadline).await.map_err(|failure| Failure { delivery: Delivery::NotSent, ..failure })?;
            match frames.starts_with(b"+OK\r\n") {
                true => Ok(frames.split_off(5)),
                // What the server says to WATCH it says to every read.
                false => {
                    let said = resp::take_frame(&mut &frames[..]).unwrap_or_default();
                    Ok(std::iter::repeat_n(said, count).flatten().copied().collect::<Vec<u8>>().into())
                }
            }
        })
    }

    fn forget(&mut self, deadline: Instant) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { self.send(b"*1\r\n$7\r\nUNWATCH\r\n", &[false], deadline).await.map(|_| ()) })
    }

    fn commit<'a>(
        &'a mut self,
        commands: &'a [u8],
        count: usize,
        droppable: bool,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Committed, Failure>> {
        Box::pin(async move {
            let mut out = BytesMut::with_capacity(commands.len() + 32);
            out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
            out.extend_from_slice(commands);
            out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
            let mut replies: Replies = smallvec![false; count + 1];
            replies.push(droppable);
            let frames = self.send(&out, &replies, deadline).await?;
            committed(&frames, count).map_err(|Malformed| Failure {
                code: Code::BackendError,
                detail: "the database broke its protocol",
                delivery: Delivery::Unknown,
            })
        })
    }

    fn give_back(self: Box<Self>) {
        drop(self.release());
    }
}

/// Reads the replies to MULTI, to each command, and to EXEC.
fn committed(frames: &Bytes, count: usize) -> Result<Committed, Malformed> {
    let mut reader = Reader::new(frames);
    let mut refused = None;
    for at in 0..=count {
        let start = reader.position();
        if let Item::Error(_) = reader.read()? {
            refused = refused.or(Some(Committed::Refused(at.checked_sub(1), frames.slice(start..reader.position()))));
        }
    }
    let start = reader.position();
    match reader.read()? {
        Item::Array(Some(found)) if found == count => Ok(Committed::Done(frames.slice(reader.position()..))),
        Item::Array(None) => Ok(Committed::Changed),
        Item::Error(_) => Ok(refused.unwrap_or_else(|| Committed::Refused(None, frames.slice(start..)))),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_transaction_is_read() {
        let read = |frames: &'static [u8], count| committed(&Bytes::from_static(frames), count);
        assert_eq!(read(b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n", 1), Ok(Committed::Done(Bytes::from_static(b":1\r\n"))));
        assert_eq!(read(b"+OK\r\n+QUEUED\r\n*-1\r\n", 1), Ok(Committed::Changed));
        let guilty = b"+OK\r\n+QUEUED\r\n-ERR wrong\r\n-EXECABORT x\r\n";
        assert_eq!(read(guilty, 2), Ok(Committed::Refused(Some(1), Bytes::from_static(b"-ERR wrong\r\n"))));
        let loading = b"-LOADING x\r\n-LOADING x\r\n-ERR EXEC without MULTI\r\n";
        assert_eq!(read(loading, 1), Ok(Committed::Refused(None, Bytes::from_static(b"-LOADING x\r\n"))));
        assert_eq!(read(b"+OK\r\n+QUEUED\r\n*2\r\n:1\r\n:1\r\n", 1), Err(Malformed));
    }
}
