//! Owns all SQL of the models database, one file a table, and how its instants
//! are written. It does not decide anything and does not know the wire.

mod adoption;
pub(crate) mod aliases;
pub(crate) mod assets;
pub(crate) mod availability;
pub(crate) mod civitai_answers;
pub(crate) mod duplicates;
pub(crate) mod enrichment;
pub(crate) mod events;
pub(crate) mod facets;
pub(crate) mod field_sources;
pub(crate) mod files;
pub(crate) mod files_of_models;
pub(crate) mod filtered;
pub(crate) mod inventories;
pub(crate) mod library_files;
pub(crate) mod library_hashes;
pub(crate) mod library_models;
pub(crate) mod library_roots;
pub(crate) mod lookup;
pub(crate) mod merge;
mod model_row;
pub(crate) mod models;
pub(crate) mod request_ids;
pub(crate) mod sync;
mod tables;
#[cfg(test)]
mod tests;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use service_kit::clock;
use service_kit::migrate::Schema;

use crate::error::ModelError;

/// A connection to the models database.
pub(crate) type Connection = diesel::SqliteConnection;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/models");

/// The shape of instants in the documented columns.
const SECOND_SHAPE: &str = "%Y-%m-%d %H:%M:%S";
/// Values bound in one `IN (…)`; SQLite takes 32,766.
const BIND_MAX: usize = 500;

/// An instant as the documented columns hold it: UTC, whole seconds.
pub(crate) fn second_text(time: DateTime<Utc>) -> String {
    time.format(SECOND_SHAPE).to_string()
}

/// Reads a documented column; any other shape is unknown.
pub(crate) fn from_second_text(text: &str) -> Option<DateTime<Utc>> {
    let time = NaiveDateTime::parse_from_str(text, SECOND_SHAPE).ok()?;
    Some(time.and_utc())
}

/// Reads an instant in either shape: that of the documented columns, or the clock's.
pub(crate) fn from_any_text(text: &str) -> Option<DateTime<Utc>> {
    from_second_text(text).or_else(|| clock::from_text(text))
}

/// The schema that this program needs.
#[must_use]
pub const fn schema() -> Schema {
    Schema {
        database: "mobilesd_models",
        migrations: MIGRATIONS,
        // The programs of version 0004 do not look for this: they refuse whatever they do not know.
        readable_from: "0005",
        program: concat!("model-service ", env!("CARGO_PKG_VERSION")),
        adoption: Some(adoption::ADOPTION),
    }
}

impl From<diesel::result::Error> for ModelError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}
