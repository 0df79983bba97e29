//! `kubectl dbx status`: whether gateways are well, and what is not. A line that begins with `!` is what is not.

use dbx_crds::{
    api_key::DbxApiKey,
    gateway::{
        Condition, DbxGateway, DbxGatewayStatus, Reason, State,
        pods::{CONFIG_HASH, INSTANCE, container, trouble},
    },
};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1};
use kube::ResourceExt;

use crate::{
    cluster::Cluster,
    keys,
    output::{self, table},
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
        output::write(format!("no gateways in {place}\n"))?;
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
        let (text, is_well) = Seen { gateway, pods: pods.iter().filter(is_ours).collect(), keys }.render(name.is_some());
        output::write(text)?;
        well &= is_well;
    }
    Ok(well)
}

/// What is found, line by line.
#[derive(Default)]
struct Report {
    text: String,
    faults: usize,
}

impl Report {
    fn line(&mut self, is_well: bool, words: &str) {
        self.text += &format!("{} {words}\n", if is_well { " " } else { "!" });
        self.faults += usize::from(!is_well);
    }

    /// A line of how many of all are well, and more about the others; gives the line's words.
    fn count(&mut self, well: usize, all: usize, what: &str, more: &str) -> String {
        let words = format!("{well}/{all} {what}");
        self.line(well == all, &words);
        self.text += more;
        words
    }
}

impl Seen<'_> {
    /// The gateway in words, and whether it is well; whole, or with one line when it is.
    fn render(&self, whole: bool) -> (String, bool) {
        let status = self.gateway.status.clone().unwrap_or_default();
        let name = format!("{}/{}", self.gateway.namespace().unwrap_or_default(), self.gateway.name_any());
        let mut report = Report::default();
        let known: Vec<&str> = [&status.url, &status.version].into_iter().filter_map(Option::as_deref).collect();
        if !known.is_empty() {
            report.line(true, &known.join(", version "));
        }
        self.conditions(&status, &mut report);
        let counts = [self.pods(&status, &mut report), databases(&status, &mut report), self.keys(&mut report)];
        match report {
            Report { faults: 0, .. } if !whole => (format!("{name}: well; {}\n", counts.join(", ")), true),
            Report { text, faults: 0 } => (format!("{name}: well\n{text}"), true),
            Report { text, .. } => (format!("{name}: NOT WELL\n{text}"), false),
        }
    }

    fn conditions(&self, status: &DbxGatewayStatus, report: &mut Report) {
        let generation = self.gateway.metadata.generation.unwrap_or_default();
        if status.observed_generation != Some(generation) {
            report.line(false, &format!("the operator has not looked at generation {generation} yet: does it run?"));
        }
        for found in &status.conditions {
            if let Some(is_well) = is_well(found) {
                report.line(is_well, &format!("{}={} {}: {}", found.type_, found.status, found.reason, found.message));
            }
        }
    }

    fn pods(&self, status: &DbxGatewayStatus, report: &mut Report) -> String {
        let mut rows = String::new();
        let (mut ready, mut wanted, mut outdated) = (0, 0, 0);
        for pod in &self.pods {
            let trouble = trouble(pod);
            let hash = pod.labels().get(CONFIG_HASH);
            let is_current = hash == status.config_hash.as_ref();
            let config = if is_current { "current".into() } else { format!("{}, not current", hash.map_or("none", String::as_str)) };
            // One that goes is no matter.
            if pod.metadata.deletion_timestamp.is_none() {
                ready += usize::from(trouble.is_none());
                outdated += usize::from(!is_current);
                wanted += 1;
            }
            let restarts = container(pod).map_or(0, |container| container.restart_count);
            let is_ready = if trouble.is_none() { "yes" } else { "no" };
            rows += &format!("    {}\t{is_ready}\t{restarts}\t{config}\t{}\n", pod.name_any(), trouble.unwrap_or_default());
        }
        if !rows.is_empty() {
            rows = table(&format!("    POD\tREADY\tRESTARTS\tCONFIG\t\n{rows}"));
        }
        let words = report.count(ready, wanted, "pods ready", &rows);
        if outdated > 0 {
            report.line(false, &format!("pods whose configuration is not current: {outdated}"));
        }
        words
    }

    fn keys(&self, report: &mut Report) -> String {
        let keys = match &self.keys {
            Ok(keys) => keys,
            // Who looks after gateways need not see keys.
            Err(error) => {
                report.line(true, &format!("keys not shown: {error}"));
                return "keys not shown".into();
            }
        };
        let waiting = keys.iter().map(|key| (key, keys::ready(key))).filter(|(_, (is_ready, _))| !is_ready);
        let waiting: Vec<String> = waiting
            .map(|(key, (_, why))| format!("    {}/{} waits: {why}\n", key.namespace().unwrap_or_default(), key.name_any()))
            .collect();
        report.count(keys.len() - waiting.len(), keys.len(), "keys ready", &waiting.concat())
    }
}

fn databases(status: &DbxGatewayStatus, report: &mut Report) -> String {
    let away = status.databases.iter().filter(|database| !database.reachable);
    let away: Vec<String> = away
        .map(|database| format!("    {} is not reachable: {}\n", database.name, database.message.as_deref().unwrap_or("no reason given")))
        .collect();
    report.count(status.databases.len() - away.len(), status.databases.len(), "databases reachable", &away.concat())
}

/// Whether a condition is well; none for one that has nothing to tell.
fn is_well(condition: &v1::Condition) -> Option<bool> {
    let is_true = condition.status == State::True.as_str();
    if condition.type_ != Condition::Progressing.as_str() {
        return (!is_true).then_some(false);
    }
    // A rollout that goes on is well, one that fails is not, and one that has ended is not told of.
    let fails = [Reason::PodFailing, Reason::DeadlineExceeded].iter().any(|bad| bad.as_str() == condition.reason);
    if fails { Some(false) } else { is_true.then_some(true) }
}

#[cfg(test)]
#[path = "tests/status.rs"]
mod tests;
