//! The nearest known name for a setting that does not exist.

use dbx_crds::shape::{Kind, Shape};

use super::{path::Path, reference};

/// The setting that was most likely meant by a path whose first `known` names exist.
pub(super) fn nearest(path: &Path, known: usize) -> Option<Path> {
    let section = path.prefix(known);
    let wrong = path.names().get(known)?;
    let here = match Shape::config().at(section.names()).ok().map(|shape| &shape.kind) {
        Some(Kind::Section(settings, _)) => closest(wrong, settings.keys().map(|name| (name.clone(), section.join(name)))),
        _ => None,
    };
    // Somebody who forgot the section wrote `maxInFlight` or `redisUrl`: the last names of a path elsewhere.
    let said = path.names()[known..].concat();
    here.or_else(|| {
        let settings = reference::shapes();
        closest(
            &said,
            settings.iter().flat_map(|(setting, _)| {
                let names = setting.names();
                (1..=names.len().min(2)).map(|count| (names[names.len() - count..].concat(), setting.clone())).collect::<Vec<_>>()
            }),
        )
    })
}

fn closest(wrong: &str, candidates: impl Iterator<Item = (String, Path)>) -> Option<Path> {
    let wrong = plain(wrong);
    candidates
        .map(|(name, path)| (distance(&wrong, &plain(&name)), path))
        .filter(|(distance, _)| *distance <= wrong.len() / 3)
        // Of those that are called the same, the one for all comes before the one for some.
        .min_by_key(|(distance, path)| (*distance, path.names().len()))
        .map(|(_, path)| path)
}

/// Without the differences between the spellings of sources.
fn plain(name: &str) -> Vec<char> {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How many letters have to be put, dropped or replaced to make one name of the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, right) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
