//! A managed Redis lives as long as its gateway, whichever of the two dies first.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A gateway whose managed Redis has its folder in ours.
struct Gateway {
    process: Child,
    folder: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbx-gateway"));
    command
        .args(["--database", "scratch=managed", "--set", "workers=1", "--set", "drain.propagation=0s"])
        .args(["--set", "listen.data=127.0.0.1:0", "--set", "listen.operations=127.0.0.1:0"])
        .current_dir(folder)
        .env("TMPDIR", folder)
        .stderr(Stdio::null());
    command
}

/// A gateway that serves: before that, a Redis that ends is one that does not start.
fn gateway() -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let process = command(folder.path()).stderr(log.reopen().unwrap()).spawn().unwrap();
    let gateway = Gateway { process, folder };
    soon("the gateway listens", || fs::read_to_string(log.path()).unwrap().contains("listening").then_some(()));
    gateway
}

impl Gateway {
    fn redis_folder(&self) -> Option<PathBuf> {
        fs::read_dir(self.folder.path()).unwrap().next().map(|entry| entry.unwrap().path())
    }

    /// A connection to the Redis, once it answers.
    fn redis(&self) -> UnixStream {
        soon("the Redis answers", || {
            let mut stream = UnixStream::connect(self.redis_folder()?.join("redis.sock")).ok()?;
            stream.write_all(b"PING\r\n").ok()?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).ok()?;
            (&answer == b"+PONG\r\n").then_some(stream)
        })
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap().success());
    }

    /// Nothing is left: the connection ends with its server, and the folder goes.
    #[track_caller]
    fn nothing_is_left(&self, mut stream: UnixStream) {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
        soon("the folder is gone", || self.redis_folder().is_none().then_some(()));
    }
}

#[track_caller]
fn soon<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < deadline, "waited 15 s until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_dies_with_a_killed_gateway() {
    let gateway = gateway();
    let stream = gateway.redis();
    gateway.signal("-KILL");
    gateway.nothing_is_left(stream);
}

#[test]
fn it_dies_with_a_stopped_gateway() {
    let mut gateway = gateway();
    let stream = gateway.redis();
    // The signal handlers stand before the Redis starts.
    gateway.signal("-TERM");
    gateway.nothing_is_left(stream);
    assert!(gateway.process.wait().unwrap().success());
}

#[test]
fn it_is_started_again_when_it_dies_alone() {
    let gateway = gateway();
    let folder = soon("the folder is made", || gateway.redis_folder());
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    for _ in 0..2 {
        let mut stream = gateway.redis();
        stream.write_all(b"SHUTDOWN NOSAVE\r\n").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    let stream = gateway.redis();
    gateway.signal("-KILL");
    gateway.nothing_is_left(stream);
}

#[test]
fn without_a_program_it_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let run = command(folder.path()).env("PATH", "/nowhere").stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.code() == Some(1) && told.contains("apt install redis-server"), "{told}");
}
