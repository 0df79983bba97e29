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
    let mut connection = connect(&target).map_err(|error| format!("cannot connect: {error}"))?;
    let response = connection.call(method, &target.path, body, false).map_err(|error| format!("no answer: {error}"))?;
    println!("{}\n{}", response.status, response.body);
    Ok(())
}

/// The nodes learn of a new Service's pods a moment after they are ready.
fn connect(target: &Target) -> std::io::Result<Connection> {
    let start = Instant::now();
    loop {
        match Connection::open(target) {
            Err(_) if start.elapsed() < Duration::from_secs(10) => std::thread::sleep(Duration::from_millis(100)),
            result => return result,
        }
    }
}
