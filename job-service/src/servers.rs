//! What callers can ask about servers: one method each. Looking after them is
//! the monitors' work.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use crate::{
    board::ServerState,
    breaker::BreakerState,
    core::Core,
    dispatch::lessons,
    error::Error,
    request_id::{Once, RequestId, fingerprint},
    server::{Health, Server},
    store::{
        cooldowns, request_ids,
        servers::{self, NewServer, ServerChange},
    },
};

/// How many servers there may be.
pub const SERVERS_MAX: usize = 256;
/// How long a caller waits for a new inventory.
const REFRESH_WAIT: Duration = Duration::from_secs(60);
/// The call that creates one by its name among request ids.
const CREATE: &str = "CreateServer";

/// The use cases of servers.
#[derive(Clone)]
pub struct Servers {
    core: Arc<Core>,
    /// Changes reach the board and the clients in the order in which they reach
    /// the database.
    changing: Arc<Mutex<()>>,
}

impl Servers {
    /// Use cases on this core.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            changing: Arc::default(),
        }
    }

    /// Registers a server and begins to look after it. With a request id that
    /// came with the same server before, answers that one as it is now.
    pub async fn create(
        &self,
        new: NewServer,
        request_id: Option<RequestId>,
    ) -> Result<ServerState, Error> {
        let _one_at_a_time = self.changing.lock().await;
        let now = self.core.clock.now();
        let vault = Arc::clone(&self.core.vault);
        let once = request_id.map(|request_id| Once {
            request_id,
            method: CREATE,
            fingerprint: fingerprint(&asked(&new)),
        });
        let (server, is_new) = self
            .core
            .database
            .write("create_server", move |conn| {
                if let Some(once) = &once
                    && let Some(alias) = request_ids::find(conn, once)?
                {
                    return Ok((servers::get(conn, &alias)?, false));
                }
                let server = servers::insert(conn, &vault, &new, SERVERS_MAX, now)?;
                if let Some(once) = &once {
                    request_ids::insert(conn, once, &server.alias, now)?;
                }
                Ok::<_, Error>((server, true))
            })
            .await?;
        let alias = server.alias.clone();
        if is_new {
            self.begin(server)?;
        } else {
            // Whoever registered it may not have put it up yet.
            self.core.board.put(server);
        }
        self.state(&alias)
    }

    /// Puts up every registered server and begins to look after it.
    pub async fn begin_all(&self) -> Result<(), Error> {
        let limit = i64::try_from(SERVERS_MAX).unwrap_or(i64::MAX);
        let all = self
            .core
            .database
            .read("list_servers", move |conn| servers::list(conn, "", limit))
            .await?;
        for server in all {
            self.begin(server)?;
        }
        Ok(())
    }

    fn begin(&self, server: Server) -> Result<(), Error> {
        self.core.board.put(server.clone());
        if server.enabled {
            self.core.monitors.start(&self.core, &server)
        } else {
            self.core.monitors.stop(&server.alias);
            // For a job that still runs there.
            self.core.clients.put(&server, &self.core.vault).map(|_| ())
        }
    }

    /// One server.
    pub fn get(&self, alias: &str) -> Result<ServerState, Error> {
        self.state(alias)
    }

    /// Servers by alias after one, at most `limit`.
    #[must_use]
    pub fn list(&self, after: &str, limit: usize) -> Vec<ServerState> {
        self.core
            .board
            .snapshot()
            .into_iter()
            .filter(|(alias, _)| alias.as_str() > after)
            .take(limit)
            .map(|(_, state)| state)
            .collect()
    }

    /// Changes a server. A job that runs there goes on.
    pub async fn update(
        &self,
        alias: &str,
        change: ServerChange,
        revision: Option<i32>,
    ) -> Result<ServerState, Error> {
        let _one_at_a_time = self.changing.lock().await;
        let now = self.core.clock.now();
        let name = alias.to_owned();
        let vault = Arc::clone(&self.core.vault);
        let moved = change.base_url.is_some();
        let toggled = change.enabled.is_some();
        let logins = change.api_login.is_some() || change.ui_login.is_some();
        let server = self
            .core
            .database
            .write("update_server", move |conn| {
                servers::update(conn, &vault, &name, &change, revision, now)
            })
            .await?;
        if moved || toggled || logins {
            self.core.board.update_status(alias, |status| {
                *status = crate::board::ServerStatus::default();
            });
            self.core.board.forget_listing(alias);
            if moved {
                self.core.board.forget_failures(alias);
                lessons::show_breaker(&self.core, alias, BreakerState::Closed);
            }
            self.begin(server)?;
        } else {
            self.core.board.put(server);
        }
        self.core.hints.wake_dispatcher();
        self.state(alias)
    }

    /// Gives a server jobs again. Whoever says so has looked: what failed there
    /// before keeps none away any more.
    pub async fn uncordon(&self, alias: &str) -> Result<ServerState, Error> {
        let change = ServerChange {
            cordon: Some((false, String::new())),
            ..ServerChange::default()
        };
        let name = alias.to_owned();
        self.state(alias)?;
        self.core
            .database
            .write("clear_cooldowns", move |conn| cooldowns::clear(conn, &name))
            .await?;
        self.core.board.forget_failures(alias);
        lessons::show_breaker(&self.core, alias, BreakerState::Closed);
        self.update(alias, change, None).await
    }

    /// Keeps a server from taking jobs, and waits until none of ours runs
    /// there, for at most so long. Whether none does.
    pub async fn drain(
        &self,
        alias: &str,
        reason: String,
        wait: Duration,
    ) -> Result<(ServerState, bool), Error> {
        let change = ServerChange {
            cordon: Some((true, reason)),
            ..ServerChange::default()
        };
        let mut vacated = self.core.board.vacated();
        self.update(alias, change, None).await?;
        let until = self.core.clock.monotonic().saturating_add(wait);
        loop {
            vacated.mark_unchanged();
            if !self.is_at_work(alias).await? {
                return Ok((self.state(alias)?, true));
            }
            let left = until.saturating_sub(self.core.clock.monotonic());
            let over = tokio::select! {
                changed = vacated.changed() => changed.is_err(),
                () = self.core.clock.sleep(left) => true,
                () = self.core.shutdown.requested() => true,
            };
            if over {
                let drained = !self.is_at_work(alias).await?;
                return Ok((self.state(alias)?, drained));
            }
        }
    }

    /// Whether something of ours runs on a server.
    async fn is_at_work(&self, alias: &str) -> Result<bool, Error> {
        if self.state(alias)?.is_at_work() {
            return Ok(true);
        }
        // A claim that is under way is on the board first, and in the database
        // only when the server was not cordoned yet.
        let name = alias.to_owned();
        self.core
            .database
            .read("runs_attempt", move |conn| {
                servers::runs_attempt(conn, &name)
            })
            .await
    }

    /// The time by which states are shown.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.core.clock.now()
    }

    /// Removes a server that no job needs.
    pub async fn delete(&self, alias: &str) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock().await;
        let name = alias.to_owned();
        self.core
            .database
            .write("delete_server", move |conn| servers::delete(conn, &name))
            .await?;
        self.core.monitors.stop(alias);
        self.core.clients.forget(alias);
        self.core.board.remove(alias);
        Ok(())
    }

    /// Asks a server now.
    pub async fn probe(&self, alias: &str) -> Result<ServerState, Error> {
        self.state(alias)?;
        self.core.monitors.look_and_wait(alias, false).await;
        self.state(alias)
    }

    /// Lists a server anew and passes that on to model-service.
    pub async fn refresh_inventory(&self, alias: &str) -> Result<ServerState, Error> {
        if !self.state(alias)?.server.enabled {
            return Err(Error::ServerDisabled(alias.to_owned()));
        }
        let asked_at = self.core.clock.now();
        let looked = self.core.monitors.look_and_wait(alias, true);
        let looked = self.core.clock.timeout(REFRESH_WAIT, looked).await;
        let state = self.state(alias)?;
        if state.status.inventory_at.is_some_and(|at| at >= asked_at) {
            return Ok(state);
        }
        let why = match looked {
            Err(_) => format!("it took more than {} seconds", REFRESH_WAIT.as_secs()),
            Ok(false) => "too many ask for it at once".to_owned(),
            Ok(true) if state.status.health != Health::Healthy || state.status.failures > 0 => {
                state.status.message
            }
            Ok(true) => "the server or model-service did not answer, or two looks at what the \
                         server has differed"
                .to_owned(),
        };
        Err(Error::InventoryNotTaken {
            alias: alias.to_owned(),
            why,
        })
    }

    fn state(&self, alias: &str) -> Result<ServerState, Error> {
        self.core
            .board
            .get(alias)
            .ok_or_else(|| Error::ServerNotFound(alias.to_owned()))
    }
}

/// Everything that the registration of a server asks for, but its logins: a
/// digest of what somebody can remember could be guessed from. So a repeated
/// call is the same one whatever login it brings.
fn asked(new: &NewServer) -> serde_json::Value {
    let NewServer {
        alias,
        base_url,
        usage,
        labels,
        enabled,
        interrupts_allowed,
        api_login,
        ui_login,
    } = new;
    serde_json::json!({
        "alias": alias,
        "base_url": base_url,
        "usage": usage.as_str(),
        "labels": labels,
        "enabled": enabled,
        "interrupts_allowed": interrupts_allowed,
        "api_login": api_login.is_some(),
        "ui_login": ui_login.is_some(),
    })
}
