//! How reference pages are written: every table of them is made here.

use std::fmt::Write;

/// A table in Markdown, with an empty line before it.
#[must_use]
pub fn table<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = format!("\n| {} |\n|{}\n", columns.join(" | "), "---|".repeat(N));
    for row in rows {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "| {} |", row.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).join(" | "));
    }
    text
}
