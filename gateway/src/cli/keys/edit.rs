//! Changes of the text of a file of keys that leave everything else as it is, comments included. A change is made by lines, as
//! this program lays a file out, and then proved: it is refused unless the new text is read as what was meant.

use std::{collections::HashSet, ops::Range};

use dbx_crds::{
    api_key::file::{Key, KeyFile, MAX_BYTES, MAX_KEYS},
    config::Invalid,
};

const LAYOUT: &str =
    "is not laid out as this program does it, with `keys:` at the start of a line and each key below it as `- id: …`, and is left as it is";
const HEAD: &str = "keys:";
const EMPTY: &str = " []";

/// What stands in the file for a key.
pub(super) fn entry(key: &Key) -> Result<String, String> {
    serde_yaml::to_string(&[key]).map_err(|error| error.to_string())
}

/// Adds a key at the end.
pub(super) fn append(text: &str, key: &Key) -> Result<String, String> {
    let mut file = read(text)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let head = lines.iter().position(|line| is_head(line));
    let indent = Layout::read(&lines).map_or(0, |layout| layout.indent);
    let mut new: String = match head {
        // What is there for no keys makes room for one.
        Some(head) if file.keys.is_empty() => lines
            .iter()
            .enumerate()
            .map(|(index, line)| if index == head { line.replacen(EMPTY, "", 1) } else { (*line).to_owned() })
            .collect(),
        _ => text.to_owned(),
    };
    let end_line = |text: &mut String| {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
    };
    end_line(&mut new);
    if head.is_none() {
        new.push_str(HEAD);
    }
    end_line(&mut new);
    for line in entry(key)?.lines() {
        new.extend(std::iter::repeat_n(' ', indent));
        new.push_str(line);
        new.push('\n');
    }
    file.keys.push(key.clone());
    prove(new, &file)
}

/// Takes keys out.
pub(super) fn remove(text: &str, ids: &HashSet<&str>) -> Result<String, String> {
    let mut file = read(text)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let layout = Layout::of(&lines, &file)?;
    let mut stays = vec![true; lines.len()];
    for (item, _) in layout.items.iter().zip(&file.keys).filter(|(_, key)| ids.contains(key.id.as_str())) {
        stays[item.clone()].fill(false);
    }
    file.keys.retain(|key| !ids.contains(key.id.as_str()));
    let mut new = String::with_capacity(text.len());
    for (index, line) in lines.iter().enumerate().filter(|(index, _)| stays[*index]) {
        if index == layout.head && file.keys.is_empty() {
            new.push_str(&line.replacen(HEAD, &format!("{HEAD}{EMPTY}"), 1));
        } else {
            new.push_str(line);
        }
    }
    prove(new, &file)
}

/// Marks keys as disabled.
pub(super) fn disable(text: &str, ids: &HashSet<&str>) -> Result<String, String> {
    let mut file = read(text)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let layout = Layout::of(&lines, &file)?;
    let mut new: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    for (item, key) in layout.items.iter().zip(&mut file.keys).filter(|(_, key)| ids.contains(key.id.as_str()) && !key.disabled) {
        key.disabled = true;
        let fields = fields(lines[item.start]);
        let said = item.clone().find(|index| lines[*index].get(fields..).is_some_and(|line| line.starts_with("disabled:")));
        match said {
            Some(index) => new[index] = new[index].replacen("false", "true", 1),
            None => new[item.start].insert_str(fields, &format!("disabled: true\n{}", " ".repeat(fields))),
        }
    }
    prove(new.concat(), &file)
}

/// Where the keys are.
struct Layout {
    /// The line of `keys:`.
    head: usize,
    /// Spaces before the dash of each key.
    indent: usize,
    /// The lines of each key, without comments and empty lines behind it.
    items: Vec<Range<usize>>,
}

impl Layout {
    /// The layout of a file of at least one key.
    fn read(lines: &[&str]) -> Option<Self> {
        let head = lines.iter().position(|line| is_head(line))?;
        let mut content = (head + 1..lines.len()).filter(|index| !is_comment(lines[*index])).peekable();
        let indent = spaces(lines[*content.peek()?]);
        let mut items: Vec<Range<usize>> = Vec::new();
        for index in content {
            if spaces(lines[index]) == indent && lines[index][indent..].starts_with('-') {
                items.push(index..index + 1);
            } else {
                items.last_mut()?.end = index + 1;
            }
        }
        Some(Self { head, indent, items })
    }

    /// That of a file that has been read.
    fn of(lines: &[&str], file: &KeyFile) -> Result<Self, String> {
        Self::read(lines).filter(|layout| layout.items.len() == file.keys.len()).ok_or_else(|| LAYOUT.to_owned())
    }
}

/// `keys:` or `keys: []`.
fn is_head(line: &str) -> bool {
    line.strip_prefix(HEAD).is_some_and(|rest| is_comment(rest.strip_prefix(EMPTY).unwrap_or(rest)))
}

fn is_comment(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn spaces(line: &str) -> usize {
    line.bytes().take_while(|byte| *byte == b' ').count()
}

/// Where the first field of a key begins in its line, and the others in theirs.
fn fields(line: &str) -> usize {
    let dash = spaces(line) + 1;
    dash + line.get(dash..).map_or(0, spaces)
}

fn read(text: &str) -> Result<KeyFile, String> {
    KeyFile::read(text).map_err(|mistakes| lines(&mistakes))
}

fn lines(mistakes: &[Invalid]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn prove(text: String, meant: &KeyFile) -> Result<String, String> {
    match KeyFile::read(&text) {
        Ok(file) if file == *meant => Ok(text),
        Err(mistakes) if text.len() > MAX_BYTES || meant.keys.len() > MAX_KEYS => Err(lines(&mistakes)),
        _ => Err(LAYOUT.to_owned()),
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
