//! The `server_cooldowns` table: what servers are not given for a while, so
//! that a restart of the service does not forget it. What follows from a row
//! is decided in `cooldowns`.

use diesel::prelude::*;
use service_kit::clock::to_text;

use super::{broken, schema::server_cooldowns, time};
use crate::{
    cooldowns::{Cooldown, Subject},
    error::Error,
};

const TABLE: &str = "server_cooldowns";

/// Writes what an attempt taught: cooldowns that are over or replaced, then
/// the one that began.
pub fn change(
    conn: &mut SqliteConnection,
    alias: &str,
    over: &[Subject],
    began: Option<&Cooldown>,
) -> Result<(), Error> {
    for subject in over {
        let key = (alias, subject.kind(), subject.text());
        diesel::delete(server_cooldowns::table.find(key)).execute(conn)?;
    }
    if let Some(cooldown) = began {
        diesel::replace_into(server_cooldowns::table)
            .values((
                server_cooldowns::server_alias.eq(alias),
                server_cooldowns::kind.eq(cooldown.subject.kind()),
                server_cooldowns::subject.eq(cooldown.subject.text()),
                server_cooldowns::failures.eq(i32::try_from(cooldown.failures).unwrap_or(i32::MAX)),
                server_cooldowns::until.eq(to_text(cooldown.until)),
                server_cooldowns::message.eq(&cooldown.message),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// Removes all of a server.
pub fn clear(conn: &mut SqliteConnection, alias: &str) -> Result<(), Error> {
    let all = server_cooldowns::table.filter(server_cooldowns::server_alias.eq(alias));
    diesel::delete(all).execute(conn)?;
    Ok(())
}

/// All that are kept, with the aliases of their servers.
pub fn all(conn: &mut SqliteConnection) -> Result<Vec<(String, Cooldown)>, Error> {
    type Row = (String, String, String, i32, String, String);
    let rows: Vec<Row> = server_cooldowns::table
        .order((server_cooldowns::server_alias, server_cooldowns::until))
        .load(conn)?;
    rows.into_iter()
        .map(|(alias, kind, text, failures, until, message)| {
            let id = format!("{alias}/{kind}/{text}");
            let subject = Subject::parse(&kind, &text)
                .ok_or_else(|| broken(TABLE, &id, "is of no known kind".to_owned()))?;
            let cooldown = Cooldown {
                subject,
                failures: u32::try_from(failures).unwrap_or(0),
                until: time(TABLE, &id, &until)?,
                message,
            };
            Ok((alias, cooldown))
        })
        .collect()
}
