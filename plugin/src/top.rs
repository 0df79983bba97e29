//! `kubectl dbx top`: what the pods of a gateway do, from two reads of their metrics.

use std::time::{Duration, Instant};

use dbx_crds::gateway::pods::OPERATIONS_PORT;
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

/// What a pod does, or all of them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Load {
    calls: f64,
    errors: f64,
    in_flight: f64,
    connections: f64,
    sockets: f64,
    /// Bytes; none where the gateway does not tell.
    memory: Option<f64>,
}

pub(crate) async fn run(cluster: &Cluster, name: &str) -> anyhow::Result<bool> {
    cluster.gateway(name).await?;
    let pods: Vec<String> = cluster.ready_pods(name).await?.iter().map(ResourceExt::name_any).collect();
    let mut loads = Vec::new();
    for (pod, load) in pods.iter().zip(join_all(pods.iter().map(|pod| measure(cluster, pod))).await) {
        match load {
            Ok(load) => loads.push((short(pod), load)),
            Err(error) => eprintln!("kubectl dbx: {error:#}"),
        }
    }
    output::write(render(&loads).as_bytes())?;
    Ok(loads.len() == pods.len())
}

async fn measure(cluster: &Cluster, pod: &str) -> anyhow::Result<Load> {
    let mut tunnel = Tunnel::open(cluster, pod, OPERATIONS_PORT).await?;
    let before = tunnel.read("/metrics").await?;
    let start = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let after = tunnel.read("/metrics").await?;
    Ok(load(&before, &after, start.elapsed()))
}

fn load(before: &str, after: &str, elapsed: Duration) -> Load {
    let rate = |counts: &dyn Fn(&str) -> bool| {
        let of = |text| sum(text, CALLS, counts).unwrap_or_default();
        (of(after) - of(before)).max(0.0) / elapsed.as_secs_f64()
    };
    let gauge = |name| sum(after, name, |_| true);
    Load {
        calls: rate(&|_| true),
        errors: rate(&|labels| !labels.contains(r#"outcome="ok""#)),
        in_flight: gauge("dbx_calls_in_flight").unwrap_or_default(),
        connections: gauge("dbx_connections").unwrap_or_default(),
        sockets: gauge("dbx_sockets").unwrap_or_default(),
        memory: gauge("dbx_resident_memory_bytes"),
    }
}

/// The sum of a metric over the labels that count; none when it is not there.
fn sum(text: &str, name: &str, counts: impl Fn(&str) -> bool) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then_some(())?;
        Some((labels, value.parse::<f64>().ok()?))
    });
    samples.filter(|(labels, _)| counts(labels)).map(|(_, value)| value).reduce(|sum, value| sum + value)
}

fn render(pods: &[(&str, Load)]) -> String {
    let mut rows = vec![row(["POD", "CALLS/S", "ERRORS/S", "IN FLIGHT", "CONNECTIONS", "SOCKETS", "MEMORY"])];
    rows.extend(pods.iter().map(|(pod, load)| cells(pod, load)));
    let sum = |of: fn(&Load) -> f64| pods.iter().map(|(_, load)| of(load)).sum();
    let all = Load {
        calls: sum(|load| load.calls),
        errors: sum(|load| load.errors),
        in_flight: sum(|load| load.in_flight),
        connections: sum(|load| load.connections),
        sockets: sum(|load| load.sockets),
        memory: pods.iter().filter_map(|(_, load)| load.memory).reduce(|sum, memory| sum + memory),
    };
    rows.push(cells("all", &all));
    table(&rows, 0)
}

fn cells(pod: &str, load: &Load) -> Vec<String> {
    let memory = load.memory.map_or_else(|| "-".into(), |bytes| format!("{:.1}Mi", bytes / MIB));
    let [calls, errors] = [load.calls, load.errors].map(|rate| format!("{rate:.0}"));
    let [in_flight, connections, sockets] = [load.in_flight, load.connections, load.sockets].map(|count| count.to_string());
    vec![pod.into(), calls, errors, in_flight, connections, sockets, memory]
}

#[cfg(test)]
#[path = "tests/top.rs"]
mod tests;
