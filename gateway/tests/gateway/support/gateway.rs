//! The real binary with a configuration of the test's own. Whatever a test does with it, in the end its log and its metrics
//! are looked through for what must not be there.

use std::{
    fs,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use super::{Client, Connection, Port, Process, Redis, Response, SOON, until};

/// Part of the keys and values of tests: no log line and no metric may hold it.
pub const MARKER: &str = "sesame";

const BUILT: &str = "cargo builds it";

pub struct Gateway {
    pub data: Port,
    pub operations: Port,
    folder: tempfile::TempDir,
    command: Command,
    process: Process,
    ended: bool,
}

impl Gateway {
    /// A gateway that is ready, with settings such as `limits.callTimeout=1s`.
    pub fn start(redis: &Redis, settings: &[&str]) -> Self {
        let gateway = Self::launch(&redis.url(), settings);
        until("readiness", SOON, || gateway.is_ready().then_some(()));
        gateway
    }

    /// A gateway that may never be ready.
    pub fn launch(url: &str, settings: &[&str]) -> Self {
        Self::launch_with(url, settings, |_| {})
    }

    /// The same, whose process gets more said.
    pub fn launch_with(url: &str, settings: &[&str], more: impl FnOnce(&mut Command)) -> Self {
        let (data, operations) = (Port::reserve(), Port::reserve());
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "listen: {{ data: '127.0.0.1:{}', operations: '127.0.0.1:{}' }}\n\
             databases: [{{ name: redis, redis: {{ url: '{url}' }} }}]\n\
             log: {{ level: debug, access: true }}\nworkers: 2\n",
            data.number, operations.number
        );
        fs::write(folder.path().join("gateway.yaml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbx-gateway"));
        command.args(["--config", "gateway.yaml"]).current_dir(&folder).env_clear();
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(folder.path().join("log")).unwrap());
        more(&mut command);
        let process = Process::start(&mut command, BUILT);
        let gateway = Self { data, operations, command, process, folder, ended: false };
        until("the operations listener", SOON, || gateway.operations("/livez"));
        gateway
    }

    /// Starts it again at the same place after it has ended.
    pub fn start_again(&mut self) {
        assert!(self.ended, "it runs");
        self.process = Process::start(&mut self.command, BUILT);
        self.ended = false;
        until("readiness", SOON, || self.is_ready().then_some(()));
    }

    /// A client that says nothing of who it is.
    pub fn anonymous(&self) -> Client {
        Client::new(self.data.number)
    }

    /// GET on the operations listener; `None` when nobody answers there.
    pub fn operations(&self, path: &str) -> Option<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        Connection::open(self.operations.number).and_then(|mut connection| connection.exchange(request.as_bytes())).ok()
    }

    pub fn is_ready(&self) -> bool {
        self.operations("/readyz").is_some_and(|response| response.status == 200)
    }

    /// Whether all its workers, not only the one that answers next, are connected to the database `redis`.
    pub fn is_connected(&self) -> bool {
        self.metric(r#"dbx_backend_up{database="redis"}"#) > 0.5
    }

    /// What it counts, by name and labels as they are written.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.operations("/metrics").expect("it runs").text();
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0.0)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub fn resident_kib(&self) -> u64 {
        self.process.resident_kib()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let status = self.process.wait(within);
        self.ended = true;
        status
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // A second panic would hide the first.
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("dbx_gateway::access")).collect();
            eprintln!("--- log of the gateway\n{}", lines.join("\n"));
            return;
        }
        if !self.ended {
            assert!(self.process.is_running(), "the gateway has ended by itself:\n{}", self.log());
            let metrics = self.operations("/metrics").map(|response| response.text()).unwrap_or_default();
            assert!(!metrics.contains(MARKER), "a metric holds a key or value:\n{metrics}");
        }
        let log = self.log();
        assert!(!log.contains(MARKER), "the log holds a key or value:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}
