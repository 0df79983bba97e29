//! Globs as Redis matches them: `*`, `?`, `[a-z]`, `[^x]`, `\` before what is meant as itself; bytes, not characters.

/// Whether `text` matches all of a glob. Takes at most the product of both lengths, whatever the glob is.
pub(crate) fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where the last `*` is, and how much it has taken so far. One `*` that takes more makes up for all before it.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        if glob.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, read));
            continue;
        }
        match one(&glob[at..], text[read]) {
            Some(taken) => {
                at += taken;
                read += 1;
            }
            None => match star {
                Some((behind, taken)) => {
                    star = Some((behind, taken + 1));
                    (at, read) = (behind, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

/// Whether the glob's first part, which is no `*`, matches a byte; how long that part is.
fn one(glob: &[u8], byte: u8) -> Option<usize> {
    match *glob {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (literal == byte).then_some(2),
        [b'[', ..] => class(glob, byte),
        [literal, ..] => (literal == byte).then_some(1),
    }
}

/// A class goes on to its `]`, or to the end of the glob if there is none.
fn class(glob: &[u8], byte: u8) -> Option<usize> {
    let mut at = 1;
    let inverted = glob.get(at) == Some(&b'^');
    at += usize::from(inverted);
    let mut found = false;
    loop {
        match glob[at..] {
            [] => break,
            [b'\\', literal, ..] => {
                found |= literal == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= (first.min(last)..=first.max(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
    (found != inverted).then_some(at)
}

/// A glob that matches nothing but these bytes.
pub(super) fn escape(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        if b"*?[]^\\-".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_the_server_matches_them() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("cart:*", "cart:", true),
            ("cart:*", "cart:\n", true),
            ("cart:*", "CART:1", false),
            ("cart:*", "cart", false),
            ("cart:*", "xcart:1", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a[b-d]e", "ace", true),
            ("a[d-b]e", "ace", true),
            ("a[^b]c", "abc", false),
            ("a[^b]c", "axc", true),
            ("a[b", "ab", true),
            ("a[", "a[", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a\\", "a\\", true),
            ("[\\]]", "]", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(glob.as_bytes(), text.as_bytes()), expected, "{glob} {text:?}");
        }
        // No glob takes for ever.
        assert!(!matches(&b"*a".repeat(500), &b"a".repeat(400)));
    }

    #[test]
    fn what_is_escaped_means_itself() {
        for text in ["cart:*", "a[b]^-?\\", "-", "é"] {
            let mut glob = Vec::new();
            escape(text.as_bytes(), &mut glob);
            assert!(matches(&glob, text.as_bytes()), "{text}");
            assert!(!matches(&glob, b"cart:1"));
        }
    }
}
