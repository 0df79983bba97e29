//! Texts that the server writes for people, read for programs: what `INFO` and its like answer. Nothing in them is a caller's value.

use super::write::{is_number, write_string};

/// How a text is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `# Section` lines, each before lines of `name:value`: an object of objects. Numbers are numbers, `a=1,b=2` is an object,
    /// and the values of a name that repeats are an array.
    Sections,
    /// Lines of `name:value` alone.
    Properties,
    /// `name=value` words in one line. Callers choose some of them, so all values stay strings.
    Words,
    /// A node of a cluster in one line: words that their place gives a meaning.
    Node,
}

/// Appends what a text says as a JSON object.
pub(super) fn write(text: &str, of: Form, out: &mut Vec<u8>) {
    match of {
        Form::Sections => sections(text, out),
        Form::Properties => properties(text.lines(), out),
        Form::Words => {
            let words = text.trim_end().split(' ').filter(|word| !word.is_empty());
            object(words.map(|word| word.split_once('=').unwrap_or((word, ""))), out, |value, out| write_string(out, value));
        }
        Form::Node => node(text, out),
    }
}

fn sections(text: &str, out: &mut Vec<u8>) {
    let mut sections: Vec<(String, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("# "), sections.last_mut()) {
            (Some(name), _) => sections.push((name.to_lowercase(), Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            // Nothing stands before the first section.
            (None, None) => {}
        }
    }
    let named = sections.iter().map(|(name, lines)| (name.as_str(), lines));
    object(named, out, |lines, out| properties(lines.iter().copied(), out));
}

fn properties<'a>(lines: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => all.push((name, vec![value])),
        }
    }
    object(all.into_iter(), out, |values, out| match values[..] {
        [one] => value(one, out),
        _ => {
            for (index, one) in values.into_iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                value(one, out);
            }
            out.push(b']');
        }
    });
}

/// A number, an object or a string.
fn value(text: &str, out: &mut Vec<u8>) {
    // A hash of digits around an `e` is no number.
    if is_number(text.as_bytes()) && !text.contains(['e', 'E']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let pairs: Option<Vec<(&str, &str)>> =
        parts(text).into_iter().map(|part| part.split_once('=').filter(|(name, _)| is_name(name))).collect();
    match pairs {
        Some(pairs) => object(pairs.into_iter(), out, value),
        None => write_string(out, text),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// What commas separate outside of brackets.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn node(line: &str, out: &mut Vec<u8>) {
    const NAMES: [&str; 8] = ["id", "address", "flags", "primary", "ping_sent", "pong_received", "config_epoch", "link_state"];
    let mut words = line.split_ascii_whitespace();
    let named: Vec<(&str, &str)> = NAMES.iter().copied().zip(words.by_ref()).collect();
    // `host:port@port,name`; the host may have colons.
    let place = |address: &str| {
        let (host, port) = address.split(['@', ',']).next()?.rsplit_once(':')?;
        port.parse::<u16>().ok().map(|port| (host.to_owned(), port))
    };
    object(named.into_iter().map(|pair| (pair.0, pair)), out, |(name, word), out| match (name, word) {
        ("address", address) => {
            write_string(out, address);
            if let Some((host, port)) = place(address) {
                out.extend_from_slice(b",\"host\":");
                write_string(out, &host);
                out.extend_from_slice(format!(",\"port\":{port}").as_bytes());
            }
        }
        ("flags", flags) => {
            list(flags.split(','), out);
            let is = |role| flags.split(',').any(|flag| flag == role);
            let role = if is("master") { "primary" } else { "replica" };
            if is("master") || is("slave") {
                out.extend_from_slice(b",\"role\":");
                write_string(out, role);
            }
        }
        ("primary", "-") => out.extend_from_slice(b"null"),
        ("ping_sent" | "pong_received" | "config_epoch", number) => value(number, out),
        (_, word) => write_string(out, word),
    });
    out.pop();
    // A line without words has nothing before them.
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(b"\"slots\":");
    list(words, out);
    out.push(b'}');
}

fn list<'a>(words: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, word);
    }
    out.push(b']');
}

fn object<'a, T>(members: impl Iterator<Item = (&'a str, T)>, out: &mut Vec<u8>, mut each: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'{');
    for (index, (name, member)) in members.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, name);
        out.push(b':');
        each(member, out);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, of: Form) -> String {
        let mut out = Vec::new();
        write(text, of, &mut out);
        let text = String::from_utf8(out).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        text
    }

    #[test]
    fn sections_hold_numbers_and_objects() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:00000000\r\nbuild:12e45\r\nhz:10\r\nload:0.5\r\nexecutable:/a=b\r\n\r\n\
                    # Keyspace\r\ndb0:keys=1,expires=0\r\n# Modules\r\nmodule:name=a,usedby=[b,c]\r\nmodule:name=d,usedby=[]\r\n";
        let expected =
            r#"{"server":{"redis_version":"7.0.15","redis_git_sha1":"00000000","build":"12e45","hz":10,"load":0.5,"executable":"/a=b"},"#
                .to_owned()
                + r#""keyspace":{"db0":{"keys":1,"expires":0}},"modules":{"module":[{"name":"a","usedby":"[b,c]"},{"name":"d","usedby":"[]"}]}}"#;
        assert_eq!(read(info, Form::Sections), expected);
        assert_eq!(read("", Form::Sections), "{}");
        assert_eq!(read("cluster_state:ok\r\ncluster_size:3\r\n", Form::Properties), r#"{"cluster_state":"ok","cluster_size":3}"#);
    }

    #[test]
    fn words_are_strings() {
        assert_eq!(read("id=3 name= user=1 flags=N\n", Form::Words), r#"{"id":"3","name":"","user":"1","flags":"N"}"#);
    }

    #[test]
    fn nodes_have_names_for_their_words() {
        let expected = |flags: &str, role: &str, primary: &str, slots: &str| {
            format!(
                r#"{{"id":"a1","address":"127.0.0.1:1@2","host":"127.0.0.1","port":1,"flags":{flags},"role":"{role}","primary":{primary},"ping_sent":0,"pong_received":5,"config_epoch":1,"link_state":"connected","slots":{slots}}}"#
            )
        };
        let line = "a1 127.0.0.1:1@2 myself,master - 0 5 1 connected 0-5 7";
        assert_eq!(read(line, Form::Node), expected(r#"["myself","master"]"#, "primary", "null", r#"["0-5","7"]"#));
        assert_eq!(read("a1 127.0.0.1:1@2 slave b2 0 5 1 connected", Form::Node), expected(r#"["slave"]"#, "replica", r#""b2""#, "[]"));
        assert_eq!(read(" ", Form::Node), r#"{"slots":[]}"#);
    }
}
