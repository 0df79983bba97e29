//! Asks pods how their databases are: `GET /readyz?verbose` on the operations port, whose body is the same at 200 and 503.

use std::{collections::BTreeMap, time::Duration};

use dbx_crds::{
    config::{GatewayConfig, RedisUrl},
    gateway::DatabaseStatus,
};
use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use crate::{
    names,
    render::{DIRECTORY, KEYS_FILE, OPERATIONS_PORT},
};

const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST: usize = 64 << 10;

#[derive(Debug, Deserialize)]
struct Readiness {
    #[serde(default)]
    databases: Vec<DatabaseStatus>,
    #[serde(default, rename = "keyFiles")]
    key_files: Vec<KeyFile>,
}

/// A file of keys that a pod has read.
#[derive(Debug, Deserialize)]
struct KeyFile {
    path: String,
    revision: Option<String>,
}

/// Where a gateway's pods read the keys that the operator makes.
pub(crate) fn keys_path(gateway: &str) -> String {
    format!("{}/{}/{}", DIRECTORY, names::keys(gateway), KEYS_FILE)
}

/// The revision of a file of keys that a pod has read.
pub(crate) async fn revision(address: &str, path: &str) -> Option<String> {
    let readiness = tokio::time::timeout(PATIENCE, fetch(address)).await.ok()?.ok()?;
    readiness.key_files.into_iter().find(|file| file.path == path)?.revision
}

/// Asks every address. A database that any pod reaches is reachable; none is told when no pod answers.
pub(crate) async fn ask(addresses: &[String]) -> Vec<DatabaseStatus> {
    let answers = join_all(addresses.iter().map(|address| tokio::time::timeout(PATIENCE, fetch(address)))).await;
    merge(answers.into_iter().filter_map(|answer| Some(answer.ok()?.ok()?.databases)))
}

/// What an unready pod has to say about its databases, with the place in the object, since a pod names no host.
pub(crate) async fn complaint(address: &str, config: &GatewayConfig) -> Option<String> {
    let databases = tokio::time::timeout(PATIENCE, fetch(address)).await.ok()?.ok()?.databases;
    let database = databases.into_iter().find(|database| !database.reachable)?;
    let message = database.message.as_deref().unwrap_or("not reachable");
    Some(format!("database {}{}: {message}", database.name, place(&database.name, config).unwrap_or_default()))
}

fn place(name: &str, config: &GatewayConfig) -> Option<String> {
    let index = config.databases.iter().position(|database| database.name == name)?;
    let url = config.databases[index].redis.as_ref().and_then(|redis| redis.url.as_deref());
    Some(match url {
        Some(url) => format!(" (spec.config.databases[{index}].redis.url: {})", RedisUrl::redact(url)),
        None => format!(" (spec.config.databases[{index}])"),
    })
}

fn merge(answers: impl Iterator<Item = Vec<DatabaseStatus>>) -> Vec<DatabaseStatus> {
    let mut merged: BTreeMap<String, DatabaseStatus> = BTreeMap::new();
    for mut database in answers.flatten() {
        if database.reachable {
            database.message = None;
        }
        match merged.get(&database.name) {
            Some(known) if known.reachable || !database.reachable => {}
            _ => {
                merged.insert(database.name.clone(), database);
            }
        }
    }
    merged.into_values().collect()
}

async fn fetch(address: &str) -> anyhow::Result<Readiness> {
    let address: std::net::IpAddr = address.parse()?;
    let stream = tokio::net::TcpStream::connect((address, OPERATIONS_PORT)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get("/readyz?verbose").header("host", "localhost").body(Empty::<bytes::Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(anyhow::Error::from_boxed)?;
        Ok(serde_json::from_slice::<Readiness>(&body.to_bytes())?)
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may be done before its last answer has been taken.
        _ = connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_yes_counts() {
        let database = |reachable: bool, message: &str| DatabaseStatus {
            name: "redis".into(),
            kind: "redis".into(),
            reachable,
            message: Some(message.into()),
        };
        let merged = merge([vec![database(false, "refused")], vec![database(true, "fine")], vec![database(false, "late")]].into_iter());
        assert_eq!(merged, [DatabaseStatus { message: None, ..database(true, "") }]);
        assert_eq!(merge([vec![database(false, "refused")]].into_iter())[0].message.as_deref(), Some("refused"));
        assert_eq!(merge([].into_iter()), []);
    }
}
