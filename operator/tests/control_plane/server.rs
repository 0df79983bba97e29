//! etcd and an API server as plain processes. The tests of the plugin use this file too.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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

/// What runs. It ends with the test binary: each process hangs on a pipe that the binary holds.
pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    processes: Vec<Child>,
}

impl Server {
    /// Starts both and waits until they serve. A user is known by the token that is its name, beside `admin`: its identity and
    /// its group. With an audit policy there is an `audit.log` in the folder.
    pub(crate) async fn start(users: &[(&str, &str, &str)], audit: Option<&str>) -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("dbx-operator-").tempdir().unwrap().keep();
        let [client, peer, secure] = free_ports();
        let mut server = Self { folder, processes: Vec::new() };
        let folder = server.folder.clone();

        let mut etcd = Command::new(programs.join("etcd"));
        etcd.args(["--unsafe-no-fsync", "--log-level=error"]).arg(format!("--data-dir={}", folder.join("etcd").display()));
        etcd.arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"));
        etcd.arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"));
        etcd.arg(format!("--initial-cluster=default=http://127.0.0.1:{peer}"));
        server.run(etcd, "etcd");

        let (private, public) = write_keys(&folder);
        let tokens = folder.join("tokens.csv");
        let mut users = users.to_vec();
        users.push(("admin", "admin", "system:masters"));
        let lines: String = users.iter().map(|(token, user, group)| format!("{token},{user},{token},\"{group}\"\n")).collect();
        std::fs::write(&tokens, lines).unwrap();
        let mut command = Command::new(programs.join("kube-apiserver"));
        command.arg(format!("--etcd-servers=http://127.0.0.1:{client}")).arg(format!("--secure-port={secure}"));
        command.arg(format!("--cert-dir={}", folder.join("certificates").display())).arg(format!("--token-auth-file={}", tokens.display()));
        command.arg(format!("--service-account-key-file={}", public.display()));
        command.arg(format!("--service-account-signing-key-file={}", private.display()));
        command.args(["--bind-address=127.0.0.1", "--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc"]);
        command.args([
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
        ]);
        if let Some(policy) = audit {
            let file = folder.join("audit.yaml");
            std::fs::write(&file, policy).unwrap();
            command.arg(format!("--audit-log-path={}", folder.join("audit.log").display()));
            command.arg(format!("--audit-policy-file={}", file.display())).arg("--audit-log-mode=blocking-strict");
        }
        server.run(command, "kube-apiserver");

        for (user, ..) in &users {
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "it",
                "clusters": [{ "name": "it", "cluster": { "server": format!("https://127.0.0.1:{secure}"), "insecure-skip-tls-verify": true } }],
                "contexts": [{ "name": "it", "context": { "cluster": "it", "user": user } }],
                "users": [{ "name": user, "user": { "token": user } }],
            });
            std::fs::write(server.kubeconfig(user), config.to_string()).unwrap();
        }
        server.serves("/readyz").await;
        server
    }

    /// Where the configuration of a user is.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join(user)
    }

    /// A client with all rights.
    pub(crate) async fn admin(&self) -> Client {
        let file = Kubeconfig::read_from(self.kubeconfig("admin")).unwrap();
        Client::try_from(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap()).unwrap()
    }

    /// Waits until a path is served.
    pub(crate) async fn serves(&self, path: &str) {
        let client = self.admin().await;
        let start = Instant::now();
        while client.request_text(hyper::Request::get(path).body(Vec::new()).unwrap()).await.is_err() {
            let log = || std::fs::read_to_string(self.folder.join("kube-apiserver.log")).unwrap_or_default();
            assert!(start.elapsed() < DEADLINE, "the API server does not serve {path}; its log:\n{}", log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Starts a process that ends when its shell's input is closed, however the test binary ends.
    pub(crate) fn run(&mut self, command: Command, name: &str) {
        const SCRIPT: &str =
            r#""$@" < /dev/null & child=$!; cat > /dev/null; kill $child 2> /dev/null; wait $child; sleep 1; rm -rf "$FOLDER""#;
        let log = std::fs::File::create(self.folder.join(format!("{name}.log"))).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(command.get_program()).args(command.get_args()).env("FOLDER", &self.folder);
        shell.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        self.processes.push(shell.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Applies every object of a file of the repository.
pub(crate) async fn apply_file(client: &Client, path: &str) {
    let manifest = std::fs::read_to_string(repository().join(path)).unwrap();
    for document in manifest.split("\n---\n") {
        let object: Value = serde_yaml::from_str(document).unwrap();
        if !object.is_null() {
            apply(client, &object).await;
        }
    }
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
