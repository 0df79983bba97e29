//! The file of keys on disk. It is replaced as a whole, so that whoever reads it sees the old one or the new one, also after the
//! power has failed; and by one process at a time.

use std::{
    fs::{self, File, Metadata, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, fchown},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use dbx_crds::api_key::file::MAX_BYTES;

/// How long another process may be at the file.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The text of a file that is there.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let fail = |error: io::Error| failure("read", path, &error);
    let file = File::open(path).map_err(fail)?;
    let mut text = String::new();
    // What is longer than allowed is read a little too far, and refused for it.
    file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

/// A change of a file that has begun: no other can until it ends.
pub(super) struct Change {
    path: PathBuf,
    text: String,
    /// Of the file, if there is one.
    metadata: Option<Metadata>,
    /// Where it is, locked. The file itself cannot carry the lock, as it is replaced.
    directory: File,
}

impl Change {
    /// Waits for its turn and reads the file; one that is not there is empty.
    pub(super) fn begin(path: &Path) -> Result<Self, String> {
        let fail = |error: io::Error| failure("change", path, &error);
        // Of a link, what it leads to is replaced.
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(fail(error)),
        };
        let directory = File::open(directory(&target)).map_err(fail)?;
        lock(&directory, path)?;
        let metadata = match fs::metadata(&target) {
            Ok(metadata) if metadata.is_file() => Some(metadata),
            Ok(_) => return Err(format!("cannot change {}: it is not a file", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(fail(error)),
        };
        let text = if metadata.is_some() { read(path)? } else { String::new() };
        Ok(Self { path: target, text, metadata, directory })
    }

    /// What is in the file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Replaces the file. Mode and owner stay; a new one is its owner's alone.
    pub(super) fn commit(self, text: &str) -> Result<(), String> {
        let write = || -> io::Result<()> {
            let mut new = tempfile::Builder::new().prefix(".dbx-keys-").tempfile_in(directory(&self.path))?;
            if let Some(old) = &self.metadata {
                let made = new.as_file().metadata()?;
                if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
                    fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
                }
                new.as_file().set_permissions(old.permissions())?;
            }
            new.write_all(text.as_bytes())?;
            new.as_file().sync_all()?;
            new.persist(&self.path)?;
            self.directory.sync_all()
        };
        write().map_err(|error| failure("write", &self.path, &error))
    }
}

fn lock(directory: &File, path: &Path) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(format!("cannot change {}: another process has been at it for too long", path.display()));
            }
            Err(TryLockError::Error(error)) => return Err(failure("lock", path, &error)),
        }
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failure(what: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}
