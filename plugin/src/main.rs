//! `kubectl dbx`: what a person who looks after gateways asks of them.

mod args;
mod call;
mod cluster;
mod keys;
mod logs;
mod output;
mod status;
mod top;
mod tunnel;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use cluster::Cluster;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kubectl dbx: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let cluster = Cluster::connect(&arguments.target).await?;
    match arguments.command {
        Command::Status { name, all_namespaces } => {
            let everywhere = all_namespaces && arguments.target.namespace.is_none();
            anyhow::ensure!(everywhere || !all_namespaces, "-A is every namespace: leave out -n");
            status::run(&cluster, name.as_deref(), everywhere).await
        }
        Command::Call(call) => call::run(&cluster, &call).await,
        Command::Logs(logs) => logs::run(&cluster, &logs).await,
        Command::Keys { name } => keys::run(&cluster, &name).await,
        Command::Top { name } => top::run(&cluster, &name).await,
    }
}
