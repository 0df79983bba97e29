//! The control plane: turns a `DbxGateway` into a running gateway.

use std::process::ExitCode;

use clap::Parser;
use dbx_operator::{app, args, check, reference};

fn main() -> ExitCode {
    let args = args::Args::parse();
    let result = match args.command.unwrap_or(args::Command::Run) {
        args::Command::Run => app::run(args.run),
        args::Command::Crds { definition } => app::print_definitions(definition),
        args::Command::Reference { definition } => app::print(&reference::page(definition)),
        args::Command::Check { address } => check::run(&address),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dbx-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
