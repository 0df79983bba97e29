//! A client's connection as hyper sees it, better at saying no: a request that hyper cannot read is refused with a problem
//! as any other, and a refusal reaches a client that is still sending.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::{respond, taken::Outgoing};
use crate::{
    error::{Code, Error},
    listener::Counted,
    worker::Worker,
};

/// How long a client may go on sending after its answer. A connection that is closed with bytes unread is reset, and the
/// answer with it.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client's system may take to refuse an answer that came after its client had ended the connection.
const DOUBT: Duration = Duration::from_millis(100);

/// A connection.
pub struct Stream {
    inner: TokioIo<TcpStream>,
    worker: Arc<Worker>,
    speaks_http: bool,
    _counted: Counted,
    /// What is written in place of hyper's own refusal, and how much of it has been.
    refusal: Option<(Vec<u8>, usize)>,
    closing: Option<Pin<Box<Sleep>>>,
    outgoing: Outgoing,
    /// The last answer had something in it that was taken, and nothing has been heard of the client since.
    unconfirmed: bool,
}

impl Stream {
    /// Takes over an accepted connection.
    pub fn new(stream: TcpStream, worker: Arc<Worker>, counted: Counted) -> Self {
        Self {
            inner: TokioIo::new(stream),
            worker,
            speaks_http: true,
            _counted: counted,
            refusal: None,
            closing: None,
            outgoing: Outgoing::default(),
            unconfirmed: false,
        }
    }

    /// From now on it carries something else, in which nothing is a refusal of hyper's.
    pub(super) fn leave_http(&mut self) {
        self.speaks_http = false;
    }

    /// What is in the answer being written.
    pub fn outgoing(&self) -> Outgoing {
        self.outgoing.clone()
    }

    /// Whether what is written has something in it that has to arrive. Only answers over HTTP are told of that here.
    fn carries(&self) -> bool {
        self.speaks_http && !self.outgoing.is_empty()
    }

    /// Waits until something may have come. Whoever has not read all that had come before does not ask.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        // What has gone wrong is found by reading.
        self.inner.inner().poll_read_ready(context).map(drop)
    }

    /// Refuses to write what was taken for a client that has gone already. The socket itself is asked: that it has ended may
    /// not be noticed yet.
    fn check_reader(&mut self) -> io::Result<()> {
        // What is answered now was asked by who has read the answer before.
        self.unconfirmed = false;
        if !self.carries() {
            return Ok(());
        }
        match SockRef::from(self.inner.inner()).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// What the client's system has told of the connection, other than by reading.
    fn reset(&self) -> Option<io::Error> {
        SockRef::from(self.inner.inner()).take_error().ok().flatten()
    }

    fn poll_refuse(&mut self, context: &mut Context<'_>, written: usize) -> Poll<io::Result<usize>> {
        while let Some((message, at)) = &mut self.refusal
            && *at < message.len()
        {
            *at += ready!(Pin::new(&mut self.inner).poll_write(context, &message[*at..]))?;
        }
        self.refusal = None;
        Poll::Ready(Ok(written))
    }

    /// Takes over when these bytes are a refusal of hyper's own, which has no body.
    fn is_refused(&mut self, bytes: &[u8]) -> bool {
        if self.refusal.is_some() {
            return true;
        }
        let Some(status) = bytes.strip_prefix(b"HTTP/1.1 4").filter(|_| self.speaks_http) else { return false };
        if memchr::memmem::find(bytes, b"content-length: 0\r\n").is_none() {
            return false;
        }
        let error = match status.get(..2) {
            Some(b"31" | b"14") => {
                let most = self.worker.shared.max_header_bytes;
                Error::new(Code::HeadersTooLarge, format!("a request's line and headers may have {most} bytes (limits.maxHeaderBytes)"))
            }
            Some(b"00") => Error::new(Code::BadEncoding, "this is not a request of HTTP/1.1"),
            _ => return false,
        };
        self.worker.counters.refuse(error.code);
        self.refusal = Some((respond::message(&error, &self.worker.next_request_id()), 0));
        true
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if self.unconfirmed && matches!(read, Poll::Ready(Err(_))) {
            self.unconfirmed = false;
            self.worker.counters.reset_taken();
        }
        read
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_refused(bytes) {
            return self.poll_refuse(context, bytes.len());
        }
        self.check_reader()?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if slices.first().is_some_and(|first| self.is_refused(first)) {
            return self.poll_refuse(context, slices.iter().map(|slice| slice.len()).sum());
        }
        self.check_reader()?;
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        if !self.carries() {
            return Poll::Ready(Ok(()));
        }
        match self.reset() {
            // The client had ended its side, and its system refused the answer when it came.
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Poll::Ready(Err(error)),
            // It may have read the answer before.
            Some(_) => self.worker.counters.reset_taken(),
            None => self.unconfirmed = true,
        }
        // Everything before it was written.
        self.outgoing.delivered();
        Poll::Ready(Ok(()))
    }

    /// Says that no more will come, then reads what the client still sends.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
            let linger = if self.unconfirmed { DOUBT } else { LINGER };
            self.closing = Some(Box::pin(tokio::time::sleep_until(Instant::now() + linger)));
        }
        if self.unconfirmed {
            if let Some(closing) = &mut self.closing {
                ready!(closing.as_mut().poll(context));
            }
            self.unconfirmed = false;
            if self.reset().is_some() {
                self.worker.counters.reset_taken();
            }
            return Poll::Ready(Ok(()));
        }
        let mut scrap = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scrap);
            match Pin::new(&mut self.inner).poll_read(context, buffer.unfilled()) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // Whatever ends the connection now, the answer is out.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        self.closing.as_mut().map_or(Poll::Ready(()), |closing| closing.as_mut().poll(context)).map(Ok)
    }
}
