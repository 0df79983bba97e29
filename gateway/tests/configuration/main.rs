//! The configuration, as a user gives it: by file, environment and flags, and what is said of mistakes.

#![expect(clippy::unwrap_used, reason = "what fails to unwrap fails the test")]

mod keys;
mod managed;
mod mistakes;
mod reference;

use std::{collections::BTreeMap, fs, process::Command};

use clap::Parser;
use dbx_crds::config::{GatewayConfig, SecretSource};
use dbx_gateway::{
    cli::{self, Cli, Settings},
    config::{self, secret},
};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_dbx-gateway");
const FILE: &str = "gateway.yaml";

/// A working directory and what is given there.
struct Given {
    directory: tempfile::TempDir,
    flags: Settings,
    environment: BTreeMap<String, String>,
}

/// Nothing is given but a database, so that what is tested is the only mistake.
fn given() -> Given {
    nothing().flag("--database", "redis=redis://host")
}

fn nothing() -> Given {
    Given { directory: tempfile::tempdir().unwrap(), flags: Settings::default(), environment: BTreeMap::new() }
}

impl Given {
    fn file(mut self, yaml: &str) -> Self {
        fs::write(self.directory.path().join(FILE), yaml).unwrap();
        self.flags.config = Some(FILE.into());
        self
    }

    fn dotenv(self, text: &str) -> Self {
        fs::write(self.directory.path().join(".env"), text).unwrap();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, flag: &str, value: &str) -> Self {
        match flag {
            "--set" => self.flags.set.push(value.into()),
            "--database" => self.flags.database.push(value.into()),
            "--host" => self.flags.host.push(value.into()),
            _ => self.flags.config = Some(value.into()),
        }
        self
    }

    fn load(&self) -> Result<GatewayConfig, Vec<String>> {
        config::load(&self.flags, self.environment.clone().into_iter(), self.directory.path())
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[track_caller]
    fn value(&self, pointer: &str) -> Value {
        let config = serde_json::to_value(self.load().unwrap()).unwrap();
        config.pointer(pointer).cloned().unwrap_or_default()
    }

    #[track_caller]
    fn mistakes(&self) -> Vec<String> {
        self.load().unwrap_err()
    }
}

#[test]
fn the_last_layer_wins() {
    let file = || given().file("limits: { maxInFlight: 1, maxConnections: 1 }");
    assert_eq!(file().value("/limits"), json!({ "maxInFlight": 1, "maxConnections": 1 }));
    let dotenv = || file().dotenv("DBX_LIMITS__MAX_IN_FLIGHT=2\nOTHER=x\n");
    assert_eq!(dotenv().value("/limits"), json!({ "maxInFlight": 2, "maxConnections": 1 }));
    let environment = || dotenv().env("DBX_LIMITS__MAX_IN_FLIGHT", "3");
    assert_eq!(environment().value("/limits/maxInFlight"), 3);
    let flag = || environment().flag("--set", "limits.maxInFlight=4");
    assert_eq!(flag().value("/limits"), json!({ "maxInFlight": 4, "maxConnections": 1 }));
    assert_eq!(flag().flag("--set", "limits.maxInFlight=5").value("/limits/maxInFlight"), 5);
    assert_eq!(file().env("DBX_LIMITS", "{maxInFlight: 7}").value("/limits"), json!({ "maxInFlight": 7, "maxConnections": 1 }));
}

#[test]
fn one_variable_is_enough() {
    let one = nothing().env("REDIS_URL", "redis://:secret@host");
    assert_eq!(one.value("/databases"), json!([{ "name": "redis", "redis": { "url": "redis://:secret@host" } }]));
    let shown = cli::check(&one.load().unwrap());
    assert!(shown.contains("redis://:***@host") && !shown.contains("secret"), "{shown}");
    assert_eq!(nothing().dotenv("REDIS_URL=redis://host").value("/databases/0/redis/url"), "redis://host");
    assert_eq!(given().env("REDIS_URL", "redis://other").value("/databases"), given().value("/databases"));
    let none = nothing().mistakes();
    assert!(none.len() == 1 && none[0].contains("REDIS_URL") && none[0].contains("--database"), "{none:?}");
}

#[test]
fn databases_are_replaced_by_name_or_added() {
    let file = || nothing().file("databases: [{ name: a, redis: { url: redis://file, username: u } }]");
    assert_eq!(
        file().flag("--database", "a=redis://flag").value("/databases"),
        json!([{ "name": "a", "redis": { "url": "redis://flag" } }])
    );
    assert_eq!(file().flag("--database", "b=managed").value("/databases/1"), json!({ "name": "b", "redis": { "managed": {} } }));
    assert_eq!(file().flag("--set", "databases[0].redis.username=v").value("/databases/0/redis/username"), "v");
    assert_eq!(
        nothing().env("DBX_DATABASES__0__NAME", "a").env("DBX_DATABASES__0__REDIS__MANAGED", "{}").value("/databases"),
        json!([{ "name": "a", "redis": { "managed": {} } }])
    );
}

#[test]
fn text_means_what_the_setting_wants() {
    assert_eq!(given().env("DBX_DATABASES", "[{name: a, redis: {managed: {}}}]").value("/databases/0/name"), "a");
    assert_eq!(given().flag("--set", "databases.0.redis.username=5").value("/databases/0/redis/username"), "5");
    assert_eq!(given().env("DBX_LOG__ACCESS", "true").value("/log/access"), true);
    assert_eq!(given().env("DBX_HOSTS", "a.example, b.example").value("/hosts"), json!(["a.example", "b.example"]));
    assert_eq!(given().env("DBX_HOSTS", "[a, b]").env("DBX_HOSTS__1", "c").value("/hosts"), json!(["a", "c"]));
    assert_eq!(given().env("DBX_HOSTS", "a").flag("--host", "b").flag("--host", "c").value("/hosts"), json!(["a", "b", "c"]));
    assert_eq!(given().file("{\n\t\"workers\": 2,\n\t\"hosts\": [\"a\"]\n}").value("/workers"), 2);
    assert_eq!(given().file("limits:\nworkers: 2\n").value("/workers"), 2);
    assert_eq!(given().file("# nothing\n").value("/workers"), Value::Null);
}

#[test]
fn what_is_not_a_setting_is_left_alone() {
    let mut plain = given().env("HOME", "/root").env("DBX_WORKERS", "");
    for name in ["DBX_URL", "DBX_TOKEN", "DBX_SECRETS_DIR", "DBX_POD_NAME", "DBX_TERMINATION_LOG"] {
        plain = plain.env(name, "x");
    }
    for name in ["DBX_PORT", "DBX_PORT_3000_TCP", "DBX_PORT_3000_TCP_ADDR", "DBX_SERVICE_HOST", "DBX_SERVICE_PORT", "DBX_SERVICE_PORT_HTTP"]
    {
        plain = plain.env(name, "tcp://10.0.0.1:3000");
    }
    assert_eq!(plain.env("DBX_FOO_SERVICE_HOST", "10.0.0.1").load(), given().load());
    let folder = given();
    fs::create_dir(folder.directory.path().join(".env")).unwrap();
    assert_eq!(folder.load(), given().load());
}

#[test]
fn secrets_are_read_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("name/key");
    fs::create_dir(directory.path().join("name")).unwrap();
    for (text, expected) in [("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s\n"), (" s", " s"), ("", "")] {
        fs::write(&file, text).unwrap();
        for source in [json!({ "file": file }), json!({ "secretKeyRef": { "name": "name", "key": "key" } })] {
            let source: SecretSource = serde_json::from_value(source).unwrap();
            assert_eq!(secret::read(&source, directory.path()).unwrap().reveal(), expected);
        }
    }
    let source = SecretSource { env: Some("CARGO_MANIFEST_DIR".into()), ..SecretSource::default() };
    let read = secret::read(&source, directory.path()).unwrap();
    assert_eq!((read.reveal(), format!("{read:?}")), (env!("CARGO_MANIFEST_DIR"), "***".into()));
    let absent = SecretSource { env: Some("DBX_ABSENT".into()), ..SecretSource::default() };
    assert_eq!(
        secret::read(&absent, directory.path()).unwrap_err().to_string(),
        "cannot read the secret in environment DBX_ABSENT: the variable is not set"
    );
}

