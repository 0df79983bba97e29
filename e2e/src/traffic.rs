//! Steady traffic: every thread writes a value, reads it back and compares, at an even pace that does not wait for answers:
//! what an answer that is late has cost is made up for. A call that is not answered rightly has failed; nothing is tried again.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::connection::{Connection, Target, token};

/// How often the counts are printed.
const REPORT: Duration = Duration::from_millis(250);
/// Failures that are told in full.
const TOLD: usize = 10;

/// What to do.
pub(crate) struct Plan {
    /// The database: `http://host:port/api/v1/name`.
    pub(crate) target: Target,
    /// Threads that keep their connection until an answer says `Connection: close`.
    pub(crate) kept: u32,
    /// Threads that connect anew for each call.
    pub(crate) new: u32,
    /// How often each thread calls.
    pub(crate) period: Duration,
}

struct Counts {
    begin: Instant,
    /// When the newest right answer came, and the longest time without one, in microseconds.
    answered: AtomicU64,
    gap: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    connections: AtomicU64,
    closes: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// How many failed for each reason.
    reasons: Mutex<BTreeMap<String, u64>>,
}

impl Counts {
    fn report(&self) -> String {
        // Escaping is JSON's as long as only printable ASCII is told.
        let failures = self.failures.lock().map(|failures| failures.join("; ")).unwrap_or_default();
        let failures = failures.replace('\\', "\\\\").replace('"', "\\\"");
        let reasons = self.reasons.lock().map(|reasons| reasons.clone()).unwrap_or_default();
        let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("\"{reason}\":{count}")).collect();
        format!(
            "{{\"gap\":{},\"reasons\":{{{}}},\"succeeded\":{},\"failed\":{},\"connections\":{},\"closes\":{},\"token\":\"{}\",\"failures\":\"{}\"}}",
            self.gap.load(Relaxed),
            reasons.join(","),
            self.succeeded.load(Relaxed),
            self.failed.load(Relaxed),
            self.connections.load(Relaxed),
            self.closes.load(Relaxed),
            shown(),
            failures
        )
    }

    fn succeed(&self) {
        self.succeeded.fetch_add(1, Relaxed);
        let now = u64::try_from(self.begin.elapsed().as_micros()).unwrap_or_default();
        let before = self.answered.fetch_max(now, Relaxed);
        self.gap.fetch_max(now.saturating_sub(before), Relaxed);
    }

    fn fail(&self, what: String) {
        self.failed.fetch_add(1, Relaxed);
        if let Ok(mut reasons) = self.reasons.lock() {
            *reasons.entry(reason(&what).to_owned()).or_default() += 1;
        }
        if let Ok(mut failures) = self.failures.lock()
            && failures.len() < TOLD
        {
            failures.push(what.replace(|character: char| !(' '..='~').contains(&character), " "));
        }
    }
}

/// The reason of a failure, as it is counted.
fn reason(what: &str) -> &str {
    let rest = what.split_once(": ").map_or(what, |(_, rest)| rest);
    let status = rest.get(..3).filter(|status| status.parse::<u16>().is_ok());
    let known = ["cannot connect", "closed", "reset", "Broken pipe", "timed out", "Resource temporarily unavailable", "expected the value"];
    status.or_else(|| known.into_iter().find(|known| rest.contains(known))).unwrap_or("other")
}

/// The end of the token that calls show at present, by which a test knows which one it is.
fn shown() -> String {
    let token = token().ok().flatten().unwrap_or_default();
    token.get(token.len().saturating_sub(6)..).unwrap_or_default().to_owned()
}

/// Calls until the process is ended; prints the counts, one JSON object a line.
pub(crate) fn run(plan: &Plan) -> Result<(), String> {
    begin(&plan.target);
    let counts = Counts {
        begin: Instant::now(),
        answered: AtomicU64::new(0),
        gap: AtomicU64::new(0),
        succeeded: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        connections: AtomicU64::new(0),
        closes: AtomicU64::new(0),
        failures: Mutex::default(),
        reasons: Mutex::default(),
    };
    thread::scope(|scope| {
        for number in 0..plan.kept + plan.new {
            let counts = &counts;
            scope.spawn(move || work(plan, number, counts));
        }
        loop {
            thread::sleep(REPORT);
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}", counts.report()).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
        }
    })
}

/// Waits until a gateway answers again and again: the nodes learn of a new Service's pods a moment after they are ready.
fn begin(target: &Target) {
    let answers = || Connection::open(target)?.call("GET", &target.path, "", false);
    let mut successes = 0;
    while successes < 20 {
        successes = if answers().is_ok_and(|response| response.from_gateway) { successes + 1 } else { 0 };
        thread::sleep(Duration::from_millis(25));
    }
}

fn work(plan: &Plan, number: u32, counts: &Counts) {
    let keep = number < plan.kept;
    let path = format!("{}/strings/traffic-{number}", plan.target.path.trim_end_matches('/'));
    let mut caller = Caller { target: &plan.target, keep, connection: None, counts };
    // Not all at the same moment.
    let mut next = Instant::now() + plan.period * number / (plan.kept + plan.new).max(1);
    let mut wait = || {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += plan.period;
    };
    for round in 0_u64.. {
        wait();
        let value = format!("\"{round}\"");
        let put = caller.call("PUT", &path, &format!("{{\"value\":{value}}}")).map(drop);
        // What was written without an answer may be there or not.
        let written = put.is_ok();
        caller.count("PUT", put);
        wait();
        let got = caller.call("GET", &path, "");
        caller.count(
            "GET",
            got.and_then(|body| (!written || body.contains(&value)).then_some(()).ok_or(format!("expected the value {value}: {body}"))),
        );
    }
}

struct Caller<'a> {
    target: &'a Target,
    keep: bool,
    connection: Option<Connection>,
    counts: &'a Counts,
}

impl Caller<'_> {
    fn call(&mut self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.counts.connections.fetch_add(1, Relaxed);
                Connection::open(self.target).map_err(|error| format!("cannot connect: {error}"))?
            }
        };
        let response = connection.call(method, path, body, self.keep).map_err(|error| error.to_string())?;
        match self.keep {
            true if response.close => drop(self.counts.closes.fetch_add(1, Relaxed)),
            true => self.connection = Some(connection),
            false => {}
        }
        match response.status {
            200..300 => Ok(response.body),
            status => Err(format!("{status} {}", response.body)),
        }
    }

    fn count(&self, method: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.counts.succeed(),
            Err(error) => self.counts.fail(format!("{} connection, {method}: {error}", if self.keep { "kept" } else { "new" })),
        }
    }
}
