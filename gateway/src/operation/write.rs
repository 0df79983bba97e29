//! Writing JSON strings and numbers. Runs that need no escape are copied whole; eight bytes are looked at together.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a JSON string.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    loop {
        let plain = plain(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&byte) = rest.get(plain) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

/// The number of bytes before the first that has to be escaped.
fn plain(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let special = special(u64::from_le_bytes(*chunk));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = bytes[at..].iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
    tail.map_or(bytes.len(), |tail| at + tail)
}

/// Marks the bytes that have to be escaped by their high bit; the lowest mark is exact.
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let below = |limit: u64, word: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    below(0x20, word) | below(1, word ^ (ONES * u64::from(b'"'))) | below(1, word ^ (ONES * u64::from(b'\\')))
}

/// Whether it is a number of JSON.
pub(super) fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let places = digits(fraction);
        if places == 0 {
            return false;
        }
        rest = &fraction[places..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let places = digits(exponent);
        if places == 0 {
            return false;
        }
        rest = &exponent[places..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_what_serde_json_reads() {
        for length in 0..20 {
            for special in (0..0x80_u8).map(char::from).chain(['é', '漢', '🦀', '\u{80}']) {
                for at in 0..=length {
                    let text: String = (0..length).map(|index| if index == at { special } else { 'x' }).collect();
                    let mut out = Vec::new();
                    write_string(&mut out, &text);
                    assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
                }
            }
        }
    }

    #[test]
    fn numbers_are_those_of_json() {
        for number in ["0", "-1", "10.5", "1e+20", "3.0000000000000004", "-0.5E-7"] {
            assert!(is_number(number.as_bytes()), "{number}");
        }
        for other in ["", "-", "01", ".5", "5.", "inf", "-nan", "1e", "0x1"] {
            assert!(!is_number(other.as_bytes()), "{other}");
        }
    }
}
