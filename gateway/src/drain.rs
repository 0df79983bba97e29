//! The gateway's way from serving to stopped, which every worker and every answer looks at.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::watch;

/// Where the gateway is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It serves, says that it is not ready, and asks clients to close their connections.
    Propagating,
    /// It accepts no more connections and finishes what runs.
    Stopping,
}

/// The phase, cheap to look at and possible to wait for.
#[derive(Debug)]
pub struct Drain {
    draining: AtomicBool,
    phase: watch::Sender<Phase>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { draining: AtomicBool::new(false), phase: watch::Sender::new(Phase::Serving) }
    }
}

impl Drain {
    /// Whether the gateway is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Goes on to a phase.
    pub fn enter(&self, phase: Phase) {
        self.draining.store(phase != Phase::Serving, Relaxed);
        self.phase.send_replace(phase);
    }

    /// Waits until the gateway is about to stop.
    pub async fn draining(&self) {
        // The sender lives in this value, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|phase| *phase != Phase::Serving).await;
    }

    /// Waits until the gateway stops accepting.
    pub async fn stopping(&self) {
        // The sender lives in this value, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|phase| *phase == Phase::Stopping).await;
    }
}
