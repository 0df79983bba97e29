//! A real redis-server of the test's own, which can be killed, started again on the same port with the same data, and held.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
};

use bytes::BytesMut;
use dbx_gateway::resp::{self, Item, Reader, Scanner};

use super::{Port, Process, SOON, until};
use crate::family::Kind;

pub struct Redis {
    pub port: Port,
    kind: Kind,
    options: Vec<String>,
    folder: tempfile::TempDir,
    process: Option<Process>,
}

impl Redis {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A server with options such as `--appendonly yes`.
    pub fn with(options: &[&str]) -> Self {
        let mut redis = Self::stopped();
        redis.start_with(options);
        redis
    }

    /// A server of some kind. A node of a cluster answers for the slots it has, whoever has the others.
    pub fn of(kind: Kind) -> Self {
        let nodes = Port::reserve();
        let mut redis = Self { kind, ..Self::stopped() };
        let port = nodes.number.to_string();
        let mut cluster = vec!["--cluster-enabled", "yes", "--cluster-port", &port, "--cluster-require-full-coverage", "no"];
        // No sooner than this it serves the slots that it is given.
        cluster.extend(["--cluster-node-timeout", "500"]);
        redis.start_with(if kind.is_cluster() { &cluster } else { &[] });
        redis
    }

    /// A server that is not there yet.
    pub fn stopped() -> Self {
        Self { port: Port::reserve(), kind: Kind::Redis, options: Vec::new(), folder: tempfile::tempdir().unwrap(), process: None }
    }

    /// Starts it with options that it keeps when it is started again, and waits until it answers anything.
    pub fn start_with(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.start_again();
    }

    pub fn start_again(&mut self) {
        self.launch();
        until("redis-server", SOON, || self.ping());
    }

    /// Starts it and does not wait.
    pub fn launch(&mut self) {
        let mut command = self.kind.command();
        command.args(["--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "yes", "--port"]);
        command.arg(self.port.number.to_string()).arg("--dir").arg(self.folder.path()).args(&self.options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::start(&mut command, "`make test` installs redis-server"));
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Stops it without closing anything: what a hung host looks like.
    pub fn hold(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    pub fn release(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port.number)
    }

    /// Removes all data, and what an example may have configured.
    pub fn clear(&self) {
        // A file that is being written would be in the way of the next.
        until("the end of writing", SOON, || {
            let persistence = self.line("INFO persistence");
            persistence.lines().filter(|line| line.contains("_in_progress:")).all(|line| line.ends_with(":0")).then_some(())
        });
        for line in [
            "REPLICAOF NO ONE",
            "FLUSHALL",
            "FUNCTION FLUSH",
            "SCRIPT FLUSH",
            "CONFIG SET maxmemory-policy noeviction",
            "ACL DELUSER alice",
        ] {
            self.line(line);
        }
        if self.kind.is_cluster() {
            self.line("CLUSTER RESET HARD");
        }
    }

    /// Sends a command of words without spaces.
    pub fn line(&self, line: &str) -> String {
        self.run(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// As [`line`](Self::line), when it answers.
    pub fn try_line(&self, line: &str) -> Option<String> {
        self.try_run(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// Sends a command; a simple or bulk reply without its frame, others as they come.
    pub fn run(&self, words: &[&[u8]]) -> String {
        self.try_run(words).unwrap_or_else(|| panic!("redis-server does not answer {:?}", words.first().map(|word| word.escape_ascii())))
    }

    /// What it says to PING, if it is there.
    pub fn ping(&self) -> Option<String> {
        self.try_run(&[b"PING"])
    }

    fn try_run(&self, words: &[&[u8]]) -> Option<String> {
        let mut command = BytesMut::new();
        resp::write_command(&mut command, words);
        let frame = self.try_frame(&command)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(match Reader::new(&frame).read().ok()? {
            Item::Simple(bytes) | Item::Bulk(Some(bytes)) | Item::Integer(bytes) => text(bytes),
            _ => text(&frame),
        })
    }

    /// The bytes of the reply to a command that is encoded already.
    pub fn frame(&self, command: &[u8]) -> Vec<u8> {
        self.try_frame(command).unwrap_or_else(|| panic!("the server does not answer {}", command.escape_ascii()))
    }

    fn try_frame(&self, command: &[u8]) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port.number)).ok()?;
        stream.set_read_timeout(Some(SOON)).ok()?;
        stream.write_all(command).ok()?;
        let (mut frame, mut scanner, mut buffer) = (Vec::new(), Scanner::default(), [0; 65536]);
        while scanner.scan(&frame).ok()?.is_none() {
            let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
            frame.extend_from_slice(&buffer[..length]);
        }
        Some(frame)
    }
}
