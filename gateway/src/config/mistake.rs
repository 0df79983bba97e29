//! What is wrong with a configuration: where, who said it, what was expected. Never the text of a setting that may be secret.

use std::fmt;

/// Who gave a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody: a default, or something left out.
    Default,
    /// A configuration file and, if known, the line.
    File(String, Option<usize>),
    /// An environment variable.
    Environment(String),
    /// A variable of the `.env` file in the working directory.
    DotEnv(String),
    /// A flag, without a value that may be secret.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(name, None) => write!(formatter, "file {name}"),
            Self::File(name, Some(line)) => write!(formatter, "file {name} line {line}"),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::DotEnv(name) => write!(formatter, ".env {name}"),
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
        }
    }
}

/// One mistake. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting, such as `databases[0].redis.url`; empty when no setting is concerned.
    pub path: String,
    /// Who said it.
    pub origin: Source,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        if !self.path.is_empty() {
            line = format!("{}: ", self.path);
        }
        line.push_str(&self.message);
        if self.origin != Source::Default {
            line = format!("{line} ({})", self.origin);
        }
        formatter.write_str(&redact(&line))
    }
}

impl std::error::Error for ConfigError {}

/// The text with the user and password of every URL in it, and the secret of every API key, replaced by `***`.
pub fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://").map(|at| at + 3) {
        let (before, after) = rest.split_at(start);
        clean.push_str(before);
        // A password may hold `/`, `?` or `@` though it should not: everything up to the last `@` of the word goes.
        let word = after.find(|letter: char| letter.is_whitespace() || matches!(letter, '\'' | '"' | '`')).unwrap_or(after.len());
        match after[..word].rfind('@') {
            Some(at) => {
                clean.push_str("***");
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    clean.push_str(rest);
    dbx_crds::api_key::token::redact(&clean)
}
