//! Server-sent events: what waits for one client is bounded, and goes out with as few writes as it can.

pub(super) mod channels;
pub(super) mod streams;

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, Response, header},
};
use futures::{Stream, future::BoxFuture};
use tokio::time::{Interval, MissedTickBehavior};

use super::Place;
use crate::{
    auth::Identity,
    error::{Code, Error},
    metrics::Counters,
    shared::Shared,
    worker::Worker,
};

/// A comment, which says that the stream lives.
const HEARTBEAT: &[u8] = b":\n\n";
/// How many bytes are handed to a connection at once.
const CHUNK: usize = 64 << 10;
/// When the gateway stops, its clients come back within this many milliseconds, each at another moment.
const RETURN_WITHIN: u64 = 3000;
/// What an event costs beside its bytes.
const OVERHEAD: usize = 64;

/// What happens to a client that does not read fast enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slow {
    /// What it has no room for is dropped, and it is told how much.
    Drop,
    /// It is closed. What waited for it is forgotten.
    Close,
}

impl Slow {
    /// Reads what a client has chosen; without a choice it is closed.
    pub(super) fn read(choice: Option<&str>) -> Result<Self, Error> {
        match choice {
            None | Some("close") => Ok(Self::Close),
            Some("drop") => Ok(Self::Drop),
            Some(_) => Err(Error::new(Code::InvalidArgument, "expected `drop` or `close`").param("slow")),
        }
    }
}

