//! The operator as a process: what it says about itself, and how it ends.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    cluster::{DEADLINE, cluster, free_ports},
    gateway::{World, managed},
};

/// Status line and body.
pub(crate) fn get(address: &str, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

#[tokio::test]
async fn it_tells_of_itself() {
    let world = World::new("metrics").await;
    world.create("cache", json!({ "config": managed() })).await.unwrap();
    world.programmed("cache").await;
    let address = &cluster().operator_address;
    assert_eq!(get(address, "/livez").unwrap().0, "HTTP/1.1 200 OK");
    assert_eq!(get(address, "/readyz").unwrap().0, "HTTP/1.1 200 OK");
    assert_eq!(get(address, "/").unwrap().0, "HTTP/1.1 404 Not Found");
    let (_, metrics) = get(address, "/metrics").unwrap();
    for line in [
        "dbx_operator_reconciles_total{kind=\"DbxGateway\",result=\"ok\"} ",
        "dbx_operator_applies_total{kind=\"Deployment\",result=\"applied\"} ",
        "dbx_operator_gateways ",
        "\ndbx_operator_leader 1\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// What `helm test` runs. Nothing is left of the gateway that it asks about.
#[tokio::test]
async fn an_installation_is_checked() {
    let address = &cluster().operator_address;
    let check = |user: &str| {
        let output = cluster().operator(user, "127.0.0.1:0").args(["check", "--address", address]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (success, told, error) = check("admin");
    assert!(success, "{error}");
    assert_eq!(told, format!("the operator at {address} is ready\na DbxGateway in the namespace default would be accepted\n"));
    let gateways: kube::Api<dbx_crds::gateway::DbxGateway> = kube::Api::namespaced(cluster().admin().await, "default");
    assert_eq!(gateways.list(&Default::default()).await.unwrap().items, []);
    // The operator itself may not make gateways.
    let (success, _, error) = check("operator");
    assert!(!success && error.contains("a DbxGateway is not accepted") && error.contains("cannot create resource"), "{error}");
}

#[tokio::test]
async fn it_ends_when_told_to() {
    let [port] = free_ports();
    let address = format!("127.0.0.1:{port}");
    // As somebody else, so that what it sends is not taken for the other operator's.
    let mut operator = cluster().operator("admin", &address).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while get(&address, "/readyz").is_none_or(|(status, _)| status != "HTTP/1.1 200 OK") {
        assert!(start.elapsed() < DEADLINE, "it does not become ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(Command::new("kill").args(["-TERM", &operator.id().to_string()]).status().unwrap().success());
    let status = operator.wait().unwrap();
    let mut log = String::new();
    operator.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(status.success() && log.contains("\"message\":\"stopped\""), "{status}\n{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn it_prints_the_definition_and_explains_itself() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dbx-operator")).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (success, definition, _) = run(&["crds"]);
    let names = ["dbxgateways.dbx.dev", "dbxapikeys.dbx.dev"].map(|name| format!("  name: {name}\n"));
    assert!(success && names.iter().all(|name| definition.contains(name)) && definition.contains("\n---\n"), "{definition}");
    let (success, definition, _) = run(&["crds", "dbxapikeys"]);
    let definition: serde_json::Value = serde_yaml::from_str(&definition).unwrap();
    assert!(success && definition["metadata"]["name"] == "dbxapikeys.dbx.dev");
    let (success, help, _) = run(&["--help"]);
    assert!(success && help.contains("dbx-operator crds | kubectl apply") && help.contains("DBX_OPERATOR_GATEWAY_IMAGE"), "{help}");
    let (success, _, error) = run(&["--pull-policy", "sometimes"]);
    assert!(!success && error.contains("expected Always, IfNotPresent or Never"), "{error}");
}
