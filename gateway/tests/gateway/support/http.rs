//! An HTTP/1.1 client that sends what it is told, byte for byte, and holds every answer to what all answers promise.

use std::{
    io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use super::{SOON, Socket};

/// A caller: where it calls, and what it says of itself with each request.
#[derive(Clone)]
pub struct Client {
    port: u16,
    headers: Vec<(String, String)>,
}

impl Client {
    pub fn new(port: u16) -> Self {
        Self { port, headers: Vec::new() }
    }

    /// The same caller with one more header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, None)
    }

    pub fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, None)
    }

    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.send("PUT", path, Some(body.as_ref()))
    }

    pub fn patch(&self, path: &str, body: &str) -> Response {
        self.send("PATCH", path, Some(body.as_bytes()))
    }

    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.send("POST", path, Some(body.as_ref()))
    }

    /// Sends a request over a connection of its own. A path without a leading `/` is one of the database.
    pub fn send(&self, method: &str, path: &str, body: Option<&[u8]>) -> Response {
        let request = self.request(method, path, body);
        let mut connection = self.connect();
        connection.head_only = method == "HEAD";
        connection.exchange(&request).unwrap_or_else(|error| panic!("{method} {path}: {error}")).checked()
    }

    /// A request, as it is sent.
    pub fn request(&self, method: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/api/v1/redis/{path}") };
        let mut request = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        if self.headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            request.extend_from_slice(b"Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if let Some(body) = body {
            request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body.unwrap_or_default());
        request
    }

    pub fn connect(&self) -> Connection {
        self.try_connect().expect("the gateway accepts connections")
    }

    /// Opens a WebSocket. A path without a leading `/` is one of the database.
    pub fn socket(&self, path: &str) -> Socket {
        self.try_socket(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// As [`socket`](Self::socket), where it may be refused.
    pub fn try_socket(&self, path: &str) -> Result<Socket, String> {
        Socket::open(self.port, path, &self.headers)
    }

    pub fn try_connect(&self) -> io::Result<Connection> {
        Connection::open(self.port)
    }
}

/// What carries a connection: TCP, or TLS on it.
pub trait Carrier: Read + Write + Send {}

impl<T: Read + Write + Send> Carrier for T {}

/// One connection, kept alive.
pub struct Connection {
    stream: BufReader<Box<dyn Carrier>>,
    /// The next answers have no body.
    pub head_only: bool,
}

impl Connection {
    pub fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// A connection over something that is open already.
    pub fn over(stream: impl Carrier + 'static) -> Self {
        Self { stream: BufReader::new(Box::new(stream)), head_only: false }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a request and reads its answer.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        // A server may answer and close before it has read everything; its answer counts.
        let written = self.write(request);
        match self.read() {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => written.and(Err(error)),
            read => read,
        }
    }

    /// The next piece of a body that never ends; none at its end.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let broken = || Error::new(ErrorKind::InvalidData, "not chunked");
        let length = usize::from_str_radix(&self.line()?, 16).map_err(|_| broken())?;
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk)?;
        self.line()?;
        Ok((length > 0).then_some(chunk))
    }

    pub fn read(&mut self) -> io::Result<Response> {
        let broken = || Error::new(ErrorKind::InvalidData, "not HTTP");
        let line = self.line()?;
        let status = line.strip_prefix("HTTP/1.").and_then(|line| line.get(2..5)?.parse().ok()).ok_or_else(broken)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(broken)?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        // An event stream does not end: whoever wants its pieces asks for each.
        if self.head_only || status == 204 || status == 304 || response.is_stream() {
            return Ok(response);
        }
        if let Some(length) = response.header("content-length") {
            response.body = vec![0; length.parse().map_err(|_| broken())?];
            self.stream.read_exact(&mut response.body)?;
        } else if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let length = usize::from_str_radix(&self.line()?, 16).map_err(|_| broken())?;
                let start = response.body.len();
                response.body.resize(start + length, 0);
                self.stream.read_exact(&mut response.body[start..])?;
                self.line()?;
                if length == 0 {
                    break;
                }
            }
        } else {
            self.stream.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// It goes on: its connection cannot be used for anything else.
    pub fn is_stream(&self) -> bool {
        self.header("content-type") == Some("text/event-stream")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It succeeded with this body.
    #[track_caller]
    pub fn is(&self, body: &str) -> &Self {
        assert_eq!((self.status, self.text().as_str()), (200, body), "{:?}", self.headers);
        self
    }

    /// It failed with this, and says so as every problem does. An empty `param` is none.
    #[track_caller]
    pub fn fails(&self, status: u16, code: &str, param: &str) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{status} {code}: {self:?} {}", self.text());
        let problem = self.json();
        let found = (self.status, problem["code"].as_str().unwrap_or_default(), problem["param"].as_str().unwrap_or_default());
        assert_eq!(found, (status, code, param), "{problem}");
        problem
    }

    /// What every answer promises.
    #[track_caller]
    fn checked(self) -> Self {
        let id = self.header("x-request-id").unwrap_or_else(|| panic!("no request id: {self:?}"));
        assert!(!id.is_empty());
        if self.status >= 400 && !self.body.is_empty() {
            let problem = self.json();
            assert_eq!(problem["status"], self.status, "{problem}");
            assert_eq!(problem["requestId"], id, "{problem}");
            assert_eq!(problem["type"], format!("/docs/errors#{}", problem["code"].as_str().unwrap()), "{problem}");
            assert!(problem["retryable"].is_boolean() && problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
            let comes_back = problem["code"] == "unavailable" || problem["code"] == "rate_limited";
            assert_eq!(self.header("retry-after").is_some(), comes_back, "{problem}");
            assert_eq!(self.header("allow").is_some(), problem["code"] == "method_not_allowed", "{problem}");
            assert!(problem["outcome"].is_null() || (problem["outcome"] == "unknown" && problem["retryable"] == false), "{problem}");
        }
        self
    }
}
