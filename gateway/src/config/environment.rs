//! Settings from the environment and from `.env` in the working directory, where the real environment wins. An empty
//! variable counts as not set, which is how compose files and shells leave one out.

use std::{collections::BTreeMap, fs, path};

use super::{
    mistake::{ConfigError, Source},
    path::Path,
};

/// Variables that start with `DBX_` and are no settings.
const OTHERS: [&str; 6] = ["DBX_CONFIG", "DBX_POD_NAME", "DBX_SECRETS_DIR", "DBX_TERMINATION_LOG", "DBX_TOKEN", "DBX_URL"];

/// The variables that concern the gateway.
#[derive(Default)]
pub(super) struct Environment {
    variables: BTreeMap<String, (String, Source)>,
    pub(super) mistakes: Vec<ConfigError>,
}

impl Environment {
    pub(super) fn read(real: impl Iterator<Item = (String, String)>, working_directory: &path::Path) -> Self {
        let mut environment = Self::default();
        let mut take = |name: String, text: String, source: fn(String) -> Source| {
            environment.variables.entry(name.clone()).or_insert_with(|| (text, source(name)));
        };
        real.for_each(|(name, text)| take(name, text, Source::Environment));
        match dotenv(working_directory) {
            Ok(variables) => variables.into_iter().for_each(|(name, text)| take(name, text, Source::DotEnv)),
            Err(mistake) => environment.mistakes.push(mistake),
        }
        environment.variables.retain(|name, (text, _)| (name == "REDIS_URL" || name.starts_with("DBX_")) && !text.is_empty());
        environment
    }

    pub(super) fn get(&self, name: &str) -> Option<&(String, Source)> {
        self.variables.get(name)
    }

    /// The settings among them, a section before what is in it.
    pub(super) fn settings(&self) -> Vec<(Path, &str, &Source)> {
        let mut settings: Vec<_> = self
            .variables
            .iter()
            .filter(|(name, _)| !OTHERS.contains(&name.as_str()) && !is_service_link(name))
            .filter_map(|(name, (text, source))| Some((Path::from_environment(name.strip_prefix("DBX_")?), text.as_str(), source)))
            .collect();
        settings.sort_by_key(|(path, ..)| path.order());
        settings
    }
}

/// One variable of the process, or of `.env` when the process has none.
pub(super) fn variable(name: &str) -> Option<String> {
    let own = || dotenv(path::Path::new(".")).ok()?.into_iter().find(|(other, _)| other == name).map(|(_, text)| text);
    std::env::var(name).ok().or_else(own)
}

fn dotenv(directory: &path::Path) -> Result<Vec<(String, String)>, ConfigError> {
    let file = directory.join(".env");
    // Python calls a folder so, and it is none of our business.
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let refuse = |line, message: String| ConfigError { path: String::new(), origin: Source::File(".env".into(), line), message };
    let text = fs::read_to_string(&file).map_err(|error| refuse(None, format!("cannot be read: {error}")))?;
    dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|error| match error {
        // The line itself may hold a password.
        dotenvy::Error::LineParse(wrong, _) => {
            let line = text.lines().position(|line| line.trim() == wrong.trim()).map(|index| index + 1);
            refuse(line, "expected NAME=value, or NAME='value' when the value has spaces or `#`".into())
        }
        _ => refuse(None, "expected lines of NAME=value".into()),
    })
}

/// Whether Kubernetes makes such a variable for a service called `dbx` or `dbx-…`.
fn is_service_link(name: &str) -> bool {
    let port = |(_, rest): (&str, &str)| {
        let mut parts = rest.split('_');
        parts.next().is_some_and(|number| number.parse::<u16>().is_ok())
            && parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
            && parts.next().is_none_or(|part| matches!(part, "PROTO" | "PORT" | "ADDR"))
            && parts.next().is_none()
    };
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.ends_with("_PORT")
            || name.contains("_SERVICE_PORT_")
            || name.rsplit_once("_PORT_").is_some_and(port))
}

#[cfg(test)]
mod tests {
    use super::is_service_link;
    use crate::config::settings;

    #[test]
    fn service_links_are_told_from_settings() {
        for name in [
            "DBX_PORT",
            "DBX_PORT_3000_TCP",
            "DBX_PORT_3000_TCP_ADDR",
            "DBX_PORT_3000_TCP_PORT",
            "DBX_PORT_3000_TCP_PROTO",
            "DBX_SERVICE_HOST",
            "DBX_SERVICE_PORT",
            "DBX_SERVICE_PORT_HTTP",
            "DBX_FOO_SERVICE_HOST",
            "DBX_FOO_BAR_PORT_53_UDP",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for setting in settings() {
            assert!(!is_service_link(&setting.environment), "{}", setting.environment);
        }
        assert!(!is_service_link("DBX_PORT_HTTP") && !is_service_link("DBX_LISTEN__PORT"));
    }
}
