//! Owns the process: command line, signals, exit codes and what the terminal
//! is told. It does not own how the service starts and stops (`run.rs`).

mod library;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser as _;
use service_kit::clock::Clock;
use service_kit::commands::{self, CommandError, Outcome, Subject};
use service_kit::exit::Exit;
use service_kit::shutdown::Shutdown;
use service_kit::telemetry::{self, LogFormat};
use service_kit::{health, server, status};

use crate::config::{self, Command, CommandLine, DataArgs, HealthArgs, ServeArgs, TokenArgs};
use crate::run::{SERVICE, start_until};
use crate::store::schema;
use crate::tokens;
use library::ClientError;

/// Does what the command line says and tells how it ended.
pub fn main() -> ExitCode {
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command(),
        Err(error) => {
            // Nothing can be done when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::BadConfiguration
            } else {
                Exit::Clean
            }
            .into();
        }
    };
    if let Err(error) = telemetry::init(LogFormat::Auto, command.log()) {
        return end(Exit::BadConfiguration, &error);
    }
    match command {
        Command::Migrate(args) => about(&args.data, |subject| {
            commands::migrate(&args.migration, subject)
        }),
        Command::Backup(data) => back_up(&data),
        Command::Backups(command) => about(command.data(), |subject| {
            commands::backups(&command, subject)
        }),
        Command::Token(token) => make_token(token),
        Command::Healthcheck(asked) => check_health(&asked),
        Command::Scan(args) => told(library::scan(&args)),
        Command::Hash(args) => told(library::hash(&args)),
        Command::PrintConfig(serve) => print_config(&serve),
        Command::Serve(serve) => run(&serve),
    }
}

/// Does something with the database in a folder, and says what came of it.
fn about(
    data: &DataArgs,
    command: impl FnOnce(&Subject<'_>) -> Result<Outcome, CommandError>,
) -> ExitCode {
    let subject = Subject {
        path: &config::database(&data.data_dir),
        schema: &schema(),
        service: SERVICE,
        clock: &Clock::system(),
    };
    match command(&subject) {
        Ok(outcome) => {
            println!("{}", outcome.text);
            outcome.exit.into()
        }
        Err(error) => end(error.exit(), &error),
    }
}

/// Backs up what nobody uses. A running service has no door but its port, for
/// which the caller needs a token of their own.
fn back_up(data: &DataArgs) -> ExitCode {
    let mut held = false;
    let ended = about(data, |subject| {
        commands::back_up(subject).inspect_err(|error| held = error.exit() == Exit::Locked)
    });
    if held {
        eprintln!(
            "model-service: the running service makes one, also while it is at work: \
             grpcurl [-H \"authorization: Bearer TOKEN\"] -plaintext ADDRESS \
             stablequeue.admin.v1.AdminService/CreateBackup"
        );
    }
    ended
}

/// Says what came of what a running service did.
fn told(ended: Result<Outcome, ClientError>) -> ExitCode {
    match ended {
        Ok(outcome) => {
            println!("{}", outcome.text);
            outcome.exit.into()
        }
        Err(error) => end(error.exit(), &error),
    }
}

fn make_token(args: TokenArgs) -> ExitCode {
    let servers = (!args.servers.is_empty()).then_some(args.servers);
    match tokens::create(&args.name, &args.scopes, servers) {
        Ok((token, entry)) => {
            println!("token, shown this once: {}", token.expose());
            println!("for the token file:     {entry}");
            Exit::Clean.into()
        }
        Err(error) => end(Exit::Failure, &error),
    }
}

/// Says on one line why the service is not healthy. Nothing is logged: a probe
/// asks every few seconds.
#[tokio::main]
async fn check_health(asked: &HealthArgs) -> ExitCode {
    match health::check(asked.address, &asked.service, &Clock::system()).await {
        Ok(()) => Exit::Clean.into(),
        Err(error) => {
            eprintln!("model-service: {}", status::error_chain(&error));
            Exit::Failure.into()
        }
    }
}

/// Prints the settings even where they are faulty; then the faults are said too.
fn print_config(serve: &ServeArgs) -> ExitCode {
    match config::settings(std::env::args_os()) {
        Ok(settings) => println!("{settings:#}"),
        Err(error) => return end(Exit::BadConfiguration, &error),
    }
    match serve.config() {
        Ok(_) => Exit::Clean.into(),
        Err(faults) => end(Exit::BadConfiguration, &*Box::<dyn Error>::from(faults)),
    }
}

#[tokio::main]
async fn run(serve: &ServeArgs) -> ExitCode {
    let config = match serve.config() {
        Ok(config) => config,
        Err(faults) => return end(Exit::BadConfiguration, &*Box::<dyn Error>::from(faults)),
    };
    let listener = match server::bind(serve.listen).await {
        Ok(listener) => listener,
        Err(error) => return end(Exit::Failure, &error),
    };
    let clock = Clock::system();
    let shutdown = Shutdown::new(clock.clone());
    if let Err(error) = shutdown.listen_for_signals() {
        return end(Exit::Failure, &error);
    }
    let running = match start_until(shutdown, config, listener, clock).await {
        Ok(running) => running,
        Err(error) => return end(error.exit(), &error),
    };
    match running.finished().await {
        Ok(()) => Exit::Clean.into(),
        Err(error) => end(Exit::Failure, &error),
    }
}

/// Says why the program ends.
fn end(exit: Exit, error: &(dyn Error + 'static)) -> ExitCode {
    tracing::error!(error = status::error_chain(error), "model-service ends");
    eprintln!("model-service: {}", status::error_chain(error));
    exit.into()
}
