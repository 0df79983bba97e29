//! `kubectl dbx top`: what the pods of a gateway do, from two reads of their metrics.

use std::{
    array,
    time::{Duration, Instant},
};

use dbx_crds::gateway::{DbxGateway, pods::OPERATIONS_PORT};
use futures::future::join_all;
use kube::ResourceExt;

use crate::{
    cluster::{Cluster, short},
    output::{self, row, table},
    tunnel::Tunnel,
};

/// Between the two reads.
const WINDOW: Duration = Duration::from_secs(1);
const CALLS: &str = "dbx_calls_total";
const MIB: f64 = 1024.0 * 1024.0;
const COLUMNS: [&str; 7] = ["POD", "CALLS/S", "ERRORS/S", "IN FLIGHT", "CONNECTIONS", "SOCKETS", "MEMORY"];

/// What a pod does: the columns in their order, and none where it does not tell.
type Load = [Option<f64>; COLUMNS.len() - 1];

pub(crate) async fn run(cluster: &Cluster, name: &str) -> anyhow::Result<bool> {
    cluster.get::<DbxGateway>(name).await?;
    let pods: Vec<String> = cluster.ready_pods(name).await?.iter().map(ResourceExt::name_any).collect();
    let loads = output::kept(join_all(pods.iter().map(|pod| measure(cluster, pod))).await);
    output::write(render(&loads).as_bytes())?;
    Ok(loads.len() == pods.len())
}

async fn measure<'a>(cluster: &Cluster, pod: &'a str) -> anyhow::Result<(&'a str, Load)> {
    let mut tunnel = Tunnel::open(cluster, pod, OPERATIONS_PORT).await?;
    let before = tunnel.read("/metrics").await?;
    let start = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let after = tunnel.read("/metrics").await?;
    Ok((short(pod), load(&before, &after, start.elapsed())))
}

fn load(before: &str, after: &str, elapsed: Duration) -> Load {
    let rate = |counts: fn(&str) -> bool| {
        let [before, after] = [before, after].map(|text| sum(text, CALLS, counts).unwrap_or_default());
        Some((after - before).max(0.0) / elapsed.as_secs_f64())
    };
    let gauge = |name| sum(after, name, |_| true);
    [
        rate(|_| true),
        rate(|labels| !labels.contains(r#"outcome="ok""#)),
        gauge("dbx_calls_in_flight"),
        gauge("dbx_connections"),
        gauge("dbx_sockets"),
        gauge("dbx_resident_memory_bytes").map(|bytes| bytes / MIB),
    ]
}

/// The sum of a metric over the labels that count; none when it is not there.
fn sum(text: &str, name: &str, counts: fn(&str) -> bool) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then_some(())?;
        Some((labels, value.parse::<f64>().ok()?))
    });
    samples.filter(|(labels, _)| counts(labels)).map(|(_, value)| value).reduce(|sum, value| sum + value)
}

fn render(pods: &[(&str, Load)]) -> String {
    let all: Load = array::from_fn(|column| pods.iter().filter_map(|(_, load)| load[column]).reduce(|sum, value| sum + value));
    let mut rows = vec![row(COLUMNS)];
    for (pod, load) in pods.iter().chain([&("all", all)]) {
        let mut cells: Vec<String> = load.iter().map(|value| value.map_or_else(|| "-".into(), |value| format!("{value:.0}"))).collect();
        if let (Some(cell), Some(memory)) = (cells.last_mut(), load.last().copied().flatten()) {
            *cell = format!("{memory:.1}Mi");
        }
        cells.insert(0, (*pod).into());
        rows.push(cells);
    }
    table(&rows, 0)
}

#[cfg(test)]
#[path = "tests/top.rs"]
mod tests;
