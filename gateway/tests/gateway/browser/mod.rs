//! Pages of the gateway in a browser, used as people use them: Debian's Chromium, driven by WebDriver. Everything waits for
//! what it needs, so that a slow machine is only slow.

mod board;
mod docs;
mod events;

use std::{
    fmt::Debug,
    fs,
    future::Future,
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use axum::http::Method;
use fantoccini::{
    Client, ClientBuilder, Locator,
    elements::Element,
    error::CmdError,
    key::Key,
    wd::{WebDriverCompatibleCommand, WindowHandle},
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use url::{ParseError, Url};

use crate::support::{Process, SOON, until};

/// How long a page may take: it is large, and tests share the machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before another look at a page.
const LOOK: Duration = Duration::from_millis(20);

/// Serves the page to everybody who asks for anything, until the process ends. Its origin.
fn site(page: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                // One read has the head; a connection that a browser opens ahead may say nothing.
                if stream.read(&mut [0; 8 << 10]).is_ok_and(|count| count > 0) {
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\nContent-Length:";
                    let _ = write!(stream, "{head} {}\r\n\r\n{page}", page.len());
                }
            });
        }
    });
    origin
}

/// A window without a screen. Dropping it ends the browser.
pub struct Browser {
    runtime: Runtime,
    client: Client,
    _driver: Process,
    _folder: tempfile::TempDir,
}

/// A request that a page has made.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Value,
}

impl Browser {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("driver");
        let mut command = Command::new("chromedriver");
        command.args(["--port=0"]).env("TMPDIR", folder.path()).env("HOME", folder.path());
        command.stdin(Stdio::null()).stdout(fs::File::create(&output).unwrap()).stderr(Stdio::null());
        let driver = Process::start(&mut command, "`scripts/tools browser` installs it");
        let port: u16 = until("chromedriver", SOON, || {
            let said = fs::read_to_string(&output).unwrap();
            said.split("successfully on port ").nth(1)?.split('.').next()?.parse().ok()
        });
        let capabilities = json!({
            "browserName": "chrome",
            // Tests may be run by root, whom the sandbox refuses, and where there is little shared memory.
            "goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1200,2000"]},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let client = runtime
            .block_on(async {
                ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await
            })
            .unwrap();
        Self { runtime, client, _driver: driver, _folder: folder }
    }

    fn wait<T>(&self, what: impl Debug, command: impl Future<Output = Result<T, CmdError>>) -> T {
        self.runtime.block_on(command).unwrap_or_else(|error| panic!("{what:?}: {error}\n{}", self.text("body")))
    }

    pub fn open(&self, url: &str) {
        self.runtime.block_on(self.client.goto(url)).unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Opens another tab beside those that are there; it is the one that is used from now on.
    pub fn open_beside(&self, url: &str) -> WindowHandle {
        let tab = self.wait(url, self.client.new_window(true)).handle;
        self.switch(&tab);
        self.open(url);
        tab
    }

    /// The tab that is used.
    pub fn tab(&self) -> WindowHandle {
        self.wait("the tab", self.client.window())
    }

    pub fn switch(&self, tab: &WindowHandle) {
        self.wait(tab, self.client.switch_to_window(tab.clone()));
    }

    /// The first element of a CSS selector, as soon as it is there.
    fn find(&self, css: &str) -> Element {
        self.wait(css, self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)))
    }

    /// What an element says; nothing if it is not there.
    pub fn text(&self, css: &str) -> String {
        let text = async { self.client.find(Locator::Css(css)).await?.text().await };
        self.runtime.block_on(text).unwrap_or_default()
    }

    /// Waits until an element says something.
    pub fn says(&self, css: &str, text: &str) {
        let started = Instant::now();
        while !self.text(css).contains(text) {
            assert!(started.elapsed() < PATIENCE, "{css} says {:?} and not {text:?}; the page:\n{}", self.text(css), self.text("body"));
            thread::sleep(LOOK);
        }
    }

    pub fn click(&self, css: &str) {
        // A page that is being laid out moves what is to be clicked.
        until(&format!("a click on {css}"), PATIENCE, || self.runtime.block_on(self.find(css).click()).ok());
    }

    /// Replaces what is in a field.
    pub fn fill(&self, css: &str, text: &str) {
        let field = self.find(css);
        // As a person does: to clear it by script would be news to nobody but the field.
        let keys = Key::Control + "a" + &Key::Null.to_string() + text;
        self.wait(css, field.send_keys(&keys));
    }

    /// Lines of the console since the last look: complaints, what a policy has forbidden, what scripts print.
    pub fn console(&self) -> Vec<String> {
        self.log("browser").iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Requests since the last look.
    pub fn requests(&self) -> Vec<Request> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let sent = |entry: &Value| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let request = &event["message"]["params"]["request"];
            (event["message"]["method"] == "Network.requestWillBeSent").then(|| Request {
                method: text(&request["method"]),
                url: text(&request["url"]),
                headers: request["headers"].clone(),
            })
        };
        self.log("performance").iter().filter_map(sent).collect()
    }

    fn log(&self, kind: &'static str) -> Vec<Value> {
        self.wait(kind, self.client.issue_cmd(Log(kind))).as_array().unwrap().clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver is ended by force, and would leave the browser behind.
        let _ = self.runtime.block_on(self.client.clone().close());
    }
}

/// The driver's command for a log, which is none of WebDriver's own.
#[derive(Debug)]
struct Log(&'static str);

impl WebDriverCompatibleCommand for Log {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _url: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "type": self.0 }).to_string()))
    }
}
