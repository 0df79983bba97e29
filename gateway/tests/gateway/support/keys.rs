//! A file of keys that a test writes, and the gateway reads again and again.

use std::{fmt::Write, fs, path::PathBuf, sync::atomic::AtomicU64, sync::atomic::Ordering::Relaxed};

use dbx_crds::api_key::token;

/// Keys and the file that they are in.
pub struct Keys {
    folder: tempfile::TempDir,
    entries: Vec<(String, String)>,
}

impl Keys {
    pub fn new() -> Self {
        let keys = Self { folder: tempfile::tempdir().unwrap(), entries: Vec::new() };
        keys.write();
        keys
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("keys.yaml")
    }

    /// The settings of a gateway that takes these keys and nobody else.
    pub fn settings(&self) -> [String; 2] {
        ["auth.mode=required".to_owned(), self.source()]
    }

    pub fn source(&self) -> String {
        format!("auth.keysFrom=[{{ file: '{}' }}]", self.path().display())
    }

    /// Adds a key with a name and more lines of YAML, such as `grants: [{ access: [read] }]`; its text.
    pub fn add(&mut self, name: &str, more: &[&str]) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Relaxed);
        let mut random = [0; 32];
        random[..8].copy_from_slice(&number.to_be_bytes());
        random[8..12].copy_from_slice(&std::process::id().to_be_bytes());
        let token = token::mint(random, number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        let mut entry =
            format!("- id: '{}'\n  name: {name}\n  sha256: '{}'\n  created: 2026-01-01T00:00:00Z\n", token.id(), token.sha256());
        for line in more {
            writeln!(entry, "  {line}").unwrap();
        }
        self.entries.push((token.text().to_owned(), entry));
        self.write();
        token.text().to_owned()
    }

    /// Takes a key out of the file.
    pub fn remove(&mut self, text: &str) {
        self.entries.retain(|(known, _)| known != text);
        self.write();
    }

    /// Writes something else in place of the file.
    pub fn spoil(&self, text: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.path()).unwrap();
    }

    pub fn write(&self) {
        let entries: String = self.entries.iter().map(|(_, entry)| entry.as_str()).collect();
        self.spoil(&format!("keys:\n{entries}"));
    }
}
