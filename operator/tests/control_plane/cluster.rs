//! A control plane without nodes: etcd and an API server as plain processes, and the operator beside them with the rights
//! that the chart gives it. One for the whole test binary, a namespace for each test.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use ring::signature::{EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

/// How long anything may take; generous, since machines differ.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const OPERATOR: &str = "system:serviceaccount:dbx-system:dbx-operator";
/// One that has rights in some namespaces alone.
const NARROW: &str = "system:serviceaccount:narrow-system:narrow-operator";

/// What runs. It ends with the test binary: each process hangs on a pipe that the binary holds.
pub(crate) struct Cluster {
    folder: PathBuf,
    /// Where the operator serves probes and metrics.
    pub(crate) operator_address: String,
    processes: Vec<Child>,
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
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("dbx-operator-").tempdir().unwrap().keep();
        let [client, peer, secure, operator] = free_ports();
        let mut processes = Vec::new();

        let mut etcd = Command::new(programs.join("etcd"));
        etcd.args(["--unsafe-no-fsync", "--log-level=error"]).arg(format!("--data-dir={}", folder.join("etcd").display()));
        etcd.arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"));
        etcd.arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"));
        etcd.arg(format!("--initial-cluster=default=http://127.0.0.1:{peer}"));
        processes.push(start(etcd, &folder, "etcd"));

        let (private, public) = write_keys(&folder);
        let tokens = folder.join("tokens.csv");
        std::fs::write(&tokens, format!("admin,admin,admin,\"system:masters\"\noperator,{OPERATOR},operator,\"system:serviceaccounts\"\nnarrow,{NARROW},narrow,\"system:serviceaccounts\"\n"))
            .unwrap();
        let mut server = Command::new(programs.join("kube-apiserver"));
        server.arg(format!("--etcd-servers=http://127.0.0.1:{client}")).arg(format!("--secure-port={secure}"));
        server.arg(format!("--cert-dir={}", folder.join("certificates").display())).arg(format!("--token-auth-file={}", tokens.display()));
        server.arg(format!("--service-account-key-file={}", public.display()));
        server.arg(format!("--service-account-signing-key-file={}", private.display()));
        server.args(["--bind-address=127.0.0.1", "--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc"]);
        server.args([
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
        ]);
        server.arg(format!("--audit-log-path={}", folder.join("audit.log").display()));
        let policy = folder.join("audit.yaml");
        std::fs::write(&policy, AUDIT).unwrap();
        server.arg(format!("--audit-policy-file={}", policy.display())).arg("--audit-log-mode=blocking-strict");
        processes.push(start(server, &folder, "kube-apiserver"));

        for user in ["admin", "operator", "narrow"] {
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "it",
                "clusters": [{ "name": "it", "cluster": { "server": format!("https://127.0.0.1:{secure}"), "insecure-skip-tls-verify": true } }],
                "contexts": [{ "name": "it", "context": { "cluster": "it", "user": user } }],
                "users": [{ "name": user, "user": { "token": user } }],
            });
            std::fs::write(folder.join(user), config.to_string()).unwrap();
        }
        let mut cluster = Self { folder, operator_address: format!("127.0.0.1:{operator}"), processes };
        cluster.wait_until_ready().await;
        cluster.install().await;
        if !with_operator {
            return cluster;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbx-operator"));
        command.env("KUBECONFIG", cluster.folder.join("operator")).args([
            "--listen",
            &cluster.operator_address,
            "--lease-namespace",
            "dbx-system",
            "--probe",
            "2",
            "--log",
            "debug",
        ]);
        cluster.processes.push(start(command, &cluster.folder, "operator"));
        cluster
    }

    /// The operator, with the rights of a user.
    pub(crate) fn operator(&self, user: &str, address: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbx-operator"));
        command.env("KUBECONFIG", self.folder.join(user)).env("DBX_OPERATOR_LEASE_NAMESPACE", "dbx-system").args(["--listen", address]);
        command
    }

    /// A client with all rights.
    pub(crate) async fn admin(&self) -> Client {
        let file = Kubeconfig::read_from(self.folder.join("admin")).unwrap();
        Client::try_from(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap()).unwrap()
    }

    /// What the operator has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("operator.log")).unwrap_or_default()
    }

    /// All requests of operators.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.join("audit.log")).unwrap_or_default();
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

    async fn wait_until_ready(&self) {
        let client = self.admin().await;
        let request = || http_get("/readyz");
        let start = Instant::now();
        while client.request_text(request()).await.is_err() {
            let log = || std::fs::read_to_string(self.folder.join("kube-apiserver.log")).unwrap_or_default();
            assert!(start.elapsed() < DEADLINE, "the API server does not become ready; its log:\n{}", log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Applies the rendered chart: definitions, identity and rights, as a user would.
    async fn install(&self) {
        let client = self.admin().await;
        let manifest = std::fs::read_to_string(repository().join("manifests/operator.yaml")).unwrap();
        for document in manifest.split("\n---\n") {
            let object: Value = serde_yaml::from_str(document).unwrap();
            if object.is_null() {
                continue;
            }
            apply(&client, &object).await;
        }
        let start = Instant::now();
        while client.request_text(http_get("/apis/dbx.dev/v1alpha1/dbxgateways")).await.is_err() {
            assert!(start.elapsed() < DEADLINE, "the API server does not serve DbxGateways");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
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

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn http_get(path: &str) -> hyper::Request<Vec<u8>> {
    hyper::Request::get(path).body(Vec::new()).unwrap()
}

/// Applies any object.
pub(crate) async fn apply(client: &Client, object: &Value) {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").rsplit_once('/').unwrap_or(("", text("apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
    let metadata = &object["metadata"];
    let api: Api<DynamicObject> = match metadata["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = metadata["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// A namespace of its own for a test.
pub(crate) async fn namespace(client: &Client, name: &str) -> String {
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    name.to_owned()
}

fn programs() -> PathBuf {
    let folder = std::env::var_os("DBXDEV_KUBERNETES_BIN").map(PathBuf::from);
    let found = folder.filter(|folder| folder.join("kube-apiserver").exists() && folder.join("etcd").exists());
    found.expect(
        "DBXDEV_KUBERNETES_BIN has to name a folder with kube-apiserver and etcd; `export DBXDEV_KUBERNETES_BIN=$(e2e/cluster/cluster binary)` builds it",
    )
}

/// Starts a process that ends when its shell's input is closed, however the test binary ends.
fn start(command: Command, folder: &Path, name: &str) -> Child {
    const SCRIPT: &str =
        r#""$@" < /dev/null & child=$!; cat > /dev/null; kill $child 2> /dev/null; wait $child; sleep 1; rm -rf "$FOLDER""#;
    let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "sh"]).arg(command.get_program()).args(command.get_args()).env("FOLDER", folder);
    shell.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    shell.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: Vec<TcpListener> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    std::array::from_fn(|index| listeners[index].local_addr().unwrap().port())
}

/// Writes a pair of keys for tokens that nobody is given; says where.
fn write_keys(folder: &Path) -> (PathBuf, PathBuf) {
    // What stands before the point in the public key of a P-256 pair.
    const PREFIX: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
    let random = ring::rand::SystemRandom::new();
    let algorithm = &ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random).unwrap();
    let write = |name: &str, label: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(bytes))).unwrap();
        path
    };
    (
        write("private.pem", "PRIVATE KEY", private.as_ref()),
        write("public.pem", "PUBLIC KEY", &[PREFIX, pair.public_key().as_ref()].concat()),
    )
}
