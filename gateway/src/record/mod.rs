//! Lines that must never keep a call waiting: the access log and the audit log. A worker writes its lines into a [`Page`] of its
//! own; one thread for each log takes what is there ten times a second, or as soon as a page is full, and writes it. While it cannot,
//! lines wait up to a bound; beyond that they are dropped and counted.

mod access;
mod audit;
mod line;
mod page;
mod sink;

use std::io;

use dbx_crds::config::{AuditCalls, GatewayConfig, LogFormat};

pub use self::{
    access::{Access, Request, Socket},
    audit::{Audit, Trail, Who, is_denial},
};
use self::{
    page::{Log, Pen},
    sink::Sink,
};

/// Where `audit.file` means standard output.
const STDOUT: &str = "-";

/// The logs of the process, as far as they are switched on.
pub struct Records {
    access: Option<(Log, LogFormat)>,
    audit: Option<(Log, dbx_crds::config::Audit)>,
}

impl Records {
    /// Opens what the configuration asks for and starts its threads. What ends when the second is dropped is written by then.
    ///
    /// Errors say which setting is at fault.
    pub fn open(config: &GatewayConfig, workers: usize) -> Result<(Self, Writers), String> {
        let mut writers = Writers(Vec::new());
        let mut start = |name, sink: Sink| {
            let (log, writer) = Log::start(name, sink, workers).map_err(|error| format!("the thread of the {name} log: {error}"))?;
            writers.0.push(writer);
            Ok::<_, String>(log)
        };
        let access = match config.log.access() {
            true => {
                Some((start("access", Sink::stream(io::stderr()).map_err(|error| format!("log.access: {error}"))?)?, config.log.format()))
            }
            false => None,
        };
        let settings = &config.audit;
        let audit = match (settings.calls(), settings.file().as_str()) {
            (AuditCalls::None, _) => None,
            (_, STDOUT) => {
                Some((start("audit", Sink::stream(io::stdout()).map_err(|error| format!("audit.file: {error}"))?)?, settings.clone()))
            }
            (_, file) => {
                let kept = usize::try_from(settings.max_files()).unwrap_or_default();
                let sink = Sink::file(file, settings.max_file_bytes().bytes() as u64, kept);
                let sink = sink.map_err(|error| format!("audit.file: cannot open {file}: {error}"))?;
                Some((start("audit", sink)?, settings.clone()))
            }
        };
        Ok((Self { access, audit }, writers))
    }

    /// The access log as a worker writes it.
    pub fn access(&self, worker: usize) -> Option<Access> {
        self.access.as_ref().map(|(log, format)| Access::new(log.pen(worker), *format))
    }

    /// The audit log as a worker writes it.
    pub fn audit(&self, worker: usize) -> Option<Audit> {
        self.audit.as_ref().map(|(log, settings)| Audit::new(log.pen(worker), settings.calls(), settings.keys()))
    }

    /// How many lines each log has dropped.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let logs = [self.access.as_ref().map(|(log, _)| log), self.audit.as_ref().map(|(log, _)| log)];
        logs.into_iter().flatten().map(Log::dropped)
    }
}

/// The threads that write. Dropped, they write what is left; what cannot be written soon is lost with the process.
pub struct Writers(Vec<page::Writer>);
