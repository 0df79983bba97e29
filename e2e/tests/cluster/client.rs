//! Ways to a gateway: from a pod inside the cluster, through the API server, by a port-forward; and steady traffic.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, LogParams, PostParams},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    suite::{say, suite},
    world::{DEADLINE, World},
};

/// An answer: its status and its body.
pub(crate) type Answer = (u16, String);

/// What steady traffic has seen so far.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Connections that were made.
    pub(crate) connections: u64,
    /// Kept connections that the gateway asked to close.
    pub(crate) closes: u64,
    /// The end of the token that is shown, if one is.
    pub(crate) token: String,
    pub(crate) failures: String,
}

/// Steady traffic from inside the cluster, until the namespace goes.
pub(crate) struct Traffic<'a> {
    world: &'a World,
    pod: String,
}

impl World {
    /// A call from a pod of the namespace.
    pub(crate) async fn call_inside(&self, method: &str, url: &str, body: &str) -> anyhow::Result<Answer> {
        self.call_inside_as(method, url, body, &Value::Null).await
    }

    /// A call from a pod of the namespace that shows the token in a volume.
    pub(crate) async fn call_inside_as(&self, method: &str, url: &str, body: &str, volume: &Value) -> anyhow::Result<Answer> {
        let pod = self.client_pod_as("call", &["call", method, url, body], volume).await?;
        let api: Api<Pod> = self.api();
        let log = self
            .until(&format!("{method} {url} from inside"), DEADLINE, async || {
                let phase = api.get(&pod).await?.status.and_then(|status| status.phase).unwrap_or_default();
                ensure!(phase == "Succeeded" || phase == "Failed", "its pod is {phase}");
                Ok(api.logs(&pod, &LogParams::default()).await?)
            })
            .await;
        api.delete(&pod, &DeleteParams::default()).await?;
        let (status, body) = log.split_once('\n').with_context(|| log.clone())?;
        Ok((status.parse().with_context(|| log.clone())?, body.trim_end().to_owned()))
    }

