//! Versions of values: an entity tag is the hash of the stored bytes and the representation they were given in. Preconditions
//! compare the hashes alone, so that a version read as JSON holds for a change sent as bytes.

use axum::http::HeaderValue;
use xxhash_rust::xxh3::xxh3_128;

use super::{compression::Coding, options::Options, precondition::HASHED, request::Media};
use crate::operation::{
    self,
    arguments::{Arguments, Given},
    encode::Encoding,
    param::Param,
};

const DIGITS: usize = 32;

/// The hash of a value as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(u128);

impl Version {
    pub(super) fn of(value: &[u8]) -> Self {
        Self(xxh3_128(value))
    }

    /// The version that a value has once it is stored as these arguments say, unless it is long and nobody asked.
    pub(super) fn stored(given: &Arguments<'_>, options: &Options) -> Option<Self> {
        let value = value(given)
            .or_else(|| given.iter().find_map(|(_, part)| if let Given::Element(parts) = part { value(parts) } else { None }))?;
        let bytes = operation::bytes(value, options.encoding).ok()?;
        (bytes.len() <= HASHED || options.etag).then(|| Self::of(&bytes))
    }

    /// Reads an entity tag, with or without its quotes and its representation.
    pub(super) fn parse(tag: &str) -> Option<Self> {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
        let (hash, representation) = tag.split_at_checked(DIGITS)?;
        let coded = Coding::ALL.into_iter().find_map(|coding| representation.strip_suffix(coding.name())?.strip_suffix('-'));
        let representation = coded.unwrap_or(representation);
        let known = matches!(representation, "" | "-j" | "-i" | "-b" | "-r");
        (known && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| u128::from_str_radix(hash, 16).ok().map(Self))?
    }

    /// The entity tag of the value in the representation that a request asks for.
    pub(super) fn tag(self, options: &Options) -> HeaderValue {
        let representation = match (options.accept, options.encoding) {
            (Media::Bytes, _) => b'r',
            (Media::Json, Encoding::Base64) => b'b',
            (Media::Json, Encoding::Utf8) if options.integers_as_strings => b'i',
            (Media::Json, Encoding::Utf8) => b'j',
        };
        let mut tag = [0; DIGITS + 4];
        tag[0] = b'"';
        for (digit, byte) in tag[1..=DIGITS].iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[(self.0 >> (124 - 4 * digit)) as usize & 15];
        }
        tag[DIGITS + 1..].copy_from_slice(&[b'-', representation, b'"']);
        HeaderValue::from_bytes(&tag).expect("hexadecimal digits are visible ASCII")
    }
}

/// The argument that is stored as it is.
fn value<'g, 'a>(given: &'g Arguments<'a>) -> Option<&'g Given<'a>> {
    [Param::VALUE, "element"].into_iter().find_map(|name| given.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_with_and_without_what_surrounds_the_hash() {
        let version = Version::of(b"Ada");
        let text = format!("{:032x}", version.0);
        for tag in [
            text.clone(),
            format!("\"{text}\""),
            format!("\"{text}-r\""),
            format!(" W/\"{text}-j\" "),
            format!("\"{text}-b-gzip\""),
            text.to_uppercase(),
        ] {
            assert_eq!(Version::parse(&tag), Some(version), "{tag}");
        }
        for tag in ["", "*", "\"\"", "\"abc\"", &text[1..], &format!("{text}0"), &format!("{text}-j-br"), &format!("{}é", &text[..31])] {
            assert_eq!(Version::parse(tag), None, "{tag}");
        }
    }
}
