//! The text of an API key: `dbx_<id>_<secret>`. The id is public and names the key; the secret ends in a checksum, so a
//! mistyped or cut key is told from an unknown one, and scanners of repositories can find a leaked one. What is stored of
//! a key is the SHA-256 of the whole text.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What every key starts with.
pub const PREFIX: &str = "dbx_";
/// Lower-case hexadecimal digits of an id.
pub const ID_LENGTH: usize = 16;
/// Digits of the random part: 62^43 is just above 2^256.
const RANDOM_LENGTH: usize = 43;
/// Digits of the checksum: 62^6 is above 2^32.
const CHECKSUM_LENGTH: usize = 6;
/// Digits of the secret.
pub const SECRET_LENGTH: usize = RANDOM_LENGTH + CHECKSUM_LENGTH;
/// Bytes of every key.
pub const LENGTH: usize = PREFIX.len() + ID_LENGTH + 1 + SECRET_LENGTH;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new key. Its text is shown once, to its owner, and never by `Debug`; it does not stay in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: Zeroizing<String>,
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It does not look like one.
    Form,
    /// It does, but was mistyped.
    Checksum,
}

impl Token {
    /// The whole text, which is the secret.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its public id: 16 lower-case hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.text[PREFIX.len()..PREFIX.len() + ID_LENGTH]
    }

    /// What is stored of it: the SHA-256 of its text as lower-case hexadecimal digits.
    pub fn sha256(&self) -> String {
        hex(&hash(&self.text))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Token").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Makes a key from random bytes of a cryptographic source, and its id.
pub fn mint(random: [u8; 32], id: [u8; ID_LENGTH / 2]) -> Token {
    let secret = Zeroizing::new(base62(&random, RANDOM_LENGTH));
    // Of its final size, since what a text grows out of is not wiped.
    let mut text = Zeroizing::new(String::with_capacity(LENGTH));
    for part in [PREFIX, &hex(&id), "_", &secret] {
        text.push_str(part);
    }
    let checksum = checksum(&text);
    text.push_str(&checksum);
    Token { text }
}

/// The id of a text that has the form of a key and the right checksum. It says nothing about whether there is such a key.
pub fn parse(text: &str) -> Option<&str> {
    read(text).ok()
}

/// As [`parse`], with the reason why not.
pub fn read(text: &str) -> Result<&str, Malformed> {
    if text.len() != LENGTH || !text.is_ascii() {
        return Err(Malformed::Form);
    }
    let (id, secret) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(Malformed::Form)?;
    if !is_id(id) || !secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Malformed::Form);
    }
    let (body, found) = text.split_at(LENGTH - CHECKSUM_LENGTH);
    if checksum(body) == found { Ok(id) } else { Err(Malformed::Checksum) }
}

/// Whether a text is 16 lower-case hexadecimal digits.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What is compared with what is stored: the SHA-256 of the whole text.
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The text with the secret of everything in it that looks like a key replaced by `***`.
pub fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(PREFIX).map(|at| at + PREFIX.len()) {
        let (before, after) = rest.split_at(start);
        clean.push_str(before);
        let id = after.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(after.len());
        let word = after.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(after.len());
        rest = after;
        // What begins like a key and is none may have one right behind it.
        if id < word && is_id(&after[..id]) {
            clean.push_str(&after[..=id]);
            clean.push_str("***");
            rest = &after[word..];
        }
    }
    clean.push_str(rest);
    clean
}

fn checksum(body: &str) -> String {
    base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CHECKSUM_LENGTH)
}

/// A big-endian number in digits of base 62, padded with zeros on the left.
fn base62(number: &[u8], length: usize) -> String {
    let mut number = number.to_vec();
    let mut digits = vec![DIGITS[0]; length];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = remainder << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = DIGITS[remainder as usize];
    }
    digits.into_iter().map(char::from).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes from 64 lower-case hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

    #[test]
    fn a_key_has_its_form() {
        let token = mint([0; 32], ID);
        assert_eq!(token.text(), format!("dbx_0123456789abcdef_{}{}", "0".repeat(43), checksum(&token.text()[..64])));
        assert_eq!((token.text().len(), token.id()), (LENGTH, "0123456789abcdef"));
        let most = mint([0xff; 32], ID);
        assert_eq!(most.text().len(), LENGTH);
        assert_eq!(parse(most.text()), Some("0123456789abcdef"));
        assert_eq!(token.sha256().len(), 64);
        assert_eq!(format!("{token:?}"), "Token { id: \"0123456789abcdef\", .. }");
    }

    /// Made by another implementation, as what is in use has to stay valid.
    #[test]
    fn a_known_key_is_made_and_read() {
        let token = mint(std::array::from_fn(|index| index as u8), ID);
        assert_eq!(token.text(), "dbx_0123456789abcdef_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf4D0XzJ");
        assert_eq!(token.sha256(), "14090fd065b3862bb42349854a943047a8d903c9d6c409fbba35d6222387a50b");
    }

    #[test]
    fn digits_are_those_of_the_number() {
        assert_eq!(base62(&[0xff; 32], 43), "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
        for (number, digits) in [(0_u32, "000000"), (61, "00000z"), (62, "000010"), (u32::MAX, "4gfFC3")] {
            assert_eq!(base62(&number.to_be_bytes(), 6), digits);
        }
    }

    #[test]
    fn every_other_text_is_refused() {
        let token = mint([7; 32], ID);
        let text = token.text();
        assert_eq!(parse(text), Some(token.id()));
        for index in 0..text.len() {
            for wrong in ["_", "!", "A", "b"] {
                let mut other = text.to_owned();
                other.replace_range(index..=index, wrong);
                assert!(other == text || parse(&other).is_none(), "{index}: {other}");
            }
        }
        for other in ["", "dbx_", &text[1..], &format!("{text}0"), &text.to_uppercase(), &"ä".repeat(35), &"_".repeat(LENGTH)] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_looks_like_a_key_is_told_by_its_id_alone() {
        let token = mint([7; 32], ID);
        let text = token.text();
        for (given, told) in [
            (text, "dbx_0123456789abcdef_***".to_owned()),
            (&format!("a \"{text}\", {text}ä"), "a \"dbx_0123456789abcdef_***\", dbx_0123456789abcdef_***ä".to_owned()),
            (&text[..40], "dbx_0123456789abcdef_***".to_owned()),
            (&format!("dbx_019f8{text}"), "dbx_019f8dbx_0123456789abcdef_***".to_owned()),
            ("dbx_", "dbx_".to_owned()),
            ("dbx_calls_total dbx_shop_web", "dbx_calls_total dbx_shop_web".to_owned()),
            ("dbx_word, and dbx", "dbx_word, and dbx".to_owned()),
            ("", String::new()),
        ] {
            assert_eq!(redact(given), told);
        }
    }

    #[test]
    fn digits_are_read_as_they_are_written() {
        let bytes = std::array::from_fn(|index| (index * 9) as u8);
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for text in ["", "00", &"0".repeat(65), &"A".repeat(64), &"g".repeat(64), &"ä".repeat(32)] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_mistyped_is_told_from_what_is_no_key() {
        let text = mint([7; 32], ID).text().to_owned();
        let mistyped = format!("{}{}", &text[..30], text[30..].to_uppercase());
        assert_eq!((read(&mistyped), read(&text[1..])), (Err(Malformed::Checksum), Err(Malformed::Form)));
    }

    #[test]
    fn what_is_stored_is_the_hash_of_the_whole_text() {
        assert_eq!(hex(&hash("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
