//! A control plane without nodes: etcd and an API server as plain processes, and the operator beside them with the rights
//! that the chart gives it. One for the whole test binary, a namespace for each test.

use std::{process::Command, sync::OnceLock};

use kube::Client;
use serde_json::Value;

pub(crate) use crate::server::{DEADLINE, apply, free_ports, namespace, repository};
use crate::server::{Server, apply_file};

const OPERATOR: &str = "system:serviceaccount:dbx-system:dbx-operator";
/// One that has rights in some namespaces alone.
const NARROW: &str = "system:serviceaccount:narrow-system:narrow-operator";

/// What runs.
pub(crate) struct Cluster {
    server: Server,
    /// Where the operator serves probes and metrics.
    pub(crate) operator_address: String,
}

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
static QUIET: OnceLock<Option<Cluster>> = OnceLock::new();
static COMPLETE: OnceLock<Option<Cluster>> = OnceLock::new();

/// The cluster, started by whoever asks first.
pub(crate) fn cluster() -> &'static Cluster {
    started(&CLUSTER, true)
}

/// A cluster on which no operator runs but those that a test starts.
pub(crate) fn quiet() -> &'static Cluster {
    started(&QUIET, false)
}

/// Another one, for what has every API that a cluster need not have.
pub(crate) fn complete() -> &'static Cluster {
    started(&COMPLETE, false)
}

fn started(cluster: &'static OnceLock<Option<Cluster>>, operator: bool) -> &'static Cluster {
    let cluster = cluster.get_or_init(|| {
        // A runtime of its own, and a thread for it, since the caller is inside one.
        let start = move || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(Cluster::start(operator));
        std::thread::spawn(start).join().ok()
    });
    cluster.as_ref().expect("the control plane does not start; what went wrong is told above")
}

impl Cluster {
    async fn start(with_operator: bool) -> Self {
        let users = [("operator", OPERATOR, "system:serviceaccounts"), ("narrow", NARROW, "system:serviceaccounts")];
        let server = Server::start(&users, Some(AUDIT)).await;
        // Definitions, identity and rights, as a user would install them.
        apply_file(&server.admin().await, "manifests/operator.yaml").await;
        server.serves("/apis/dbx.dev/v1alpha1/dbxgateways").await;
        let [port] = free_ports();
        let mut cluster = Self { server, operator_address: format!("127.0.0.1:{port}") };
        if with_operator {
            let mut command = cluster.operator("operator", &cluster.operator_address);
            command.args(["--probe", "2", "--log", "debug"]);
            cluster.server.run(command, "operator");
        }
        cluster
    }

    /// The operator, with the rights of a user.
    pub(crate) fn operator(&self, user: &str, address: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbx-operator"));
        command
            .env("KUBECONFIG", self.server.kubeconfig(user))
            .env("DBX_OPERATOR_LEASE_NAMESPACE", "dbx-system")
            .args(["--listen", address]);
        command
    }

    /// A client with all rights.
    pub(crate) async fn admin(&self) -> Client {
        self.server.admin().await
    }

    /// What the operator has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.server.folder.join("operator.log")).unwrap_or_default()
    }

    /// All requests of operators.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.server.folder.join("audit.log")).unwrap_or_default();
        let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries.filter(|entry| entry["user"]["username"] == OPERATOR).collect()
    }

    /// Requests of operators that changed something, or would have, in a namespace.
    pub(crate) fn audit(&self, namespace: &str) -> Vec<Value> {
        let reads = |entry: &Value| matches!(entry["verb"].as_str(), Some("get" | "list" | "watch"));
        self.requests().into_iter().filter(|entry| entry["objectRef"]["namespace"] == namespace && !reads(entry)).collect()
    }

    /// The same in words.
    pub(crate) fn writes(&self, namespace: &str) -> Vec<String> {
        let ours = self.audit(namespace).into_iter();
        ours.map(|entry| format!("{} {}", entry["verb"].as_str().unwrap_or_default(), entry["requestURI"].as_str().unwrap_or_default()))
            .collect()
    }
}

const AUDIT: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["system:serviceaccount:dbx-system:dbx-operator"]
  - level: None
"#;
