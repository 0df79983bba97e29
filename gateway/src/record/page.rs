//! Pages of lines, and the thread that writes them.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use super::sink::Sink;

/// A page of so many bytes is written at once.
const FULL: usize = 64 << 10;
/// What waits is written after so long.
const GATHER: Duration = Duration::from_millis(100);
/// What may wait of each worker; as much again may be on its way.
const MOST: usize = 1 << 20;
/// How long the last lines may take to be written when the process ends.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A log, for as long as the process runs.
pub(super) struct Log {
    name: &'static str,
    shared: Arc<Shared>,
    writer: Thread,
}

/// What the thread of a log and the workers share. A page is locked by its worker for a line and by the thread for a swap.
struct Shared {
    pages: Box<[Mutex<Vec<u8>>]>,
    dropped: AtomicU64,
    /// A page is full.
    full: AtomicBool,
    closing: AtomicBool,
}

/// The right to write on one page.
#[derive(Clone)]
pub(super) struct Pen {
    shared: Arc<Shared>,
    page: usize,
    writer: Thread,
}

/// The thread of a log. Dropped, it writes what is left.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Thread,
    /// Nothing comes out of it; it is closed when the thread has ended.
    ended: mpsc::Receiver<()>,
}

fn lock(page: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    page.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Starts the thread of a log with a page for each worker.
    pub(super) fn start(name: &'static str, sink: Sink, workers: usize) -> io::Result<(Self, Writer)> {
        let pages = (0..workers).map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { pages, dropped: AtomicU64::new(0), full: AtomicBool::new(false), closing: AtomicBool::new(false) });
        let (end, ended) = mpsc::channel();
        let writing = shared.clone();
        let thread = thread::Builder::new().name(format!("{name}-log")).spawn(move || {
            write(name, &writing, sink);
            drop::<mpsc::Sender<()>>(end);
        })?;
        let writer = thread.thread().clone();
        Ok((Self { name, shared: shared.clone(), writer: writer.clone() }, Writer { shared, thread: writer, ended }))
    }

    /// The pen of a worker.
    pub(super) fn pen(&self, worker: usize) -> Pen {
        Pen { shared: self.shared.clone(), page: worker, writer: self.writer.clone() }
    }

    /// Its name, and how many lines it has dropped.
    pub(super) fn dropped(&self) -> (&'static str, u64) {
        (self.name, self.shared.dropped.load(Ordering::Relaxed))
    }
}

impl Pen {
    /// Appends one line, whose end is added; or drops it, if too much waits already.
    pub(super) fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut page = lock(&self.shared.pages[self.page]);
        let start = page.len();
        if start < MOST {
            write(&mut page);
            page.push(b'\n');
        }
        let end = page.len();
        if end == start || end > MOST {
            page.truncate(start);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(page);
        let fills = start < FULL && end >= FULL;
        if fills {
            self.shared.full.store(true, Ordering::Relaxed);
        }
        // A first line ends the sleep of the thread; from then on it looks by itself.
        if start == 0 || fills {
            self.writer.unpark();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.thread.unpark();
        // Nothing more can be done for who does not read.
        let _ = self.ended.recv_timeout(LAST_LINES);
    }
}

/// Writes what comes, until the log is closed.
fn write(name: &'static str, shared: &Shared, mut sink: Sink) {
    let mut taken = Vec::new();
    let mut failing = false;
    loop {
        // Looked at before the pages: what was written before the end is not missed.
        let closing = shared.closing.load(Ordering::Acquire);
        let mut idle = true;
        for page in &shared.pages {
            std::mem::swap(&mut *lock(page), &mut taken);
            for lines in sink.pieces(&taken) {
                idle = false;
                match sink.write(lines) {
                    Ok(()) => failing = false,
                    Err(error) => {
                        let lost = memchr::memchr_iter(b'\n', lines).count();
                        shared.dropped.fetch_add(lost as u64, Ordering::Relaxed);
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(log = name, %error, "lines cannot be written and are dropped");
                        }
                    }
                }
            }
            taken.clear();
            // A burst is over.
            taken.shrink_to(2 * FULL);
        }
        if closing {
            return;
        }
        if idle {
            thread::park();
        }
        let until = Instant::now() + GATHER;
        while !shared.full.swap(false, Ordering::Relaxed) && !shared.closing.load(Ordering::Relaxed) {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { break };
            thread::park_timeout(left);
        }
    }
}
