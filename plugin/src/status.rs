//! `kubectl dbx status`: whether gateways are well, and what is not. A line that begins with `!` is what is not.

use dbx_crds::{
    api_key::DbxApiKey,
    gateway::{
        Condition, DbxGateway, Reason, State,
        pods::{CONFIG_HASH, INSTANCE},
    },
};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1};
use kube::ResourceExt;

use crate::{
    cluster::{Cluster, container, trouble},
    keys,
    output::{self, row, table},
};

/// A gateway, and what belongs to it.
struct Seen<'a> {
    gateway: &'a DbxGateway,
    pods: Vec<&'a Pod>,
    /// Or why they could not be read.
    keys: Result<Vec<&'a DbxApiKey>, String>,
}

pub(crate) async fn run(cluster: &Cluster, name: Option<&str>, everywhere: bool) -> anyhow::Result<bool> {
    let namespace = if everywhere { "" } else { &cluster.namespace };
    let gateways: Vec<DbxGateway> = match name {
        Some(name) => vec![cluster.get(name).await?],
        None => cluster.list(namespace, "").await?,
    };
    if gateways.is_empty() {
        let place = if everywhere { "the cluster".into() } else { format!("the namespace {namespace}; -A looks in all of them") };
        output::write(format!("no gateways in {place}\n").as_bytes())?;
        return Ok(true);
    }
    let (pods, found) = tokio::join!(cluster.pods(namespace, name), cluster.keys(namespace));
    let (pods, found) = (pods?, found.map_err(|error| format!("{error:#}")));
    let mut well = true;
    for gateway in &gateways {
        let is_ours = |pod: &&Pod| {
            pod.namespace() == gateway.namespace() && pod.labels().get(INSTANCE).is_some_and(|name| *name == gateway.name_any())
        };
        let keys = found.as_ref().map(|keys| keys.iter().filter(|key| keys::is_of(key, gateway)).collect()).map_err(Clone::clone);
        let seen = Seen { gateway, pods: pods.iter().filter(is_ours).collect(), keys };
        let (text, is_well) = seen.render(name.is_some());
        output::write(text.as_bytes())?;
        well &= is_well;
    }
    Ok(well)
}

/// A line of what is found: `!` before what is not well.
fn line(is_well: bool, text: &str) -> String {
    format!("{} {text}\n", if is_well { " " } else { "!" })
}

impl Seen<'_> {
    /// The gateway in words, and whether it is well; whole, or with one line when it is.
    fn render(&self, whole: bool) -> (String, bool) {
        let name = format!("{}/{}", self.gateway.namespace().unwrap_or_default(), self.gateway.name_any());
        let (databases, databases_well) = self.databases();
        let (pods, pods_well) = self.pods();
        let (keys, keys_well) = self.keys();
        let (conditions, conditions_well) = self.conditions();
        let well = conditions_well && pods_well && databases_well && keys_well;
        let word = if well { "well" } else { "NOT WELL" };
        let first = |parts: [&str; 3]| {
            parts.map(|part| part.lines().next().unwrap_or_default().trim_start_matches(['!', ' ']).to_owned()).join(", ")
        };
        if well && !whole {
            return (format!("{name}: {word}; {}\n", first([&pods, &databases, &keys])), true);
        }
        let status = self.gateway.status.as_ref();
        let known = [status.and_then(|status| status.url.as_deref()), status.and_then(|status| status.version.as_deref())];
        let known: Vec<&str> = known.into_iter().flatten().collect();
        let known = if known.is_empty() { String::new() } else { line(true, &known.join(", version ")) };
        (format!("{name}: {word}\n{known}{conditions}{pods}{databases}{keys}"), well)
    }

    fn conditions(&self) -> (String, bool) {
        let status = self.gateway.status.clone().unwrap_or_default();
        let generation = self.gateway.metadata.generation.unwrap_or_default();
        let told = status.conditions.iter().filter_map(|found| Some((is_well(found)?, words(found))));
        let mut lines: Vec<(bool, String)> = told.collect();
        if status.observed_generation != Some(generation) {
            lines.insert(0, (false, format!("the operator has not looked at generation {generation} yet: does it run?")));
        }
        (lines.iter().map(|(is_well, words)| line(*is_well, words)).collect(), lines.iter().all(|(is_well, _)| *is_well))
    }

    fn pods(&self) -> (String, bool) {
        let current = self.gateway.status.as_ref().and_then(|status| status.config_hash.as_deref());
        let mut rows = vec![row(["POD", "READY", "RESTARTS", "CONFIG", ""])];
        let (mut ready, mut wanted, mut is_current) = (0, 0, true);
        for pod in &self.pods {
            let trouble = trouble(pod);
            let hash = pod.labels().get(CONFIG_HASH).map_or("none", String::as_str);
            let config = if Some(hash) == current { "current".into() } else { format!("{hash}, not current") };
            // One that goes is no matter.
            if pod.metadata.deletion_timestamp.is_none() {
                is_current &= Some(hash) == current;
                ready += usize::from(trouble.is_none());
                wanted += 1;
            }
            let restarts = container(pod).map_or(0, |container| container.restart_count).to_string();
            let is_ready = if trouble.is_none() { "yes" } else { "no" };
            rows.push(row([&pod.name_any(), is_ready, &restarts, &config, &trouble.unwrap_or_default()]));
        }
        let well = ready == wanted && is_current;
        let rows = if self.pods.is_empty() { String::new() } else { table(&rows, 4) };
        (line(well, &format!("{ready}/{wanted} pods ready")) + &rows, well)
    }

    fn databases(&self) -> (String, bool) {
        let databases = self.gateway.status.as_ref().map(|status| status.databases.as_slice()).unwrap_or_default();
        let reachable = databases.iter().filter(|database| database.reachable).count();
        let well = reachable == databases.len();
        let rows = databases.iter().filter(|database| !database.reachable);
        let rows: String = rows
            .map(|database| {
                format!("    {} is not reachable: {}\n", database.name, database.message.as_deref().unwrap_or("no reason given"))
            })
            .collect();
        (line(well, &format!("{reachable}/{} databases reachable", databases.len())) + &rows, well)
    }

    fn keys(&self) -> (String, bool) {
        let keys = match &self.keys {
            Ok(keys) => keys,
            // Who looks after gateways need not see keys.
            Err(error) => return (line(true, &format!("keys not shown: {error}")), true),
        };
        let waiting = keys.iter().map(|key| (key, keys::ready(key))).filter(|(_, (is_ready, _))| !is_ready);
        let waiting: Vec<String> = waiting
            .map(|(key, (_, why))| format!("    {}/{} waits: {why}\n", key.namespace().unwrap_or_default(), key.name_any()))
            .collect();
        let well = waiting.is_empty();
        (line(well, &format!("{}/{} keys ready", keys.len() - waiting.len(), keys.len())) + &waiting.concat(), well)
    }
}

/// Whether a condition is well; none for one that has nothing to tell.
fn is_well(condition: &v1::Condition) -> Option<bool> {
    let reason = condition.reason.as_str();
    let is_true = condition.status == State::True.as_str();
    match condition.type_ == Condition::Progressing.as_str() {
        // A rollout that goes on is well, one that fails is not, and one that has ended is not told of.
        true if [Reason::PodFailing, Reason::DeadlineExceeded].iter().any(|bad| bad.as_str() == reason) => Some(false),
        true => is_true.then_some(true),
        false => (!is_true).then_some(false),
    }
}

fn words(condition: &v1::Condition) -> String {
    format!("{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message)
}

#[cfg(test)]
#[path = "tests/status.rs"]
mod tests;
