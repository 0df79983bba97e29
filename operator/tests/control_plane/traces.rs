//! Traces, taken by a collector of OpenTelemetry's own, which prints what it was sent.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::{
    cluster::{free_ports, quiet},
    gateway::{World, managed},
    process::get,
};

/// A process that ends with the test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_collector_is_told_of_every_look() {
    let collector = std::env::var_os("DBXDEV_COLLECTOR")
        .expect("DBXDEV_COLLECTOR has to name a collector; `export DBXDEV_COLLECTOR=$(scripts/tools collector)` builds it");
    let world = World::on(quiet(), "traces").await;
    let [port, probes] = free_ports();
    let (endpoint, probes) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{probes}"));
    let log = tempfile::NamedTempFile::new().unwrap();
    let config = json!({
        "receivers": { "otlp": { "protocols": { "http": { "endpoint": endpoint } } } },
        "exporters": { "debug": { "verbosity": "detailed" } },
        "service": {
            "telemetry": { "metrics": { "level": "none" } },
            "pipelines": { "traces": { "receivers": ["otlp"], "exporters": ["debug"] } },
        },
    });
    let mut command = Command::new(collector);
    command.arg("--config").arg(format!("yaml:{config}")).stdout(Stdio::null()).stderr(log.reopen().unwrap());
    let _collector = Process(command.spawn().unwrap());
    world.until("the collector listening", || std::future::ready(std::net::TcpStream::connect(&endpoint).is_ok())).await;

    let mut command = quiet().operator("admin", &probes);
    command.args(["--watch-namespace", "traces", "--lease", "traces"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}"));
    let mut operator = Process(command.stderr(Stdio::null()).spawn().unwrap());
    world.create("cache", json!({ "config": managed() })).await.unwrap();
    world.programmed("cache").await;
    let (_, metrics) = get(&probes, "/metrics").unwrap();
    assert!(metrics.contains("dbx_operator_queue_wait_seconds_count{kind=\"DbxGateway\"} "), "{metrics}");
    assert!(Command::new("kill").args(["-TERM", &operator.0.id().to_string()]).status().unwrap().success());
    assert!(operator.0.wait().unwrap().success());

    // What was not sent before is sent at the end.
    let told = || std::fs::read_to_string(log.path()).unwrap();
    world.until("the traces being told", || std::future::ready(told().contains(": status"))).await;
    let told = told();
    for line in [
        "-> service.name: Str(dbx-operator)",
        "Name           : reconcile",
        "Name           : resolve",
        "Name           : apply",
        "Name           : prune",
        "Name           : status",
        "-> kind: Str(DbxGateway)",
        "-> name: Str(cache)",
        "-> urgency: Str(Urgent)",
        "-> generation: Int(1)",
        "-> result: Str(ok)",
        "-> result: Str(applied)",
    ] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
}