    /// A call from outside, which the API server passes on to a Service.
    pub(crate) async fn call_through_api_server(&self, method: &str, service: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let url = format!("/api/v1/namespaces/{}/services/{service}:http/proxy{path}", self.namespace);
        let request = Request::builder().method(method).uri(url).header("content-type", "application/json");
        let response = self.client.send(request.body(kube::client::Body::from(body.as_bytes().to_vec()))?).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// A call from outside through a port-forward to a pod, with a token if that is not empty.
    pub(crate) async fn call_forwarded_as(&self, method: &str, pod: &str, path: &str, body: &str, token: &str) -> anyhow::Result<Answer> {
        let mut forward = self.api::<Pod>().portforward(pod, &[3000]).await?;
        let stream = forward.take_stream(3000).context("the forwarded port")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(path).header("host", "localhost:3000").header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned())))?).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Writes a string and reads it back.
    pub(crate) async fn set_and_get(&self, service: &str, key: &str, value: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/redis/strings/{key}");
        let body = json!({ "value": value }).to_string();
        let (status, answer) = self.call_through_api_server("PUT", service, &path, &body).await?;
        ensure!((200..300).contains(&status), "PUT {path}: {status} {answer}");
        ensure!(self.read(service, key).await? == Some(value.into()), "{key} is not {value}");
        Ok(())
    }

    /// The string at a key, if there is one.
    pub(crate) async fn read(&self, service: &str, key: &str) -> anyhow::Result<Option<String>> {
        let (status, answer) = self.call_through_api_server("GET", service, &format!("/api/v1/redis/strings/{key}"), "").await?;
        match status {
            200 => Ok(serde_json::from_str::<Value>(&answer)?["result"].as_str().map(str::to_owned)),
            404 => Ok(None),
            _ => bail!("GET {key}: {status} {answer}"),
        }
    }

    /// Starts traffic: connections that are kept and such that are made for one call.
    pub(crate) async fn traffic(&self, service: &str) -> anyhow::Result<Traffic<'_>> {
        self.traffic_as(service, &Value::Null).await
    }

    /// The same with the token in a volume.
    pub(crate) async fn traffic_as(&self, service: &str, volume: &Value) -> anyhow::Result<Traffic<'_>> {
        let url = format!("http://{service}:3000/api/v1/redis");
        let traffic = Traffic { world: self, pod: self.client_pod_as("traffic", &["traffic", &url, "6", "3", "25"], volume).await? };
        self.until("traffic begins", DEADLINE, async || {
            let counts = traffic.counts().await?;
            ensure!(counts.succeeded > 50, "{counts:?}");
            Ok(())
        })
        .await;
        Ok(traffic)
    }

    /// The last line that a client has printed.
    pub(crate) async fn last_line<T: DeserializeOwned>(&self, pod: &str) -> anyhow::Result<T> {
        let params = LogParams { tail_lines: Some(1), ..LogParams::default() };
        let log = self.api::<Pod>().logs(pod, &params).await?;
        serde_json::from_str(log.trim()).with_context(|| log.clone())
    }

    pub(crate) async fn client_pod(&self, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.client_pod_as(name, arguments, &Value::Null).await
    }

    /// A client that shows the token in a volume of its pod, which is mounted at `/token`; the file is `/token/token`.
    pub(crate) async fn client_pod_as(&self, name: &str, arguments: &[&str], volume: &Value) -> anyhow::Result<String> {
        let mut pod = json!({
            "metadata": { "generateName": format!("{name}-") },
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 1,
                "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{
                    "name": "client",
                    "image": format!("dbx-e2e/client:{}", suite().tag),
                    "imagePullPolicy": "IfNotPresent",
                    "args": arguments,
                    "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } },
                }],
            },
        });
        if !volume.is_null() {
            let spec = &mut pod["spec"];
            // With the ServiceAccount whose token it is, when it is not the namespace's own.
            let mut volume = volume.clone();
            if let Some(account) = volume.as_object_mut().and_then(|volume| volume.remove("account")) {
                spec["serviceAccountName"] = account;
            }
            spec["volumes"] = json!([volume]);
            spec["containers"][0]["env"] = json!([{ "name": "DBX_TOKEN_FILE", "value": "/token/token" }]);
            spec["containers"][0]["volumeMounts"] = json!([{ "name": volume["name"], "mountPath": "/token", "readOnly": true }]);
        }
        let pod = serde_json::from_value(pod)?;
        Ok(self.api::<Pod>().create(&PostParams::default(), &pod).await?.metadata.name.unwrap_or_default())
    }
}

impl Traffic<'_> {
    /// Waits until calls show another token.
    pub(crate) async fn shows(&self, token: &str) {
        self.world
            .until("clients show the new token", DEADLINE, async || {
                let counts = self.counts().await?;
                ensure!(!counts.token.is_empty() && token.ends_with(&counts.token), "they show another");
                Ok(())
            })
            .await;
    }

    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        self.world.last_line(&self.pod).await
    }

    /// Lets some more calls pass, then none may have failed since the traffic began.
    pub(crate) async fn none_failed(&self, during: &str) -> anyhow::Result<Counts> {
        let before = self.counts().await?.succeeded;
        let counts = self
            .world
            .until("traffic goes on", Duration::from_secs(60), async || {
                let counts = self.counts().await?;
                ensure!(counts.succeeded + counts.failed > before + 200, "{counts:?}");
                Ok(counts)
            })
            .await;
        say(&format!(
            "{during}: {} of {} calls failed; {} connections, {} of the kept ones told to close",
            counts.failed,
            counts.succeeded + counts.failed,
            counts.connections,
            counts.closes
        ));
        ensure!(counts.failed == 0, "{during}: {} calls failed: {}", counts.failed, counts.failures);
        Ok(counts)
    }
}
