//! The HTTP clients of the servers that are looked after: one for each, shared
//! by its monitor and its attempts, so that a login that is changed reaches a
//! job under way too. Nothing else opens the logins that are kept.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::forge::{ForgeClient, ProbeFailure, ProbeFailureKind};
use crate::{
    error::Error,
    request::Violation,
    seal::Sealed,
    server::{LoginKind, Logins, Server},
    vault::{LoginLost, Vault},
};

/// The clients, by alias.
#[derive(Debug, Default)]
pub struct Clients {
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    base_url: String,
    client: ForgeClient,
}

impl Clients {
    /// The client of a server as it is now: another one where the server is
    /// elsewhere, with other logins where they changed. A login that does not
    /// open leaves a client without logins, and is what a probe would say; an
    /// error is a URL that cannot be used.
    pub fn put(
        &self,
        server: &Server,
        vault: &Vault,
    ) -> Result<Result<ForgeClient, ProbeFailure>, Error> {
        let logins = logins(server, vault);
        let mut known = self.lock();
        let client = match known.get(&server.alias) {
            Some(known) if known.base_url == server.base_url => known.client.clone(),
            Some(_) | None => ForgeClient::new(&server.base_url).map_err(|fault| {
                let violation = Violation::new("server.base_url", fault.to_string());
                Error::Invalid(vec![violation])
            })?,
        };
        let (logins, lost) = match logins {
            Ok(logins) => (logins, None),
            Err(lost) => (Logins::default(), Some(lost)),
        };
        client.set_logins(logins);
        let entry = Known {
            base_url: server.base_url.clone(),
            client: client.clone(),
        };
        known.insert(server.alias.clone(), entry);
        Ok(match lost {
            None => Ok(client),
            Some(lost) => Err(ProbeFailure {
                kind: ProbeFailureKind::Unauthenticated,
                message: lost.to_string(),
            }),
        })
    }

    /// The client of a server.
    #[must_use]
    pub fn get(&self, alias: &str) -> Option<ForgeClient> {
        self.lock().get(alias).map(|known| known.client.clone())
    }

    /// Forgets a server that was removed.
    pub fn forget(&self, alias: &str) {
        self.lock().remove(alias);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn logins(server: &Server, vault: &Vault) -> Result<Logins, LoginLost> {
    let open = |kind, sealed: &Option<Sealed>| {
        let opened = sealed
            .as_ref()
            .map(|sealed| vault.unseal(kind, &server.alias, &server.base_url, sealed));
        opened.transpose()
    };
    Ok(Logins {
        api: open(LoginKind::Api, &server.api_login)?,
        ui: open(LoginKind::Ui, &server.ui_login)?,
    })
}
