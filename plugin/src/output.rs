//! Writing to the standard output, which may be closed by whoever reads it.

use std::{
    io::{self, Write},
    process,
};

/// Writes all of it, at once. When nobody reads any more they have seen enough, and it ends.
pub(crate) fn write(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        result => result,
    }
}

/// What succeeded; an error is told, and does not hide the rest.
pub(crate) fn kept<T>(result: anyhow::Result<T>) -> Option<T> {
    result.inspect_err(|error| eprintln!("kubectl dbx: {error:#}")).ok()
}

/// Lines whose cells, with tabs between them, are put into columns.
pub(crate) fn table(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let line = |row: &Vec<&str>| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:0$}  ", width(column)));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
