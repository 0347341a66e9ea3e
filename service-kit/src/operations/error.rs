//! Why something cannot be done with operations, and how that looks on the wire.

use std::time::Duration;

use tonic::Code;

use crate::database::DatabaseError;
use crate::server::stopping;
use crate::status::Failure;

/// When a caller should try again after a limit was met or the database was busy.
const RETRY: Duration = Duration::from_secs(1);

/// Why it cannot be done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// There is no operation with that id, or no longer.
    #[error(
        "operation {0:?} does not exist, or was removed with older ones; list them with \
         ListOperations"
    )]
    NotFound(String),
    /// The caller has used the id of the call for something else.
    #[error("request_id was used before, for an operation of other content; give another")]
    RequestIdReused,
    /// It may not begin now.
    #[error("{0}")]
    Refused(Failure),
    /// As many operations run as may.
    #[error("{0} operations run, as many as may at once; call again when one has ended")]
    TooMany(usize),
    /// As many callers wait as may.
    #[error(
        "{0} calls watch or wait for operations, as many as may at once; call again when one has \
         ended, or look with GetOperation"
    )]
    TooManyWatches(usize),
    /// The service stops.
    #[error("the service is stopping")]
    Stopping,
    /// The database could not be read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        let text = error.to_string();
        match error {
            OperationError::NotFound(id) => Self::new(Code::NotFound, "OPERATION_NOT_FOUND", text)
                .with_resource("operation", id),
            OperationError::RequestIdReused => {
                Self::new(Code::AlreadyExists, "REQUEST_ID_REUSED", text)
            }
            OperationError::Refused(failure) => failure,
            OperationError::TooMany(_) => {
                Self::exhausted("TOO_MANY_OPERATIONS", "operations", text, Some(RETRY))
            }
            OperationError::TooManyWatches(_) => {
                Self::exhausted("TOO_MANY_WATCHES", "operation_watches", text, Some(RETRY))
            }
            OperationError::Stopping => stopping(),
            OperationError::Database(error) => error.into(),
        }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        let text = error.to_string();
        match error {
            DatabaseError::Closed => stopping(),
            DatabaseError::Busy | DatabaseError::Overloaded => {
                Self::unavailable("DATABASE_BUSY", text, RETRY)
            }
            DatabaseError::Full => Self::exhausted("DISK_FULL", "disk", text, None),
            error => Self::internal_because(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::AdminError;

    #[test]
    fn what_is_wrong_with_the_database_is_the_same_for_every_method() {
        for (error, code, reason) in [
            (|| DatabaseError::Full, Code::ResourceExhausted, "DISK_FULL"),
            (|| DatabaseError::Busy, Code::Unavailable, "DATABASE_BUSY"),
            (|| DatabaseError::Closed, Code::Unavailable, "STOPPING"),
        ] as [(fn() -> DatabaseError, _, _); 3]
        {
            let of_operations = Failure::from(OperationError::from(error()));
            let of_admin = Failure::from(AdminError::from(error()));
            for failure in [of_operations, of_admin] {
                assert_eq!((failure.code(), failure.reason()), (code, reason));
            }
        }
    }
}
