//! Takes the two files of Swagger UI that `/docs` needs out of the crate that carries them. They stay compressed as they are
//! there: what a zip holds is what gzip holds, between other headers.

use std::{env, fs, path::PathBuf};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ARCHIVE;

const FILES: &[&str] = &["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    for name in FILES {
        let file = gzip(&format!("/dist/{name}")).unwrap_or_else(|| panic!("the archive has no {name} that is deflated"));
        fs::write(folder.join(format!("{name}.gz")), file).expect("the folder can be written");
    }
}

/// The file whose path ends so, as gzip.
fn gzip(path: &str) -> Option<Vec<u8>> {
    let end = ARCHIVE.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let mut at = number(end + 16, 4)?;
    for _ in 0..number(end + 10, 2)? {
        let (name, extra, comment) = (number(at + 28, 2)?, number(at + 30, 2)?, number(at + 32, 2)?);
        if ARCHIVE.get(at + 46..at + 46 + name)?.ends_with(path.as_bytes()) {
            let deflated = number(at + 10, 2)? == 8;
            let (length, local) = (number(at + 20, 4)?, number(at + 42, 4)?);
            let start = local + 30 + number(local + 26, 2)? + number(local + 28, 2)?;
            let mut file = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
            file.extend_from_slice(ARCHIVE.get(start..start + length)?);
            // The checksum and the length, in both formats.
            file.extend_from_slice(ARCHIVE.get(at + 16..at + 20)?);
            file.extend_from_slice(ARCHIVE.get(at + 24..at + 28)?);
            return deflated.then_some(file);
        }
        at += 46 + name + extra + comment;
    }
    None
}

fn number(at: usize, bytes: usize) -> Option<usize> {
    Some(ARCHIVE.get(at..at + bytes)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}
