//! The servers of the earlier application: taken over once, when none is
//! registered yet. Reading their file is not done here.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use super::super::{
    schema::{adoption, forge_servers},
    servers::{self, NewServer, ServerChange},
};
use crate::{error::Error, vault::Vault};

/// What became of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedServer {
    /// Its alias.
    pub alias: String,
    /// Why it was left out; `None` when it is registered.
    pub fault: Option<String>,
}

/// Whether this database was taken over and its servers may still be: they were
/// not, and none is registered.
pub fn begun(conn: &mut SqliteConnection) -> Result<bool, Error> {
    let open: bool = diesel::select(diesel::dsl::exists(
        adoption::table.filter(adoption::servers_imported_at.is_null()),
    ))
    .get_result(conn)?;
    let any: bool = diesel::select(diesel::dsl::exists(
        forge_servers::table.select(forge_servers::alias),
    ))
    .get_result(conn)?;
    Ok(open && !any)
}

/// Registers the servers, all in one, and notes that this was done. With
/// `cordon` none of them gets jobs, for this reason. One that cannot be
/// registered is left out.
pub fn import_servers(
    conn: &mut SqliteConnection,
    vault: &Vault,
    list: &[NewServer],
    cordon: Option<&str>,
    most: usize,
    now: DateTime<Utc>,
) -> Result<Vec<ImportedServer>, Error> {
    let mut done = Vec::new();
    if !begun(conn)? {
        return Ok(done);
    }
    for server in list {
        let fault = match servers::insert(conn, vault, server, most, now) {
            Ok(_) => None,
            Err(error @ (Error::ServerExists(_) | Error::TooManyServers(_))) => {
                Some(error.to_string())
            }
            Err(error) => return Err(error),
        };
        if let (None, Some(reason)) = (&fault, cordon) {
            let change = ServerChange {
                cordon: Some((true, reason.to_owned())),
                ..ServerChange::default()
            };
            servers::update(conn, vault, &server.alias, &change, None, now)?;
        }
        done.push(ImportedServer {
            alias: server.alias.clone(),
            fault,
        });
    }
    diesel::update(adoption::table)
        .set(adoption::servers_imported_at.eq(to_text(now)))
        .execute(conn)?;
    Ok(done)
}
