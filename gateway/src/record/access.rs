//! The access log: a line for each request and each WebSocket, without keys.

use std::net::IpAddr;

use dbx_crds::config::LogFormat;

use super::{Pen, line::Line};

const TARGET: &str = "dbx_gateway::access";

/// The access log of one worker.
pub struct Access {
    pen: Pen,
    format: LogFormat,
}

/// A request that was answered.
pub struct Request<'a> {
    /// Its id; as the method and the path, it has no quotes and no backslashes.
    pub id: &'a str,
    /// Who made it.
    pub client: Option<IpAddr>,
    /// Its method.
    pub method: &'a str,
    /// Its path, up to where a key may begin.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body as they are sent, if that is known.
    pub bytes: Option<u64>,
    /// How long the answer took.
    pub microseconds: u64,
}

/// A WebSocket that has ended.
pub struct Socket<'a> {
    /// The id of the request that opened it.
    pub id: &'a str,
    /// Its close code.
    pub code: u16,
    /// Frames that came.
    pub received: u64,
    /// Frames that went.
    pub sent: u64,
    /// How long it was open.
    pub milliseconds: u64,
}

impl Access {
    pub(super) fn new(pen: Pen, format: LogFormat) -> Self {
        Self { pen, format }
    }

    /// Writes the line of a request.
    pub fn request(&self, request: &Request<'_>) {
        self.pen.line(|out| {
            let mut line = Line::begin(out, self.format, TARGET, "request");
            line.word("request", request.id);
            if let Some(client) = request.client {
                line.address("client", client);
            }
            line.word("method", request.method);
            line.word("path", request.path);
            line.number("status", request.status.into());
            if let Some(bytes) = request.bytes {
                line.number("bytes", bytes);
            }
            line.number("microseconds", request.microseconds);
            line.end();
        });
    }

    /// Writes the line of a WebSocket.
    pub fn socket(&self, socket: &Socket<'_>) {
        self.pen.line(|out| {
            let mut line = Line::begin(out, self.format, TARGET, "socket");
            line.word("request", socket.id);
            line.number("code", socket.code.into());
            line.number("received", socket.received);
            line.number("sent", socket.sent);
            line.number("milliseconds", socket.milliseconds);
            line.end();
        });
    }
}
