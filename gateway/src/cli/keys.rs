//! `dbx-gateway keys`: the keys of a file. The text of a key is shown once, when it is made, and comes in by standard input alone:
//! arguments are seen by everybody on the machine.

mod edit;
mod store;

use std::{
    collections::HashSet,
    io::{self, BufRead, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::{Args, Subcommand};
use dbx_crds::{
    api_key::{
        Time,
        file::{Fingerprint, Key, KeyFile, State},
        token::{self, Malformed, Token},
    },
    config::Grant,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::auth;

/// Bytes of standard input that `verify` reads: more than a key with white space around it.
const LONGEST_LINE: u64 = 4096;

/// What to do with the keys of a file.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key, print its text and add what is stored of it to the file, which is made if there is none.
    #[command(after_long_help = NEW_HELP)]
    New(Box<New>),
    /// List the keys of a file.
    List {
        /// The file of keys.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// As JSON, with what each may do.
        #[arg(long)]
        json: bool,
    },
    /// Take keys out of a file, so that they are refused.
    #[command(after_long_help = "Comments in the file stay. All keys that are named have to be there, or nothing is changed.")]
    Revoke(Revoke),
    /// Read the text of a key from standard input and tell which key it is, and whether it is valid now: exits with 0 if it is, 1 if
    /// not, 2 if that cannot be told.
    Verify {
        /// The file of keys.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// The key to be made.
#[derive(Args, Debug)]
pub struct New {
    /// The file of keys; `-` prints what would be added to standard error instead.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// What its caller is called: `web` is `key:web` in grants. Several keys may share a name, to follow one another.
    #[arg(long)]
    name: String,
    /// Who answers for it; a note for people.
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// When it ends: after a time such as `90d` or `12h`, or at a time such as 2027-01-31T00:00:00Z [default: never].
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// What it may do, beside what the configuration grants its name: `read`, `write`, `publish`, `subscribe`, `admin`, `all`,
    /// `+@category`, `-@category`, names of operations; repeatable, or with commas between.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', allow_hyphen_values = true)]
    access: Vec<String>,
    /// Globs of the keys that it may use [default: all]; repeatable.
    #[arg(long, value_name = "GLOB", requires = "access")]
    keys: Option<Vec<String>>,
    /// Globs of the channels that it may use [default: all, but none if `--keys` is given without `--prefix`]; repeatable.
    #[arg(long, value_name = "GLOB", requires = "access")]
    channels: Option<Vec<String>>,
    /// The databases that it may use [default: all]; repeatable, or with commas between.
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "access")]
    database: Vec<String>,
    /// What is put before all its keys and channels.
    #[arg(long, value_name = "TEXT", requires = "access")]
    prefix: Option<String>,
    /// The ACL user of the databases that its calls go out as.
    #[arg(long, value_name = "USER", requires = "access")]
    backend_user: Option<String>,
}

/// The keys to be revoked.
#[derive(Args, Debug)]
pub struct Revoke {
    /// The file of keys.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Ids, as `keys list` shows them.
    #[arg(value_name = "ID", required_unless_present = "name")]
    ids: Vec<String>,
    /// All keys of a name; repeatable.
    #[arg(long)]
    name: Vec<String>,
    /// Leave them in the file, disabled.
    #[arg(long)]
    keep: bool,
}

const NEW_HELP: &str = "\
Examples:
  TOKEN=$(dbx-gateway keys new --file keys.yaml --name web --expires 90d)
  dbx-gateway keys new --file keys.yaml --name cart --access read,write --keys 'cart:*'

Standard output is the text of the key and nothing else. It cannot be shown again: the file has its SHA-256.
Comments in the file stay. A file that is laid out in another way than this program does it is refused and left as it is.
";

impl Keys {
    /// Does it. `Ok(false)` is the answer no.
    pub fn run(self) -> Result<bool, String> {
        match self {
            Self::New(new) => new.run().map(|()| true),
            Self::List { file, json } => list(&file, json).map(|()| true),
            Self::Revoke(revoke) => revoke.run().map(|()| true),
            Self::Verify { file } => verify(&file),
        }
    }
}

impl New {
    fn run(self) -> Result<(), String> {
        let now = SystemTime::now();
        let file = self.file.clone();
        let (token, key) = self.mint(now)?;
        let end = key.expires.map_or("does not expire".to_owned(), |end| format!("expires {end}"));
        if file == Path::new("-") {
            print(&edit::entry(&key)?, io::stderr())?;
        } else {
            let change = store::Change::begin(&file)?;
            let text = edit::append(change.text(), &key).map_err(|reason| of(&file, &reason))?;
            change.commit(&text)?;
            let rights =
                if key.grants.is_empty() { "what `auth.grants` say of" } else { "what its own grants say and what `auth.grants` say of" };
            let added = format!("Key {} of {:?} was added to {}", key.id, key.name, file.display());
            print(&format!("{added}; it {end}, and may do {rights} `{}`.\n", key.identity()), io::stderr())?;
        }
        let line = Zeroizing::new(format!("{}\n", token.text()));
        print(&line, io::stdout()).map_err(|error| format!("key {} could not be shown, and is best revoked: {error}", key.id))
    }

    /// Makes the key, or tells all that is wrong with it.
    fn mint(self, now: SystemTime) -> Result<(Token, Key), String> {
        let mut mistakes = Vec::new();
        let expires = self.expires.as_deref().map(|text| expiry(text, now)).transpose().unwrap_or_else(|mistake| {
            mistakes.push(format!("--expires: {mistake}"));
            None
        });
        let grants = if self.access.is_empty() {
            Vec::new()
        } else {
            mistakes.extend(auth::check_access(&self.access).err().map(|mistake| format!("--access: {mistake}")));
            vec![Grant {
                access: self.access,
                databases: self.database,
                keys: self.keys,
                channels: self.channels,
                prefix: self.prefix,
                backend_user: self.backend_user,
                ..Grant::default()
            }]
        };
        let (mut random, mut id) = (Zeroizing::new([0; 32]), [0; token::ID_LENGTH / 2]);
        getrandom::fill(&mut *random).and_then(|()| getrandom::fill(&mut id)).map_err(|error| format!("no random numbers: {error}"))?;
        let token = token::mint(*random, id);
        let key = Key {
            id: token.id().to_owned(),
            name: self.name,
            sha256: Fingerprint::of(token.text()),
            owner: self.owner,
            created: now.into(),
            expires,
            disabled: false,
            grants,
        };
        // The last word of a mistake's path is the name of the flag.
        let flag = |path: &str| format!("--{}", path.rsplit('.').next().unwrap_or(path));
        mistakes.extend(key.validate("key").iter().map(|mistake| format!("{}: {}", flag(&mistake.path), mistake.message)));
        if mistakes.is_empty() { Ok((token, key)) } else { Err(mistakes.join("\n")) }
    }
}

/// A time from now or a time in UTC.
fn expiry(text: &str, now: SystemTime) -> Result<Time, String> {
    let time = match text.parse::<Time>() {
        Ok(time) => Some(time),
        Err(_) => humantime::parse_duration(text).ok().and_then(|after| now.checked_add(after)).map(Time::from),
    };
    let time = time.ok_or_else(|| {
        format!("expected a time from now such as 90d or 12h, or a time in UTC such as 2027-01-31T00:00:00Z, found {text:?}")
    })?;
    if time.value() <= now { Err(format!("{time} is over already")) } else { Ok(time) }
}

impl Revoke {
    fn run(self) -> Result<(), String> {
        let change = store::Change::begin(&self.file)?;
        let keys = read(&self.file, change.text())?.keys;
        let mut mistakes = Vec::new();
        for id in &self.ids {
            if let Some(id) = token::parse(id) {
                mistakes.push(format!(
                    "key {id} was given by its secret text, which others can now see in the list of processes and in the shell's history; \
                     give the id alone"
                ));
            } else if !keys.iter().any(|key| key.id == *id) {
                mistakes.push(format!(
                    "{} has no key {id:?} among its {}; `dbx-gateway keys list` shows them",
                    self.file.display(),
                    keys.len()
                ));
            }
        }
        for name in self.name.iter().filter(|name| !keys.iter().any(|key| key.name == **name)) {
            mistakes.push(format!("{} has no key of the name {name:?}; `dbx-gateway keys list` shows them", self.file.display()));
        }
        if !mistakes.is_empty() {
            return Err(mistakes.join("\n"));
        }
        let revoked: Vec<&Key> = keys.iter().filter(|key| self.ids.contains(&key.id) || self.name.contains(&key.name)).collect();
        let ids: HashSet<&str> = revoked.iter().map(|key| key.id.as_str()).collect();
        let edit = if self.keep { edit::disable } else { edit::remove };
        let text = edit(change.text(), &ids).map_err(|reason| of(&self.file, &reason))?;
        change.commit(&text)?;
        let done = if self.keep { "disabled" } else { "removed" };
        let lines: Vec<String> = revoked.iter().map(|key| format!("Key {} of {:?} was {done}.\n", key.id, key.name)).collect();
        print(&lines.concat(), io::stdout())
    }
}

fn list(path: &Path, as_json: bool) -> Result<(), String> {
    let keys = open(path)?.keys;
    let now = SystemTime::now();
    if as_json {
        let entry = |key: &Key| {
            json!({
                "id": key.id, "name": key.name, "owner": key.owner, "created": key.created, "expires": key.expires,
                "state": key.state(now), "grants": key.grants,
            })
        };
        return print(&format!("{:#}\n", json!(keys.iter().map(entry).collect::<Vec<_>>())), io::stdout());
    }
    let mut rows = vec![["ID", "NAME", "OWNER", "CREATED", "EXPIRES", "STATE"].map(str::to_owned)];
    rows.extend(keys.iter().map(|key| {
        let (owner, expires) = (key.owner.clone(), key.expires.map(|end| end.to_string()));
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        [key.id.clone(), key.name.clone(), or_none(owner), key.created.to_string(), or_none(expires), key.state(now).name().into()]
    }));
    print(&table(&rows), io::stdout())
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn verify(path: &Path) -> Result<bool, String> {
    let keys = open(path)?.keys;
    if io::stdin().is_terminal() {
        print("The key: ", io::stderr())?;
    }
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE as usize));
    let mut input = io::stdin().lock().take(LONGEST_LINE);
    input.read_until(b'\n', &mut line).map_err(|error| format!("cannot read standard input: {error}"))?;
    let (is_valid, verdict) = judge(path, &keys, std::str::from_utf8(&line).unwrap_or_default().trim(), SystemTime::now());
    print(&verdict, io::stdout())?;
    Ok(is_valid)
}

/// Whether a text is a key that is valid, and every reason why not.
fn judge(path: &Path, keys: &[Key], text: &str, now: SystemTime) -> (bool, String) {
    let id = match token::read(text) {
        Ok(id) => id,
        Err(Malformed::Form) => {
            let secret = token::SECRET_LENGTH;
            return (
                false,
                format!("Not a key: expected `dbx_`, {} hexadecimal digits, `_`, {secret} letters and digits.\n", token::ID_LENGTH),
            );
        }
        Err(Malformed::Checksum) => {
            return (false, "Not a key: it has the form of one, but its checksum is wrong. It was mistyped.\n".into());
        }
    };
    let Some(key) = keys.iter().find(|key| key.id == id) else {
        return (false, format!("Key {id} is not in {}: it was revoked, or belongs elsewhere.\n", path.display()));
    };
    let who = format!("Key {id} of {:?}", key.name);
    if key.sha256 != Fingerprint::of(text) {
        return (false, format!("{who} has another secret than this.\n"));
    }
    let mut reasons = Vec::new();
    if let Some(end) = key.expires.filter(|end| end.value() <= now) {
        reasons.push(format!("{who} expired {end}.\n"));
    }
    if key.disabled {
        reasons.push(format!("{who} is disabled.\n"));
    }
    if key.state(now) != State::Valid {
        return (false, reasons.concat());
    }
    let end = key.expires.map_or("does not expire".to_owned(), |end| format!("expires {end}"));
    (true, format!("{who} is valid; it {end}.\n"))
}

/// A file that is there.
fn open(path: &Path) -> Result<KeyFile, String> {
    read(path, &store::read(path)?)
}

fn read(path: &Path, text: &str) -> Result<KeyFile, String> {
    let lines = |mistakes: Vec<dbx_crds::config::Invalid>| {
        mistakes.iter().map(|mistake| of(path, &mistake.to_string())).collect::<Vec<_>>().join("\n")
    };
    KeyFile::read(text).map_err(lines)
}

fn of(path: &Path, reason: &str) -> String {
    format!("{}: {reason}", path.display())
}

fn print(text: &str, mut to: impl Write) -> Result<(), String> {
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).map_err(|error| error.to_string())
}
