//! A client of server-sent events.

use std::io;

use serde_json::Value;

use super::{Client, Connection, Response};

/// An open stream.
pub struct Events {
    pub response: Response,
    connection: Connection,
    text: String,
    /// What `retry:` said last.
    pub retry: Option<u64>,
}

impl Events {
    /// Opens a stream; panics when it is none.
    #[track_caller]
    pub fn open(client: &Client, path: &str) -> Self {
        let mut connection = client.connect();
        let response = connection.exchange(&client.request("GET", path, None)).unwrap();
        assert!(response.status == 200 && response.is_stream(), "{path}: {response:?}");
        Self { response, connection, text: String::new(), retry: None }
    }

    /// The next event's name and data; none once the stream has ended as it should.
    pub fn try_next(&mut self) -> io::Result<Option<(String, Value)>> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                if let Some(retry) = field("retry: ") {
                    self.retry = Some(retry.parse().unwrap());
                }
                if let Some(name) = field("event: ") {
                    return Ok(Some((name, serde_json::from_str(&field("data: ").unwrap()).unwrap())));
                }
            }
            match self.connection.chunk()? {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                None => return Ok(None),
            }
        }
    }

    #[track_caller]
    pub fn next(&mut self) -> (String, Value) {
        self.try_next().unwrap().expect("the stream goes on")
    }

    /// The next event has this name.
    #[track_caller]
    pub fn is(&mut self, name: &str) -> Value {
        let (found, data) = self.next();
        assert_eq!(found, name, "{data}");
        data
    }

    /// The next event is a message; what it says.
    #[track_caller]
    pub fn message(&mut self) -> String {
        self.is("message")["message"].as_str().unwrap().to_owned()
    }
}
