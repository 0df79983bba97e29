//! A test's namespace, what it does there, and how it waits: every wait looks again and again until a generous deadline, and
//! then tells what it saw.

use std::{
    io::Write,
    panic::resume_unwind,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use dbx_crds::gateway::{Condition, DbxGateway};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Namespace, jiff::Timestamp};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::suite::{LABEL, repository, say};

/// How long anything may take that has no deadline of its own.
pub(crate) const DEADLINE: Duration = Duration::from_secs(150);
const PAUSE: Duration = Duration::from_millis(200);

/// A namespace.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// A configuration with a managed Redis.
pub(crate) fn managed() -> Value {
    json!({ "databases": [{ "name": "redis", "redis": { "managed": { "storage": "16Mi" } } }], "auth": { "mode": "none" } })
}

impl World {
    pub(crate) async fn new(test: &str) -> kube::Result<Self> {
        let client = Client::try_default().await?;
        let namespace = format!("e2e-{test}-{:x}", Timestamp::now().as_millisecond() & 0xff_ffff);
        let object = serde_json::from_value(json!({
            "metadata": { "name": namespace, "labels": { LABEL: test, "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted" } },
        }));
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object.map_err(kube::Error::SerdeError)?).await?;
        Ok(Self { client, namespace })
    }

    /// Has the namespace removed, which takes its time without anybody waiting; kept with `DBXDEV_E2E_KEEP=1`.
    pub(crate) async fn remove(&self) {
        if std::env::var("DBXDEV_E2E_KEEP").is_ok_and(|keep| keep == "1") {
            return;
        }
        if let Err(error) = Api::<Namespace>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::background()).await {
            say(&format!("{} could not be deleted: {error}", self.namespace));
        }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn get<K>(&self, name: &str) -> anyhow::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        self.api::<K>().get(name).await.with_context(|| format!("{} {name}", K::kind(&())))
    }

    /// Looks until it succeeds; at the deadline a panic tells what it last said, and everything about the namespace.
    pub(crate) async fn until<T>(&self, what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> anyhow::Result<T>) -> T {
        let start = Instant::now();
        loop {
            match look().await {
                Ok(value) => return value,
                Err(error) if start.elapsed() > deadline => {
                    // Without the panic's own message, which would be the same once more.
                    resume_unwind(Box::new(format!("{what}: not within {deadline:?}: {error:#}\n{}", self.describe().await)))
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Runs kubectl in the namespace, as a user does; its output, and its errors as the error.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_with(arguments, "").map(|(output, _)| output)
    }

    /// Runs kubectl with an input; its output and its warnings.
    pub(crate) fn kubectl_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<(String, String)> {
        let mut child = Command::new("kubectl")
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl")?;
        child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let (out, errors) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
        ensure!(output.status.success(), "kubectl {}: {errors}{out}", arguments.join(" "));
        Ok((out, errors))
    }

    /// Applies YAML as `kubectl apply -f` does.
    pub(crate) fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        self.kubectl_with(&["apply", "--filename", "-"], yaml).map(drop)
    }

    /// Applies a file of the repository, unchanged.
    pub(crate) fn apply_file(&self, path: &str) -> anyhow::Result<()> {
        self.kubectl(&["apply", "--filename", &repository().join(path).display().to_string()]).map(drop)
    }

    /// Makes a gateway.
    pub(crate) fn create(&self, name: &str, spec: &Value) -> anyhow::Result<()> {
        self.apply(
            &json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxGateway", "metadata": { "name": name }, "spec": spec }).to_string(),
        )
    }

    /// Changes a gateway.
    pub(crate) async fn patch(&self, name: &str, patch: Value) -> anyhow::Result<()> {
        let params = PatchParams { field_manager: Some("e2e".into()), ..PatchParams::default() };
        self.api::<DbxGateway>().patch(name, &params, &Patch::Merge(patch)).await.context("patch")?;
        Ok(())
    }

    /// Waits for a condition of the newest generation; its message.
    pub(crate) async fn condition(&self, name: &str, condition: Condition, status: &str, reason: &str) -> String {
        self.until(&format!("{name}: {condition}={status}/{reason}"), DEADLINE, async || {
            let gateway: DbxGateway = self.get(name).await?;
            let found = gateway.status.clone().unwrap_or_default();
            let current = found.condition(condition).context("no such condition")?;
            ensure!(current.observed_generation == gateway.metadata.generation, "it speaks of an older generation");
            ensure!(current.status == status && current.reason == reason, "{}/{}: {}", current.status, current.reason, current.message);
            Ok(current.message.clone())
        })
        .await
    }

    /// Waits until a gateway serves and every pod of it is of its newest generation.
    pub(crate) async fn settled(&self, name: &str) -> DbxGateway {
        self.until(&format!("{name} is ready and rolled out"), DEADLINE, async || {
            let gateway: DbxGateway = self.get(name).await?;
            let status = gateway.status.clone().unwrap_or_default();
            ensure!(status.observed_generation == gateway.metadata.generation, "its status is of an older generation");
            for (condition, wanted) in [(Condition::Ready, "True"), (Condition::Progressing, "False")] {
                let found = status.condition(condition).with_context(|| format!("no condition {condition}"))?;
                ensure!(found.status == wanted, "{condition}={}/{}: {}", found.status, found.reason, found.message);
            }
            ensure!(status.ready_replicas == Some(gateway.spec.replicas()), "{:?} pods are ready", status.ready_replicas);
            Ok(gateway)
        })
        .await
    }

    /// Waits until nothing of that name is left.
    pub(crate) async fn gone<K>(&self, name: &str, deadline: Duration)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        self.until(&format!("{} {name} is gone", K::kind(&())), deadline, async || match self.api::<K>().get_opt(name).await? {
            Some(object) if object.meta().deletion_timestamp.is_some() => bail!("it is being deleted"),
            Some(_) => bail!("it is still there"),
            None => Ok(()),
        })
        .await
    }

    /// Names of all objects of a kind, but those that every namespace has.
    pub(crate) fn names(&self, kinds: &str) -> anyhow::Result<Vec<String>> {
        let listed = self.kubectl(&["get", kinds, "--output", "name"])?;
        let own = ["serviceaccount/default", "configmap/kube-root-ca.crt"];
        Ok(listed.lines().filter(|name| !own.contains(name)).map(str::to_owned).collect())
    }
}

/// The uid of an object, to tell it from a later one of the same name.
pub(crate) fn uid<K: Resource>(object: &K) -> String {
    object.uid().unwrap_or_default()
}
