//! Files as people, and other programs, write them.

use std::fs;

use dbx_crds::{
    api_key::file::KeyFile,
    config::{GatewayConfig, RedisUrl},
};
use tempfile::TempDir;

use super::line;
use crate::{
    cli::Settings,
    config::{self, ConfigError},
};

const FILE: &str = "gateway.yaml";

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("there is room for one");
}

/// Inputs: what follows, a line end, and it. `keys`: a file of keys; `config`: a configuration; `set`: flags, a line each;
/// `environment`: variables, a line each; `url`: where a database is. What is taken means the same once it is written and read
/// again, and what is not taken has a mistake that is told.
pub fn files(data: &[u8]) {
    let (kind, rest) = line(data);
    let text = String::from_utf8_lossy(rest);
    let lines = || text.lines().map(str::to_owned).collect::<Vec<_>>();
    match kind.first() {
        Some(b'k') => keys(&text),
        Some(b's') => told(load(None, lines(), Vec::new())),
        Some(b'e') => told(load(None, Vec::new(), lines())),
        Some(b'u') => drop(RedisUrl::parse(&text)),
        _ => settings(&text),
    }
}

fn keys(text: &str) {
    match KeyFile::read(text) {
        Ok(file) => {
            let written = serde_yaml::to_string(&file).expect("it was read");
            assert_eq!(KeyFile::read(&written).as_ref(), Ok(&file));
        }
        Err(mistakes) => assert!(!mistakes.is_empty()),
    }
}

fn settings(text: &str) {
    match load(Some(text), Vec::new(), Vec::new()) {
        Ok(config) => {
            let written = serde_yaml::to_string(&config).expect("it was read");
            assert_eq!(load(Some(&written), Vec::new(), Vec::new()), Ok(config));
        }
        mistakes => told(mistakes),
    }
}

fn told(loaded: Result<GatewayConfig, Vec<ConfigError>>) {
    if let Err(mistakes) = loaded {
        assert!(!mistakes.is_empty());
        assert!(mistakes.iter().all(|mistake| !mistake.to_string().is_empty()));
    }
}

fn load(file: Option<&str>, set: Vec<String>, environment: Vec<String>) -> Result<GatewayConfig, Vec<ConfigError>> {
    FOLDER.with(|folder| {
        if let Some(text) = file {
            fs::write(folder.path().join(FILE), text).expect("there is room for it");
        }
        let flags = Settings { config: file.map(|_| FILE.to_owned()), set, database: Vec::new(), host: Vec::new() };
        let variables = environment.into_iter().filter_map(|line| {
            let (name, text) = line.split_once('=')?;
            Some((name.to_owned(), text.to_owned()))
        });
        config::load(&flags, variables, folder.path())
    })
}
