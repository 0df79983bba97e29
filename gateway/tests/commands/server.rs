//! A server of its own for each test, on a socket in a folder of its own, and a plain connection to it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dbx_gateway::operation::Since;
use dbx_gateway::resp::{self, Item, Reader, Scanner};
use tempfile::TempDir;

use crate::family::Kind;

/// A reply as a tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Text(String),
    Integer(i64),
    Null,
    Array(Vec<Reply>),
    Error(String),
}

impl Reply {
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    pub fn array(&self) -> &[Reply] {
        match self {
            Self::Array(elements) => elements,
            other => panic!("no array: {other:?}"),
        }
    }
}

pub struct Server {
    child: Child,
    stream: UnixStream,
    kind: Kind,
    _folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub fn start() -> Self {
        Self::of(Kind::Redis)
    }

    pub fn of(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let mut command = kind.command();
        command.args(["--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket).arg("--dir").arg(folder.path());
        if kind.is_cluster() {
            // A node of a cluster listens on a port, and on another for nodes.
            let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port().to_string();
            command.args(["--bind", "127.0.0.1", "--port", &free(), "--cluster-port", &free(), "--cluster-enabled", "yes"]);
            // It answers for the slots it has, whoever has the others.
            command.args(["--cluster-require-full-coverage", "no"]);
        } else {
            command.args(["--port", "0"]);
        }
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server has to be on the PATH: `make test` installs it");
        let started = Instant::now();
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "redis-server does not answer: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { child, stream, kind, _folder: folder }
    }

    /// Removes all data and what an example may have configured.
    pub fn clear(&mut self) {
        // A file that is being written would be in the way of the next.
        while !self
            .command(&["INFO", "persistence"])
            .text()
            .lines()
            .filter(|line| line.contains("_in_progress:"))
            .all(|line| line.ends_with(":0"))
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        for line in [
            "REPLICAOF NO ONE",
            "FLUSHALL",
            "FUNCTION FLUSH",
            "SCRIPT FLUSH",
            "CONFIG SET maxmemory-policy noeviction",
            "ACL DELUSER alice",
        ] {
            self.command(&line.split(' ').collect::<Vec<_>>());
        }
        if self.kind.is_cluster() {
            self.command(&["CLUSTER", "RESET", "HARD"]);
        }
    }

    pub fn version(&mut self) -> Version {
        let info = self.command(&["INFO", "server"]);
        let line = |name: &str| info.text().lines().find_map(|line| line.strip_prefix(name));
        let valkey = line("valkey_version:");
        Version { valkey: valkey.is_some(), number: numbers(valkey.or_else(|| line("redis_version:")).unwrap()) }
    }

    /// The bytes of the reply to a command.
    pub fn frame(&mut self, command: &[u8]) -> Vec<u8> {
        self.stream.write_all(command).unwrap();
        let (mut frame, mut scanner, mut buffer) = (Vec::new(), Scanner::default(), [0; 65536]);
        loop {
            if let Some(end) = scanner.scan(&frame).unwrap() {
                assert_eq!(end, frame.len());
                return frame;
            }
            let length = self.stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the server has hung up");
            frame.extend_from_slice(&buffer[..length]);
        }
    }

    pub fn send(&mut self, command: &[u8]) -> Reply {
        tree(&mut Reader::new(&self.frame(command)))
    }

    pub fn command(&mut self, words: &[&str]) -> Reply {
        let mut command = BytesMut::new();
        resp::write_command(&mut command, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        self.send(&command)
    }

    /// The keys that the server finds in a command, and what it does with each.
    pub fn keys_and_flags(&mut self, command: &[u8]) -> Vec<(String, Vec<String>)> {
        let command = tree(&mut Reader::new(command));
        let mut words = vec!["COMMAND", "GETKEYSANDFLAGS"];
        words.extend(command.array().iter().map(Reply::text));
        // The server does not look at a command of one word.
        if words.len() == 3 {
            return Vec::new();
        }
        match self.command(&words) {
            Reply::Error(line) if line.contains("no key arguments") => Vec::new(),
            Reply::Error(line) => panic!("{words:?}: {line}"),
            keys => keys.array().iter().map(|key| (key.array()[0].text().to_owned(), texts(&key.array()[1]))).collect(),
        }
    }
}

pub fn texts(reply: &Reply) -> Vec<String> {
    reply.array().iter().map(|text| text.text().to_owned()).collect()
}

/// A server's family and version.
#[derive(Clone, Copy)]
pub struct Version {
    valkey: bool,
    number: [u32; 3],
}

impl Version {
    /// The first version of its family that has something.
    pub fn first(self, since: Since) -> Option<&'static str> {
        if self.valkey { since.valkey } else { since.redis }
    }

    /// Whether it has that.
    pub fn has(self, since: Since) -> bool {
        self.first(since).is_some_and(|first| numbers(first) <= self.number)
    }
}

fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap());
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

fn tree(reader: &mut Reader<'_>) -> Reply {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match reader.read().unwrap() {
        Item::Simple(word) => Reply::Text(text(word)),
        Item::Bulk(Some(bytes)) => Reply::Text(text(bytes)),
        Item::Integer(integer) => Reply::Integer(text(integer).parse().unwrap()),
        Item::Error(line) => Reply::Error(text(line)),
        Item::Bulk(None) | Item::Array(None) => Reply::Null,
        Item::Array(Some(length)) => Reply::Array((0..length).map(|_| tree(reader)).collect()),
    }
}
