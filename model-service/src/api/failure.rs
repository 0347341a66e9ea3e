//! Owns how this service's errors look on the wire: one exhaustive match.

use std::time::Duration;

use service_kit::database::DatabaseError;
use service_kit::status::{Failure, FieldViolation};
use tonic::Code;

use super::preview_stream;
use crate::error::ModelError;
use crate::model::FILENAME_BYTES_MAX;
use crate::model_change::BrokenRule;

/// When a caller should try again after the database was busy.
const RETRY_BUSY: Duration = Duration::from_secs(1);
/// When a caller should try again after the disk was full.
const RETRY_FULL: Duration = Duration::from_secs(30);

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let text = error.to_string();
        match error {
            ModelError::ModelNotFound(id) => Self::not_found("model", id.to_string()),
            ModelError::AliasNotFound(id) => Self::not_found("alias", id.to_string()),
            ModelError::AvailabilityNotFound { server, model_id } => {
                Self::not_found("availability", format!("{server}/{model_id}"))
            }
            ModelError::ModelExists(id) => Self::already_exists("model", id.to_string()),
            ModelError::RequestIdReused(_) => {
                Self::new(Code::AlreadyExists, "REQUEST_ID_REUSED", text)
            }
            ModelError::CreatedIsGone(_) => {
                Self::new(Code::NotFound, "CREATED_RESOURCE_GONE", text)
            }
            ModelError::EtagMismatch(_) => Self::aborted("ETAG_MISMATCH", text),
            ModelError::ChangeBreaksRules(broken) => {
                Self::invalid(broken.into_iter().map(of_rule).collect())
            }
            ModelError::HashContradicted { model_id, server } => {
                Self::precondition("HASH_CONTRADICTED", format!("models/{model_id}"), text)
                    .with_metadata("server", server)
            }
            ModelError::HashContradictedByLibrary {
                model_id,
                root,
                path,
            } => Self::precondition("HASH_CONTRADICTED", format!("models/{model_id}"), text)
                .with_metadata("root", root)
                .with_metadata("path", path),
            ModelError::AliasLimit { model_id, .. } => {
                Self::exhausted("ALIAS_LIMIT", format!("models/{model_id}"), text, None)
            }
            ModelError::ServerLimit { .. } => {
                Self::exhausted("SERVER_LIMIT", "servers", text, None)
            }
            ModelError::BaseMismatch {
                server,
                asked: _,
                on_file,
            } => {
                let failure = Self::precondition(
                    "INVENTORY_BASE_MISMATCH",
                    format!("servers/{server}"),
                    format!("{text}; send a full inventory"),
                );
                match on_file {
                    None => failure,
                    Some(generation) => failure.with_metadata("generation", generation),
                }
            }
            ModelError::TooManyAnswers { .. } => {
                Self::exhausted("TOO_MANY_ANSWERS", "answers", text, None)
            }
            ModelError::WatchHistoryGone => Self::out_of_range(
                "WATCH_HISTORY_GONE",
                format!("{text}; list again and watch without a token"),
            ),
            ModelError::NoRoots => Self::precondition(
                "NO_LIBRARY_ROOTS",
                "library",
                format!("{text}; start model-service with --library-root NAME=PATH"),
            ),
            ModelError::RootNotFound(name) => Self::not_found("library root", name),
            ModelError::Preview(fault) => preview_stream::failure(&fault),
            ModelError::Offline => Self::precondition(
                "OFFLINE",
                "civitai",
                format!("{text}; start it without to download"),
            ),
            ModelError::Operation(error) => error.into(),
            ModelError::Database(error) => of_database(&error),
        }
    }
}

fn of_rule(rule: BrokenRule) -> FieldViolation {
    match rule {
        BrokenRule::FilenameLength => FieldViolation::new(
            "model.filename",
            format!("must be 1 to {FILENAME_BYTES_MAX} bytes after the change"),
        ),
        BrokenRule::FilenameApart => FieldViolation::new(
            "model.filename",
            "must be the last part of local_path after the change",
        ),
        BrokenRule::Autov2Apart => FieldViolation::new(
            "model.hash_autov2",
            "must be the first 10 digits of hash_sha256 after the change",
        ),
    }
}

fn of_database(error: &DatabaseError) -> Failure {
    let text = error.to_string();
    match error {
        DatabaseError::Busy | DatabaseError::Overloaded => {
            Failure::unavailable("DATABASE_BUSY", text, RETRY_BUSY)
        }
        DatabaseError::Closed => Failure::unavailable("STOPPING", text, RETRY_BUSY),
        DatabaseError::Full => Failure::unavailable("DISK_FULL", text, RETRY_FULL),
        DatabaseError::ReadOnly => Failure::unavailable("DATABASE_READ_ONLY", text, RETRY_FULL),
        DatabaseError::Corrupt(_)
        | DatabaseError::NotADatabase(_)
        | DatabaseError::Io(_)
        | DatabaseError::Panicked
        | DatabaseError::Query(_) => Failure::internal_because(error),
    }
}
