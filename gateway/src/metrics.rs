//! What the gateway counts. A call touches only counters of its own worker, by index; they are added up when somebody
//! asks. Labels come from the operation table and the error table, so their number is bounded.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use prometheus::{
    Encoder, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::{
    backend::Elements,
    error::Code,
    operation::{self, Id},
    worker::Workers,
};

/// Upper bounds of the duration histogram's buckets, in microseconds.
const BUCKETS: [u64; 12] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000];
const OUTCOMES: usize = Code::ALL.len() + 1;

/// The counters of one worker.
#[derive(Debug)]
pub struct Counters {
    /// By operation, then outcome: 0 is success, then the codes in their order.
    calls: Box<[AtomicU64]>,
    /// By operation, then bucket; the last is what is beyond all bounds.
    durations: Box<[AtomicU64]>,
    /// By operation, in nanoseconds.
    time: Box<[AtomicU64]>,
    /// Problems answered, by code.
    problems: Box<[AtomicU64]>,
    /// Connections that came to no good, by why.
    failures: [AtomicU64; Failure::ALL.len()],
    /// Connections that were reset right after an answer with something that was taken.
    taken_resets: AtomicU64,
    /// Events that were not given to a client that was too slow.
    pub dropped: AtomicU64,
    /// WebSockets.
    pub sockets: Sockets,
}

/// Why a connection of a client came to no good. Nothing of it is logged: who connects could fill the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The TLS handshake failed.
    Tls,
    /// A trusted proxy sent no header of the PROXY protocol.
    ProxyHeader,
    /// Either was not done in time.
    Timeout,
    /// There were too many connections even to be turned away.
    Dropped,
    /// The client took nothing of its answer for too long.
    Stalled,
}

impl Failure {
    const ALL: [(Self, &str); 5] = [
        (Self::Tls, "tls"),
        (Self::ProxyHeader, "proxy_header"),
        (Self::Timeout, "timeout"),
        (Self::Dropped, "dropped"),
        (Self::Stalled, "stalled"),
    ];
}

/// Close codes that are told apart (RFC 6455, section 7.4.1): 1006 stands for a connection that ended without one.
const CLOSES: [u16; 11] = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012];

/// What became of the WebSockets of one worker. Counted as each ends.
#[derive(Debug, Default)]
pub struct Sockets {
    received: AtomicU64,
    sent: AtomicU64,
    closes: [AtomicU64; CLOSES.len()],
    other: AtomicU64,
}

impl Sockets {
    /// Counts one that has ended, with the frames that it has received and sent.
    pub fn close(&self, code: u16, received: u64, sent: u64) {
        self.received.fetch_add(received, Relaxed);
        self.sent.fetch_add(sent, Relaxed);
        let known = CLOSES.iter().position(|known| *known == code);
        known.map_or(&self.other, |index| &self.closes[index]).fetch_add(1, Relaxed);
    }
}

