//! All SQL of the jobs database, one file per table. Rows are private here;
//! what comes out are the words of `job` and `server`.

use chrono::{DateTime, Utc};
use service_kit::clock;

use crate::error::Error;

pub mod adoption;
pub mod api_keys;
pub mod attempts;
pub mod cooldowns;
pub mod events;
pub mod images;
pub mod input_images;
pub mod jobs;
pub mod queue;
pub mod request_ids;
mod schema;
pub mod servers;
#[cfg(test)]
mod tests;
pub mod unneeded_files;

/// A connection to the database, for use cases that join several tables in one
/// transaction.
pub type Connection = diesel::SqliteConnection;

/// The time in a column of ours, which is always in the one shape.
fn time(table: &'static str, id: &str, text: &str) -> Result<DateTime<Utc>, Error> {
    clock::from_text(text).ok_or_else(|| broken(table, id, format!("{text:?} is not a time")))
}

fn optional_time(
    table: &'static str,
    id: &str,
    text: Option<&str>,
) -> Result<Option<DateTime<Utc>>, Error> {
    text.map(|text| time(table, id, text)).transpose()
}

/// The word in a column, by its own parser.
fn word<T>(
    table: &'static str,
    id: &str,
    text: &str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, Error> {
    parse(text).ok_or_else(|| broken(table, id, format!("{text:?} is not a word of ours")))
}

fn json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    id: &str,
    text: &str,
) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| broken(table, id, error.to_string()))
}

/// JSON text of a value that always has one: strings, numbers, lists and maps
/// with text keys.
fn to_json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| broken("(new)", "", error.to_string()))
}

fn broken(table: &'static str, id: &str, why: String) -> Error {
    Error::BrokenRow {
        table,
        id: id.to_owned(),
        why,
    }
}
