//! Writing to the standard output, which may be closed by whoever reads it.

use std::{
    io::{self, Write},
    process,
};

/// Writes all of it, at once. When nobody reads any more they have seen enough, and it ends.
pub(crate) fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        result => result,
    }
}

/// What succeeded; errors are told, and do not hide it.
pub(crate) fn kept<T>(results: Vec<anyhow::Result<T>>) -> Vec<T> {
    let told = |error: &anyhow::Error| eprintln!("kubectl dbx: {error:#}");
    results.into_iter().filter_map(|result| result.inspect_err(told).ok()).collect()
}

/// Columns as wide as what is in them.
pub(crate) fn table(rows: &[Vec<String>], indent: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{:indent$}{}\n", "", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A row of a table.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}
