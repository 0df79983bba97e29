use std::time::Duration;

use super::*;

/// As the operator writes it.
const OPERATOR: &str = "\
keys:
- id: '0000000000000000'
  name: shop/web
  sha256: '0000000000000000000000000000000000000000000000000000000000000000'
  created: 2026-11-25T03:00:00Z
  expires: 2026-11-25T04:00:00Z
  grants:
  - access:
    - read
    - write
    databases:
    - redis
    keys:
    - cart:*
    channels: []
    prefix: 'x:'
- id: '1111111111111111'
  name: shop/web
  sha256: '1111111111111111111111111111111111111111111111111111111111111111'
  created: 2026-11-25T03:00:00Z
  grants:
  - access:
    - read
";

fn mistakes(text: &str) -> Vec<String> {
    KeyFile::read(text).unwrap_err().iter().map(ToString::to_string).collect()
}

fn entry(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut entry = serde_json::json!({
        "id": "0123456789abcdef", "name": "web", "sha256": "ab".repeat(32), "created": "2026-11-25T03:00:00Z",
    });
    change(&mut entry);
    serde_json::json!({ "keys": [entry] }).to_string()
}

#[test]
fn a_file_of_the_operator_is_read() {
    let file = KeyFile::read(OPERATOR).unwrap();
    let [web, next] = &file.keys[..] else { panic!("{file:?}") };
    assert_eq!((web.identity().as_str(), web.sha256.bytes(), web.disabled), ("key:shop/web", &[0; 32], false));
    assert_eq!((web.grants[0].keys.as_deref(), web.grants[0].channels.as_deref()), (Some(&["cart:*".to_owned()][..]), Some(&[][..])));
    assert_eq!((next.name.as_str(), next.expires), ("shop/web", None), "keys may share a name");
    assert_eq!(KeyFile::read(&serde_yaml::to_string(&file).unwrap()), Ok(file));
}

#[test]
fn a_file_may_have_no_keys() {
    for text in ["", "\n", "# none yet\n", "---\n", "{}", "keys:", "keys: []", "{\"keys\":[]}"] {
        assert_eq!(KeyFile::read(text), Ok(KeyFile::default()), "{text:?}");
    }
}

#[test]
fn each_mistake_is_told_where_it_is() {
    for (field, value, told) in [
        ("id", "0123456789ABCDEF".into(), "keys[0].id: expected 16 lower-case hexadecimal digits"),
        ("name", "".into(), "keys[0].name: expected 1 to 200 letters, digits and `.`, `_`, `-`, `/`"),
        ("name", "a b".into(), "keys[0].name: expected 1 to 200 letters, digits and `.`, `_`, `-`, `/`"),
        ("name", "a".repeat(201).into(), "keys[0].name: expected 1 to 200 letters, digits and `.`, `_`, `-`, `/`"),
        ("owner", "a\nb".into(), "keys[0].owner: expected a text of at most 200 bytes on one line"),
        ("sha256", "AB".repeat(32).into(), "keys[0]: expected the SHA-256 of a key's text: 64 lower-case hexadecimal digits"),
        ("created", "today".into(), "keys[0]: expected a time in UTC such as 2026-11-25T03:00:00Z, found \"today\" at line 1"),
        ("expired", "2026-11-25T03:00:00Z".into(), "keys[0]: unknown field `expired`"),
        ("disabled", "yes".into(), "keys[0].disabled: invalid type: string \"yes\", expected a boolean"),
        (
            "grants",
            serde_json::json!([{ "access": ["read"], "to": ["*"] }]),
            "keys[0].grants[0].to: these are the grants of this key alone",
        ),
        ("grants", serde_json::json!([{ "access": [] }]), "keys[0].grants[0].access: expected at least one of"),
        ("grants", serde_json::json!([{ "access": ["read"], "prefix": "" }]), "keys[0].grants[0].prefix: expected at least one character"),
        ("grants", serde_json::json!([{ "acess": ["read"] }]), "keys[0].grants[0]: unknown field `acess`"),
    ] {
        let found = mistakes(&entry(|entry| entry[field] = value));
        assert!(found.len() == 1 && found[0].starts_with(told), "{field}: {found:?}");
    }
    let without = entry(|entry| drop(entry.as_object_mut().unwrap().remove("created")));
    assert!(mistakes(&without)[0].starts_with("keys[0]: missing field `created`"));
    assert_eq!(KeyFile::read(&OPERATOR.replace("'0", "0").replace("0'", "0")), KeyFile::read(OPERATOR), "digits need no quotes");
    assert_eq!(mistakes(&OPERATOR.replace("1111", "0000")), ["keys[1].id: 0000000000000000 is used twice"]);
    assert!(mistakes("keys: {}")[0].starts_with("keys: invalid type: map, expected a sequence"));
    assert!(mistakes("key: []")[0].starts_with("unknown field `key`"));
    assert!(mistakes("keys: [")[0].contains("line 2"), "{:?}", mistakes("keys: ["));
}

#[test]
fn no_message_holds_the_text_of_a_key() {
    let token = token::mint([7; 32], [1; 8]);
    for text in [
        format!("keys: {}", token.text()),
        token.text().to_owned(),
        format!("{}: []", token.text()),
        entry(|entry| entry[token.text()] = true.into()),
        entry(|entry| entry["id"] = token.text().into()),
        entry(|entry| entry["name"] = format!("{} {}", token.text(), token.text()).into()),
        entry(|entry| entry["name"] = token.text().into()),
        entry(|entry| entry["owner"] = format!("it is {}", token.text()).into()),
        entry(|entry| entry["sha256"] = token.text().into()),
        entry(|entry| entry["disabled"] = token.text().into()),
        entry(|entry| entry["grants"] = token.text().into()),
    ] {
        let found = mistakes(&text).join("\n");
        assert!(!found.contains(&token.text()[22..40]), "{found}");
    }
}

#[test]
fn a_file_has_bounds() {
    let large = format!("keys: []{}", " ".repeat(MAX_BYTES));
    assert_eq!(mistakes(&large), [format!("expected at most {MAX_BYTES} bytes, found {}", large.len())]);
    let key = KeyFile::read(OPERATOR).unwrap().keys.remove(1);
    let many = KeyFile { keys: vec![key.clone(); MAX_KEYS + 1] };
    assert_eq!(many.validate()[0].message, "expected at most 100000 keys, found 100001");
    let wrong = KeyFile { keys: vec![Key { name: String::new(), ..key }; MAX_KEYS] };
    assert_eq!(wrong.validate().len(), MAX_MISTAKES);
}

#[test]
fn a_key_is_taken_until_it_expires_or_is_disabled() {
    let mut key = KeyFile::read(OPERATOR).unwrap().keys.remove(0);
    let end = key.expires.unwrap().value();
    assert_eq!(key.state(end - Duration::from_nanos(1)), State::Valid);
    assert_eq!(key.state(end), State::Expired);
    key.disabled = true;
    assert_eq!(key.state(end), State::Disabled);
    key = Key { expires: None, disabled: false, ..key };
    assert_eq!(key.state(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40)), State::Valid);
}

#[test]
fn a_revision_is_that_of_the_text() {
    assert_eq!(revision("abc"), "ba7816bf8f01cfea");
}