/// Writes an event: its name, the id to go on from if there is one, and one line of data.
pub(super) fn write(name: &str, id: Option<&str>, data: &[&[u8]]) -> Bytes {
    let mut out = Vec::with_capacity(name.len() + data.iter().map(|part| part.len()).sum::<usize>() + OVERHEAD);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    if let Some(id) = id {
        out.extend_from_slice(b"\nid: ");
        out.extend_from_slice(id.as_bytes());
    }
    out.extend_from_slice(b"\ndata: ");
    for part in data {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// What waits for one client.
pub(super) struct Queue {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    slow: Slow,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// Events that the client will not get, since the last that it will.
    dropped: u64,
    ended: bool,
    /// What feeds the queue, for as long as it does.
    source: Option<Box<dyn Send + Sync>>,
    task: Option<Waker>,
    /// What feeds the queue and can wait for room.
    writer: Option<Waker>,
}

impl Queue {
    pub(super) fn new(worker: &Worker, slow: Slow) -> Arc<Self> {
        Arc::new(Self { shared: worker.shared.clone(), counters: worker.counters.clone(), slow, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what feeds the queue until it ends.
    pub(super) fn feed(&self, source: Box<dyn Send + Sync>) {
        let mut inner = self.lock();
        // What ended while it began is dropped, not under the lock.
        let refused = if inner.ended { Some(source) } else { inner.source.replace(source) };
        drop(inner);
        drop(refused);
    }

    /// Adds an event, if there is room for it.
    pub(super) fn push(&self, event: Bytes) {
        let size = event.len() + OVERHEAD;
        let mut inner = self.lock();
        if inner.ended {
            return;
        }
        let total = self.shared.queued_bytes.fetch_add(size, Relaxed) + size;
        // One that is larger than the queue passes when it is alone, or it never would.
        let is_full = inner.bytes > 0 && inner.bytes + size > self.shared.max_queued_bytes;
        if is_full || total > self.shared.max_total_queued_bytes {
            self.shared.queued_bytes.fetch_sub(size, Relaxed);
            self.counters.dropped.fetch_add(1, Relaxed);
            let source = match self.slow {
                Slow::Drop => {
                    inner.dropped += 1;
                    None
                }
                Slow::Close => {
                    // What it has not read yet it will not need: it has to begin anew.
                    self.shared.queued_bytes.fetch_sub(inner.bytes, Relaxed);
                    (inner.bytes, inner.waiting) = (0, VecDeque::new());
                    inner.waiting.push_back(write("closed", None, &[br#"{"reason":"slow"}"#]));
                    inner.end()
                }
            };
            drop(inner);
            return drop(source);
        }
        inner.tell_dropped();
        inner.bytes += size;
        inner.waiting.push_back(event);
        inner.wake();
    }

    /// Waits until at least half of the queue is free, or nobody reads it any more.
    pub(super) async fn room(&self) {
        std::future::poll_fn(|context| {
            let mut inner = self.lock();
            let total = self.shared.queued_bytes.load(Relaxed);
            if inner.ended
                || inner.bytes == 0
                || (inner.bytes < self.shared.max_queued_bytes / 2 && total < self.shared.max_total_queued_bytes / 2)
            {
                return Poll::Ready(());
            }
            inner.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Adds a last event.
    pub(super) fn end(&self, event: Bytes) {
        let mut inner = self.lock();
        if inner.ended {
            return;
        }
        inner.tell_dropped();
        inner.waiting.push_back(event);
        let source = inner.end();
        drop(inner);
        drop(source);
    }
}

impl Inner {
    fn end(&mut self) -> Option<Box<dyn Send + Sync>> {
        self.ended = true;
        self.wake();
        self.source.take()
    }

    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Says at its place what is missing. A few bytes, at most once between two events.
    fn tell_dropped(&mut self) {
        if self.dropped > 0 {
            let count = std::mem::take(&mut self.dropped);
            self.waiting.push_back(write("dropped", None, &[format!("{{\"dropped\":{count}}}").as_bytes()]));
        }
    }
}

/// The answer that a queue becomes.
pub(super) fn response(queue: Arc<Queue>, place: Option<Place>, identity: Arc<Identity>) -> Response<Body> {
    let shared = queue.shared.clone();
    shared.sockets.fetch_add(1, Relaxed);
    let mut heartbeat = tokio::time::interval(shared.ping_interval);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let over: BoxFuture<'static, Bytes> = Box::pin(async move {
        tokio::select! {
            () = shared.drain.stopping() => format!("retry: {}\n\n", spread()).into(),
            () = identity.over() => write("closed", None, &[br#"{"reason":"unauthenticated"}"#]),
        }
    });
    described(Body::from_stream(Events { queue, place, heartbeat, over }))
}

/// An answer with the headers of an event stream.
pub(super) fn described(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

struct Events {
    queue: Arc<Queue>,
    place: Option<Place>,
    heartbeat: Interval,
    /// The last words, once the gateway stops or the client's credential is not taken any more.
    over: BoxFuture<'static, Bytes>,
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let queue = self.queue.clone();
        if !queue.lock().ended
            && let Poll::Ready(last) = self.over.as_mut().poll(context)
        {
            queue.end(last);
        }
        let mut inner = queue.lock();
        inner.task = Some(context.waker().clone());
        if inner.waiting.is_empty() {
            // A client that was slow and has read all is told at once.
            inner.tell_dropped();
        }
        let Some(first) = inner.waiting.pop_front() else {
            if inner.ended {
                return Poll::Ready(None);
            }
            drop(inner);
            return self.heartbeat.poll_tick(context).map(|_| Some(Ok(Bytes::from_static(HEARTBEAT))));
        };
        let mut out = first;
        if !inner.waiting.is_empty() {
            let mut all = Vec::with_capacity(CHUNK.min(inner.bytes).max(out.len()));
            all.extend_from_slice(&out);
            while inner.waiting.front().is_some_and(|next| all.len() + next.len() <= CHUNK)
                && let Some(next) = inner.waiting.pop_front()
            {
                all.extend_from_slice(&next);
            }
            out = all.into();
        }
        // What is left keeps its share; notices of the stream's own were never counted.
        let left: usize = inner.waiting.iter().map(|event| event.len() + OVERHEAD).sum::<usize>().min(inner.bytes);
        queue.shared.queued_bytes.fetch_sub(inner.bytes - left, Relaxed);
        inner.bytes = left;
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
        drop(inner);
        self.heartbeat.reset();
        if let Some(place) = &self.place {
            place.owe(out.len());
        }
        Poll::Ready(Some(Ok(out)))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        let source = inner.end();
        self.queue.shared.queued_bytes.fetch_sub(inner.bytes, Relaxed);
        inner.bytes = 0;
        inner.waiting.clear();
        drop(inner);
        drop(source);
        self.queue.shared.sockets.fetch_sub(1, Relaxed);
    }
}

/// A pause that differs from stream to stream.
fn spread() -> u64 {
    static TURN: AtomicU64 = AtomicU64::new(0);
    TURN.fetch_add(1, Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) % RETURN_WITHIN
}
