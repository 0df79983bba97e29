//! Sentinels: the gateway goes where they say the primary is, and is back soon after they have decided on another.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{Gateway, Load, Port, Process, Redis, SOON, until};

/// How soon service has to be back once Sentinels have decided: 2 s, and as much again for a machine that does something else.
const BACK: Duration = Duration::from_secs(4);

/// A primary, its replica and three Sentinels that watch them.
struct Watched {
    primary: Redis,
    replica: Redis,
    ports: Vec<Port>,
    _sentinels: Vec<Process>,
    folder: tempfile::TempDir,
}

impl Watched {
    fn start() -> Self {
        let primary = Redis::start();
        let number = primary.port.number.to_string();
        let replica = Redis::with(&["--replicaof", "127.0.0.1", &number, "--repl-diskless-sync-delay", "0"]);
        until("replication", SOON, || replica.line("INFO replication").contains("master_link_status:up").then_some(()));
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<Port> = (0..3).map(|_| Port::reserve()).collect();
        let sentinels = ports.iter().map(|port| {
            let file = folder.path().join(format!("{}.conf", port.number));
            let config = format!(
                "port {}\nbind 127.0.0.1\ndir {}\nrequirepass sentry\nsentinel sentinel-pass sentry\n\
                 sentinel monitor mymaster 127.0.0.1 {number} 2\n\
                 sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 6000\n",
                port.number,
                folder.path().display()
            );
            fs::write(&file, config).unwrap();
            let mut command = Command::new("redis-server");
            command.arg(file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Process::start(&mut command, "`make test` installs redis-server")
        });
        let watched = Self { primary, replica, _sentinels: sentinels.collect(), ports, folder };
        for port in &watched.ports {
            until("Sentinels to find each other", SOON, || {
                let known = ask(port, &["SENTINEL", "MASTER", "mymaster"])?;
                (known.contains("num-other-sentinels\n2\n") && known.contains("num-slaves\n1\n")).then_some(())
            });
        }
        watched
    }

    fn gateway(&self, settings: &[&str]) -> Gateway {
        // The first of them is not there.
        let nobody = Port::reserve();
        let hosts: Vec<String> = std::iter::once(&nobody).chain(&self.ports).map(|port| format!("127.0.0.1:{}", port.number)).collect();
        let file = self.folder.path().join("password");
        fs::write(&file, "sentry").unwrap();
        let password = format!("databases.0.redis.sentinel.passwordFrom.file={}", file.display());
        let settings: Vec<&str> = [password.as_str()].into_iter().chain(settings.iter().copied()).collect();
        let gateway = Gateway::launch(&format!("redis+sentinel://{}/mymaster", hosts.join(",")), &settings);
        until("readiness", SOON, || gateway.is_ready().then_some(()));
        gateway
    }

    /// Waits until Sentinels say that the replica is the primary.
    fn decided(&self) -> Instant {
        let number = self.replica.port.number.to_string();
        until("a decision", SOON, || {
            let named = ask(&self.ports[0], &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"])?;
            named.contains(&number).then(Instant::now)
        })
    }
}

fn ask(port: &Port, words: &[&str]) -> Option<String> {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.number.to_string(), "-a", "sentry", "--no-auth-warning"]).args(words);
    let output = command.output().expect("`make test` installs redis-cli");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_primary_is_killed_under_load() {
    let mut watched = Watched::start();
    let gateway = watched.gateway(&[]);
    let client = gateway.anonymous();
    let load = Load::start(16, std::slice::from_ref(&client));
    until("load", SOON, || load.look(|seen| seen.reads + seen.writes > 2000).then_some(()));
    watched.primary.kill();
    let killed = Instant::now();
    let decided = watched.decided();
    until("service", BACK, || {
        let served = client.post("incr", r#"{"key":"after"}"#).status == 200;
        (served && gateway.is_connected()).then_some(())
    });
    let back = decided.elapsed();
    let done = load.look(|seen| seen.reads + seen.writes);
    until("load", SOON, || (load.look(|seen| seen.reads + seen.writes) > done + 2000).then_some(()));
    let seen = load.stop();
    assert!(seen.broken.is_empty(), "{:?}", seen.broken);
    for (writes, response) in &seen.failed {
        let problem = response.json();
        let code = problem["code"].as_str().unwrap();
        assert!(matches!((response.status, code), (503, "unavailable") | (504, "timeout")), "{problem}");
        assert_eq!(problem["retryable"], problem["outcome"] != "unknown", "{problem}");
        assert!(*writes || problem["retryable"] == true, "{problem}");
    }
    // What it has now is what the new primary has.
    let counter: u64 = watched.replica.line("GET counter").parse().unwrap();
    client.get("strings/counter").is(&format!(r#"{{"result":"{counter}"}}"#));
    println!("decided {:?} after the kill, back {back:?} after that, {} calls failed", decided - killed, seen.failed.len());
}

#[test]
fn the_primary_hangs_or_hands_over() {
    let watched = Watched::start();
    // A connection that is silent would be given up only after 20 s.
    let gateway = watched.gateway(&["limits.callTimeout=10s"]);
    let client = gateway.anonymous();
    client.post("incr", r#"{"key":"a"}"#).is(r#"{"result":1}"#);
    until("replication", SOON, || (watched.replica.line("GET a") == "1").then_some(()));
    watched.primary.hold();
    let decided = watched.decided();
    let hurried = client.with("DBX-Timeout", "200ms");
    until("service", BACK, || (hurried.post("incr", r#"{"key":"a"}"#).status == 200).then_some(()));
    println!("back {:?} after Sentinels gave up a primary that hung", decided.elapsed());
    until("the value", SOON, || (watched.replica.try_line("GET a")?.parse::<u64>().ok()? >= 2).then_some(()));
    watched.primary.release();
    until("the old primary to follow", SOON, || watched.primary.try_line("ROLE")?.contains("slave").then_some(()));
    until("hand-over", SOON, || ask(&watched.ports[0], &["SENTINEL", "FAILOVER", "mymaster"])?.starts_with("OK").then_some(()));
    until("hand-over", SOON, || watched.replica.try_line("ROLE")?.contains("slave").then_some(()));
    until("service", BACK, || (hurried.post("incr", r#"{"key":"b"}"#).status == 200).then_some(()));
    until("the value", SOON, || (watched.primary.try_line("GET b")? != "$-1\r\n").then_some(()));
}

#[test]
fn what_sentinels_do_not_know_is_told() {
    let watched = Watched::start();
    let hosts = format!("127.0.0.1:{}", watched.ports[0].number);
    let gateway = Gateway::launch(&format!("redis+sentinel://{hosts}/mymaster"), &[]);
    until("refusal", SOON, || gateway.operations("/readyz?verbose")?.text().contains("NOAUTH").then_some(()));
    let password = ["databases.0.redis.sentinel.passwordFrom.env=PATH"];
    let gateway = Gateway::launch(&format!("redis+sentinel://{hosts}/mymaster"), &password);
    until("refusal", SOON, || gateway.operations("/readyz?verbose")?.text().contains("the variable is not set").then_some(()));
    let gateway = Gateway::launch(&format!("redis+sentinel://127.0.0.1:{}/mymaster", watched.primary.port.number), &[]);
    until("refusal", SOON, || gateway.operations("/readyz?verbose")?.text().contains("unknown command").then_some(()));
}
