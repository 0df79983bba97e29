//! Where lines go: a stream of the process, or a file that is put aside when it is large.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

/// So much is written to a pipe as a whole (POSIX, `PIPE_BUF`), so that lines of others do not come in between.
const PIECE: usize = 4096;

/// Who may read a file of lines: its owner and its group.
const MODE: u32 = 0o640;

/// Where lines go.
pub(super) enum Sink {
    Stream(File),
    File(Rotating),
}

impl Sink {
    /// Standard output or standard error, without a buffer and without the lock that others who write there take.
    pub(super) fn stream(stream: impl AsFd) -> io::Result<Self> {
        stream.as_fd().try_clone_to_owned().map(|stream| Self::Stream(stream.into()))
    }

    /// A file to append to. At `most` bytes it is put aside; `kept` that were are kept.
    pub(super) fn file(path: impl Into<PathBuf>, most: u64, kept: usize) -> io::Result<Self> {
        let path = path.into();
        let file = open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self::File(Rotating { path, most, kept, file, size, torn: false }))
    }

    /// Whole lines, as many as are written at once.
    pub(super) fn pieces<'l>(&self, mut lines: &'l [u8]) -> impl Iterator<Item = &'l [u8]> + use<'l> {
        std::iter::from_fn(move || {
            let end = match lines.len() {
                0 => return None,
                length if length <= PIECE => length,
                length => {
                    let end = memchr::memrchr(b'\n', &lines[..PIECE]).or_else(|| memchr::memchr(b'\n', lines));
                    end.map_or(length, |end| end + 1)
                }
            };
            let piece;
            (piece, lines) = lines.split_at(end);
            Some(piece)
        })
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write_all(lines),
            Self::File(file) => file.write(lines),
        }
    }
}

/// A file, and those that were it before: `file.1` is the latest.
pub(super) struct Rotating {
    path: PathBuf,
    most: u64,
    kept: usize,
    file: File,
    size: u64,
    /// Its last line may be the beginning of one that could not be written.
    torn: bool,
}

impl Rotating {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + lines.len() as u64 > self.most {
            self.rotate()?;
        }
        if std::mem::replace(&mut self.torn, true) {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(lines)?;
        (self.size, self.torn) = (self.size + lines.len() as u64, false);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.kept).rev() {
            there(fs::rename(self.aside(number), self.aside(number + 1)))?;
        }
        match self.kept {
            0 => there(fs::remove_file(&self.path))?,
            _ => there(fs::rename(&self.path, self.aside(1)))?,
        }
        self.file = open(&self.path)?;
        (self.size, self.torn) = (self.file.metadata()?.len(), false);
        Ok(())
    }

    fn aside(&self, number: usize) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

/// What is not there need not be moved.
fn there(moved: io::Result<()>) -> io::Result<()> {
    moved.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn written(kept: usize, lines: &[&str]) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        for line in lines {
            // A process that is started again goes on where the last one was.
            Sink::file(folder.path().join("log"), 10, kept).unwrap().write(line.as_bytes()).unwrap();
        }
        contents(folder.path())
    }

    #[test]
    fn a_file_that_is_full_is_put_aside() {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let lines = ["first\n", "2nd\n", "third\n", "fourth, a long one\n", "5th\n", "6th\n"];
        assert_eq!(written(2, &lines), [file("log", "5th\n6th\n"), file("log.1", "fourth, a long one\n"), file("log.2", "third\n")]);
        assert_eq!(written(1, &lines), [file("log", "5th\n6th\n"), file("log.1", "fourth, a long one\n")]);
        assert_eq!(written(0, &lines), [file("log", "5th\n6th\n")]);
        assert_eq!(written(2, &lines[..2]), [file("log", "first\n2nd\n")]);
    }

    #[test]
    fn lines_are_written_whole() {
        let sink = Sink::stream(io::stderr()).unwrap();
        let long = "l".repeat(2 * PIECE);
        let short = "s".repeat(PIECE / 3);
        let lines = format!("{short}\n{short}\n{short}\n{long}\n{short}\n");
        let pieces: Vec<_> = sink.pieces(lines.as_bytes()).map(|piece| std::str::from_utf8(piece).unwrap().to_owned()).collect();
        assert_eq!(pieces, [format!("{short}\n{short}\n"), format!("{short}\n"), format!("{long}\n"), format!("{short}\n")]);
        assert_eq!(sink.pieces(b"").count(), 0);
    }
}
