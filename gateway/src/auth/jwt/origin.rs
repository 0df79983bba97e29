//! Where an issuer's keys come from, and what comes from there.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dbx_crds::config::SecretSource;
use rustls::RootCertStore;
use serde::Deserialize;
use url::Url;

use super::{fetch, keys::Keys};
use crate::{config::secret, tls};

/// The setting of the certificates that a server is believed by.
const CA: &str = "caFrom";

/// An issuer, as it tells of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// What its tokens name as their issuer.
    pub(super) issuer: String,
    pub(super) keys: Keys,
}

/// The cluster that the gateway runs in, as its pods see it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// The API server: `https://10.96.0.1:443`.
    pub(super) address: String,
    /// Where a pod finds its token and the API server's CA.
    pub(super) directory: PathBuf,
}

impl Cluster {
    /// The cluster that this process runs in.
    pub(super) fn own() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let host = variable("KUBERNETES_SERVICE_HOST").unwrap_or_else(|| "kubernetes.default.svc".into());
        let port = variable("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".into());
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Self { address: format!("https://{host}:{port}"), directory: "/var/run/secrets/kubernetes.io/serviceaccount".into() }
    }

    async fn get(&self, path: &str) -> Result<fetch::Document, String> {
        let url = Url::parse(&format!("{}{path}", self.address)).map_err(|error| format!("the API server's address: {error}"))?;
        let read = |name: &str| {
            let path = self.directory.join(name);
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let roots = Arc::new(tls::roots(&read("ca.crt")?, "ca.crt")?);
        fetch::get(&url, roots, Some(read("token")?.trim())).await.map_err(|message| format!("{path}: {message}"))
    }
}

/// Where keys are fetched.
pub(super) enum Origin {
    Published(Box<Published>),
    Cluster(Cluster),
}

/// Keys that are published at a URL.
pub(super) struct Published {
    pub(super) issuer: String,
    pub(super) url: Url,
    /// Where the certificates are that the server is believed by.
    pub(super) ca: Option<SecretSource>,
    pub(super) secrets_dir: PathBuf,
}

impl Origin {
    /// Gets what is known of the issuer, and how long that may be kept. Files are read each time.
    pub(super) async fn fetch(&self) -> Result<(Known, Option<Duration>), String> {
        match self {
            Self::Published(published) => {
                let Published { issuer, url, ca, secrets_dir } = &**published;
                let document = fetch::get(url, roots(ca.as_ref(), secrets_dir)?, None).await?;
                Ok((Known { issuer: issuer.clone(), keys: parse(&document)? }, document.max_age))
            }
            Self::Cluster(cluster) => {
                let discovery: Discovery = serde_json::from_slice(&cluster.get("/.well-known/openid-configuration").await?.body)
                    .map_err(|_| "the API server does not say what its issuer is")?;
                // Never `jwks_uri`: it may be anywhere, and would be shown the gateway's token.
                let document = cluster.get("/openid/v1/jwks").await?;
                Ok((Known { issuer: discovery.issuer, keys: parse(&document)? }, document.max_age))
            }
        }
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

fn parse(document: &fetch::Document) -> Result<Keys, String> {
    Keys::parse(&document.body).map_err(|message| format!("the answer {message}"))
}

/// What a server is believed by: the certificates of a file, or else the system's.
pub(super) fn roots(ca: Option<&SecretSource>, secrets_dir: &Path) -> Result<Arc<RootCertStore>, String> {
    let Some(ca) = ca else { return Ok(tls::system()) };
    let pem = secret::read(ca, secrets_dir).map_err(|error| format!("{CA}: {error}"))?;
    tls::roots(pem.reveal(), CA).map(Arc::new)
}