impl Default for Counters {
    fn default() -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let operations = operation::all().len();
        Self {
            calls: zeros(operations * OUTCOMES),
            durations: zeros(operations * (BUCKETS.len() + 1)),
            time: zeros(operations),
            problems: zeros(Code::ALL.len()),
            failures: Default::default(),
            taken_resets: AtomicU64::new(0),
            sockets: Sockets::default(),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Counts a call that ended: with a result, or with an error.
    pub fn record(&self, id: Id, error: Option<Code>, duration: Duration) {
        let outcome = error.map_or(0, |code| code as usize + 1);
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|bound| microseconds <= *bound).unwrap_or(BUCKETS.len());
        self.calls[id.index() * OUTCOMES + outcome].fetch_add(1, Relaxed);
        self.durations[id.index() * (BUCKETS.len() + 1) + bucket].fetch_add(1, Relaxed);
        self.time[id.index()].fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Counts a request that was answered with a problem.
    pub fn refuse(&self, code: Code) {
        self.problems[code as usize].fetch_add(1, Relaxed);
    }

    /// Counts a connection that came to no good.
    pub fn fail(&self, failure: Failure) {
        self.failures[failure as usize].fetch_add(1, Relaxed);
    }

    /// Counts a client that may not have read an answer with something that was taken for it.
    pub fn reset_taken(&self) {
        self.taken_resets.fetch_add(1, Relaxed);
    }
}

/// All metrics in Prometheus's text format.
pub fn render(workers: &Workers) -> String {
    let shared = &workers.shared;
    let sum = |pick: &dyn Fn(&Counters) -> &AtomicU64| workers.all.iter().map(|worker| pick(&worker.counters).load(Relaxed)).sum::<u64>();
    let (mut calls, mut durations) = (Vec::new(), Vec::new());
    for id in operation::ids() {
        let name = id.operation().name;
        for outcome in 0..OUTCOMES {
            let count = sum(&|counters| &counters.calls[id.index() * OUTCOMES + outcome]);
            if count > 0 {
                let label = outcome.checked_sub(1).map_or("ok", |code| Code::ALL[code].name());
                calls.push(counter(&[("operation", name), ("outcome", label)], count));
            }
        }
        let counts: Vec<u64> =
            (0..=BUCKETS.len()).map(|bucket| sum(&|counters| &counters.durations[id.index() * (BUCKETS.len() + 1) + bucket])).collect();
        if counts.iter().any(|count| *count > 0) {
            durations.push(histogram(name, &counts, sum(&|counters| &counters.time[id.index()])));
        }
    }
    let problems = Code::ALL.iter().enumerate().map(|(index, code)| (code.name(), sum(&|counters| &counters.problems[index])));
    let problems = problems.filter(|(_, count)| *count > 0).map(|(code, count)| counter(&[("code", code)], count)).collect();
    let failures =
        Failure::ALL.iter().map(|(failure, why)| counter(&[("reason", why)], sum(&|counters| &counters.failures[*failure as usize])));
    let failures = failures.collect();
    let mut closes: Vec<(String, u64)> =
        CLOSES.iter().enumerate().map(|(index, code)| (code.to_string(), sum(&|counters| &counters.sockets.closes[index]))).collect();
    closes.push(("other".into(), sum(&|counters| &counters.sockets.other)));
    closes.retain(|(_, count)| *count > 0);
    let mut families = vec![
        family(
            "dbx_socket_closes_total",
            "WebSockets that ended, by close code; 1006 is a connection that was lost.",
            MetricType::COUNTER,
            closes.iter().map(|(code, count)| counter(&[("code", code)], *count)).collect(),
        ),
        family(
            "dbx_socket_frames_total",
            "Frames of WebSockets that have ended.",
            MetricType::COUNTER,
            vec![
                counter(&[("direction", "received")], sum(&|counters| &counters.sockets.received)),
                counter(&[("direction", "sent")], sum(&|counters| &counters.sockets.sent)),
            ],
        ),
        family("dbx_calls_total", "Calls that ended, by operation and outcome.", MetricType::COUNTER, calls),
        family("dbx_call_duration_seconds", "How long calls took, from being read to their reply.", MetricType::HISTOGRAM, durations),
        family("dbx_problems_total", "Requests answered with a problem, by its code.", MetricType::COUNTER, problems),
        family("dbx_calls_in_flight", "Calls being served.", MetricType::GAUGE, vec![gauge(&[], workers.in_flight())]),
        family("dbx_connections", "Open client connections.", MetricType::GAUGE, vec![gauge(&[], shared.connections.load(Relaxed))]),
        family(
            "dbx_connection_failures_total",
            "Client connections that came to no good, by why: their TLS handshake, their PROXY header, either's timeout, too many to be turned away, an answer not taken.",
            MetricType::COUNTER,
            failures,
        ),
        family(
            "dbx_resident_memory_bytes",
            "Memory that the process holds.",
            MetricType::GAUGE,
            memory().into_iter().map(|bytes| gauge(&[], bytes)).collect(),
        ),
        family("dbx_sockets", "Open WebSockets and event streams.", MetricType::GAUGE, vec![gauge(&[], shared.sockets.load(Relaxed))]),
        family(
            "dbx_queued_bytes",
            "Bytes that wait for clients of WebSockets and event streams to read them.",
            MetricType::GAUGE,
            vec![gauge(&[], shared.queued_bytes.load(Relaxed))],
        ),
        family(
            "dbx_events_dropped_total",
            "Events that clients of event streams were too slow for.",
            MetricType::COUNTER,
            vec![counter(&[], sum(&|counters| &counters.dropped))],
        ),
        family(
            "dbx_blocking_resets_total",
            "Connections that clients reset right after they were sent something that was taken for them.",
            MetricType::COUNTER,
            vec![counter(&[], sum(&|counters| &counters.taken_resets))],
        ),
        family(
            "dbx_draining",
            "1 while the gateway is about to stop.",
            MetricType::GAUGE,
            vec![gauge(&[], usize::from(shared.drain.is_draining()))],
        ),
        family(
            "dbx_build_info",
            "1; the version is a label.",
            MetricType::GAUGE,
            vec![gauge(&[("version", env!("CARGO_PKG_VERSION"))], 1)],
        ),
    ];
    families.extend(backends(workers));
    families.extend(channels(workers));
    families.extend(rates(workers));
    families.push(family(
        "dbx_log_dropped_total",
        "Lines of a log that could not be written, or not soon enough.",
        MetricType::COUNTER,
        shared.records.dropped().map(|(log, lines)| counter(&[("log", log)], lines)).collect(),
    ));
    families.retain(|family| !family.get_metric().is_empty());
    let mut out = Vec::new();
    // Writing to memory does not fail; a family without a name would, and all have one.
    let _ = TextEncoder::new().encode(&families, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn backends(workers: &Workers) -> [MetricFamily; 6] {
    let (mut up, mut pending, mut connections, mut own) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut waiting, mut elements) = (Vec::new(), Vec::new());
    for (name, _, states) in workers.states() {
        let labels = [("database", name)];
        up.push(gauge(&labels, usize::from(states.iter().all(|state| state.reachable))));
        pending.push(gauge(&labels, states.iter().map(|state| state.pending).sum()));
        connections.push(counter(&labels, states.iter().map(|state| state.connections).sum()));
        own.push(gauge(&[("database", name), ("state", "busy")], states.iter().map(|state| state.own_busy).sum()));
        own.push(gauge(&[("database", name), ("state", "idle")], states.iter().map(|state| state.own_idle).sum()));
        waiting.push(gauge(&[("database", name), ("state", "busy")], states.iter().map(|state| state.waiting_busy).sum()));
        waiting.push(gauge(&[("database", name), ("state", "idle")], states.iter().map(|state| state.waiting_idle).sum()));
        let Elements { returned, lost, unknown } = states.iter().map(|state| state.elements).sum();
        for (outcome, count) in [("returned", returned), ("lost", lost), ("unknown", unknown)] {
            elements.push(counter(&[("database", name), ("outcome", outcome)], count));
        }
    }
    [
        family("dbx_backend_up", "1 while every worker is connected to the database.", MetricType::GAUGE, up),
        family("dbx_backend_pending_calls", "Calls waiting for the database.", MetricType::GAUGE, pending),
        family("dbx_backend_connections_total", "Connections made to the database.", MetricType::COUNTER, connections),
        family(
            "dbx_backend_own_connections",
            "Connections that calls have to themselves, in use or waiting for the next.",
            MetricType::GAUGE,
            own,
        ),
        family(
            "dbx_backend_waiting_connections",
            "Connections of calls that wait for something to happen, in use or waiting for the next.",
            MetricType::GAUGE,
            waiting,
        ),
        family(
            "dbx_blocking_elements_total",
            "Elements that blocking calls took and nobody got: put back, lost, or unknown because a connection was lost.",
            MetricType::COUNTER,
            elements,
        ),
    ]
}

fn channels(workers: &Workers) -> [MetricFamily; 4] {
    let (mut topics, mut messages, mut delivered, mut interruptions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // What is counted is the process's; any worker knows it.
    for database in workers.all.first().into_iter().flat_map(|worker| &worker.databases) {
        let (labels, counts) = ([("database", database.name.as_str())], database.channels.counts());
        topics.push(gauge(&labels, counts.topics));
        messages.push(counter(&labels, counts.messages));
        delivered.push(counter(&labels, counts.delivered));
        interruptions.push(counter(&labels, counts.interruptions));
    }
    [
        family("dbx_topics", "Channels, globs and shard channels that the gateway is subscribed to.", MetricType::GAUGE, topics),
        family("dbx_messages_received_total", "Messages that the database sent to the gateway.", MetricType::COUNTER, messages),
        family("dbx_messages_delivered_total", "Messages given to subscribers, once for each.", MetricType::COUNTER, delivered),
        family("dbx_interruptions_total", "Subscriptions that were lost.", MetricType::COUNTER, interruptions),
    ]
}

fn rates(workers: &Workers) -> [MetricFamily; 2] {
    let (mut refused, mut exchanges) = (Vec::new(), Vec::new());
    for (limit, calls, settled) in workers.shared.rates.iter().flat_map(|rates| rates.counts()) {
        refused.push(counter(&[("limit", limit)], calls));
        exchanges.extend(settled.map(|settled| counter(&[("limit", limit)], settled)));
    }
    [
        family("dbx_rate_limited_total", "Calls and sockets that a limit of rate refused.", MetricType::COUNTER, refused),
        family(
            "dbx_rate_limit_exchanges_total",
            "How many times a limit of rate was counted with other replicas.",
            MetricType::COUNTER,
            exchanges,
        ),
    ]
}

/// What the process holds, where the system tells it as Linux does.
fn memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kibibytes.parse::<usize>().ok()? << 10)
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn metric(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    };
    let mut metric = Metric::default();
    metric.set_label(labels.iter().map(pair).collect());
    metric
}

#[expect(clippy::cast_precision_loss, reason = "the text format has doubles")]
fn counter(labels: &[(&str, &str)], count: u64) -> Metric {
    let mut value = Counter::default();
    value.set_value(count as f64);
    let mut metric = metric(labels);
    metric.set_counter(value);
    metric
}

#[expect(clippy::cast_precision_loss, reason = "the text format has doubles")]
fn gauge(labels: &[(&str, &str)], count: usize) -> Metric {
    let mut value = Gauge::default();
    value.set_value(count as f64);
    let mut metric = metric(labels);
    metric.set_gauge(value);
    metric
}

#[expect(clippy::cast_precision_loss, reason = "the text format has doubles")]
fn histogram(operation: &str, counts: &[u64], nanoseconds: u64) -> Metric {
    let mut cumulative = 0;
    let bucket = |(bound, count): (&u64, &u64)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / 1e6);
        bucket.set_cumulative_count(cumulative);
        bucket
    };
    let buckets: Vec<Bucket> = BUCKETS.iter().zip(counts).map(bucket).collect();
    let mut value = Histogram::default();
    value.set_bucket(buckets);
    value.set_sample_count(counts.iter().sum());
    value.set_sample_sum(nanoseconds as f64 / 1e9);
    let mut metric = metric(&[("operation", operation)]);
    metric.set_histogram(value);
    metric
}
