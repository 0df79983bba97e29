//! `dbx-gateway keys`, as a user calls it.

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::SystemTime,
};

use dbx_crds::api_key::{
    file::{KeyFile, State},
    token,
};
use serde_json::Value;

use crate::BINARY;

const FILE: &str = "keys.yaml";

/// A working directory for files of keys.
struct Here(tempfile::TempDir);

fn here() -> Here {
    Here(tempfile::tempdir().unwrap())
}

/// What a command said, and its exit code.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Here {
    fn path(&self) -> PathBuf {
        self.0.path().join(FILE)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn keys(&self) -> KeyFile {
        KeyFile::read(&self.text()).unwrap()
    }

    fn write(self, text: &str) -> Self {
        fs::write(self.path(), text).unwrap();
        self
    }

    fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut process = Command::new(BINARY);
        process.current_dir(self.0.path()).args(["keys", command, "--file", FILE]).args(arguments);
        process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Said {
        self.command(command, arguments).output().unwrap().into()
    }

    /// Makes a key and gives its text.
    #[track_caller]
    fn new_key(&self, arguments: &[&str]) -> String {
        let said = self.run("new", arguments);
        assert_eq!(said.code, 0, "{said:?}");
        let text = said.out.strip_suffix('\n').unwrap();
        let id = token::parse(text).unwrap();
        assert!(said.err.starts_with(&format!("Key {id} of ")) && !said.err.contains(text), "{said:?}");
        text.to_owned()
    }

    fn verify(&self, text: &str) -> Said {
        let mut process = self.command("verify", &[]).stdin(Stdio::piped()).spawn().unwrap();
        process.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        process.wait_with_output().unwrap().into()
    }

    fn files(&self) -> Vec<String> {
        fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn a_key_is_made_shown_once_and_stored_as_its_hash() {
    let here = here();
    let text = here.new_key(&["--name", "web", "--owner", "Ada <ada@example.com>", "--expires", "90d"]);
    let stored = here.text();
    assert!(!stored.contains(&text) && !stored.contains(&text[21..]), "{stored}");
    assert_eq!((here.files(), here.path().metadata().unwrap().permissions().mode() & 0o777), (vec![FILE.to_owned()], 0o600));
    let key = here.keys().keys.remove(0);
    let lived = key.expires.unwrap().value().duration_since(key.created.value()).unwrap();
    assert_eq!((key.identity().as_str(), key.state(SystemTime::now()), lived.as_secs()), ("key:web", State::Valid, 90 * 24 * 3600));
    assert_eq!((key.sha256.bytes(), key.owner.as_deref()), (&token::hash(&text), Some("Ada <ada@example.com>")));
    assert_eq!(key.grants, []);

    let verdict = here.verify(&format!("  {text}\r\n"));
    assert_eq!((verdict.code, verdict.err.as_str()), (0, ""), "{verdict:?}");
    assert_eq!(verdict.out, format!("Key {} of \"web\" is valid; it expires {}.\n", key.id, key.expires.unwrap()));

    let other = here.new_key(&["--name", "web"]);
    let said = here.run("new", &["--name", "a/b", "--access", "read"]).err;
    assert!(
        said.ends_with("; it does not expire, and may do what its own grants say and what `auth.grants` say of `key:a/b`.\n"),
        "{said}"
    );
    assert_ne!(text, other);
    let table = here.run("list", &[]).out;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "NAME", "OWNER", "CREATED", "EXPIRES", "STATE"]);
    let created = key.created.to_string();
    assert_eq!(lines[1], [&key.id, "web", "Ada", "<ada@example.com>", &created, &key.expires.unwrap().to_string(), "valid"]);
    assert_eq!((lines[2][..3].to_vec(), &lines[2][4..]), (vec![token::parse(&other).unwrap(), "web", "-"], &["-", "valid"][..]));
    let json: Value = serde_json::from_str(&here.run("list", &["--json"]).out).unwrap();
    assert_eq!((&json[0]["id"], &json[0]["state"], &json[1]["expires"]), (&key.id.into(), &"valid".into(), &Value::Null));
}

