//! What a socket sends.

use std::task::{Context, Poll};

use futures::StreamExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;

use super::{
    super::{
        call::{Answer, Caller},
        mailbox::Item,
        subscription::{Subscription, Told},
    },
    Open, Socket, State,
};
use crate::backend::Taken;

impl Socket {
    /// Sends what is ready, as long as the client takes it. Whether there was something.
    pub(super) fn write(&mut self, context: &mut Context<'_>) -> Result<bool, tungstenite::Error> {
        let before = self.line.lock().sent;
        while matches!(self.state, State::Running | State::Draining) {
            let ready = self.line.lock().poll_ready(context);
            if !self.is_taken(ready)? {
                return Ok(self.line.lock().sent > before);
            }
            let Some(text) = self.next(context) else { break };
            self.line.lock().send(text)?;
        }
        let mut wire = self.line.lock();
        let sent = wire.sent > before;
        if wire.unflushed {
            let flushed = wire.poll_flush(context);
            drop(wire);
            if self.is_taken(flushed)? {
                self.taken.drain(..).for_each(Taken::delivered);
            }
        }
        Ok(sent)
    }

    /// Whether the client takes what is written. One that takes what it had not taken before is alive.
    fn is_taken(&mut self, outcome: Poll<Result<(), tungstenite::Error>>) -> Result<bool, tungstenite::Error> {
        match outcome {
            Poll::Ready(done) => {
                done?;
                if std::mem::take(&mut self.blocked) {
                    self.heard = Instant::now();
                }
                Ok(true)
            }
            Poll::Pending => {
                self.blocked = true;
                Ok(false)
            }
        }
    }

    /// The next message to be sent, if one is ready.
    fn next(&mut self, context: &mut Context<'_>) -> Option<Vec<u8>> {
        loop {
            if !self.work.is_empty()
                && let Poll::Ready(Some(answer)) = self.work.poll_next_unpin(context)
            {
                return Some(self.answer(answer));
            }
            let text = match self.mailbox.pop()? {
                Item::Answer(answer) => return Some(self.answer(answer)),
                Item::Text(text) => text,
                Item::Heard { subscription, topic, event } => {
                    match self.tell(subscription, |subscription, caller| subscription.hear(caller, topic, &event)) {
                        Some(text) => text,
                        None => continue,
                    }
                }
                Item::Checked(key, outcome) => match self.tell(key, |subscription, caller| subscription.checked(caller, outcome)) {
                    Some(text) => text,
                    None => continue,
                },
                Item::Dropped(key, dropped) => match self.subscriptions.get(&key) {
                    Some(subscription) => subscription.missed(&dropped),
                    None => continue,
                },
                Item::Over(key) => {
                    self.sessions.remove(&key);
                    self.flows.remove(&key);
                    self.open.retain(|_, open| !matches!(open, Open::Session(ended) | Open::Flow(ended) if *ended == key));
                    continue;
                }
            };
            return Some(text);
        }
    }

    fn answer(&mut self, answer: Answer) -> Vec<u8> {
        self.calls -= 1;
        self.open.remove(&answer.id);
        self.taken.extend(answer.taken);
        answer.text
    }

    /// What a subscription makes of something, for its client.
    fn tell(&mut self, key: u32, what: impl FnOnce(&mut Subscription, &Caller) -> Told) -> Option<Vec<u8>> {
        // What was on its way to one that has ended is for nobody.
        let subscription = self.subscriptions.get_mut(&key)?;
        match what(subscription, &self.caller) {
            Told::Nothing => None,
            Told::Text(text) => Some(text),
            Told::Begun(text) => {
                self.calls -= 1;
                Some(text)
            }
            Told::Over(text) => {
                if !subscription.is_answered() {
                    self.calls -= 1;
                }
                self.open.remove(subscription.id());
                self.subscriptions.remove(&key);
                Some(text)
            }
        }
    }
}
