//! Versions of values: an entity tag is the hash of the stored bytes and the representation they were given in. Preconditions
//! compare the hashes alone, so that a version read as JSON holds for a change sent as bytes.

use xxhash_rust::xxh3::xxh3_128;

const DIGITS: usize = 32;

/// The hash of a value as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(u128);

impl Version {
    pub(super) fn of(value: &[u8]) -> Self {
        Self(xxh3_128(value))
    }

    /// Reads an entity tag, with or without its quotes and its representation.
    pub(super) fn parse(tag: &str) -> Option<Self> {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
        let (hash, representation) = tag.split_at_checked(DIGITS)?;
        let known = matches!(representation, "" | "-j" | "-i" | "-b" | "-r");
        (known && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| u128::from_str_radix(hash, 16).ok().map(Self))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_with_and_without_what_surrounds_the_hash() {
        let version = Version::of(b"Ada");
        let text = format!("{:032x}", version.0);
        for tag in [text.clone(), format!("\"{text}\""), format!("\"{text}-r\""), format!(" W/\"{text}-j\" "), text.to_uppercase()] {
            assert_eq!(Version::parse(&tag), Some(version), "{tag}");
        }
        for tag in ["", "*", "\"\"", "\"abc\"", &text[1..], &format!("{text}0"), &format!("{}é", &text[..31])] {
            assert_eq!(Version::parse(tag), None, "{tag}");
        }
    }
}
