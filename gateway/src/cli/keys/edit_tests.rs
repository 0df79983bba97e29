use std::time::SystemTime;

use dbx_crds::api_key::file::Fingerprint;

use super::*;

fn key(digit: &str) -> Key {
    Key {
        id: digit.repeat(16),
        name: "web".into(),
        sha256: Fingerprint::of(digit),
        owner: Some("a: #b 'c' \"d\" é".into()),
        created: SystemTime::UNIX_EPOCH.into(),
        expires: None,
        disabled: false,
        grants: serde_yaml::from_str("[{ access: [read, +@hash], keys: ['a:*', '#', '- b'] }]").unwrap(),
    }
}

fn ids(text: &str) -> Vec<String> {
    read(text).unwrap().keys.into_iter().map(|key| key.id[..1].to_owned()).collect()
}

/// What is in no change's way.
const COMMENTED: &str = "\
# The keys of the shop.
keys: # by team

  # Web, ask Ada.
  -   id: '1111111111111111'   # the first
      name: web
      sha256: '0000000000000000000000000000000000000000000000000000000000000000'
      created: 2026-11-25T03:00:00Z
      # for now
      disabled: false # not yet

  # Jobs.
  - name: job
    id: \"2222222222222222\"
    sha256: '0000000000000000000000000000000000000000000000000000000000000000'
    created: 2026-11-25T03:00:00Z
    grants:
      - access: [read]
  # The end.
";

#[test]
fn keys_are_added_at_the_end() {
    let mut text = String::new();
    for digit in ["a", "0", "e", "1"] {
        text = append(&text, &key(digit)).unwrap();
    }
    assert_eq!(ids(&text), ["a", "0", "e", "1"]);
    assert!(text.starts_with("keys:\n- id: aaaaaaaaaaaaaaaa\n  name: web\n"), "{text}");
    assert_eq!(text, serde_yaml::to_string(&read(&text).unwrap()).unwrap(), "it is how a file is written as a whole");
}

#[test]
fn what_is_there_stays() {
    let more = append(COMMENTED, &key("3")).unwrap();
    assert!(more.starts_with(COMMENTED) && more[COMMENTED.len()..].starts_with("  - id: '3333333333333333'\n    name: web\n"), "{more}");
    assert_eq!(remove(&more, &["3333333333333333"].into()).unwrap(), COMMENTED);
    for (before, begins) in [
        ("# none", "# none\nkeys:\n- id"),
        ("---\n", "---\nkeys:\n- id"),
        ("keys: [] # none\n", "keys: # none\n- id"),
        ("keys:\n# none\n", "keys:\n# none\n- id"),
        ("keys:", "keys:\n- id"),
        ("\u{feff}keys: []", "\u{feff}keys:"),
    ] {
        match append(before, &key("1")) {
            Ok(after) => assert!(after.starts_with(begins), "{before:?}: {after}"),
            Err(reason) => assert!(before.starts_with('\u{feff}') && reason == LAYOUT, "{before:?}: {reason}"),
        }
    }
}

#[test]
fn keys_are_taken_out_with_all_their_lines() {
    let first = remove(COMMENTED, &["1111111111111111"].into()).unwrap();
    assert_eq!(ids(&first), ["2"]);
    assert!(first.contains("# Web, ask Ada.") && first.contains("# Jobs.") && !first.contains("# for now"), "{first}");
    let none = remove(&first, &["2222222222222222"].into()).unwrap();
    assert_eq!(none, "# The keys of the shop.\nkeys: [] # by team\n\n  # Web, ask Ada.\n\n  # Jobs.\n  # The end.\n");
    assert_eq!(ids(&append(&none, &key("3")).unwrap()), ["3"]);
    let crlf = COMMENTED.replace('\n', "\r\n");
    assert_eq!(remove(&crlf, &["1111111111111111"].into()).unwrap(), first.replace('\n', "\r\n"));
    assert_eq!(ids(&append(&crlf, &key("3")).unwrap()), ["1", "2", "3"]);
}

#[test]
fn keys_are_disabled_in_their_place() {
    let both = disable(COMMENTED, &["1111111111111111", "2222222222222222"].into()).unwrap();
    assert!(both.contains("      disabled: true # not yet\n") && both.contains("  - disabled: true\n    name: job\n"), "{both}");
    assert!(read(&both).unwrap().keys.iter().all(|key| key.disabled));
    assert_eq!(disable(&both, &["1111111111111111"].into()).unwrap(), both);
    let one = disable(COMMENTED, &["2222222222222222"].into()).unwrap();
    assert_eq!(read(&one).unwrap().keys.iter().map(|key| key.disabled).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_cannot_be_changed_safely_is_left_alone() {
    let json = serde_json::to_string(&read(COMMENTED).unwrap()).unwrap();
    let ended = format!("{COMMENTED}...\n");
    let indented = format!(" {}", serde_yaml::to_string(&read(COMMENTED).unwrap()).unwrap().replace('\n', "\n ").trim_end());
    for text in [json.as_str(), &indented] {
        assert_eq!(ids(text), ["1", "2"]);
        assert_eq!(remove(text, &["1111111111111111"].into()), Err(LAYOUT.into()));
        assert_eq!(disable(text, &["1111111111111111"].into()), Err(LAYOUT.into()));
    }
    for text in [json.as_str(), &indented, &ended, "{}", "{keys: []}"] {
        assert_eq!(append(text, &key("3")), Err(LAYOUT.into()), "{text}");
    }
    assert_eq!(append("keys: [a]", &key("3")).unwrap_err().split(':').next(), Some("keys[0]"));
    let again = append(&append("", &key("1")).unwrap(), &key("1"));
    assert_eq!(again, Err(LAYOUT.into()));
}
