//! A client's connection as hyper sees it, better at saying no: a request that hyper cannot read is refused with a problem
//! as any other, and a refusal reaches a client that is still sending.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::respond;
use crate::{
    error::{Code, Error},
    listener::Counted,
    worker::Worker,
};

/// How long a client may go on sending after its answer. A connection that is closed with bytes unread is reset, and the
/// answer with it.
const LINGER: Duration = Duration::from_secs(1);

/// A connection.
pub struct Stream {
    inner: TokioIo<TcpStream>,
    worker: Arc<Worker>,
    speaks_http: bool,
    _counted: Counted,
    /// What is written in place of hyper's own refusal, and how much of it has been.
    refusal: Option<(Vec<u8>, usize)>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// Takes over an accepted connection.
    pub fn new(stream: TcpStream, worker: Arc<Worker>, counted: Counted) -> Self {
        Self { inner: TokioIo::new(stream), worker, speaks_http: true, _counted: counted, refusal: None, closing: None }
    }

    /// From now on it carries something else, in which nothing is a refusal of hyper's.
    pub(super) fn leave_http(&mut self) {
        self.speaks_http = false;
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
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_refused(bytes) {
            return self.poll_refuse(context, bytes.len());
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if slices.first().is_some_and(|first| self.is_refused(first)) {
            return self.poll_refuse(context, slices.iter().map(|slice| slice.len()).sum());
        }
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// Says that no more will come, then reads what the client still sends.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
            self.closing = Some(Box::pin(tokio::time::sleep_until(Instant::now() + LINGER)));
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
