//! The command line: what it accepts, and what it teaches when asked for help. The settings themselves are typed and
//! judged by [`crate::config`].

mod explain;
mod keys;

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use dbx_crds::config::GatewayConfig;

pub use self::{explain::Explain, keys::Keys};
use crate::config;

/// HTTP in front of databases.
#[derive(Debug, Parser)]
#[command(name = "dbx-gateway", version, about, after_long_help = HELP, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve (the default).
    Run(Settings),
    /// Validate the configuration and print the one in force, defaults included, secrets as references.
    Check {
        /// The configuration that is meant.
        #[command(flatten)]
        settings: Settings,
        /// Connect to each database once as well, and tell why one cannot be reached.
        #[arg(long)]
        connect: bool,
    },
    /// Ask a running gateway whether it is ready; exits with 0 if it is and 1 if not. For container health checks.
    Health {
        /// The gateway's operations listener.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
        address: String,
        /// What it is asked for. The API's own listener is asked for `/openapi.json`, which takes no credential.
        #[arg(long, value_name = "PATH", default_value = "/readyz", value_parser = path)]
        path: String,
    },
    /// Make, list, revoke and verify the API keys of a file, which `auth.keysFrom` names.
    #[command(subcommand)]
    Keys(Keys),
    /// Tell whether a caller may make a call, which grants say so, and what is sent to the database: exits with 0 if it may, 1 if not,
    /// 2 if that cannot be told.
    Explain(Box<Explain>),
    /// Print the AsyncAPI document.
    Asyncapi,
    /// Print the OpenAPI document.
    Openapi,
    /// Print the reference of a group of operations, in Markdown, or without a group the names of all.
    Reference {
        /// Such as `strings`.
        group: Option<String>,
    },
    /// Print the JSON schema of the configuration.
    ConfigSchema,
    /// Print the reference of every setting, in Markdown.
    ConfigReference,
}

/// Where the configuration comes from, besides the environment.
#[derive(Args, Clone, Debug, Default)]
pub struct Settings {
    /// The configuration file, YAML or JSON [environment: DBX_CONFIG].
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Set one setting, such as `limits.maxInFlight=9` or `databases.0.redis.url=redis://host`; repeatable.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Serve a database, in place of the one of that name in the file if there is one; repeatable. `NAME=managed` runs
    /// a Redis as a child process.
    #[arg(long, value_name = "NAME=URL")]
    pub database: Vec<String>,
    /// Accept one more host name in a request's `Host`; repeatable.
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
}

const HELP: &str = "\
Examples:
  REDIS_URL=redis://localhost dbx-gateway
  dbx-gateway --database redis=redis://cache:6379 --database scratch=managed
  dbx-gateway --config gateway.yaml --set limits.maxInFlight=500
  dbx-gateway check --config gateway.yaml --connect
  dbx-gateway keys new --file keys.yaml --name web --expires 90d

  curl -X PUT localhost:3000/api/v1/redis/strings/greeting -d '{\"value\":\"hello\"}'
  curl localhost:3000/api/v1/redis/strings/greeting

Where settings come from, the last one wins:
  1. defaults       `dbx-gateway check` prints them all
  2. the file       --config FILE or DBX_CONFIG
  3. environment    DBX_ and the setting's path: DBX_LIMITS__MAX_IN_FLIGHT=9 sets limits.maxInFlight,
                    DBX_DATABASES__0__NAME the name of the first database, DBX_HOSTS=a,b a list;
                    also from a .env file in the working directory, where the real environment wins
  4. flags          --database, then --set, then --host

Other environment variables:
  REDIS_URL            the database `redis`, when nothing else names a database
  DBX_SECRETS_DIR      where Secrets are mounted, as NAME/KEY [default: /etc/dbx/secrets]
  DBX_URL, DBX_TOKEN   belong to clients and are ignored, as are Kubernetes' service links

A password is best kept out of the configuration: `passwordFrom` names a file, a variable or a Secret to read it from.
Every setting: `dbx-gateway config-reference`.
";

impl Cli {
    /// Reads the arguments of this process. Help is printed here, and a mistake ends the process with 2.
    pub fn from_arguments() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            if error.use_stderr() {
                // A mistaken argument may be a URL with a password.
                report_fatal(error.render().to_string().trim_end());
                std::process::exit(2);
            }
            error.exit()
        })
    }

    /// What to do: to run when nothing else is said.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.settings))
    }
}

fn print(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

/// The configuration in force as YAML.
pub fn check(config: &GatewayConfig) -> String {
    serde_yaml::to_string(&config.effective()).expect("a configuration is made of text, numbers, lists and sections")
}

fn path(text: &str) -> Result<String, &'static str> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_path.then(|| text.to_owned()).ok_or("expected a path such as /readyz")
}

/// Asks the listener at `address` for `path`.
pub fn health(address: &str, path: &str) -> Result<(), String> {
    let limit = Duration::from_secs(2);
    let fail = |error: io::Error| format!("{address}: {error}");
    let mut reason = format!("{address}: names no address");
    for socket in address.to_socket_addrs().map_err(fail)? {
        let mut stream = match TcpStream::connect_timeout(&socket, limit) {
            Ok(stream) => stream,
            Err(error) => {
                reason = fail(error);
                continue;
            }
        };
        stream.set_read_timeout(Some(limit)).map_err(fail)?;
        stream.set_write_timeout(Some(limit)).map_err(fail)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").map_err(fail)?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).map_err(fail)?;
        return match &status[9..] {
            b"200" => Ok(()),
            code => Err(format!("{address}: not ready, status {}", String::from_utf8_lossy(code))),
        };
    }
    Err(reason)
}

/// Tells why the process ends: to standard error, and to the container's termination log where there is one.
pub fn report_fatal(message: &str) {
    let message = config::redact(message);
    // Nobody is left to tell when these fail.
    let _ = writeln!(io::stderr(), "{message}");
    let log = std::env::var_os("DBX_TERMINATION_LOG").unwrap_or_else(|| "/dev/termination-log".into());
    if let Ok(mut log) = fs::OpenOptions::new().write(true).truncate(true).open(log) {
        // Kubernetes keeps the last 4096 bytes, and the first mistake is the one to see.
        let end = (0..=4096.min(message.len())).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        let _ = log.write_all(&message.as_bytes()[..end]);
    }
}
