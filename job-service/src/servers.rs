//! What callers can ask about servers: one method each. Looking after them is
//! the monitors' work.

use std::sync::Arc;

use crate::{
    board::ServerState,
    core::Core,
    dispatch::monitor::Monitors,
    error::Error,
    server::Server,
    store::servers::{self, NewServer, ServerChange},
};

/// How many servers there may be.
pub const SERVERS_MAX: usize = 256;

/// The use cases of servers.
#[derive(Clone)]
pub struct Servers {
    core: Arc<Core>,
    monitors: Arc<Monitors>,
}

impl Servers {
    /// Use cases on this core.
    #[must_use]
    pub fn new(core: Arc<Core>, monitors: Arc<Monitors>) -> Self {
        Self { core, monitors }
    }

    /// Registers a server and begins to look after it.
    pub async fn create(&self, new: NewServer) -> Result<ServerState, Error> {
        let now = self.core.clock.now();
        let server = self
            .core
            .database
            .write("create_server", move |conn| {
                servers::insert(conn, &new, SERVERS_MAX, now)
            })
            .await?;
        let alias = server.alias.clone();
        self.begin(server)?;
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
            self.monitors.start(&self.core, &server)
        } else {
            self.monitors.stop(&server.alias);
            Ok(())
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
        let now = self.core.clock.now();
        let name = alias.to_owned();
        let moved = change.base_url.is_some();
        let toggled = change.enabled.is_some();
        let server = self
            .core
            .database
            .write("update_server", move |conn| {
                servers::update(conn, &name, &change, revision, now)
            })
            .await?;
        if moved || toggled {
            self.core.board.update_status(alias, |status| {
                *status = crate::board::ServerStatus::default();
            });
            self.begin(server)?;
        } else {
            self.core.board.put(server);
        }
        self.core.hints.wake_dispatcher();
        self.state(alias)
    }

    /// Removes a server that no job needs.
    pub async fn delete(&self, alias: &str) -> Result<(), Error> {
        let name = alias.to_owned();
        self.core
            .database
            .write("delete_server", move |conn| servers::delete(conn, &name))
            .await?;
        self.monitors.stop(alias);
        self.core.board.remove(alias);
        Ok(())
    }

    /// Asks a server now.
    pub async fn probe(&self, alias: &str) -> Result<ServerState, Error> {
        self.state(alias)?;
        self.monitors.look_and_wait(alias).await;
        self.state(alias)
    }

    fn state(&self, alias: &str) -> Result<ServerState, Error> {
        self.core
            .board
            .get(alias)
            .ok_or_else(|| Error::ServerNotFound(alias.to_owned()))
    }
}
