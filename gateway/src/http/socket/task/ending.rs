//! How a socket ends: because it is told to, because it has to be, or because the gateway stops.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{
    self, Message, Utf8Bytes,
    error::{CapacityError, ProtocolError},
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    super::{mailbox::Item, session::Session},
    FAREWELL, Open, Socket, State,
};
use crate::error::{Code, Delivery, Error};

/// How long a client that was too slow may take to answer a close.
const SLOW_FAREWELL: Duration = Duration::from_secs(30);
/// A client is asked to come back within this time.
const COME_BACK: u64 = 1000;

impl Socket {
    /// Closes because the gateway stops. The reason is for programs: when to come back, so that not all do at once.
    pub(super) fn say_restart(&mut self) {
        self.close(CloseCode::Restart, format!("{{\"reconnectAfter\":{}}}", random() % COME_BACK));
    }

    /// Chooses when it will stop, so that not all sockets of a gateway do so at once.
    pub(super) fn plan_drain(&mut self) {
        let window = u64::try_from(self.caller.worker.shared.drain_propagation.as_millis()).unwrap_or(u64::MAX);
        let at = Instant::now() + Duration::from_millis(random() % window.max(1));
        self.drains_at = Some(at);
        if matches!(self.state, State::Running) {
            self.timer.as_mut().reset(at);
        }
    }

    /// Reads no more, ends what waits or goes on, and lets calls finish until the time that is returned.
    pub(super) fn drain(&mut self, now: Instant) -> Instant {
        self.state = State::Draining;
        for open in self.open.values_mut() {
            if let Open::Call(cancel) = open
                && let Some(cancel) = cancel.take()
            {
                // Whoever does not wait any more has its answer.
                let _ = cancel.send(stopping());
            }
        }
        let mut unanswered = 0;
        self.subscriptions.retain(|_, subscription| {
            let answered = subscription.stop();
            if !answered {
                unanswered += 1;
                self.open.remove(subscription.id());
                self.mailbox.push(Item::Text(self.caller.refuse(Some(subscription.id()), &stopping())));
            }
            answered
        });
        self.calls -= unanswered;
        for flow in std::mem::take(&mut self.flows).into_values() {
            self.open.remove(&flow.id);
            if !flow.is_answered() {
                self.mailbox.push(Item::Text(self.caller.refuse(Some(&flow.id), &stopping())));
            }
        }
        self.sessions.values_mut().for_each(Session::finish);
        let shared = &self.caller.worker.shared;
        // Time to say good-bye is kept, but not more than half of a short drain.
        let patience = shared.drain_timeout.saturating_sub(2 * FAREWELL).max(shared.drain_timeout / 2);
        let until = now + self.longest_call().min(patience);
        self.ends_at = Some(until);
        until
    }

    /// How long a call that has begun may take.
    fn longest_call(&self) -> Duration {
        self.caller.worker.databases.iter().map(|database| database.room.max_call_timeout).max().unwrap_or_default()
    }

    pub(super) fn close(&mut self, code: CloseCode, reason: impl Into<Utf8Bytes>) {
        if matches!(self.state, State::Closing(_) | State::Ending) {
            return;
        }
        self.code = code.into();
        let mut wire = self.line.lock();
        if wire.give_up() {
            // What is sent by half has not reached its client.
            self.taken.clear();
        }
        // Nothing more is heard for it.
        self.subscriptions.clear();
        self.flows.clear();
        // One that is slow to read is slow to read this as well.
        let patience = if code == CloseCode::Policy { SLOW_FAREWELL } else { FAREWELL };
        let until = Instant::now() + patience;
        self.state = State::Closing(until);
        self.timer.as_mut().reset(until);
        wire.send_control(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
    }

    /// Closes after what cannot be read.
    pub(super) fn fail(&mut self, error: &tungstenite::Error) {
        match error {
            tungstenite::Error::Utf8(_) => self.close(CloseCode::Invalid, "a text frame is not UTF-8"),
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                self.close(CloseCode::Size, "a message is too large (limits.maxBodyBytes)");
            }
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | tungstenite::Error::Io(_) => {
                self.state = State::Ending;
            }
            error => self.close(CloseCode::Protocol, error.to_string().chars().take(120).collect::<String>()),
        }
    }
}

fn stopping() -> Error {
    Error::backend(Code::Unavailable, "the gateway is about to stop", Delivery::NotSent, true)
}

/// A number that nobody can foresee.
fn random() -> u64 {
    RandomState::new().hash_one(())
}
