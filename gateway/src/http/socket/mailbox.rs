//! What waits to be sent to one client besides the answers to its calls: a bounded queue that others put into, and that the
//! client's own task empties.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
};

use super::{super::events::Slow, WRITE, call::Answer, line::Line, subscription::Voice};
use crate::{
    backend::channels::{Event, Listener},
    error::Error,
    shared::Shared,
};

/// Something to be sent.
pub(super) enum Item {
    /// A subscription heard something on one of its topics.
    Heard { subscription: u32, topic: usize, event: Arc<Event> },
    /// A subscription has missed messages.
    Dropped(u32, Arc<AtomicU64>),
    /// Whether the server tells of what a subscription observes.
    Checked(u32, Result<(), Error>),
    /// The answer to a call of a session.
    Answer(Answer),
    /// A frame as it is.
    Text(Vec<u8>),
    /// A session is over.
    Over(u32),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Heard { event, .. } => event.bytes(),
            Self::Answer(answer) => answer.text.len(),
            Self::Text(text) => text.len(),
            Self::Dropped(..) | Self::Checked(..) | Self::Over(_) => 0,
        }
    }
}

/// The queue.
pub(super) struct Mailbox {
    shared: Arc<Shared>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Item>,
    bytes: usize,
    owner: Option<Waker>,
    /// A subscription whose client wanted to be closed rather than miss something has missed something.
    overflowed: bool,
    /// Who waits for room.
    writers: Vec<Waker>,
    /// Nobody empties it any more.
    closed: bool,
}

impl Inner {
    fn wake(&mut self) {
        if let Some(owner) = self.owner.take() {
            owner.wake();
        }
    }
}

impl Mailbox {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that runs under the lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds something, however much is there already.
    pub(super) fn push(&self, item: Item) {
        self.add(&mut self.lock(), item);
    }

    fn add(&self, inner: &mut Inner, item: Item) {
        let bytes = item.bytes();
        inner.bytes += bytes;
        self.shared.queued_bytes.fetch_add(bytes, Relaxed);
        inner.items.push_back(item);
        inner.wake();
    }

    fn has_room(&self, inner: &Inner, bytes: usize) -> bool {
        // One that is larger than the queue passes when it is alone, or it never would.
        (inner.bytes == 0 || inner.bytes + bytes <= self.shared.max_queued_bytes)
            && self.shared.queued_bytes.load(Relaxed) + bytes <= self.shared.max_total_queued_bytes
    }

    /// Takes what is next.
    pub(super) fn pop(&self) -> Option<Item> {
        let mut inner = self.lock();
        let item = inner.items.pop_front()?;
        let bytes = item.bytes();
        inner.bytes -= bytes;
        self.shared.queued_bytes.fetch_sub(bytes, Relaxed);
        if inner.bytes <= self.shared.max_queued_bytes / 2 {
            inner.writers.drain(..).for_each(Waker::wake);
        }
        Some(item)
    }

    /// Whether its client has to be closed for being slow. From now on its task is woken by whatever happens here.
    pub(super) fn watch(&self, context: &mut Context<'_>) -> bool {
        let mut inner = self.lock();
        if !inner.owner.as_ref().is_some_and(|owner| owner.will_wake(context.waker())) {
            inner.owner = Some(context.waker().clone());
        }
        inner.overflowed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// Nobody will empty it.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.writers.drain(..).for_each(Waker::wake);
    }

    /// Waits until there is room for more, or nobody who would send it.
    pub(super) async fn room(&self) {
        std::future::poll_fn(|context| {
            let mut inner = self.lock();
            if inner.closed || inner.items.is_empty() || self.has_room(&inner, 0) {
                return std::task::Poll::Ready(());
            }
            inner.writers.push(context.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.shared.queued_bytes.fetch_sub(self.lock().bytes, Relaxed);
    }
}

/// The listener of one topic of a subscription.
pub(super) struct Ear {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) line: Line,
    /// The subscription it belongs to.
    pub(super) subscription: u32,
    pub(super) voice: Arc<Voice>,
    /// Which of its topics.
    pub(super) topic: usize,
    pub(super) slow: Slow,
    pub(super) dropped: Arc<AtomicU64>,
}

impl Ear {
    /// Tells the client at once if nothing comes first: to wake its task would cost more than the write. Whether there is nothing
    /// more to do.
    fn tell(&self, inner: &mut Inner, event: &Event) -> bool {
        let Event::Message(message) = event else { return false };
        if !inner.items.is_empty() || inner.overflowed || self.voice.is_over() || event.bytes() > WRITE {
            return false;
        }
        let mut wire = self.line.lock();
        if !wire.is_quiet() {
            return false;
        }
        let Some(text) = self.voice.message(message) else { return true };
        if wire.send(text).is_err() {
            return false;
        }
        if !wire.flush_at_once() {
            inner.wake();
        }
        true
    }
}

impl Listener for Ear {
    fn hear(&self, event: &Arc<Event>, alone: bool) {
        let mailbox = &self.mailbox;
        let mut inner = mailbox.lock();
        if alone && self.tell(&mut inner, event) {
            return;
        }
        if !matches!(&**event, Event::Message(_)) || mailbox.has_room(&inner, event.bytes()) {
            let heard = Item::Heard { subscription: self.subscription, topic: self.topic, event: event.clone() };
            return mailbox.add(&mut inner, heard);
        }
        match self.slow {
            Slow::Close => {
                inner.overflowed = true;
                inner.wake();
            }
            // One notice waits at a time; it counts until it is sent.
            Slow::Drop if self.dropped.fetch_add(1, Relaxed) == 0 => {
                mailbox.add(&mut inner, Item::Dropped(self.subscription, self.dropped.clone()));
            }
            Slow::Drop => {}
        }
    }
}
