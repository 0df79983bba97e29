//! Who of several operators works: the one that holds the Lease. It is only ever replaced at a known resourceVersion, so
//! two cannot both take it. Whoever waits counts from when it saw the last renewal, by its own clock that never jumps;
//! whoever cannot renew in time ends, before anybody else may begin.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    controller::reason,
    names::{self, MANAGER},
};

/// How long a Lease holds that is not renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How long renewing may fail before its holder ends. What it had begun by then has the rest of the Lease to arrive.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is renewed, and how soon anything that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// One that wants to hold a Lease, or holds it.
pub(crate) struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// A Lease that is held, as it was last written.
pub(crate) struct Held {
    lease: Lease,
    renewed: Instant,
}

impl Candidate {
    pub(crate) fn new(client: Client, namespace: &str, name: &str) -> anyhow::Result<Self> {
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        // A pod that is started again is another candidate: what the one before had begun may still arrive.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| MANAGER.into());
        let identity = format!("{host}_{}", names::hex(&random));
        Ok(Self { api: Api::namespaced(client, namespace), name: name.into(), identity })
    }

    /// Waits until the Lease is held.
    pub(crate) async fn acquire(&self) -> Held {
        // The version that was seen last, and since when.
        let mut seen: Option<(String, Instant)> = None;
        loop {
            match self.attempt(&mut seen).await {
                Ok(Some(held)) => return held,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(lease = self.name, error = %reason(&error), "the Lease could not be looked at and is tried again");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Takes the Lease if it is free; else waits until it changes or runs out.
    async fn attempt(&self, seen: &mut Option<(String, Instant)>) -> kube::Result<Option<Held>> {
        let Some(lease) = self.in_time(self.api.get_opt(&self.name)).await? else {
            let lease =
                Lease { metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }, spec: Some(self.taken(0)) };
            return self.write(async { self.api.create(&params(), &lease).await }).await;
        };
        let version = lease.resource_version().unwrap_or_default();
        let since = match seen {
            Some((known, since)) if *known == version => *since,
            _ => seen.insert((version.clone(), Instant::now())).1,
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs);
        if holder.is_empty() || since.elapsed() >= duration {
            let next = Lease { spec: Some(self.taken(spec.lease_transitions.unwrap_or(0).saturating_add(1))), ..lease };
            return self.write(async { self.api.replace(&self.name, &params(), &next).await }).await;
        }
        self.changed(&version, since + duration).await?;
        Ok(None)
    }

    /// Waits until the Lease is another one than that of a version, or a time has come.
    async fn changed(&self, version: &str, end: Instant) -> kube::Result<()> {
        let watch = WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(DURATION.as_secs() as u32);
        let first = async {
            let mut events = self.api.watch(&watch, version).await?.boxed();
            match events.next().await {
                Some(Ok(WatchEvent::Error(_))) | None => sleep(RETRY).await,
                Some(event) => drop(event?),
            }
            Ok(())
        };
        timeout_at(end, first).await.unwrap_or(Ok(()))
    }

    /// The Lease that a write made, unless somebody else was faster.
    async fn write(&self, write: impl Future<Output = kube::Result<Lease>>) -> kube::Result<Option<Held>> {
        // The Lease runs from when the write was sent, which is not after its arrival.
        let renewed = Instant::now();
        match self.in_time(write).await {
            Ok(lease) => Ok(Some(Held { lease, renewed })),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews the Lease for as long as that works; says why it does not any more.
    pub(crate) async fn keep(&self, held: &mut Held) -> anyhow::Error {
        loop {
            sleep(RETRY).await;
            let end = held.renewed + DEADLINE;
            loop {
                match timeout_at(end, self.renew(held)).await {
                    Ok(Ok(true)) => break,
                    Ok(Ok(false)) => return anyhow::anyhow!("somebody else took the Lease {}", self.name),
                    Ok(Err(error)) => {
                        tracing::warn!(lease = self.name, error = %reason(&error), "the Lease could not be renewed and is tried again");
                    }
                    Err(_) => return anyhow::anyhow!("the Lease {} could not be renewed within {DEADLINE:?}", self.name),
                }
                // Never past the deadline, which the next attempt finds over.
                sleep(RETRY.min(end.saturating_duration_since(Instant::now()))).await;
            }
        }
    }

    /// Renews once. `false` when it belongs to somebody else.
    async fn renew(&self, held: &mut Held) -> kube::Result<bool> {
        let mut next = held.lease.clone();
        if let Some(spec) = &mut next.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        if let Some(renewed) = self.write(async { self.api.replace(&self.name, &params(), &next).await }).await? {
            *held = renewed;
            return Ok(true);
        }
        // An attempt before this one may have arrived after all, or somebody may have edited what is not ours.
        let lease = self.in_time(self.api.get(&self.name)).await?;
        let ours = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity);
        held.lease = lease;
        if !ours {
            return Ok(false);
        }
        Err(kube::Error::Service("it was changed meanwhile".into()))
    }

    /// Gives the Lease back, so that the next one need not wait until it runs out.
    pub(crate) async fn release(&self, _held: Held) {
        let released = async {
            // It is read anew, since a renewal that was given up may have arrived.
            let mut lease = self.api.get(&self.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() == Some(&self.identity) {
                spec.holder_identity = Some(String::new());
                self.api.replace(&self.name, &params(), &lease).await?;
            }
            Ok(())
        };
        if let Err(error) = self.in_time(released).await {
            tracing::warn!(lease = self.name, error = %reason(&error), "the Lease could not be given back and runs out by itself");
        }
    }

    fn taken(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// No request hangs for longer than it may take to renew.
    async fn in_time<T>(&self, request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        timeout(DEADLINE / 2, request).await.unwrap_or_else(|_| Err(kube::Error::Service("the API server did not answer in time".into())))
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() }
}
