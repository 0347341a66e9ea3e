//! Reads the list in which the earlier application kept its jobs before it had
//! a database: `job_queue.json`, an array of objects. Every value stays as it
//! stands in the file. What becomes of the entries is the store's business.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};
use sha2::{Digest as _, Sha256};
use uuid::Builder;

use crate::job::JOB_ID_BYTES_MAX;

/// Bytes that the file may have.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Entries that it may have.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Fields that an entry may have; it has about fifteen.
pub const FIELDS_MAX: usize = 1_000;
/// What some programs put before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The field that names a job.
pub const ID: &str = "mobilesd_job_id";
const STATUS: &str = "status";
/// What was asked for, as an object, with its column in the database.
const PARAMS: (&str, &str) = ("generation_params", "generation_params_json");
/// What came of it, likewise.
const RESULT: (&str, &str) = ("result_details", "result_details_json");
/// Fields that are columns of the same name.
const COLUMNS: [&str; 12] = [
    ID,
    STATUS,
    "creation_timestamp",
    "last_updated_timestamp",
    "completion_timestamp",
    "target_server_alias",
    "forge_session_hash",
    "retry_count",
    "forge_internal_task_id",
    "app_type",
    "source_info",
    "api_key_id",
];

/// Why a file is no list of jobs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// It is not JSON.
    #[error("is no JSON: line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// It is something else.
    #[error("holds no list: the earlier application wrote an array of jobs into job_queue.json")]
    NotAList,
    /// It is too long.
    #[error("has more than {ENTRIES_MAX} entries; split it and import the parts")]
    TooMany,
    /// It is a list of something else.
    #[error(
        "holds no job of the earlier application: none of its {0} entries is an object with \
         mobilesd_job_id, or with status and generation_params"
    )]
    NoJobs(usize),
}

/// One entry of the list.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its place, from 0.
    pub index: usize,
    /// All of it, as it stands in the file.
    pub text: &'a str,
    /// What it holds, or why it is no job.
    pub job: Result<OlderJob<'a>, String>,
}

/// What an entry says of a job.
#[derive(Clone, Debug, Default)]
pub struct OlderJob<'a> {
    /// Its id, or one made of its text where it has none that can be used.
    pub id: String,
    /// Values that are columns, by the name of the column, at most once each.
    pub columns: Vec<(&'static str, &'a str, ColumnValue)>,
    /// Values that are not, by the name of the field.
    pub others: Vec<(String, &'a str)>,
}

/// A value as a column takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnValue {
    /// Text, or the JSON of what is neither text nor a whole number.
    Text(String),
    /// A whole number.
    Integer(i64),
}

impl OlderJob<'_> {
    /// Whether the earlier application was working on it.
    #[must_use]
    pub fn was_processing(&self) -> bool {
        self.columns.iter().any(|(name, _, value)| {
            let is = |text: &String| text.trim().eq_ignore_ascii_case("processing");
            *name == STATUS && matches!(value, ColumnValue::Text(text) if is(text))
        })
    }
}

/// The entries of a list, in its order.
///
/// # Errors
/// [`ListFault`]; an entry that is no job is none.
pub fn entries(text: &str) -> Result<Vec<Entry<'_>>, ListFault> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let list: List<'_> = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data if error.to_string().starts_with(TOO_MANY) => ListFault::TooMany,
        Category::Data => ListFault::NotAList,
        _ => ListFault::NotJson {
            line: error.line(),
            column: error.column(),
        },
    })?;
    let entries: Vec<Entry<'_>> = (0..)
        .zip(list.0)
        .map(|(index, raw)| Entry {
            index,
            text: raw.get(),
            job: job(raw.get()),
        })
        .collect();
    if !entries.is_empty() && entries.iter().all(|entry| entry.job.is_err()) {
        return Err(ListFault::NoJobs(entries.len()));
    }
    Ok(entries)
}

fn job(text: &str) -> Result<OlderJob<'_>, String> {
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| {
        if error.to_string().starts_with(TOO_MANY) {
            format!("it has more than {FIELDS_MAX} fields")
        } else if text.starts_with('{') {
            "the name of a field is no text".to_owned()
        } else {
            "it is no object".to_owned()
        }
    })?;
    let has = |wanted: &str| object.0.iter().any(|(name, _)| name == wanted);
    let asks = has(PARAMS.0) || has(PARAMS.1);
    if !(has(ID) || has(STATUS) && asks) {
        return Err("it has no mobilesd_job_id, and not both status and generation_params".into());
    }
    let mut job = OlderJob::default();
    // As JavaScript reads it, the last of several of one name counts.
    for (name, raw) in object.0.into_iter().rev() {
        let value = raw.get();
        let column = column_of(&name).filter(|column| {
            let taken = |(name, _, _): &(&str, _, _)| name == column;
            !job.columns.iter().any(taken)
        });
        match column {
            _ if value == "null" => {}
            Some(column) => job
                .columns
                .push((column, value, column_value(&name, value))),
            None => job.others.push((name, value)),
        }
    }
    job.id = match job.columns.iter().find(|(name, _, _)| *name == ID) {
        // One that no call could name stays with the job as a value.
        Some((_, _, ColumnValue::Text(id))) if (1..=JOB_ID_BYTES_MAX).contains(&id.len()) => {
            id.clone()
        }
        Some((_, _, ColumnValue::Integer(id))) => id.to_string(),
        _ => id_of(text),
    };
    Ok(job)
}

fn column_of(field: &str) -> Option<&'static str> {
    match field {
        _ if field == PARAMS.0 || field == PARAMS.1 => Some(PARAMS.1),
        _ if field == RESULT.0 || field == RESULT.1 => Some(RESULT.1),
        _ => COLUMNS.iter().copied().find(|column| *column == field),
    }
}

/// What was an object stays JSON, byte for byte; a text is what it says.
fn column_value(field: &str, json: &str) -> ColumnValue {
    if field == PARAMS.0 || field == RESULT.0 {
        return ColumnValue::Text(json.to_owned());
    }
    if let Ok(number) = json.parse() {
        return ColumnValue::Integer(number);
    }
    let said = serde_json::from_str(json).unwrap_or_else(|_| json.to_owned());
    ColumnValue::Text(said)
}

/// The same for the same text, so that a second import finds the job there.
fn id_of(text: &str) -> String {
    let digest = Sha256::digest(text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// What an error of ours begins with, to be told from those of the parser.
const TOO_MANY: &str = "too many";

/// An array of anything.
struct List<'a>(Vec<&'a RawValue>);

/// An object with its fields as they stand there, also several of one name.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = List<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut found = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if found.len() == ENTRIES_MAX {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    found.push(entry);
                }
                Ok(List(found))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = Vec::new();
                while let Some(field) = map.next_entry()? {
                    if found.len() == FIELDS_MAX {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    found.push(field);
                }
                Ok(Object(found))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
#[path = "older_jobs/tests.rs"]
mod tests;
