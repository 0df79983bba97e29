//! Tokens (JWT) of issuers that are believed: who they prove to be showing them. A token is verified by a public key that its
//! issuer publishes; nothing is remembered of it here.
//!
//! A token is read strictly (`token`), held to a key of its issuer (`keys`, by what the key is: `algorithm`), and only then are its
//! claims believed (`claims`). Keys come from a file, or are fetched (`fetch`, `origin`) by a task of their own (`keeper`).

mod algorithm;
mod claims;
mod fetch;
mod keeper;
mod keys;
mod origin;
mod refusal;
#[cfg(test)]
mod tests;
mod token;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use dbx_crds::config::{Jwt, SecretSource};
use tokio::{runtime::Handle, sync::watch};
use url::Url;

pub use self::refusal::Refusal;
use self::{
    claims::Expected,
    keeper::{Keeper, Pace},
    keys::Keys,
    origin::{Cluster, Known, Origin, Published},
    token::Token,
};
use crate::config::secret;

/// Who shows a token, as it proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// `jwt:alice`, or `serviceaccount:shop/cart`.
    pub name: String,
    /// What the caller also is: `group:ops`.
    pub groups: Vec<String>,
    /// When the token is believed no more.
    pub until: SystemTime,
}

/// The issuers that are believed, for all workers of a process.
pub struct Issuers(Vec<Issuer>);

struct Issuer {
    /// What its tokens name as their issuer; a cluster has to be asked.
    name: Option<String>,
    expected: Expected,
    source: Source,
}

enum Source {
    File(File),
    Remote(Keeper),
}

/// A JWKS in a file, or wherever else secrets are.
struct File {
    setting: String,
    issuer: String,
    source: SecretSource,
    secrets_dir: PathBuf,
    known: watch::Sender<Arc<Known>>,
}

impl Issuers {
    /// Reads what is in files and starts to fetch, on `runtime`, what is not. An error names the setting.
    pub fn new(config: &[Jwt], secrets_dir: &Path, runtime: &Handle) -> Result<Self, String> {
        Self::with(config, secrets_dir, runtime, &Cluster::own(), Pace::default())
    }

    fn with(config: &[Jwt], secrets_dir: &Path, runtime: &Handle, cluster: &Cluster, pace: Pace) -> Result<Self, String> {
        let issuers = config.iter().enumerate().map(|(index, config)| {
            let setting = format!("auth.jwt[{index}]");
            let issuer = || config.issuer.clone().ok_or_else(|| format!("{setting}.issuer: is missing"));
            let source = if config.kubernetes.is_some() {
                Source::Remote(Keeper::start(runtime, setting.clone(), Origin::Cluster(cluster.clone()), pace))
            } else if let Some(source) = &config.jwks_from {
                Source::File(File::open(format!("{setting}.jwksFrom"), issuer()?, source, secrets_dir)?)
            } else {
                let url = Url::parse(config.jwks_url.as_deref().unwrap_or_default());
                let url = url.map_err(|error| format!("{setting}.jwksUrl: {error}"))?;
                let ca = config.ca_from.clone();
                if ca.is_some() {
                    origin::roots(ca.as_ref(), secrets_dir).map_err(|message| format!("{setting}.{message}"))?;
                }
                let published = Published { issuer: issuer()?, url, ca, secrets_dir: secrets_dir.to_owned() };
                Source::Remote(Keeper::start(runtime, format!("{setting}.jwksUrl"), Origin::Published(Box::new(published)), pace))
            };
            Ok(Issuer { name: config.issuer.clone(), expected: Expected::new(config), source })
        });
        Ok(Self(issuers.collect::<Result<_, String>>()?))
    }

    /// What a token proves. Waits for nothing but keys that are not known yet, and for those a few seconds at most.
    pub async fn verify(&self, token: &str) -> Result<Proved, Refusal> {
        self.verify_at(token, SystemTime::now()).await
    }

    async fn verify_at(&self, token: &str, now: SystemTime) -> Result<Proved, Refusal> {
        let token = Token::parse(token)?;
        let issuer = token.issuer()?;
        // A cluster that has to be asked first does not keep the tokens of others waiting.
        let is_named = |entry: &&Issuer| entry.name.as_deref() == Some(issuer);
        let asked = self.0.iter().filter(is_named).chain(self.0.iter().filter(|entry| entry.name.is_none()));
        let mut refusal = Refusal::UnknownIssuer;
        for entry in asked {
            if entry.name.is_none() && refusal != Refusal::UnknownIssuer {
                break;
            }
            match entry.verify(&token, issuer, now).await {
                Err(Refusal::UnknownIssuer) => {}
                Err(other) => refusal = other,
                proved => return proved,
            }
        }
        Err(refusal)
    }

    /// Reads the keys again that are in files. What cannot be used is told, by its setting, and what was there before stays.
    pub fn reload(&self) -> Result<(), String> {
        let files = self.0.iter().filter_map(|entry| match &entry.source {
            Source::File(file) => Some(file),
            Source::Remote(_) => None,
        });
        let failures: Vec<_> = files.filter_map(|file| file.reload().err()).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }
}

impl Issuer {
    async fn verify(&self, token: &Token<'_>, issuer: &str, now: SystemTime) -> Result<Proved, Refusal> {
        let known = match &self.source {
            Source::File(file) => file.known.borrow().clone(),
            Source::Remote(keeper) => keeper.known(|known| known.issuer != issuer || known.keys.has(token)).await?,
        };
        if known.issuer != issuer {
            return Err(Refusal::UnknownIssuer);
        }
        known.keys.verify(token)?;
        self.expected.prove(&token.claims, now)
    }
}

impl File {
    fn open(setting: String, issuer: String, source: &SecretSource, secrets_dir: &Path) -> Result<Self, String> {
        let keys = read(&setting, source, secrets_dir)?;
        let known = watch::Sender::new(Arc::new(Known { issuer: issuer.clone(), keys }));
        Ok(Self { setting, issuer, source: source.clone(), secrets_dir: secrets_dir.to_owned(), known })
    }

    fn reload(&self) -> Result<(), String> {
        let known = Known { issuer: self.issuer.clone(), keys: read(&self.setting, &self.source, &self.secrets_dir)? };
        if **self.known.borrow() != known {
            self.known.send_replace(Arc::new(known));
            tracing::info!("{}: new keys are in use", self.setting);
        }
        Ok(())
    }
}

fn read(setting: &str, source: &SecretSource, secrets_dir: &Path) -> Result<Keys, String> {
    let text = secret::read(source, secrets_dir).map_err(|error| format!("{setting}: {error}"))?;
    Keys::parse(text.reveal().as_bytes()).map_err(|message| format!("{setting}: {message}"))
}
