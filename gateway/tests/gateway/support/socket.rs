//! A WebSocket client: that of a library for what clients do, and the bare connection for what none would.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;
use tungstenite::{
    Message, WebSocket,
    client::IntoClientRequest,
    http::{HeaderName, HeaderValue},
};

use super::{SOON, until};

pub struct Socket {
    socket: WebSocket<TcpStream>,
}

impl Socket {
    pub fn open(port: u16, path: &str, headers: &[(String, String)]) -> Result<Self, String> {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/api/v1/redis/{path}") };
        let mut request = format!("ws://localhost:{port}{path}").into_client_request().map_err(|error| error.to_string())?;
        for (name, value) in headers {
            let (name, value) = (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
            request.headers_mut().insert(name, value);
        }
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| error.to_string())?;
        Ok(Self { socket })
    }

    /// Sends a text frame.
    pub fn send(&mut self, text: &str) {
        self.try_send(text).unwrap();
    }

    pub fn try_send(&mut self, text: &str) -> Result<(), tungstenite::Error> {
        self.socket.send(Message::Text(text.into()))
    }

    /// Sends bytes that need not be a frame.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).unwrap();
    }

    /// The connection below.
    pub fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// What comes next, whatever it is.
    pub fn any(&mut self) -> Message {
        self.socket.read().unwrap()
    }

    /// What comes next that is no ping or pong.
    pub fn next(&mut self) -> Result<Message, tungstenite::Error> {
        loop {
            match self.socket.read()? {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return Ok(message),
            }
        }
    }

    /// The next text frame.
    pub fn text(&mut self) -> String {
        match self.next() {
            Ok(Message::Text(text)) => text.to_string(),
            other => panic!("expected a text frame, found {other:?}"),
        }
    }

    pub fn json(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Calls, and waits for the answer to it.
    pub fn call(&mut self, frame: Value) -> Value {
        self.send(&frame.to_string());
        loop {
            let answer = self.json();
            if answer["id"] == frame["id"] {
                return answer;
            }
        }
    }

    /// The code and the reason that the gateway closes with, whatever it sends before.
    pub fn closed(&mut self) -> (u16, String) {
        until("a close", SOON, || match self.socket.read() {
            Ok(Message::Close(Some(frame))) => Some((frame.code.into(), frame.reason.to_string())),
            Ok(Message::Close(None)) => Some((1005, String::new())),
            Ok(_) => None,
            Err(error) => panic!("expected a close, found {error}"),
        })
    }

    /// The code and the reason of the close that has come, read without answering anything.
    pub fn closed_silently(&mut self) -> (u16, String) {
        let mut stream = self.socket.get_ref();
        loop {
            let mut head = [0; 2];
            stream.read_exact(&mut head).unwrap();
            let mut payload = vec![0; usize::from(head[1])];
            stream.read_exact(&mut payload).unwrap();
            if head[0] == 0x88 {
                return (u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload.split_off(2)).unwrap());
            }
        }
    }

    /// Says good-bye and waits for the answer.
    pub fn close(mut self) {
        self.socket.close(None).unwrap();
        while self.socket.read().is_ok() {}
    }
}
