//! A child process. Dropping it ends it, by its own id, also when the test panics.

use std::{
    fs,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use super::until;

pub struct Process(Child);

impl Process {
    /// Starts a program; `missing` says what to do when there is none.
    pub fn start(command: &mut Command, missing: &str) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        Self(command.spawn().unwrap_or_else(|error| panic!("{program} cannot be started ({error}): {missing}")))
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success(), "SIG{name} cannot be sent");
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // Fails only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        until("the end of the process", within, || self.0.try_wait().unwrap())
    }

    /// Memory that it holds, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
