//! Log lines: JSON for machines, text for people, always to standard error. They hold no key, no value and no secret. Requests
//! are logged by [`crate::record`].

use dbx_crds::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process.
pub fn start(log: &Log) {
    // The gateway's own level; libraries speak up only about what is wrong.
    let filter = EnvFilter::new(format!("warn,dbx_gateway={}", log.level().name()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process, as tests do, keeps the first.
    let _ = match log.format() {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        LogFormat::Human => builder.try_init(),
    };
}
