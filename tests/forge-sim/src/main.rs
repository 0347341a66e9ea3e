//! The `forge-sim` program: a simulated Forge server until SIGTERM or Ctrl-C. Prints its URL when ready.

use std::{net::TcpListener, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Parser;
use forge_sim::{ForgeSim, SimConfig, SimModel, Users};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for a Stable Diffusion Forge server.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7860")]
    listen: String,
    /// Folder for outputs and config.json.
    #[arg(long, default_value = "forge-data")]
    data_dir: PathBuf,
    /// Time of one sampling step in milliseconds.
    #[arg(long, default_value_t = 40)]
    step_time_ms: u64,
    /// Time to load a checkpoint in milliseconds.
    #[arg(long, default_value_t = 200)]
    load_time_ms: u64,
    /// A checkpoint by its path below the checkpoint folder; may be given more than once.
    #[arg(long = "checkpoint", value_name = "PATH")]
    checkpoints: Vec<String>,
    /// A LoRA by its path below the LoRA folder; may be given more than once.
    #[arg(long = "lora", value_name = "PATH")]
    loras: Vec<String>,
    /// Every generation event is appended here as one JSON line.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Who may use the API, as Forge takes it.
    #[arg(long, value_name = "USER:PASSWORD[,…]", value_parser = Users::parse)]
    api_auth: Option<Users>,
    /// Who may use the UI and fetch files, as Forge takes it.
    #[arg(long, value_name = "USER:PASSWORD[,…]", value_parser = Users::parse)]
    gradio_auth: Option<Users>,
    /// Serve the API alone: no task tracking, no app id, no files.
    #[arg(long)]
    nowebui: bool,
}

impl Arguments {
    fn config(self) -> SimConfig {
        let usual = SimConfig::default();
        let named = |paths: Vec<String>, usual: Vec<SimModel>| {
            if paths.is_empty() {
                usual
            } else {
                paths.into_iter().map(SimModel::named).collect()
            }
        };
        SimConfig {
            data_dir: self.data_dir,
            checkpoints: named(self.checkpoints, usual.checkpoints),
            loras: named(self.loras, usual.loras),
            step_time: Duration::from_millis(self.step_time_ms),
            load_time: Duration::from_millis(self.load_time_ms),
            log_file: self.log,
            api_auth: self.api_auth.unwrap_or_default(),
            gradio_auth: self.gradio_auth.unwrap_or_default(),
            ui: !self.nowebui,
            ..SimConfig::default()
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(&arguments.listen)
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let sim = ForgeSim::start_on(arguments.config(), listener).await?;
    println!("{}", sim.url());
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    sim.stop().await;
    Ok(())
}
