//! What has to hold whatever strangers send: one function for each target of `fuzz/`, which panics where it does not. They are
//! here, and not there, to reach what is nobody else's business, and to run the kept inputs with the other tests.

mod calls;
mod files;
mod frames;
mod grants;
mod tokens;

pub(crate) use self::calls::command;
pub use self::{calls::calls, files::files, frames::frames, grants::grants, tokens::tokens};
pub use crate::http::fuzzing::paths;

use dbx_crds::config::{Database, DatabaseLimits, Grant};

use crate::{
    auth::Rights,
    operation::{self, Id},
};

/// The first line of an input, and the rest.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', data) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

/// The operation that a line names. Any other line stands for some operation, so that none is hard to find.
fn operation(line: &[u8]) -> Id {
    let named = std::str::from_utf8(line).ok().and_then(operation::find);
    named.unwrap_or_else(|| {
        let sum = line.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        operation::ids().nth(sum % operation::all().len()).expect("it is less than there are")
    })
}

/// What a grant gives at a database.
fn rights(grant: &Grant) -> Result<Rights, String> {
    let database = Database { name: "redis".to_owned(), redis: None, limits: DatabaseLimits::default() };
    Rights::compile(&database, &[grant])
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    type Target = (&'static str, fn(&[u8]));

    const TARGETS: &[Target] =
        &[("paths", paths), ("calls", calls), ("frames", frames), ("grants", grants), ("tokens", tokens), ("files", files)];

    #[test]
    fn what_was_kept_is_taken() {
        for (name, target) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
            let mut kept = 0;
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                eprintln!("{}", path.display());
                target(&fs::read(path).unwrap());
                kept += 1;
            }
            assert!(kept > 0, "{}", folder.display());
        }
    }

    #[test]
    fn every_example_is_taken() {
        for operation in operation::all() {
            let sample = format!("{}\n{}", operation.name, operation.example.arguments).into_bytes();
            calls(&sample);
            grants(&[b"read write publish\na*\np:\n", &sample[..]].concat());
        }
    }
}
