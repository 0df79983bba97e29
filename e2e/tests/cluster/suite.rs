//! What all tests share: one cluster, one operator that Helm installed from the images of this checkout, a few tests at a
//! time. Prepared by whichever test comes first.

use std::{
    env,
    fs::File,
    io::Write,
    path::PathBuf,
    process::Command,
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use k8s_openapi::jiff::Timestamp;

/// The operator's release, and its namespace: those of `make demo`, since two operators would serve the same gateways.
pub(crate) const RELEASE: &str = "dbx";
pub(crate) const SYSTEM: &str = "dbx-system";
/// The label of namespaces that belong to a test.
pub(crate) const LABEL: &str = "e2e.dbx.dev/test";
/// Tests at a time; a cluster on two cores carries no more.
const PERMITS: usize = 3;

/// What was prepared.
#[derive(Debug)]
pub(crate) struct Suite {
    /// The tag of every image under test.
    pub(crate) tag: String,
    /// When the operator of this run was installed.
    pub(crate) start: Timestamp,
    /// Where logs of failed tests go.
    pub(crate) logs: PathBuf,
    free: Mutex<usize>,
    freed: Condvar,
    _lock: File,
}

static SUITE: OnceLock<Result<Suite, String>> = OnceLock::new();

/// The suite; without what `make e2e` prepares, a panic that says so.
pub(crate) fn suite() -> &'static Suite {
    match SUITE.get_or_init(prepare) {
        Ok(suite) => suite,
        Err(error) => panic!("{error}"),
    }
}

/// A line for whoever runs the tests, past the capture of test output.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs a program; its output, or its errors.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.success() {
        true => Ok(out.into_owned()),
        false => Err(format!("{program} {}: {}: {out}{errors}", arguments.join(" "), output.status)),
    }
}

/// The checkout.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn prepare() -> Result<Suite, String> {
    let needs = |name: &str| {
        let absent = format!("the end-to-end tests need a cluster and images of this checkout: run `make e2e` ({name} is not set)");
        env::var(name).ok().filter(|value| !value.is_empty()).ok_or(absent)
    };
    // Never the cluster that happens to be kubectl's default.
    needs("KUBECONFIG")?;
    let tag = needs("DBXDEV_E2E_IMAGE_TAG")?;
    let directory = env::var("DBXDEV_E2E_DIR").map_or_else(|_| env::home_dir().unwrap_or_default().join(".cache/dbx/e2e"), PathBuf::from);
    std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let lock = lock(&directory.join("tests.lock")).map_err(|error| format!("the lock of {}: {error}", directory.display()))?;
    run("kubectl", &["get", "--raw", "/readyz", "--request-timeout=10s"])
        .map_err(|error| format!("the cluster does not answer; `make e2e` starts it: {error}"))?;
    // Of runs that broke off.
    run("kubectl", &["delete", "namespace", "--selector", LABEL, "--timeout=180s"])?;
    // What gateways may use of other projects, as those publish it.
    run("kubectl", &["apply", "--server-side", "--filename", &needs("DBXDEV_DEFINITIONS")?])?;
    let start = Timestamp::now();
    let began = Instant::now();
    namespace()?;
    install(&tag, &tag, &[])?;
    say(&format!("operator {tag} installed after {:.1?}", began.elapsed()));
    let logs = directory.join("logs/tests");
    let _ = std::fs::remove_dir_all(&logs);
    Ok(Suite { tag, start, logs, free: Mutex::new(PERMITS), freed: Condvar::new(), _lock: lock })
}

/// One run at a time on a cluster, since there is one operator.
fn lock(path: &std::path::Path) -> std::io::Result<File> {
    let file = File::create(path)?;
    if file.try_lock().is_err() {
        say("waiting for another run of the tests");
        file.lock()?;
    }
    Ok(file)
}

fn namespace() -> Result<(), String> {
    let exists = run("kubectl", &["get", "namespace", SYSTEM, "--ignore-not-found", "--output", "name"])?;
    if exists.is_empty() {
        run("kubectl", &["create", "namespace", SYSTEM])?;
    }
    run("kubectl", &["label", "--overwrite", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted"]).map(drop)
}

/// The operator's chart.
pub(crate) fn chart() -> PathBuf {
    repository().join("charts/dbx-operator")
}

/// Installs the operator from the chart, or upgrades it; both images by their tags.
pub(crate) fn install(operator: &str, gateway: &str, settings: &[&str]) -> Result<(), String> {
    install_from(&chart(), operator, gateway, settings)
}

/// The same from another chart.
pub(crate) fn install_from(chart: &std::path::Path, operator: &str, gateway: &str, settings: &[&str]) -> Result<(), String> {
    let chart = chart.display().to_string();
    let (operator, gateway) = (format!("image.tag={operator}"), format!("gateway.image.tag={gateway}"));
    let mut arguments = vec!["upgrade", RELEASE, &chart, "--install", "--namespace", SYSTEM, "--wait", "--timeout", "180s"];
    arguments.extend(["--set-string", &operator, "--set-string", &gateway]);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    run("helm", &arguments).map(drop).map_err(|error| {
        let pods = run("kubectl", &["--namespace", SYSTEM, "describe", "pods"]).unwrap_or_else(|error| error);
        let logs = run("kubectl", &["--namespace", SYSTEM, "logs", "--selector=app.kubernetes.io/name=dbx-operator", "--tail=50"])
            .unwrap_or_else(|error| error);
        format!("{error}\n{pods}\n{logs}")
    })
}

/// The right to run, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    suite: &'static Suite,
    count: usize,
}

impl Suite {
    /// Waits for a place among the tests that run at the same time.
    pub(crate) fn shared(&'static self) -> Permit {
        self.permit(1)
    }

    /// Waits until no other test runs. Nobody waits for this, so it comes after the others.
    pub(crate) fn alone(&'static self) -> Permit {
        self.permit(PERMITS)
    }

    fn permit(&'static self, count: usize) -> Permit {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free < count).unwrap_or_else(PoisonError::into_inner);
        *free -= count;
        Permit { suite: self, count }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.suite.free.lock().unwrap_or_else(PoisonError::into_inner) += self.count;
        self.suite.freed.notify_all();
    }
}