#[test]
fn flags_are_read() {
    let cli = Cli::try_parse_from(["dbx-gateway", "--set", "a=1", "--set", "b=2", "--database", "c=d", "--host", "e", "--config", "f"]);
    let cli::Command::Run(settings) = cli.unwrap().into_command() else { panic!("running is the default") };
    assert_eq!((settings.set.len(), settings.database.len(), settings.host.len()), (2, 1, 1));
    assert!(Cli::try_parse_from(["dbx-gateway", "--set", "a=1", "check"]).is_err(), "a flag before the command would be lost");
}

fn binary(given: &Given, arguments: &[&str]) -> (i32, String, String) {
    let run =
        Command::new(BINARY).args(arguments).current_dir(given.directory.path()).env_clear().envs(&given.environment).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.code().unwrap(), text(run.stdout), text(run.stderr))
}

#[test]
fn the_program_checks_and_tells() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let given = nothing()
        .file("databases: [{ name: a, redis: { url: redis://h, passwordFrom: { env: P } } }]")
        .env("DBX_TERMINATION_LOG", log.path().to_str().unwrap());
    let (code, shown, _) = binary(&given, &["check", "--config", FILE]);
    assert_eq!(code, 0);
    assert!(shown.contains("passwordFrom:\n      env: P") && shown.contains("callTimeout: 5s"), "{shown}");

    let (code, _, told) = binary(&given, &["check", "--config", FILE, "--set", "workers=0", "--set", "x=1"]);
    assert_eq!((code, told.lines().count()), (1, 2), "{told}");
    assert_eq!(fs::read_to_string(log.path()).unwrap().trim(), told.trim());

    let (code, _, told) = binary(&given, &["redis://u:hunter2@h"]);
    assert!(code == 2 && !told.contains("hunter2"), "{told}");

    let (code, help, _) = binary(&given, &["--help"]);
    assert!(code == 0 && help.contains("Examples:") && help.contains("DBX_LIMITS__MAX_IN_FLIGHT"), "{help}");

    let (code, _, told) = binary(&given, &["health", "--address", "127.0.0.1:1"]);
    assert!(code == 1 && told.contains("127.0.0.1:1"), "{told}");

    let (code, _, told) = binary(&given, &["health", "--path", "readyz"]);
    assert!(code == 2 && told.contains("expected a path such as /readyz"), "{told}");
}
