//! The client that the tests run inside the cluster: one call, or steady traffic over HTTP or WebSockets whose counts it prints.

#![expect(clippy::print_stdout, reason = "its standard output is what the tests read")]

mod connection;
mod sockets;
mod traffic;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use connection::{Connection, Target};
use traffic::Plan;

/// The nodes learn of a new Service's pods a moment after they are ready. Until then nobody is at its address, or somebody else.
const NEW_SERVICE: Duration = Duration::from_secs(10);

const USAGE: &str = "usage: dbx-e2e call METHOD URL [BODY]                      makes one call, prints status and body
       dbx-e2e traffic URL KEPT NEW PERIOD_MILLISECONDS         calls until it is ended: each of KEPT connections that are
                                                                kept, and of NEW that are made anew for each call, once a
                                                                period
       dbx-e2e sockets URL COUNT PAUSE_MILLISECONDS             calls over COUNT WebSockets until it is ended";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["call", method, url] => call(method, url, ""),
        ["call", method, url, body] => call(method, url, body),
        ["traffic", url, kept, new, period] => {
            let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{text}: expected a number"));
            let period = Duration::from_millis(number(period)?.into());
            traffic::run(&Plan { target: Target::parse(url)?, kept: number(kept)?, new: number(new)?, period })
        }
        ["sockets", url, count, pause] => {
            let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{text}: expected a number"));
            sockets::run(url, number(count)?, Duration::from_millis(number(pause)?.into()))
        }
        _ => Err(USAGE.into()),
    }
}

fn call(method: &str, url: &str, body: &str) -> Result<(), String> {
    let target = Target::parse(url)?;
    let start = Instant::now();
    loop {
        let is_new = start.elapsed() < NEW_SERVICE;
        match Connection::open(&target) {
            Err(error) if !is_new => return Err(format!("cannot connect: {error}")),
            Err(_) => {}
            Ok(mut connection) => {
                let response = connection.call(method, &target.path, body, false);
                // What somebody else answers was not done by a gateway, and may be asked again.
                if response.as_ref().is_ok_and(|response| response.from_gateway) || !is_new {
                    let response = response.map_err(|error| format!("no answer: {error}"))?;
                    println!("{}\n{}", response.status, response.body);
                    return Ok(());
                }
                response.map_err(|error| format!("no answer: {error}"))?;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
