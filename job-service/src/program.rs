//! Owns the process: command line, signals, exit codes and what the terminal
//! is told. It does not own how the service starts and stops (`run.rs`).

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use service_kit::clock::Clock;
use service_kit::commands::{self, CommandError, Outcome, Subject};
use service_kit::database::LockError;
use service_kit::exit::Exit;
use service_kit::shutdown::Shutdown;
use service_kit::telemetry::{self, LogFormat};
use service_kit::{health, server, status};

use crate::config::{
    self, ApiKeyCommand, Command, CommandLine, DataArgs, HealthArgs, ImagesCommand, MigrateArgs,
    ServeArgs,
};
use crate::run::{SERVICE, schema, start_until};

mod api_key;
mod backup;
mod images;
mod import;

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
        Command::Migrate(args) => match &args.import_json {
            Some(file) => migrate_and_import(&args, file),
            None => about(&args.data, |subject| {
                commands::migrate(&args.migration, subject)
            }),
        },
        Command::Images(command) => look_after_images(&command),
        Command::Backup(data) => back_up(&data),
        Command::Backups(command) => about(command.data(), |subject| {
            commands::backups(&command, subject)
        }),
        Command::ApiKey(command) => keys(&command),
        Command::Healthcheck(asked) => check_health(&asked),
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
        Ok(outcome) => say(&outcome),
        Err(error) => end(error.exit(), &error),
    }
}

/// Backs up what nobody uses by itself, and what a service uses through it.
fn back_up(data: &DataArgs) -> ExitCode {
    let mut held = None;
    let done = about(data, |subject| match commands::back_up(subject) {
        Err(CommandError::Lock(taken @ LockError::Held { .. })) => {
            held = Some(taken);
            Ok(Outcome::default())
        }
        done => done,
    });
    match held {
        None => done,
        Some(held) => ask_for_backup(data, held),
    }
}

#[tokio::main]
async fn ask_for_backup(data: &DataArgs, held: LockError) -> ExitCode {
    match backup::of_running(&data.data_dir, held).await {
        Ok(outcome) => say(&outcome),
        Err(error) => end(error.exit(), &error),
    }
}

#[tokio::main]
async fn migrate_and_import(args: &MigrateArgs, file: &Path) -> ExitCode {
    match import::perform(args, file).await {
        Ok(outcome) => say(&outcome),
        Err(error) => end(error.exit(), &error),
    }
}

#[tokio::main]
async fn look_after_images(command: &ImagesCommand) -> ExitCode {
    match images::perform(command, Clock::system()).await {
        Ok(outcome) => say(&outcome),
        Err(error) => end(error.exit(), &error),
    }
}

fn say(outcome: &Outcome) -> ExitCode {
    if !outcome.text.is_empty() {
        println!("{}", outcome.text);
    }
    outcome.exit.into()
}

/// Prints what the command answers: a new key with its secret goes to the
/// terminal and nowhere else.
#[tokio::main]
async fn keys(command: &ApiKeyCommand) -> ExitCode {
    match api_key::perform(command, Clock::system()).await {
        Ok(answer) => {
            println!("{answer}");
            Exit::Clean.into()
        }
        Err(error) => end(error.exit(), &error),
    }
}

/// Says on one line why the service is not healthy. Nothing is logged: a probe
/// asks every few seconds.
#[tokio::main]
async fn check_health(asked: &HealthArgs) -> ExitCode {
    match health::check(asked.address, &asked.service, &Clock::system()).await {
        Ok(()) => Exit::Clean.into(),
        Err(error) => {
            eprintln!("job-service: {}", status::error_chain(&error));
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
    #[cfg(feature = "stop-points")]
    if let Some(name) = &serve.stop_at {
        crate::stop_point::choose(name);
    }
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
    tracing::error!(error = status::error_chain(error), "job-service ends");
    eprintln!("job-service: {}", status::error_chain(error));
    exit.into()
}
