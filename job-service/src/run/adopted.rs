//! How the data folder of the earlier application is taken over: its database by
//! the rules of the store, and beside that its list of servers, once, and its
//! settings. Those files are read and never written, and what is wrong with
//! them stops no start.

use std::{fs, io::ErrorKind, path::Path, sync::Arc};

use chrono::{DateTime, Utc};
use serde_json::Value;
use service_kit::migrate::{Adoption, AdoptionReport};

use crate::{
    config::{Config, parse_older_servers},
    core::Core,
    error::Error,
    servers::SERVERS_MAX,
    stop_point,
    store::{
        Connection,
        adoption::{self, ImportedServer},
        servers::NewServer,
    },
};

/// The earlier application's list of servers, in the data folder.
const SERVERS_FILE: &str = "servers.json";
/// Its settings.
const SETTINGS_FILE: &str = "app-settings.json";
/// Bytes of one of them that are read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Why servers are cordoned when the earlier application was paused.
const PAUSED: &str = "the earlier application was paused";

/// How a database of the earlier application is taken over.
pub(super) const ADOPTION: Adoption = Adoption {
    tables: adoption::TABLES,
    finish,
};

fn finish(
    conn: &mut Connection,
    now: DateTime<Utc>,
    report: &mut AdoptionReport,
) -> Result<(), diesel::result::Error> {
    adoption::finish(conn, now, report)?;
    if let Some(folder) = adoption::folder_of(conn)? {
        report.notes.extend(notes(&folder));
    }
    Ok(())
}

/// What an operator should know of the files.
fn notes(folder: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    let mut taken = 0;
    match servers(folder) {
        None => {}
        Some(Ok((list, faults))) => {
            taken = list.len();
            let logins = list.iter().any(|server| server.api_login.is_some());
            notes.push(format!(
                "the first start registers {taken} servers of {SERVERS_FILE} unless others are \
                 registered by then; the file is not read after that and stays as it is{}",
                if logins {
                    ": it holds logins in clear, so delete it then"
                } else {
                    ""
                }
            ));
            notes.extend(faults.iter().map(|fault| left_out(fault)));
        }
        Some(Err(fault)) => notes.push(format!("{SERVERS_FILE} {fault}; it is left out")),
    }
    match paused(folder) {
        Ok(false) => {}
        Ok(true) if taken > 0 => notes.push(format!(
            "{SETTINGS_FILE} says that no jobs were to be processed: those servers are cordoned, \
             and UncordonServer gives them jobs"
        )),
        Ok(true) => notes.push(format!(
            "{SETTINGS_FILE} says that no jobs were to be processed; jobs run as soon as a server \
             is registered and not cordoned"
        )),
        Err(fault) => notes.push(format!("{SETTINGS_FILE} {fault}; it is left out")),
    }
    notes
}

/// Registers the servers of the earlier application where its database was
/// taken over and no server is registered yet.
///
/// # Errors
/// When the database fails. A file that cannot be read is told in the log.
pub(super) async fn import(config: &Config, core: &Arc<Core>) -> Result<(), Error> {
    let database = &core.database;
    if !database.read("servers_to_adopt", adoption::begun).await? {
        return Ok(());
    }
    let (list, faults) = match servers(&config.data_dir) {
        None => return Ok(()),
        Some(Ok(found)) => found,
        Some(Err(fault)) => {
            tracing::error!("{SERVERS_FILE} {fault}; no server is taken over from it");
            return Ok(());
        }
    };
    for fault in faults {
        tracing::error!("{}", left_out(&fault));
    }
    let cordon = paused(&config.data_dir).unwrap_or_else(|fault| {
        tracing::error!("{SETTINGS_FILE} {fault}; the servers get jobs");
        false
    });
    stop_point::reach(stop_point::BEFORE_IMPORT).await;
    let (vault, now) = (Arc::clone(&core.vault), core.clock.now());
    let imported = database
        .write("adopt_servers", move |conn| {
            let cordon = cordon.then_some(PAUSED);
            adoption::import_servers(conn, &vault, &list, cordon, SERVERS_MAX, now)
        })
        .await;
    stop_point::reach(stop_point::AFTER_IMPORT).await;
    match imported {
        Ok(imported) => tell(&imported, cordon),
        // A key of logins that cannot be used is the operator's to mend; the
        // next start tries again.
        Err(error @ Error::Vault(_)) => {
            tracing::error!(%error, "no server is taken over from {SERVERS_FILE}");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn tell(imported: &[ImportedServer], cordoned: bool) {
    for ImportedServer { alias, fault } in imported {
        match fault {
            None => tracing::info!(server = %alias, cordoned, "a server was taken over"),
            Some(fault) => tracing::error!(server = %alias, %fault, "a server was left out"),
        }
    }
    tracing::warn!(
        "{SERVERS_FILE} is not read any more; it stays as it is, with the logins that it may hold"
    );
}

fn left_out(fault: &str) -> String {
    format!("{SERVERS_FILE}: {fault}; that server is left out")
}

type Servers = (Vec<NewServer>, Vec<String>);

/// The servers and what is wrong with others; `None` without the file.
fn servers(folder: &Path) -> Option<Result<Servers, String>> {
    let text = text(&folder.join(SERVERS_FILE)).transpose()?;
    Some(text.and_then(|text| parse_older_servers(&text)))
}

/// Whether the earlier application was told to process nothing.
fn paused(folder: &Path) -> Result<bool, String> {
    let Some(text) = text(&folder.join(SETTINGS_FILE))? else {
        return Ok(false);
    };
    let settings: Value = serde_json::from_str(&text).map_err(|_| "is no JSON".to_owned())?;
    Ok(settings["queueProcessingEnabled"] == Value::Bool(false))
}

/// The text of a file; `None` when there is none.
fn text(path: &Path) -> Result<Option<String>, String> {
    let size = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if size > FILE_BYTES_MAX {
        return Err(format!(
            "has {size} bytes; {FILE_BYTES_MAX} are read at most"
        ));
    }
    fs::read_to_string(path)
        .map(Some)
        .map_err(|error| error.to_string())
}
