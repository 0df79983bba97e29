//! How long a connection waits for a request: a while in silence, less once it has begun. hyper has one timeout for both, which
//! it takes from its timer.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;

/// The timer of one connection. Whatever hyper asks it for is the end of the wait for a request.
pub(super) struct Patience {
    /// Something has been read since the wait began.
    heard: Arc<AtomicBool>,
    /// How long a request may take to arrive.
    head: Duration,
    /// How long a connection that has had a request may be silent.
    silence: Duration,
    /// It has had one, or waits for it.
    begun: AtomicBool,
}

impl Patience {
    pub(super) fn new(heard: Arc<AtomicBool>, head: Duration, silence: Duration) -> Self {
        Self { heard, head, silence, begun: AtomicBool::new(false) }
    }
}

impl Timer for Patience {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        let first = !self.begun.swap(true, Relaxed);
        self.heard.store(false, Relaxed);
        Box::pin(Wait {
            heard: self.heard.clone(),
            head: self.head,
            // The first request has its time from the beginning of the connection.
            arrives: first,
            sleep: tokio::time::sleep(if first { self.head } else { self.silence }),
        })
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.head)
    }
}

pin_project! {
    /// The end of a wait.
    struct Wait {
        heard: Arc<AtomicBool>,
        head: Duration,
        // The request has begun to arrive.
        arrives: bool,
        #[pin]
        sleep: tokio::time::Sleep,
    }
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        // hyper asks after each read that did not complete the request.
        if !*this.arrives && this.heard.load(Relaxed) {
            *this.arrives = true;
            this.sleep.as_mut().reset(tokio::time::Instant::now() + *this.head);
        }
        this.sleep.poll(context)
    }
}
