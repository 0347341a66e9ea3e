//! The Forge server that the job runs on: a stand-in in this process, or a
//! real one. Registers it and waits until it can take jobs.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use forge_sim::{ForgeSim, SimConfig};
use service_kit::clock::Clock;
use stablequeue_proto::jobs::v1::{self as jobs, ServerHealth, ServerUsage};
use tonic::Code;

use crate::{
    arguments::Arguments,
    pair::{Calls, refusal},
    screen::Screen,
};

/// Where the stand-in listens, unless that is taken. The same from run to run,
/// so that what an earlier run left under way is asked for at the same place.
const SIM_PORT: u16 = 17860;
/// Its folder below the data folder.
const SIM_FOLDER: &str = "forge-sim";
/// One step takes so long that the progress can be watched.
const STEP_TIME: Duration = Duration::from_millis(120);
/// So does loading a checkpoint.
const LOAD_TIME: Duration = Duration::from_millis(800);
/// How long a server may be unreachable before this gives up.
const UNREACHABLE_MAX: Duration = Duration::from_secs(30);
/// How long a server may answer something that time alone seldom changes. One
/// that has just been started answers so for a moment.
const WRONG_MAX: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The server that the job is for.
pub(crate) struct Forge {
    alias: &'static str,
    base_url: String,
    usage: ServerUsage,
    sim: Option<ForgeSim>,
}

impl Forge {
    /// The real server that was named, or a stand-in that is started now.
    pub(crate) async fn start(arguments: &Arguments) -> Result<Self> {
        if let Some(base_url) = &arguments.forge {
            return Ok(Self {
                alias: "forge",
                base_url: base_url.clone(),
                usage: ServerUsage::Shared,
                sim: None,
            });
        }
        let config = SimConfig {
            data_dir: arguments.data_dir.join(SIM_FOLDER),
            step_time: STEP_TIME,
            load_time: LOAD_TIME,
            ..SimConfig::default()
        };
        let sim = ForgeSim::start_on(config, bind()?)
            .await
            .context("the stand-in for Forge cannot start")?;
        Ok(Self {
            alias: "forge-sim",
            base_url: sim.url(),
            usage: ServerUsage::Dedicated,
            sim: Some(sim),
        })
    }

    /// Its name in the pair.
    pub(crate) fn alias(&self) -> &'static str {
        self.alias
    }

    /// Registers it, or brings what an earlier run registered to this address.
    pub(crate) async fn register(&self, calls: &Calls) -> Result<()> {
        let mut servers = calls.servers.clone();
        let alias = self.alias.to_owned();
        let known = match servers.get_server(jobs::GetServerRequest { alias }).await {
            Ok(answer) => answer.into_inner().server,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(refusal(status)).context("cannot ask for the server"),
        };
        let server = jobs::Server {
            alias: self.alias.to_owned(),
            base_url: self.base_url.clone(),
            enabled: Some(true),
            ..jobs::Server::default()
        };
        match known {
            Some(known) if known.base_url == self.base_url && known.enabled == Some(true) => {}
            Some(_) => {
                let paths = ["base_url", "enabled"].map(str::to_owned).to_vec();
                let request = jobs::UpdateServerRequest {
                    server: Some(server),
                    update_mask: Some(prost_types::FieldMask { paths }),
                };
                let updated = servers.update_server(request).await;
                updated
                    .map_err(refusal)
                    .context("cannot change the server's address")?;
            }
            None => {
                let server = Some(jobs::Server {
                    usage: self.usage.into(),
                    ..server
                });
                let created = servers
                    .create_server(jobs::CreateServerRequest {
                        server,
                        ..jobs::CreateServerRequest::default()
                    })
                    .await;
                created
                    .map_err(refusal)
                    .context("cannot register the server")?;
            }
        }
        Ok(())
    }

    /// Waits until it is healthy and model-service knows its models.
    ///
    /// # Errors
    /// When the time is up: what is wrong and what to do.
    pub(crate) async fn wait_until_healthy(
        &self,
        calls: &Calls,
        clock: &Clock,
        screen: &mut Screen,
    ) -> Result<()> {
        let mut servers = calls.servers.clone();
        let begun = clock.monotonic();
        loop {
            let alias = self.alias.to_owned();
            let answer = servers
                .probe_server(jobs::ProbeServerRequest { alias })
                .await
                .map_err(refusal)
                .context("cannot probe the server")?;
            let server = answer.into_inner().server.unwrap_or_default();
            let status = server.status.unwrap_or_default();
            if status.health() == ServerHealth::Healthy && status.inventory_time.is_some() {
                return Ok(());
            }
            let (seen, limit) = self.judge(&status);
            if clock.monotonic().saturating_sub(begun) >= limit {
                bail!("{seen}");
            }
            screen.phase(&format!("waiting for Forge: {seen}"));
            clock.sleep(LOOK_EVERY).await;
        }
    }

    /// What is wrong in words, and how long it may stay so.
    fn judge(&self, status: &jobs::ServerStatus) -> (String, Duration) {
        let url = &self.base_url;
        let because = &status.message;
        match status.health() {
            ServerHealth::Healthy => (
                format!("model-service does not have the models of {url} yet"),
                UNREACHABLE_MAX,
            ),
            ServerHealth::Unspecified => (format!("{url} was not asked yet"), UNREACHABLE_MAX),
            ServerHealth::Unreachable => {
                (format!("{url} does not answer: {because}"), UNREACHABLE_MAX)
            }
            ServerHealth::ApiMissing => (
                format!("{url} answers, but has no API: {because}"),
                WRONG_MAX,
            ),
            ServerHealth::Unauthenticated => (
                format!("{url} asks for a login, which cannot be given yet: {because}"),
                WRONG_MAX,
            ),
            ServerHealth::NotForge => (
                format!("{url} cannot be used as Forge: {because}"),
                WRONG_MAX,
            ),
        }
    }

    /// Ends the stand-in; a real server is left as it is.
    pub(crate) async fn stop(self) {
        if let Some(sim) = self.sim {
            sim.stop().await;
        }
    }
}

fn bind() -> Result<TcpListener> {
    let bound = match TcpListener::bind((Ipv4Addr::LOCALHOST, SIM_PORT)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        }
        bound => bound,
    };
    bound.context("no port for the stand-in for Forge")
}
