//! Reading a secret that the configuration refers to. A secret never shows in logs or errors, which name the reference.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use dbx_crds::config::SecretSource;

use super::environment;

/// A secret's text, which has to be asked for and does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// A secret that cannot be read. Names where it should be, never what it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    reference: String,
    reason: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot read the secret in {}: {}", self.reference, self.reason)
    }
}

impl std::error::Error for Unreadable {}

/// Where Secrets and ConfigMaps are mounted: `$DBX_SECRETS_DIR`, or `/etc/dbx/secrets`.
pub fn directory() -> PathBuf {
    environment::variable("DBX_SECRETS_DIR").map_or_else(|| PathBuf::from("/etc/dbx/secrets"), PathBuf::from)
}

/// Reads a secret. One newline at the end, which editors and `echo` leave, is not part of it.
pub fn read(source: &SecretSource, secrets_dir: &Path) -> Result<Secret, Unreadable> {
    let text = read_whole(source, secrets_dir)?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Secret::new(text))
}

fn read_whole(source: &SecretSource, secrets_dir: &Path) -> Result<String, Unreadable> {
    if let Some(file) = &source.file {
        read_file(Path::new(file))
    } else if let Some(name) = &source.env {
        let missing = || Unreadable { reference: format!("environment {name}"), reason: "the variable is not set".into() };
        environment::variable(name).ok_or_else(missing)
    } else if let Some(reference) = source.secret_key_ref.as_ref().or(source.config_map_key_ref.as_ref()) {
        read_file(&reference.path(secrets_dir))
    } else {
        Err(Unreadable { reference: "passwordFrom".into(), reason: "it names no source".into() })
    }
}

/// Where a reference leads to: a path, or `environment` and the name of a variable.
pub fn place(source: &SecretSource, secrets_dir: &Path) -> String {
    let reference = source.secret_key_ref.as_ref().or(source.config_map_key_ref.as_ref());
    match (&source.file, &source.env) {
        (Some(file), _) => file.clone(),
        (None, Some(name)) => format!("environment {name}"),
        (None, None) => reference.map(|reference| reference.path(secrets_dir).display().to_string()).unwrap_or_default(),
    }
}

/// A text that may change: read again each time it is asked for. An error says where it should be, never what it is.
pub type Text = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What a reference leads to, as often as it is asked for.
pub fn text(source: SecretSource, secrets_dir: &Path) -> Text {
    let secrets_dir = secrets_dir.to_owned();
    Arc::new(move || read(&source, &secrets_dir).map(|secret| secret.reveal().to_owned()).map_err(|unreadable| unreadable.to_string()))
}

/// As [`text`], with every byte.
pub fn whole(source: SecretSource, secrets_dir: &Path) -> Text {
    let secrets_dir = secrets_dir.to_owned();
    Arc::new(move || read_whole(&source, &secrets_dir).map_err(|unreadable| unreadable.to_string()))
}

fn read_file(path: &Path) -> Result<String, Unreadable> {
    fs::read_to_string(path).map_err(|error| Unreadable { reference: format!("file {}", path.display()), reason: error.to_string() })
}
