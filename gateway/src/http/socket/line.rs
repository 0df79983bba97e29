//! The connection of a socket. Its task reads from it and writes to it; what is heard while nothing is being written goes
//! straight onto it, without the task.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures::{Sink, Stream as _};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::{super::stream::Stream, WRITE};

type Outcome<T> = Result<T, tungstenite::Error>;

/// A connection, as all who write to it share it. They are on one thread.
#[derive(Clone)]
pub(super) struct Line(Arc<Mutex<Wire>>);

/// The connection, and how far it is with what is written to it.
pub(super) struct Wire {
    stream: WebSocketStream<TokioIo<Stream>>,
    /// What is left of a message that is sent in parts.
    rest: Option<Bytes>,
    /// Something may wait to be written.
    pub(super) unflushed: bool,
    /// Everything that had come was read.
    drained: bool,
    /// Frames of messages that were sent.
    pub(super) sent: u64,
}

impl Line {
    pub(super) fn new(stream: WebSocketStream<TokioIo<Stream>>) -> Self {
        Self(Arc::new(Mutex::new(Wire { stream, rest: None, unflushed: false, drained: false, sent: 0 })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wire {
    /// Whether everything that was sent is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        !self.unflushed && self.rest.is_none()
    }

    /// Whether a message has been sent by half.
    pub(super) fn is_amid(&self) -> bool {
        self.rest.is_some()
    }

    /// Sends no more of the message that has been sent by half. Whether there was one.
    pub(super) fn give_up(&mut self) -> bool {
        self.rest.take().is_some()
    }

    /// Waits until a message can be sent: what was sent before is whole, and there is room.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Outcome<()>> {
        loop {
            std::task::ready!(Pin::new(&mut self.stream).poll_ready(context))?;
            let Some(rest) = self.rest.take() else { return Poll::Ready(Ok(())) };
            self.send_part(OpCode::Data(Data::Continue), rest)?;
        }
    }

    /// Sends a message.
    pub(super) fn send(&mut self, text: Vec<u8>) -> Outcome<()> {
        self.send_part(OpCode::Data(Data::Text), text.into())
    }

    /// A frame of what fits into one; the rest goes in others, so that no more of it is copied than is about to be sent.
    fn send_part(&mut self, code: OpCode, mut text: Bytes) -> Outcome<()> {
        let rest = (text.len() > WRITE).then(|| text.split_off(WRITE));
        let frame = Frame::message(text, code, rest.is_none());
        Pin::new(&mut self.stream).start_send(Message::Frame(frame))?;
        self.rest = rest;
        self.unflushed = true;
        self.sent += 1;
        Ok(())
    }

    /// Sends something that is no message, between frames.
    pub(super) fn send_control(&mut self, message: Message) {
        // If it cannot be sent the client has gone, or will be found silent.
        let _ = Pin::new(&mut self.stream).start_send(message);
        self.unflushed = true;
    }

    /// Waits until the client's system has taken all.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Outcome<()>> {
        std::task::ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Whether the client's system takes all at once. If not, the task has to see to it: only that waits to write.
    pub(super) fn flush_at_once(&mut self) -> bool {
        let flushed = self.poll_flush(&mut Context::from_waker(Waker::noop()));
        matches!(flushed, Poll::Ready(Ok(()))) && self.is_quiet()
    }

    /// Reads the next message.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Outcome<Message>>> {
        // Each attempt to read clears a whole buffer.
        if self.drained && self.stream.get_ref().inner().poll_readable(context).is_pending() {
            return Poll::Pending;
        }
        let message = Pin::new(&mut self.stream).poll_next(context);
        self.drained = message.is_pending();
        message
    }

    /// Ends the connection.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }
}
