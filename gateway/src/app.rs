//! The whole process, from the first listener to the last answer: all wiring is here.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use anyhow::Context;
use dbx_crds::config::{Database, GatewayConfig, Redis, RedisAddress, RedisUrl};
use tokio::{net::TcpListener, runtime::Handle, signal::unix::SignalKind, sync::mpsc};

use crate::{
    auth::Gate,
    backend::{
        self,
        redis::{Endpoint, Hub},
    },
    drain::Phase,
    http, listener,
    managed::ManagedRedis,
    record::Records,
    shared::{Room, Shared},
    tls,
    worker::{self, Worker, Workers},
};

/// Runs a gateway until a signal ends it.
pub async fn run(config: GatewayConfig, secrets_dir: PathBuf, client_name: String) -> anyhow::Result<()> {
    // Signals that arrive while starting are kept.
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;

    let count = config.workers.and_then(|count| usize::try_from(count).ok()).unwrap_or_else(default_workers);
    // However this ends, what was recorded is written.
    let (records, _writers) = Records::open(&config, count).map_err(anyhow::Error::msg)?;
    let gate = Gate::new(&config, &secrets_dir).map_err(anyhow::Error::msg)?;
    let shared = Arc::new(Shared::new(&config, gate, large()?, records));
    let mut children = Vec::new();
    let mut databases = Vec::new();
    for database in &config.databases {
        let endpoint = Arc::new(endpoint(database, &secrets_dir, &client_name, &mut children).await?);
        let room = Room::new(&database.limits.over(&config.limits));
        let hub = backend::listen(database, room.max_result_bytes, endpoint.clone());
        let users = database.redis.iter().flat_map(|redis| &redis.users);
        let users = users.map(|user| {
            let endpoint = Arc::new(endpoint.of(user, &secrets_dir));
            (backend::listen(database, room.max_result_bytes, endpoint.clone()), endpoint)
        });
        let users = users.collect();
        databases.push(Share { config: database.clone(), room: Arc::new(room), own: (hub, endpoint), users });
    }

    let data = config.data_address();
    let operations = config.operations_address();
    let operations_listener =
        TcpListener::bind(&operations).await.with_context(|| format!("listen.operations: cannot listen on {operations}"))?;
    let address = data.parse().with_context(|| format!("listen.data: {data} is no address"))?;
    let listeners: Vec<_> = (0..count)
        .map(|_| listener::listen(address))
        .collect::<Result<_, _>>()
        .with_context(|| format!("listen.data: cannot listen on {data}"))?;

    let tls = match &config.listen.tls {
        Some(settings) => Some(tls::Server::follow(settings, &secrets_dir).map_err(|message| anyhow::anyhow!("listen.tls.{message}"))?),
        None => None,
    };

    let (started, mut workers) = mpsc::channel(count);
    let (ended, mut ends) = mpsc::channel::<std::io::Result<()>>(count);
    for (index, listener) in listeners.into_iter().enumerate() {
        let (shared, databases, tls) = (shared.clone(), databases.clone(), tls.clone());
        let (started, ended) = (started.clone(), ended.clone());
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
                runtime.block_on(async {
                    let worker = Arc::new(start(shared, databases, index, count));
                    // The receiver lives until all workers have started.
                    let _ = started.send(worker.clone()).await;
                    listener::serve(worker, listener, tls).await
                })
            });
            // Nobody waits for a worker any more once the process ends.
            let _ = ended.blocking_send(outcome);
        })?;
    }
    drop((started, ended));
    let mut all = Vec::new();
    while all.len() < count {
        all.push(workers.recv().await.context("a worker ended while starting")?);
    }
    tokio::spawn(http::operations::serve(Workers { shared: shared.clone(), all }, operations_listener));
    tracing::info!(data, operations, workers = count, version = env!("CARGO_PKG_VERSION"), "listening");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        end = ends.recv() => anyhow::bail!("a worker ended by itself: {end:?}"),
    }
    let propagation = config.drain.propagation().value();
    tracing::info!(?propagation, "draining");
    shared.drain.enter(Phase::Propagating);
    tokio::select! {
        () = tokio::time::sleep(propagation) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shared.drain.enter(Phase::Stopping);
    while let Some(end) = ends.recv().await {
        end?;
    }
    let in_flight: usize = databases.iter().map(|share| share.room.in_flight.load(Relaxed)).sum();
    tracing::info!(in_flight, "stopped");
    Ok(())
}

/// Starts the thread on which large requests are read and large results written, as long as the process runs.
fn large() -> anyhow::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name("large".into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// A database, and what all workers have of it together.
#[derive(Clone)]
struct Share {
    config: Database,
    room: Arc<Room>,
    own: Way,
    /// Those of its other users.
    users: Vec<Way>,
}

/// A way to a database.
type Way = (Arc<Hub>, Arc<Endpoint>);

/// Starts one worker's connections; on its own runtime.
fn start(shared: Arc<Shared>, databases: Vec<Share>, index: usize, workers: usize) -> Worker {
    let databases = databases
        .into_iter()
        .enumerate()
        .map(|(place, share)| {
            let by = |(hub, endpoint): &Way, users| {
                Arc::new(worker::Database {
                    backend: backend::connect(&share.config, share.room.bounds(shared.max_waiting_connections), endpoint.clone()),
                    channels: hub.channels(index),
                    name: share.config.name.clone(),
                    index: place,
                    kind: "redis",
                    room: share.room.clone(),
                    users,
                })
            };
            by(&share.own, share.users.iter().map(|user| by(user, Vec::new())).collect())
        })
        .collect();
    // Ids start somewhere else in every process and every worker.
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    Worker::new(shared, databases, index, seed.wrapping_add((u64::MAX / workers as u64).wrapping_mul(index as u64)))
}

/// Where a database is. One that the gateway runs is started, and joins the children.
pub(crate) async fn endpoint(
    database: &Database,
    secrets_dir: &std::path::Path,
    client_name: &str,
    children: &mut Vec<ManagedRedis>,
) -> anyhow::Result<Endpoint> {
    let redis: Redis = database.redis.clone().unwrap_or_default();
    let url = match &redis.url {
        Some(url) => RedisUrl::parse(url).map_err(anyhow::Error::msg)?,
        None => {
            let child = ManagedRedis::start(&database.name).await?;
            let address = RedisAddress::Unix(child.socket.to_string_lossy().into_owned());
            children.push(child);
            RedisUrl { address, tls: false, username: None, password: None, database: 0 }
        }
    };
    Ok(Endpoint::new(&redis, url, secrets_dir, client_name.to_owned()))
}

/// The CPU limit rounded up, else the number of CPUs but at most 4.
fn default_workers() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    match cpu_limit() {
        Some(limit) => limit.max(1),
        None => cpus.clamp(1, 4),
    }
}

/// The CPU limit of the control group (version 2, then 1), rounded up.
fn cpu_limit() -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let (quota, period) = match read("/sys/fs/cgroup/cpu.max") {
        Some(text) => text.trim().split_once(' ').map(|(quota, period)| (quota.to_owned(), period.to_owned()))?,
        None => (
            read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")?.trim().to_owned(),
            read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")?.trim().to_owned(),
        ),
    };
    // Without a limit the quota is `max` in version 2 and -1 in version 1; neither is a number of microseconds.
    let (quota, period): (usize, usize) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0).then(|| quota.div_ceil(period))
}
