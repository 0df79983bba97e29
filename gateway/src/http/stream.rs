//! A client's connection as hyper sees it, better at saying no: a request that hyper cannot read is refused with a problem
//! as any other, a refusal reaches a client that is still sending, and a client that takes nothing of its answer is left.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
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
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::{request::too_long, respond, taken::Outgoing};
use crate::{
    error::{Code, Error},
    listener::Counted,
    metrics::Failure,
    worker::Worker,
};

/// How long a client may go on sending after its answer. A connection that is closed with bytes unread is reset, and the
/// answer with it.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client's system may take to refuse an answer that came after its client had ended the connection.
const DOUBT: Duration = Duration::from_millis(100);

/// What carries a connection: TCP, or TLS on it.
pub type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A connection.
pub struct Stream {
    inner: TokioIo<Transport>,
    worker: Arc<Worker>,
    speaks_http: bool,
    _counted: Counted,
    /// What is written in place of hyper's own refusal, and how much of it has been.
    refusal: Option<(Vec<u8>, usize)>,
    closing: Option<Pin<Box<Sleep>>>,
    /// Something has been read; for who waits for a request.
    heard: Arc<AtomicBool>,
    /// The end of the patience with a client that takes nothing; while it takes, there is none.
    stalled: Option<Pin<Box<Sleep>>>,
    outgoing: Outgoing,
    /// How much more is read of a client that nobody knows yet.
    readable: Option<usize>,
    /// The last answer had something in it that was taken, and nothing has been heard of the client since.
    unconfirmed: bool,
}

impl Stream {
    /// Takes over an accepted connection.
    pub fn new(stream: Transport, worker: Arc<Worker>, counted: Counted) -> Self {
        Self {
            inner: TokioIo::new(stream),
            worker,
            speaks_http: true,
            _counted: counted,
            refusal: None,
            closing: None,
            heard: Arc::default(),
            stalled: None,
            outgoing: Outgoing::default(),
            readable: None,
            unconfirmed: false,
        }
    }

    /// Reads no more than that, until [`read_freely`](Self::read_freely).
    pub(super) fn read_at_most(&mut self, most: usize) {
        self.readable = Some(most);
    }

    /// Reads as much as the client sends.
    pub(super) fn read_freely(&mut self) {
        self.readable = None;
    }

    /// From now on it carries something else, in which nothing is a refusal of hyper's.
    pub(super) fn leave_http(&mut self) {
        self.speaks_http = false;
    }

    /// What is in the answer being written.
    pub fn outgoing(&self) -> Outgoing {
        self.outgoing.clone()
    }

    /// Is set whenever something has been read.
    pub fn heard(&self) -> Arc<AtomicBool> {
        self.heard.clone()
    }

    fn socket(&self) -> &TcpStream {
        match self.inner.inner() {
            Either::Left(socket) => socket,
            Either::Right(stream) => stream.get_ref().0,
        }
    }

    /// Gives up a client that has taken nothing for too long. What is no HTTP any more has a bound of its own.
    fn bounded<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stalled.is_some() {
                self.stalled = None;
            }
            return written;
        }
        if !self.speaks_http {
            return written;
        }
        let patience = self.worker.shared.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        self.worker.counters.fail(Failure::Stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether what is written has something in it that has to arrive. Only answers over HTTP are told of that here.
    fn carries(&self) -> bool {
        self.speaks_http && !self.outgoing.is_empty()
    }

    /// Waits until something may have come. Whoever has not read all that had come before does not ask.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        // What has gone wrong is found by reading.
        self.socket().poll_read_ready(context).map(drop)
    }

    /// Refuses to write what was taken for a client that has gone already. The socket itself is asked: that it has ended may
    /// not be noticed yet.
    fn check_reader(&mut self) -> io::Result<()> {
        // What is answered now was asked by who has read the answer before.
        self.unconfirmed = false;
        if !self.carries() {
            return Ok(());
        }
        match SockRef::from(self.socket()).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// What the client's system has told of the connection, other than by reading.
    fn reset(&self) -> Option<io::Error> {
        SockRef::from(self.socket()).take_error().ok().flatten()
    }

    fn poll_read_counted(&mut self, context: &mut Context<'_>, mut buffer: ReadBufCursor<'_>, left: usize) -> Poll<io::Result<()>> {
        let mut bytes = [0; 1024];
        let room = bytes.len().min(buffer.remaining()).min(left);
        if room == 0 {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let mut read = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.inner).poll_read(context, read.unfilled()))?;
        buffer.put_slice(read.filled());
        self.readable = Some(left - read.filled().len());
        Poll::Ready(Ok(()))
    }

    fn poll_refuse(&mut self, context: &mut Context<'_>, written: usize) -> Poll<io::Result<usize>> {
        while let Some((message, at)) = &mut self.refusal
            && *at < message.len()
        {
            let taken = Pin::new(&mut self.inner).poll_write(context, &message[*at..]);
            match taken {
                Poll::Ready(taken) => *at += taken?,
                Poll::Pending => return self.bounded(context, Poll::Pending),
            }
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
            Some(b"14") => too_long(self.worker.shared.max_url_bytes),
            Some(b"31") => {
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
        let read = match self.readable {
            None => Pin::new(&mut self.inner).poll_read(context, buffer),
            Some(left) => self.poll_read_counted(context, buffer, left),
        };
        if read.is_ready() {
            self.heard.store(true, Relaxed);
        }
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
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if slices.first().is_some_and(|first| self.is_refused(first)) {
            return self.poll_refuse(context, slices.iter().map(|slice| slice.len()).sum());
        }
        self.check_reader()?;
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        ready!(self.bounded(context, flushed))?;
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
            let shut = Pin::new(&mut self.inner).poll_shutdown(context);
            ready!(self.bounded(context, shut))?;
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