#[test]
fn flags_become_a_grant() {
    let here = here();
    let flags = "--name web --access read,+@hash --access -hdel --keys a:* --keys b,c --channels n.* --database redis,other --prefix x: --backend-user u";
    here.new_key(&flags.split(' ').collect::<Vec<_>>());
    let grants = serde_json::to_value(&here.keys().keys[0].grants).unwrap();
    let expected = serde_json::json!([{
        "access": ["read", "+@hash", "-hdel"], "keys": ["a:*", "b,c"], "channels": ["n.*"], "databases": ["redis", "other"], "prefix": "x:",
        "backendUser": "u",
    }]);
    assert_eq!(grants, expected);
}

#[test]
fn keys_follow_one_another_and_are_revoked() {
    let here = here().write("# Ours.\nkeys: []\n");
    let [old, new, job] = ["web", "web", "job"].map(|name| here.new_key(&["--name", name]));
    assert_eq!([&old, &new].map(|text| here.verify(text).code), [0, 0]);
    let id = token::parse(&old).unwrap();
    let said = here.run("revoke", &[id]);
    assert_eq!((said.code, said.out), (0, format!("Key {id} of \"web\" was removed.\n")));
    assert_eq!([&old, &new, &job].map(|text| here.verify(text).code), [1, 0, 0]);
    let said = here.run("revoke", &["--keep", "--name", "web"]);
    assert_eq!((said.code, said.out), (0, format!("Key {} of \"web\" was disabled.\n", token::parse(&new).unwrap())));
    let ids: Vec<String> = here.keys().keys.into_iter().map(|key| key.id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(here.run("revoke", &ids).code, 0);
    assert_eq!(here.text(), "# Ours.\nkeys: []\n");
}

#[test]
fn every_reason_is_told() {
    let token = token::mint([7; 32], [1; 8]);
    let entry = format!("id: '{}', name: web, sha256: '{}', created: 2020-01-01T00:00:00Z", token.id(), token.sha256());
    let spent = here().write(&format!("keys: [{{ {entry}, expires: 2020-01-02T00:00:00Z, disabled: true }}]"));
    let id = token.id();
    let of_another = token::mint([8; 32], [1; 8]);
    let elsewhere = token::mint([7; 32], [2; 8]);
    let mistyped = token.text()[..40].to_owned() + &token.text()[40..].to_lowercase();
    let form = "Not a key: expected `dbx_`, 16 hexadecimal digits, `_`, 49 letters and digits.\n".to_owned();
    for (text, told) in [
        (token.text(), format!("Key {id} of \"web\" expired 2020-01-02T00:00:00Z.\nKey {id} of \"web\" is disabled.\n")),
        (of_another.text(), format!("Key {id} of \"web\" has another secret than this.\n")),
        (elsewhere.text(), format!("Key {} is not in {FILE}: it was revoked, or belongs elsewhere.\n", elsewhere.id())),
        (&mistyped, "Not a key: it has the form of one, but its checksum is wrong. It was mistyped.\n".to_owned()),
        (&token.text()[..60], form.clone()),
        ("", form.clone()),
        (&"x".repeat(100_000), form),
    ] {
        let mut process = spent.command("verify", &[]).stdin(Stdio::piped()).spawn().unwrap();
        // It reads no further than it needs to.
        let _ = process.stdin.take().unwrap().write_all(text.as_bytes());
        let said = Said::from(process.wait_with_output().unwrap());
        assert_eq!((said.code, said.out, said.err.as_str()), (1, told, ""));
    }
    let states: Value = serde_json::from_str(&spent.run("list", &["--json"]).out).unwrap();
    assert_eq!(states[0]["state"], "disabled");
}

#[test]
fn mistakes_are_told_and_change_nothing() {
    let ours = here();
    let text = ours.new_key(&["--name", "web"]);
    let before = ours.text();
    let wrong = ["--name", "key:web", "--owner", "a\nb", "--expires", "soon", "--access", "reed", "--prefix", ""];
    let told = ours.run("new", &wrong);
    assert_eq!(
        told.err.lines().map(|line| line.split(':').next().unwrap()).collect::<Vec<_>>(),
        ["--expires", "--access", "--name", "--owner", "--prefix"]
    );
    for (command, arguments, mistake) in [
        ("new", &wrong[..], "--expires: expected a time from now such as 90d or 12h"),
        ("new", &["--name", "a", "--expires", "2020-01-01T00:00:00Z"], "--expires: 2020-01-01T00:00:00Z is over already"),
        ("new", &["--name", "a", "--expires", "0s"], "--expires: "),
        ("new", &["--name", "a", "--keys", "b"], "error: the following required arguments were not provided:\n  --access"),
        ("new", &["--name", &text], "--name: holds the text of a key"),
        ("revoke", &[], "error: the following required arguments were not provided:\n  <ID>..."),
        ("revoke", &[&text], "key "),
        ("revoke", &[token::parse(&text).unwrap(), "0000000000000000"], "keys.yaml has no key \"0000000000000000\" among its 1;"),
        ("revoke", &["--name", "job"], "keys.yaml has no key of the name \"job\";"),
        ("list", &[&text], "error: unexpected argument"),
    ] {
        let said = ours.run(command, arguments);
        assert!(said.code == 2 && said.out.is_empty() && said.err.starts_with(mistake), "{command} {arguments:?}: {said:?}");
        assert!(!said.err.contains(&text[21..]), "{said:?}");
        assert_eq!(ours.text(), before);
    }
    for (text, mistake) in [
        ("keys: [", "keys.yaml: "),
        ("keys: [{ id: 1 }]", "keys.yaml: keys[0]: missing field `name`"),
        ("{\"keys\": []}", "keys.yaml: is not laid out as this program does it"),
    ] {
        let theirs = here().write(text);
        let said = theirs.run("new", &["--name", "web"]);
        assert!(said.code == 2 && said.out.is_empty() && said.err.starts_with(mistake), "{said:?}");
        assert_eq!((theirs.text().as_str(), theirs.files()), (text, vec![FILE.to_owned()]));
    }
    for command in ["list", "verify"] {
        let said = here().run(command, &[]);
        assert_eq!((said.code, said.err.as_str()), (2, "cannot read keys.yaml: No such file or directory (os error 2)\n"));
    }
    let empty = here();
    let said = empty.run("revoke", &["0000000000000000"]);
    assert_eq!((said.code, empty.files()), (2, Vec::new()), "{said:?}");
}

#[test]
fn a_file_keeps_its_mode_its_owner_and_its_place() {
    let here = here();
    let real = here.0.path().join("real");
    fs::create_dir(&real).unwrap();
    let target = real.join("all.yaml");
    fs::write(&target, "# Ours.\n").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    // Only root can give a file away.
    let owner = target.metadata().unwrap().uid();
    let owner = if owner == 0 { 12_345 } else { owner };
    chown(&target, Some(owner), None).unwrap();
    symlink("real/all.yaml", here.path()).unwrap();
    here.new_key(&["--name", "web"]);
    let metadata = target.metadata().unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.uid()), (0o640, owner));
    assert!(here.path().is_symlink() && here.text().starts_with("# Ours.\nkeys:\n- id"));
    assert_eq!(fs::read_dir(&real).unwrap().count(), 1);
}

#[test]
fn keys_made_at_once_are_all_there() {
    let here = here();
    let processes: Vec<_> = (0..8).map(|index| here.command("new", &["--name", &format!("n{index}")]).spawn().unwrap()).collect();
    let mut ids: Vec<String> = processes
        .into_iter()
        .map(|process| {
            let said = Said::from(process.wait_with_output().unwrap());
            token::parse(said.out.trim_end()).unwrap().to_owned()
        })
        .collect();
    let mut found: Vec<String> = here.keys().keys.into_iter().map(|key| key.id).collect();
    ids.sort();
    found.sort();
    assert_eq!((ids, here.files()), (found, vec![FILE.to_owned()]));
}

#[test]
fn an_entry_is_printed_for_other_files() {
    let here = here();
    let arguments = ["keys", "new", "--file", "-", "--name", "web", "--access", "read"];
    let said = Said::from(Command::new(BINARY).current_dir(here.0.path()).args(arguments).output().unwrap());
    assert_eq!((said.code, here.files()), (0, Vec::new()));
    let key = KeyFile::read(&format!("keys:\n{}", said.err)).unwrap().keys.remove(0);
    assert_eq!(key.sha256.bytes(), &token::hash(said.out.trim_end()));
}
