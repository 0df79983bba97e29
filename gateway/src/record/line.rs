//! One line: its time, its target, then members.

use std::{io::Write, net::IpAddr, time::SystemTime};

use dbx_crds::config::LogFormat;

/// Writes a line as the others of the log look.
pub(super) struct Line<'o> {
    out: &'o mut Vec<u8>,
    format: LogFormat,
}

impl<'o> Line<'o> {
    /// Begins a line.
    pub(super) fn begin(out: &'o mut Vec<u8>, format: LogFormat, target: &str, message: &str) -> Self {
        let (start, level, between, end): (&[u8], &[u8], &[u8], &[u8]) = match format {
            LogFormat::Json => (b"{\"timestamp\":\"", b"\",\"level\":\"INFO\",\"target\":\"", b"\",\"message\":\"", b"\""),
            LogFormat::Human => (b"", b"  INFO ", b": ", b""),
        };
        out.extend_from_slice(start);
        // Writing to memory does not fail.
        let _ = write!(out, "{}", humantime::format_rfc3339_millis(SystemTime::now()));
        for part in [level, target.as_bytes(), between, message.as_bytes(), end] {
            out.extend_from_slice(part);
        }
        Self { out, format }
    }

    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        let (before, after): (&[u8], &[u8]) = match self.format {
            LogFormat::Json => (b",\"", b"\":"),
            LogFormat::Human => (b" ", b"="),
        };
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(after);
        self.out
    }

    /// A member that is a text with nothing in it that would have to be escaped.
    pub(super) fn word(&mut self, name: &str, value: &str) {
        let out = self.name(name);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }

    /// A member that is a text.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        quote(self.name(name), value);
    }

    /// A member that is a number.
    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name).extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A member that is an address.
    pub(super) fn address(&mut self, name: &str, value: IpAddr) {
        // Writing to memory does not fail.
        let _ = write!(self.name(name), "\"{value}\"");
    }

    /// A member that is a list of texts, each written by itself.
    pub(super) fn list<T>(&mut self, name: &str, values: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
        let out = self.name(name);
        out.push(b'[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(out, value);
        }
        out.push(b']');
    }

    /// Ends the line.
    pub(super) fn end(self) {
        if self.format == LogFormat::Json {
            self.out.push(b'}');
        }
    }
}

/// Writes a text in quotes, so that it can neither end itself nor the line.
pub(super) fn quote(out: &mut Vec<u8>, text: &str) {
    // A text is always JSON, and writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}
