//! `dbx-gateway`: reads the command line and does what it says.

use std::{io::Write, process::ExitCode};

use dbx_gateway::{
    app,
    cli::{self, Cli, Command},
    config, log, operation, probe,
};

// The images are static, and musl's own allocator costs a call about as much as everything else together.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let here = std::env::current_dir().unwrap_or_default();
    let done = match Cli::from_arguments().into_command() {
        Command::Run(settings) => config::load(&settings, config::process_environment(), &here).map_err(lines).and_then(run),
        Command::Check { settings, connect } => {
            config::load(&settings, config::process_environment(), &here).map_err(lines).and_then(|config| {
                print(cli::check(&config))?;
                if connect { reach(&config) } else { Ok(()) }
            })
        }
        Command::Health { address, path } => cli::health(&address, &path),
        Command::Keys(keys) => return answer(keys.run()),
        Command::Explain(explain) => return answer(explain.run()),
        Command::Asyncapi => print(format!("{:#}\n", operation::asyncapi::document())),
        Command::Openapi => print(format!("{:#}\n", operation::openapi::document())),
        Command::Reference { group } => operation::reference::text(group.as_deref()).and_then(print),
        Command::ConfigSchema => print(format!("{:#}\n", dbx_crds::config::GatewayConfig::schema().as_value())),
        Command::ConfigReference => print(config::reference()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            cli::report_fatal(&message);
            ExitCode::FAILURE
        }
    }
}

/// 0 for yes, 1 for no, and 2 when there is no answer.
fn answer(answer: Result<bool, String>) -> ExitCode {
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            cli::report_fatal(&message);
            ExitCode::from(2)
        }
    }
}

fn run(config: dbx_crds::config::GatewayConfig) -> Result<(), String> {
    log::start(&config.log);
    runtime()?.block_on(app::run(config, config::secret::directory(), client_name())).map_err(|error| format!("{error:#}"))
}

fn reach(config: &dbx_crds::config::GatewayConfig) -> Result<(), String> {
    let failures = runtime()?.block_on(probe::connect(config, &config::secret::directory(), &client_name()));
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

/// What connections are called in `CLIENT LIST`.
fn client_name() -> String {
    format!("dbx/{}", std::env::var("DBX_POD_NAME").unwrap_or_else(|_| "local".into()))
}

fn print(text: String) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

fn lines(mistakes: Vec<config::ConfigError>) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
