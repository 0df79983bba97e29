//! Where the configuration comes from: defaults, then the file, then the environment, then flags; the last one wins.
//! Whatever is not understood is refused with its path and its source, all mistakes at once.

mod environment;
mod file;
pub mod follow;
mod layers;
mod mistake;
mod path;
mod reference;
pub mod secret;
mod suggest;

pub use mistake::{ConfigError, Source, redact};
pub use path::Path;
pub use reference::{Setting, reference, settings};

use dbx_crds::config::{GatewayConfig, RedisUrl};
use serde_json::json;

use crate::{auth, cli::Settings};
use environment::Environment;
use file::File;
use layers::Layers;

/// The environment of this process, as far as it is text.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

/// The configuration that flags, environment and files give together, or everything that is wrong with it.
pub fn load(
    flags: &Settings,
    environment: impl Iterator<Item = (String, String)>,
    working_directory: &std::path::Path,
) -> Result<GatewayConfig, Vec<ConfigError>> {
    let environment = Environment::read(environment, working_directory);
    let mut layers = Layers::default();
    layers.mistakes.extend(environment.mistakes.iter().cloned());
    let file = open(flags, &environment, working_directory, &mut layers);
    gather(flags, &environment, file.as_ref(), &mut layers);
    let config = judge(&mut layers);
    let mut mistakes = layers.mistakes;
    for mistake in &mut mistakes {
        if let (Source::File(name, line @ None), Some(file)) = (&mut mistake.origin, &file)
            && *name == file.name
        {
            *line = file.line(&Path::parse(&mistake.path));
        }
    }
    config.filter(|_| mistakes.is_empty()).ok_or(mistakes)
}

fn open(flags: &Settings, environment: &Environment, directory: &std::path::Path, layers: &mut Layers) -> Option<File> {
    let (name, source) = match &flags.config {
        Some(name) => (name.clone(), Source::Flag("--config".into())),
        None => environment.get("DBX_CONFIG").cloned()?,
    };
    File::read(&name, directory).map_err(|message| layers.refuse(&Path::default(), &source, message)).ok()
}

fn gather(flags: &Settings, environment: &Environment, file: Option<&File>, layers: &mut Layers) {
    if let Some(file) = file {
        let source = |line| Source::File(file.name.clone(), line);
        match file.parse() {
            Ok(value) => layers.give(&Path::default(), value, &source(None)),
            Err((message, line)) => layers.refuse(&Path::default(), &source(line), message),
        }
    }
    for (path, text, source) in environment.settings() {
        layers.give_text(&path, text, source);
    }
    for text in &flags.database {
        give_database(text, layers);
    }
    for assignment in &flags.set {
        match assignment.split_once('=') {
            Some((path, text)) => layers.give_text(&Path::parse(path), text, &Source::Flag(format!("--set {path}"))),
            None => layers.refuse(&Path::default(), &Source::Flag("--set".into()), "expected PATH=VALUE such as limits.maxInFlight=9"),
        }
    }
    for host in &flags.host {
        let hosts = Path::parse("hosts");
        let next = items(layers, &hosts).len();
        layers.give_text(&hosts.join(next.to_string()), host, &Source::Flag("--host".into()));
    }
    // Only when nothing else names a database: a gateway that was told its databases serves those and no other.
    if let Some((url, source)) = environment.get("REDIS_URL")
        && items(layers, &Path::parse("databases")).is_empty()
    {
        layers.give(&Path::parse("databases.0"), json!({ "name": "redis", "redis": { "url": url } }), source);
    }
}

/// `--database NAME=URL` or `NAME=managed`: in place of the database of that name, or one more.
fn give_database(text: &str, layers: &mut Layers) {
    let databases = Path::parse("databases");
    let Some((name, url)) = text.split_once('=').filter(|(name, _)| !name.contains("://")) else {
        let source = Source::Flag("--database".into());
        return layers.refuse(&databases, &source, "expected NAME=URL or NAME=managed, such as redis=redis://host:6379");
    };
    let redis = if url == "managed" { json!({ "managed": {} }) } else { json!({ "url": url }) };
    let known = items(layers, &databases);
    let index = known.iter().position(|database| database["name"] == *name).unwrap_or(known.len());
    let source = Source::Flag(format!("--database {name}"));
    layers.replace(&databases.join(index.to_string()), json!({ "name": name, "redis": redis }), &source);
}

fn items<'a>(layers: &'a Layers, list: &Path) -> &'a [serde_json::Value] {
    layers.at(list).as_array().map_or(&[], Vec::as_slice)
}

/// The configuration, judged as a whole once each setting is sound by itself.
fn judge(layers: &mut Layers) -> Option<GatewayConfig> {
    layers.require();
    if !layers.mistakes.is_empty() {
        return None;
    }
    let config: GatewayConfig = match serde_path_to_error::deserialize(layers.finish()) {
        Ok(config) => config,
        Err(error) => {
            // The schema said that it is sound. The parser's own words may hold a value, which may be a secret.
            let path = Path::parse(&error.path().to_string());
            let source = layers.source(&path);
            layers.refuse(&path, &source, "is not what was expected");
            return None;
        }
    };
    for invalid in config.validate_in_gateway().into_iter().chain(auth::check(&config)) {
        let path = Path::parse(&invalid.path);
        let source = layers.source(&path);
        layers.refuse(&path, &source, invalid.message);
    }
    for index in 0..config.databases.len() {
        let path = Path::parse(&format!("databases.{index}.redis.url"));
        let source = layers.source(&path);
        let stored = matches!(source, Source::File(..));
        if stored && layers.at(&path).as_str().is_some_and(|url| RedisUrl::parse(url).is_ok_and(|url| url.password.is_some())) {
            layers.refuse(&path, &source, "holds a password, which has no place in a file; refer to it with `passwordFrom`");
        }
    }
    Some(config)
}
