//! A Redis of the gateway's own: a child process on a private socket, its data in memory only. It dies with the gateway,
//! however the gateway dies, and is started again when it dies alone.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
    task::JoinHandle,
    time,
};

/// Programs that will do, the first that is installed.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
const START_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Waits until the gateway is gone, which closes its end of the pipe even on SIGKILL, then ends the server and its folder.
const WATCHDOG: &str = r#"cat >/dev/null; kill -9 "$1" 2>/dev/null; rm -rf "$2""#;

/// A running Redis. Dropping it ends the server and deletes its folder.
#[derive(Debug)]
pub struct ManagedRedis {
    /// Where it listens.
    pub socket: PathBuf,
    supervisor: JoinHandle<()>,
}

/// Why a managed Redis does not run.
#[derive(Debug)]
pub enum StartError {
    /// No program to run.
    NotInstalled,
    /// The folder, the program or its watchdog could not be started.
    Io(&'static str, io::Error),
    /// The server ended, or did not answer; what it logged last.
    NotAnswering(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => formatter.write_str(
                "a managed Redis needs `redis-server` or `valkey-server`, and neither is in the PATH: install one \
                 (Debian and Ubuntu: `apt install redis-server` or `valkey-server`; Fedora: `dnf install valkey`; \
                 Alpine: `apk add redis` or `valkey`; macOS: `brew install redis`), or give the database a `url`",
            ),
            Self::Io(what, error) => write!(formatter, "a managed Redis could not be started: {what}: {error}"),
            Self::NotAnswering(log) => write!(formatter, "a managed Redis did not start: {log}"),
        }
    }
}

impl std::error::Error for StartError {}

impl ManagedRedis {
    /// Starts a Redis for the database `name` and waits until it answers.
    pub async fn start(name: &str) -> Result<Self, StartError> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("dbx-{name}-"))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|error| StartError::Io("cannot make its folder", error))?;
        let socket = folder.path().join("redis.sock");
        let server = Server::start(folder.path(), &socket).await?;
        let supervisor = tokio::spawn(supervise(name.to_owned(), server, folder, socket.clone()));
        Ok(Self { socket, supervisor })
    }
}

impl Drop for ManagedRedis {
    fn drop(&mut self) {
        // What the task owns goes with it: the processes, then the folder.
        self.supervisor.abort();
    }
}

async fn supervise(name: String, mut server: Server, folder: tempfile::TempDir, socket: PathBuf) {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let status = server.child.wait().await;
        if started.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        tracing::warn!(database = name, status, "the managed Redis ended and its data is lost; starting it again");
        // Its watchdog goes first: the process id that it would kill is free for others now.
        drop(server);
        server = loop {
            time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match Server::start(folder.path(), &socket).await {
                Ok(server) => break server,
                Err(error) => tracing::error!(database = name, %error, "the managed Redis does not start"),
            }
        };
        tracing::info!(database = name, "the managed Redis answers again");
    }
}

/// The server's process and the one that outlives the gateway to end it. Dropping ends both.
#[derive(Debug)]
struct Server {
    child: Child,
    watchdog: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both before either is waited for; `kill_on_drop` reaps them. Fails only for what has ended.
        let _ = self.watchdog.start_kill();
        let _ = self.child.start_kill();
    }
}

impl Server {
    async fn start(folder: &Path, socket: &Path) -> Result<Self, StartError> {
        let log = folder.join("redis.log");
        let child = spawn(folder, socket, &log)?;
        let Some(process) = child.id() else { return Err(StartError::NotAnswering("it ended at once".into())) };
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh", &process.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| StartError::Io("cannot run `sh`, which ends it when the gateway is killed", error))?;
        let mut server = Self { child, watchdog };
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if answers(socket).await {
                return Ok(server);
            }
            let ended = server.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let last = fs::read_to_string(&log).ok().and_then(|text| text.lines().last().map(str::to_owned));
                let state = ended.map_or_else(|| "no answer within 10 s".into(), |status| format!("it ended with {status}"));
                return Err(StartError::NotAnswering(format!("{state}; its last words: {}", last.unwrap_or_default())));
            }
            time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn spawn(folder: &Path, socket: &Path, log: &Path) -> Result<Child, StartError> {
    for program in PROGRAMS {
        let spawned = Command::new(program)
            .args(["--port", "0", "--daemonize", "no", "--save", "", "--appendonly", "no", "--unixsocketperm", "700"])
            .arg("--unixsocket")
            .arg(socket)
            .arg("--dir")
            .arg(folder)
            .arg("--logfile")
            .arg(log)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C reaches a whole group, and the gateway needs its Redis to finish what runs.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        match spawned {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other.map_err(|error| StartError::Io(program, error)),
        }
    }
    Err(StartError::NotInstalled)
}

async fn answers(socket: &Path) -> bool {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(&answer == b"+PONG\r\n")
    };
    matches!(time::timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
}
