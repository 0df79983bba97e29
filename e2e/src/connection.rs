//! HTTP/1.1 over one TCP connection, as little as the tests need. It tries nothing twice: each failure is seen.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// Longer than a gateway may take, so that what is late is the gateway's own answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The token of calls, where there is one: a variable, or a file that is read for every call, since it may be another by then.
pub(crate) fn token() -> io::Result<Option<String>> {
    match std::env::var("DBX_TOKEN_FILE") {
        Ok(file) => std::fs::read_to_string(file).map(|token| Some(token.trim().to_owned())),
        Err(_) => Ok(std::env::var("DBX_TOKEN").ok()),
    }
}

/// Where calls go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Host and port.
    pub(crate) authority: String,
    /// Begins with `/`.
    pub(crate) path: String,
}

impl Target {
    /// Takes `http://host:port/path` apart.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url}: expected http://"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { authority: authority.into(), path: format!("/{path}") })
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The server asked for the connection to be closed.
    pub(crate) close: bool,
    pub(crate) body: String,
    /// It is a gateway's: whatever answers at an address that no node leads to a new Service yet gives no id.
    pub(crate) from_gateway: bool,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    authority: String,
}

impl Connection {
    pub(crate) fn open(target: &Target) -> io::Result<Self> {
        let address = target.authority.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), authority: target.authority.clone() })
    }

    /// One call. With `keep` the connection may serve the next one, unless the answer says `close`.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &str, keep: bool) -> io::Result<Response> {
        let connection = if keep { "keep-alive" } else { "close" };
        let credential = token()?.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{credential}connection: {connection}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.authority,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.response()
    }

    fn response(&mut self) -> io::Result<Response> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not an HTTP answer: {line:?}")))?;
        let (mut length, mut close, mut from_gateway) = (None, false, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            let Some((name, value)) = line.split_once(':') else { break };
            match (name, value.trim()) {
                ("content-length", value) => length = value.parse::<usize>().ok(),
                ("transfer-encoding", _) => return Err(io::Error::other("an answer in chunks, which this client does not read")),
                ("connection", "close") => close = true,
                ("x-request-id", _) => from_gateway = true,
                _ => {}
            }
        }
        let mut body = vec![0; if status == 204 { 0 } else { length.ok_or_else(|| io::Error::other("an answer without a length"))? }];
        self.stream.read_exact(&mut body)?;
        Ok(Response { status, close, body: String::from_utf8_lossy(&body).into_owned(), from_gateway })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed instead of an answer"));
        }
        Ok(line.trim_end().to_owned())
    }
}
