//! The binary `sfumato`: reads the command line and runs the command. Everything else is in the modules.

mod advertise;
mod cli;
mod config;
mod log;
mod metrics;
mod serve;
mod test_card;
mod token;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use cli::{Cli, Command, Settings, TokenArgs};
use config::{Config, Mode};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The configuration is wrong. The same code as for a wrong flag.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command() {
        Command::Serve(settings) => run(Mode::Serve, &settings),
        Command::Demo(settings) => run(Mode::Demo, &settings),
        Command::CheckConfig(settings) => check(&settings),
        Command::Token(args) => token(&args),
        Command::Keys(args) => match token::new_keys(&args) {
            Ok(set) => say(&set),
            Err(why) => fail(EXIT_USAGE, &why),
        },
    }
}

fn load(mode: Mode, settings: &Settings) -> Result<Config, ExitCode> {
    // A variable that is not UTF-8 is no setting.
    let environment = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    Config::load(mode, settings, environment).map_err(|error| fail(EXIT_USAGE, &error.to_string()))
}

fn run(mode: Mode, settings: &Settings) -> ExitCode {
    let config = match load(mode, settings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    log::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.and_then(|runtime| {
        let result = runtime.block_on(serve::run(config));
        // Tasks had until the stop deadline; those that still run are dropped.
        runtime.shutdown_timeout(Duration::ZERO);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn check(settings: &Settings) -> ExitCode {
    match load(Mode::Serve, settings) {
        // Secrets are printed as placeholders.
        Ok(config) => say(&format!("{config:#?}\nThe configuration is good.")),
        Err(code) => code,
    }
}

fn token(args: &TokenArgs) -> ExitCode {
    let config = match load(Mode::Serve, &args.settings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match token::make(args, &config) {
        Ok(token) => say(&token),
        Err(why) => fail(EXIT_USAGE, &why),
    }
}

fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(code: u8, why: &str) -> ExitCode {
    // If standard error is closed, only the exit code tells of the error.
    writeln!(std::io::stderr(), "sfumato: {why}").unwrap_or_default();
    ExitCode::from(code)
}
