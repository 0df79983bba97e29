//! The whole process: what all workers share, and its life from the first listener to the last answer.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use anyhow::Context;
use dbx_crds::config::{Database, GatewayConfig, Origins, Redis, RedisAddress, RedisUrl};
use tokio::{net::TcpListener, signal::unix::SignalKind, sync::mpsc};

use crate::{
    backend::{self, Bounds, State, redis::Endpoint},
    config::secret,
    drain::{Drain, Phase},
    http,
    managed::ManagedRedis,
    worker::{self, Worker},
};

/// What all workers share: limits as plain numbers, and a few counts for the whole process.
#[expect(missing_docs, reason = "the limits are those of the configuration, where they are documented")]
pub struct App {
    pub call_timeout: Duration,
    pub max_call_timeout: Duration,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub drain_timeout: Duration,
    pub max_body_bytes: usize,
    pub max_key_bytes: usize,
    pub max_value_bytes: usize,
    pub max_result_bytes: usize,
    pub max_header_bytes: usize,
    pub max_pipeline_calls: usize,
    pub max_in_flight: usize,
    pub max_connections: usize,
    pub hosts: Vec<String>,
    pub origins: Origins,
    pub access_log: bool,
    /// Calls being served.
    pub in_flight: AtomicUsize,
    /// Open client connections.
    pub connections: AtomicUsize,
    /// The way from serving to stopped.
    pub drain: Drain,
    workers: OnceLock<Vec<Arc<Worker>>>,
}

impl App {
    fn new(config: &GatewayConfig) -> Self {
        let limits = &config.limits;
        let count = |count: i32| usize::try_from(count).unwrap_or(0);
        Self {
            call_timeout: limits.call_timeout().value(),
            max_call_timeout: limits.max_call_timeout().value(),
            header_timeout: limits.header_timeout().value(),
            body_timeout: limits.body_timeout().value(),
            drain_timeout: config.drain.timeout().value(),
            max_body_bytes: limits.max_body_bytes().bytes(),
            max_key_bytes: limits.max_key_bytes().bytes(),
            max_value_bytes: limits.max_value_bytes().bytes(),
            max_result_bytes: limits.max_result_bytes().bytes(),
            max_header_bytes: limits.max_header_bytes().bytes(),
            max_pipeline_calls: count(limits.max_pipeline_calls()),
            max_in_flight: count(limits.max_in_flight()),
            max_connections: count(limits.max_connections()),
            hosts: config.hosts.clone(),
            origins: config.cors.origins(),
            access_log: config.log.access(),
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            drain: Drain::default(),
            workers: OnceLock::new(),
        }
    }

    /// All workers, once they run.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        self.workers.get().cloned().unwrap_or_default()
    }

    /// For each database its state as every worker sees it.
    pub fn database_states(&self) -> Vec<(String, Vec<State>)> {
        let workers = self.workers();
        let Some(first) = workers.first() else { return Vec::new() };
        let states = |index: usize| workers.iter().map(|worker| worker.databases[index].backend.state()).collect();
        first.databases.iter().enumerate().map(|(index, database)| (database.name.clone(), states(index))).collect()
    }
}

/// Runs a gateway until a signal ends it.
pub async fn run(config: GatewayConfig, secrets_dir: PathBuf, client_name: String) -> anyhow::Result<()> {
    // Signals that arrive while starting are kept.
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;

    let app = Arc::new(App::new(&config));
    let mut children = Vec::new();
    let mut endpoints = Vec::new();
    for database in &config.databases {
        endpoints.push(Arc::new(endpoint(database, &secrets_dir, &client_name, &mut children).await?));
    }

    let data = config.data_address();
    let operations = config.operations_address();
    let operations_listener =
        TcpListener::bind(&operations).await.with_context(|| format!("listen.operations: cannot listen on {operations}"))?;
    let count = config.workers.and_then(|count| usize::try_from(count).ok()).unwrap_or_else(default_workers);
    let address = data.parse().with_context(|| format!("listen.data: {data} is no address"))?;
    let listeners: Vec<_> = (0..count)
        .map(|_| worker::listen(address))
        .collect::<Result<_, _>>()
        .with_context(|| format!("listen.data: cannot listen on {data}"))?;

    let (started, mut workers) = mpsc::channel(count);
    let (ended, mut ends) = mpsc::channel::<std::io::Result<()>>(count);
    for (index, listener) in listeners.into_iter().enumerate() {
        let databases: Vec<_> = config.databases.iter().cloned().zip(endpoints.iter().cloned()).collect();
        let (app, started, ended) = (app.clone(), started.clone(), ended.clone());
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
                runtime.block_on(async {
                    let worker = Arc::new(start(app, databases, index, count));
                    // The receiver lives until all workers have started.
                    let _ = started.send(worker.clone()).await;
                    worker::serve(worker, listener).await
                })
            });
            // Nobody waits for a worker any more once the process ends.
            let _ = ended.blocking_send(outcome);
        })?;
    }
    drop((started, ended));
    let mut running = Vec::new();
    while running.len() < count {
        running.push(workers.recv().await.context("a worker ended while starting")?);
    }
    // Set once, here.
    let _ = app.workers.set(running);
    tokio::spawn(http::operations::serve(app.clone(), operations_listener));
    tracing::info!(data, operations, workers = count, version = env!("CARGO_PKG_VERSION"), "listening");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        end = ends.recv() => anyhow::bail!("a worker ended by itself: {end:?}"),
    }
    let propagation = config.drain.propagation().value();
    tracing::info!(?propagation, "draining");
    app.drain.enter(Phase::Propagating);
    tokio::select! {
        () = tokio::time::sleep(propagation) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    app.drain.enter(Phase::Stopping);
    while let Some(end) = ends.recv().await {
        end?;
    }
    tracing::info!(in_flight = app.in_flight.load(Relaxed), "stopped");
    Ok(())
}

/// Starts one worker's connections; on its own runtime.
fn start(app: Arc<App>, databases: Vec<(Database, Arc<Endpoint>)>, index: usize, workers: usize) -> Worker {
    let bounds = Bounds { result_bytes: app.max_result_bytes, pending: app.max_in_flight, silence: 2 * app.call_timeout };
    let databases = databases
        .into_iter()
        .map(|(database, endpoint)| worker::Database {
            backend: backend::connect(&database, bounds.clone(), endpoint),
            name: database.name,
            kind: "redis",
        })
        .collect();
    // Ids start somewhere else in every process and every worker.
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    Worker::new(app, databases, seed.wrapping_add((u64::MAX / workers as u64).wrapping_mul(index as u64)))
}

async fn endpoint(
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
            RedisUrl { address, username: None, password: None, database: 0 }
        }
    };
    let (given, source, secrets_dir) = (url.password, redis.password_from.clone(), secrets_dir.to_owned());
    let password: backend::redis::Password = Arc::new(move || match &source {
        None => Ok(given.clone()),
        Some(source) => {
            secret::read(source, &secrets_dir).map(|secret| Some(secret.reveal().to_owned())).map_err(|error| error.to_string())
        }
    });
    Ok(Endpoint {
        address: url.address,
        username: redis.username.clone().or(url.username),
        password,
        database: url.database,
        client_name: client_name.to_owned(),
        connect_timeout: redis.connect_timeout().value(),
    })
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
