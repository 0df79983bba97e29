//! The task that keeps one connection: connects, greets, writes what calls have queued, hands out replies in order, and
//! starts anew with back-off. It alone touches the socket.

use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::{Buf, Bytes, BytesMut};
use dbx_crds::config::{Host, RedisAddress};
use smallvec::smallvec;
use tokio::{
    io::AsyncWrite,
    sync::oneshot,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{
    Down, Endpoint, Inner, Shared, Waiter,
    greeting::{self, Commands, Refused},
    sentinel,
    stream::{self, Stream},
    tls,
};
use crate::{
    backend::TOO_LARGE,
    error::Code,
    resp::{self, Malformed, Scanner},
};

/// How often an idle connection is looked at.
const TICK: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to connect, before jitter at most doubles it.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// After how many quiet ticks an idle connection is asked whether it still lives.
const QUIET_TICKS: u32 = 5;
/// Replies from this size on are handed out as they lie in the read buffer; smaller ones are copied, so that they do not
/// keep the buffer alive.
const COPY_BELOW: usize = 16 << 10;
/// An empty write buffer larger than this is given back.
const KEEP_BUFFER: usize = 1 << 20;

/// Keeps a connection until the worker ends.
pub(super) async fn keep(name: String, shared: Arc<Shared>, endpoint: Arc<Endpoint>) {
    let delays = || {
        let builder = ExponentialBuilder::default().with_min_delay(Duration::from_millis(20)).with_max_delay(LONGEST_PAUSE).with_jitter();
        builder.without_max_times().build()
    };
    let mut backoff = delays();
    let mut told = String::new();
    loop {
        let refused = match connect(&endpoint, Commands::Asked).await {
            Ok(Opened { stream, supported, primary }) => {
                tracing::info!(database = name, "connected");
                backoff = delays();
                told.clear();
                shared.lock().opened(supported);
                let driver = Driver::new(stream, &shared);
                let end = match (&endpoint.address, &primary) {
                    (RedisAddress::Sentinel(sentinels, name), Some(current)) => {
                        driver.following().run(pin!(sentinel::moved(&endpoint, sentinels, name, current))).await
                    }
                    _ => driver.run(pin!(std::future::pending())).await,
                };
                let refused = match end.reason {
                    Reason::Io(error) => tls::explain(&error).unwrap_or_else(|| {
                        Refused::new(Code::Unavailable, "the connection to the database was lost", format!("connection lost: {error}"))
                    }),
                    Reason::Moved => {
                        endpoint.moves.fetch_add(1, Relaxed);
                        Refused::new(Code::Unavailable, "the connection to the database was lost", "another server is the primary")
                    }
                    Reason::Silent => Refused::new(Code::Unavailable, "the database stopped answering", "stopped answering"),
                    Reason::Malformed => Refused::new(Code::BackendError, "the database broke its protocol", "not RESP2"),
                };
                shared.lock().fail_all(end.written, refused.down.code, refused.down.detail);
                refused
            }
            Err(refused) => refused,
        };
        if told != refused.message {
            tracing::warn!(database = name, reason = refused.message, "not connected");
            told.clone_from(&refused.message);
        }
        // Calls are refused with what is true while there is no connection, which a broken protocol no longer is.
        let down = if refused.down.code == Code::BackendError { Down { code: Code::Unavailable, ..refused.down } } else { refused.down };
        shared.lock().closed(down, refused.message);
        tokio::time::sleep(backoff.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

/// A connection on which everything before the first call has been said.
pub(super) struct Opened {
    pub(super) stream: Stream,
    supported: Vec<bool>,
    /// Which server Sentinels have named.
    pub(super) primary: Option<Host>,
}

pub(super) async fn connect(endpoint: &Endpoint, commands: Commands) -> Result<Opened, Refused> {
    let deadline = Instant::now() + endpoint.connect_timeout;
    let attempt = async {
        let (mut stream, primary) = match &endpoint.address {
            RedisAddress::Tcp(host) => (stream::tcp(host, endpoint.tls.as_ref(), deadline).await?, None),
            RedisAddress::Cluster(_) => unreachable!("a connection is to one of its nodes"),
            RedisAddress::Unix(path) => (stream::unix(path).await?, None),
            RedisAddress::Sentinel(sentinels, name) => {
                let primary = sentinel::primary(endpoint, sentinels, name).await?;
                (stream::tcp(&primary, endpoint.tls.as_ref(), deadline).await.inspect_err(|_| sentinel::doubt())?, Some(primary))
            }
        };
        let supported = greeting::greet(&mut stream, endpoint, commands).await.inspect_err(|_| sentinel::doubt())?;
        Ok(Opened { stream, supported, primary })
    };
    tokio::time::timeout_at(deadline, attempt)
        .await
        .unwrap_or_else(|_| Err(Refused::new(Code::Unavailable, "the database cannot be reached", "no connection within connectTimeout")))
}

impl Inner {
    fn opened(&mut self, supported: Vec<bool>) {
        self.down = None;
        self.supported = supported;
        self.position = 0;
        self.state.answered = true;
        self.state.reachable = true;
        self.state.connections += 1;
        self.state.message.clear();
    }

    fn closed(&mut self, down: Down, message: String) {
        self.down = Some(down);
        self.state.reachable = false;
        self.state.message = message;
        self.task = None;
    }
}

struct End {
    reason: Reason,
    /// Bytes of the stream of commands that the socket took.
    written: u64,
}

enum Reason {
    Io(std::io::Error),
    Silent,
    Malformed,
    /// Another server is the primary.
    Moved,
}

impl From<Malformed> for Reason {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

struct Driver<'a> {
    stream: Stream,
    shared: &'a Shared,
    out: Vec<u8>,
    out_at: usize,
    written: u64,
    input: BytesMut,
    scanner: Scanner,
    discarding: bool,
    tick: Interval,
    heard: bool,
    quiet_ticks: u32,
    following: bool,
}

impl<'a> Driver<'a> {
    fn new(stream: Stream, shared: &'a Shared) -> Self {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (out, input) = (Vec::new(), BytesMut::with_capacity(COPY_BELOW));
        let scanner = Scanner::default();
        Self {
            stream,
            shared,
            out,
            out_at: 0,
            written: 0,
            input,
            scanner,
            discarding: false,
            tick,
            heard: true,
            quiet_ticks: 0,
            following: false,
        }
    }

    /// An answer that only a replica gives ends it.
    fn following(mut self) -> Self {
        self.following = true;
        self
    }

    /// Runs until the connection is of no use, or `moved` ends.
    async fn run(mut self, mut moved: Pin<&mut impl Future<Output = ()>>) -> End {
        let reason = std::future::poll_fn(|context| match moved.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Reason::Moved),
            Poll::Pending => self.poll(context),
        })
        .await;
        // Refuse before failing those that wait, so that nobody queues in between.
        self.shared.lock().down = Some(Down { code: Code::Unavailable, detail: "the connection to the database was lost" });
        End { reason, written: self.written }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Reason> {
        if self.tick.poll_tick(context).is_ready() {
            // The interval has to be polled again to be woken for its next tick.
            let _ = self.tick.poll_tick(context);
            if let Err(reason) = self.look() {
                return Poll::Ready(reason);
            }
        }
        if let Poll::Ready(Err(error)) = self.write(context) {
            return Poll::Ready(Reason::Io(error));
        }
        match self.read(context) {
            Poll::Ready(reason) => Poll::Ready(reason),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes all that is queued.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            if self.out_at == self.out.len() {
                self.out.clear();
                self.out_at = 0;
                if self.out.capacity() > KEEP_BUFFER {
                    self.out = Vec::new();
                }
                let mut inner = self.shared.lock();
                if inner.queued.is_empty() {
                    inner.task = Some(context.waker().clone());
                    drop(inner);
                    // What was encrypted may still wait to be written.
                    return Pin::new(&mut self.stream).poll_flush(context);
                }
                std::mem::swap(&mut self.out, &mut inner.queued);
            }
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, &self.out[self.out_at..]))?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.out_at += count;
            self.written += count as u64;
        }
    }

    /// Reads all that has arrived.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Reason> {
        loop {
            self.input.reserve(4096);
            match ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), context, &mut self.input)) {
                Err(error) => return Poll::Ready(Reason::Io(error)),
                Ok(0) => return Poll::Ready(Reason::Io(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => self.heard = true,
            }
            if let Err(reason) = self.hand_out() {
                return Poll::Ready(reason);
            }
        }
    }

    fn hand_out(&mut self) -> Result<(), Reason> {
        let most = self.shared.bounds.result_bytes;
        let mut inner = self.shared.lock();
        loop {
            if self.discarding {
                if !self.scanner.discard(&mut self.input)? {
                    return Ok(());
                }
                self.discarding = false;
                self.scanner = Scanner::default();
                inner.answer(Bytes::from_static(TOO_LARGE))?;
            }
            let Some(length) = self.scanner.scan(&self.input)? else {
                self.discarding = inner.too_large(self.scanner.least(&self.input), most);
                if self.discarding {
                    continue;
                }
                return Ok(());
            };
            self.scanner = Scanner::default();
            let frame = if inner.too_large(length, most) {
                self.input.advance(length);
                Bytes::from_static(TOO_LARGE)
            } else if length < COPY_BELOW {
                let frame = Bytes::copy_from_slice(&self.input[..length]);
                self.input.advance(length);
                frame
            } else {
                self.input.split_to(length).freeze()
            };
            let demoted = self.following && frame.starts_with(b"-READONLY ");
            inner.answer(frame)?;
            if demoted {
                return Err(Reason::Moved);
            }
        }
    }

    /// Once a second: gives up a connection that owes answers and is silent, asks one that has been idle for long.
    fn look(&mut self) -> Result<(), Reason> {
        let mut inner = self.shared.lock();
        if self.heard {
            self.heard = false;
            self.quiet_ticks = 0;
            return Ok(());
        }
        self.quiet_ticks += 1;
        if !inner.waiting.is_empty() && TICK * self.quiet_ticks > self.shared.bounds.silence {
            return Err(Reason::Silent);
        }
        if inner.waiting.is_empty() && self.quiet_ticks >= QUIET_TICKS {
            self.quiet_ticks = 0;
            inner.ping();
        }
        Ok(())
    }
}

impl Inner {
    fn ping(&mut self) {
        let mut command = BytesMut::new();
        resp::write_command(&mut command, &[b"PING"]);
        let waiter =
            Waiter { replies: smallvec![true], start: self.position, received: BytesMut::new(), answered: 0, sender: oneshot::channel().0 };
        self.waiting.push_back(waiter);
        self.waiting_replies += 1;
        self.queued.extend_from_slice(&command);
        self.position += command.len() as u64;
    }
}
