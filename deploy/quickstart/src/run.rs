//! Owns the order of things, the end of the process and its exit code. The
//! parts that run are `pair`'s and `forge`'s, the job is `submit`'s.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use service_kit::{
    clock::Clock,
    exit::Exit,
    shutdown::Shutdown,
    telemetry::{self, LogFormat},
};

use crate::{arguments::Arguments, forge::Forge, pair::Pair, screen::Screen, submit, tour};

/// Does what the command line says and tells how it ended.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    if let Err(error) = telemetry::init(LogFormat::Text, &arguments.log) {
        eprintln!("quickstart: {error}");
        return Exit::BadConfiguration.into();
    }
    match run(arguments) {
        Ok(()) => Exit::Clean.into(),
        Err(error) => {
            eprintln!("quickstart: {error:#}");
            exit_of(&error).into()
        }
    }
}

/// How the process ends when the command line could not be used, or was only a
/// question.
pub(crate) fn exit_of_parsing(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        Exit::BadConfiguration.into()
    } else {
        Exit::Clean.into()
    }
}

fn exit_of(error: &anyhow::Error) -> Exit {
    let models = error.downcast_ref().map(model_service::StartError::exit);
    let jobs = error.downcast_ref().map(job_service::StartError::exit);
    models.or(jobs).unwrap_or(Exit::Failure)
}

#[tokio::main]
async fn run(arguments: &Arguments) -> Result<()> {
    let clock = Clock::system();
    let stop = Shutdown::new(clock.clone());
    stop.listen_for_signals()
        .context("cannot listen for Ctrl-C")?;
    let mut screen = Screen::new();
    screen.phase("starting model-service, Forge and job-service");
    let (pair, forge) = start(arguments, &clock).await?;
    let shown = tokio::select! {
        shown = show(arguments, &pair, &forge, &clock, &mut screen) => shown,
        () = stop.requested() => interrupted(),
    };
    screen.clear();
    if shown.is_ok() && !arguments.once {
        screen.say("Ctrl-C ends it.");
        stop.requested().await;
    }
    let ended = pair.stop().await;
    forge.stop().await;
    shown.and(ended)
}

/// model-service first, which takes the lock of the folder before anything in
/// it is touched; Forge before job-service, which looks after what an earlier
/// run left under way there.
async fn start(arguments: &Arguments, clock: &Clock) -> Result<(Pair, Forge)> {
    let folder = &arguments.data_dir;
    let models = Pair::start_models(folder, clock).await?;
    let forge = Forge::start(arguments).await?;
    let pair = Pair::start_jobs(models, folder, clock).await?;
    Ok((pair, forge))
}

async fn show(
    arguments: &Arguments,
    pair: &Pair,
    forge: &Forge,
    clock: &Clock,
    screen: &mut Screen,
) -> Result<()> {
    let calls = pair.connect().await?;
    forge.register(&calls).await?;
    forge.wait_until_healthy(&calls, clock, screen).await?;
    let job = submit::run(arguments, forge.alias(), &calls, clock, screen).await?;
    screen.clear();
    screen.say(&submit::facts(&job, &arguments.data_dir)?);
    if !arguments.once {
        screen.say(&tour::text(pair, &job));
    }
    Ok(())
}

fn interrupted() -> Result<()> {
    bail!("stopped before the image was there; a job that was submitted goes on at the next start")
}
