//! `kubectl dbx top`: what the pods of a gateway do, from two reads of their metrics.

use std::time::{Duration, Instant};

use dbx_crds::gateway::{DbxGateway, pods::OPERATIONS_PORT};
use futures::future::join_all;

use crate::{
    cluster::{Cluster, short},
    output::{self, table},
    tunnel::Tunnel,
};

/// Between the two reads.
const WINDOW: Duration = Duration::from_secs(1);
const CALLS: &str = "dbx_calls_total";
const GAUGES: [&str; 4] = ["dbx_calls_in_flight", "dbx_connections", "dbx_sockets", "dbx_resident_memory_bytes"];
const TITLES: &str = "POD\tCALLS/S\tERRORS/S\tIN FLIGHT\tCONNECTIONS\tSOCKETS\tMEMORY\n";
const MIB: f64 = 1024.0 * 1024.0;

/// What a pod does: calls and errors a second, then the gauges; none where it does not tell.
type Load = [Option<f64>; 2 + GAUGES.len()];

pub(crate) async fn run(cluster: &Cluster, name: &str) -> anyhow::Result<bool> {
    cluster.get::<DbxGateway>(name).await?;
    let pods = cluster.ready_pods(name).await?;
    let measured = join_all(pods.iter().map(|pod| measure(cluster, pod))).await;
    let loads: Vec<_> = measured.into_iter().filter_map(output::kept).collect();
    output::write(render(&loads))?;
    Ok(loads.len() == pods.len())
}

async fn measure<'a>(cluster: &Cluster, pod: &'a str) -> anyhow::Result<(&'a str, Load)> {
    let mut tunnel = Tunnel::open(cluster, pod, OPERATIONS_PORT, None).await?;
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
    let [in_flight, connections, sockets, memory] = GAUGES.map(|name| sum(after, name, |_| true));
    [rate(|_| true), rate(|labels| !labels.contains(r#"outcome="ok""#)), in_flight, connections, sockets, memory]
}

/// The sum of a metric over the labels that count; none when it is not there.
fn sum(text: &str, name: &str, counts: fn(&str) -> bool) -> Option<f64> {
    let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    let samples = samples.filter(|(labels, _)| (labels.is_empty() || labels.starts_with('{')) && counts(labels));
    samples.filter_map(|(_, value)| value.parse().ok()).reduce(|sum: f64, value| sum + value)
}

fn render(pods: &[(&str, Load)]) -> String {
    let all: Load = std::array::from_fn(|column| pods.iter().filter_map(|(_, load)| load[column]).reduce(|sum, value| sum + value));
    let row = |(pod, load): &(&str, Load)| {
        let mut cells = load.map(|value| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}")));
        if let [.., Some(memory)] = load {
            cells[load.len() - 1] = format!("{:.1}Mi", memory / MIB);
        }
        format!("{pod}\t{}\n", cells.join("\t"))
    };
    table(&(TITLES.to_owned() + &pods.iter().chain([&("all", all)]).map(row).collect::<String>()))
}

#[cfg(test)]
#[path = "tests/top.rs"]
mod tests;
