//! The `forge-sim` program: a simulated Forge server until SIGTERM or Ctrl-C. Prints its URL when ready.

use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Parser;
use forge_sim::{Device, Flap, ForgeSim, Rule, SimConfig, SimModel, Users, serve_commands};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Mutex,
};

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
    /// A checkpoint that is there but cannot be loaded; may be given more than once.
    #[arg(long = "broken-checkpoint", value_name = "PATH")]
    broken_checkpoints: Vec<String>,
    /// A LoRA by its path below the LoRA folder; may be given more than once.
    #[arg(long = "lora", value_name = "PATH")]
    loras: Vec<String>,
    /// Let every load and every step wait for a command.
    #[arg(long)]
    gated: bool,
    /// Each start and end of a generation is appended here as one JSON line with the whole generation.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// All that happens is appended here as one numbered JSON line per event, written at once.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// A picture with more pixels than this runs out of memory.
    #[arg(long, value_name = "PIXELS")]
    max_pixels: Option<u64>,
    /// Whose words tell that memory ran out.
    #[arg(long, value_enum, default_value_t = DeviceName::Cpu)]
    device: DeviceName,
    /// A fault and the requests it is for, such as '{"fault":"load_fails","when":{"prompt":"owl"},"times":{"next":3}}';
    /// may be given more than once.
    #[arg(long = "rule", value_name = "JSON", value_parser = parse_rule)]
    rules: Vec<Rule>,
    /// Reset so many connections, then serve so many requests, again and again.
    #[arg(long, value_name = "RESET:SERVE", value_parser = Flap::parse)]
    flap: Option<Flap>,
    /// Answer of /app_id by the first process; each restart by command adds one. Random when left out.
    #[arg(long, value_name = "NUMBER")]
    app_id: Option<u64>,
    /// Take the stand-in's own commands on this address, one JSON command by POST; its URL is printed second.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
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

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DeviceName {
    Cpu,
    Cuda,
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    serde_json::from_str(text).map_err(|error| format!("this is no rule: {error}"))
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
        let mut checkpoints = named(self.checkpoints, usual.checkpoints);
        checkpoints.extend(self.broken_checkpoints.into_iter().map(SimModel::broken));
        SimConfig {
            data_dir: self.data_dir,
            checkpoints,
            loras: named(self.loras, usual.loras),
            step_time: Duration::from_millis(self.step_time_ms),
            load_time: Duration::from_millis(self.load_time_ms),
            log_file: self.log,
            event_file: self.log_file,
            gated: self.gated,
            max_pixels: self.max_pixels.unwrap_or(usual.max_pixels),
            device: match self.device {
                DeviceName::Cpu => Device::Cpu,
                DeviceName::Cuda => Device::Cuda,
            },
            rules: self.rules,
            flap: self.flap,
            seed_app_id: self.app_id,
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
    let admin = arguments.admin_listen.as_deref().map(|address| {
        TcpListener::bind(address)
            .with_context(|| format!("cannot listen for commands on {address}"))
    });
    let admin = admin.transpose()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let sim = ForgeSim::start_on(arguments.config(), listener).await?;
    println!("{}", sim.url());
    let sim = Arc::new(Mutex::new(sim));
    let commands = async {
        match admin {
            Some(listener) => {
                println!("admin http://{}", listener.local_addr()?);
                serve_commands(listener, Arc::clone(&sim)).await
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = commands => ended?,
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    sim.lock().await.kill().await;
    Ok(())
}
