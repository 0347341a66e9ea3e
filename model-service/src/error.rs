//! Owns why an operation fails, in the words of the domain. It does not know
//! how failures look on the wire (`api/failure.rs`).

use service_kit::database::DatabaseError;
use service_kit::operations::OperationError;

use crate::library::preview::PreviewFault;
use crate::model_change::BrokenRule;

/// Why an operation failed. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is no such model.
    #[error("model {0} does not exist")]
    ModelNotFound(i64),
    /// There is no such alias.
    #[error("alias {0} does not exist")]
    AliasNotFound(i64),
    /// The model is not on that server.
    #[error("model {model_id} is not on server {server}")]
    AvailabilityNotFound {
        /// The server's alias.
        server: String,
        /// The model's id.
        model_id: i64,
    },
    /// Another model of the kind has this SHA-256.
    #[error("model {0} has the same SHA-256")]
    ModelExists(i64),
    /// The request id was given to another request.
    #[error("request id {0:?} was given to a request with other content")]
    RequestIdReused(String),
    /// What the request made when it came first was removed since.
    #[error("what the request {0:?} made was removed since")]
    CreatedIsGone(String),
    /// The caller's etag is not the current one.
    #[error("model {0} has changed since the etag was read; read it again")]
    EtagMismatch(i64),
    /// The changed model would break rules.
    #[error("the changed model would break rules")]
    ChangeBreaksRules(Vec<BrokenRule>),
    /// A server's file of the model has another hash.
    #[error("the file of model {model_id} on server {server} has another hash")]
    HashContradicted {
        /// The model's id.
        model_id: i64,
        /// The server's alias.
        server: String,
    },
    /// A file of the library that is of the model has another hash.
    #[error(
        "the file {path:?} of model {model_id} in root {root:?} was hashed and has another hash; remove the file or leave the hash out"
    )]
    HashContradictedByLibrary {
        /// The model's id.
        model_id: i64,
        /// The root's name.
        root: String,
        /// The file beneath the root.
        path: String,
    },
    /// The model has as many aliases as it can.
    #[error("model {model_id} has {limit} aliases already")]
    AliasLimit {
        /// The model's id.
        model_id: i64,
        /// The limit.
        limit: usize,
    },
    /// As many servers as there can be have an inventory.
    #[error("{limit} servers have an inventory already")]
    ServerLimit {
        /// The limit.
        limit: usize,
    },
    /// A delta is based on another generation than the one on file.
    #[error("the inventory on file is not {asked:?}")]
    BaseMismatch {
        /// The server's alias.
        server: String,
        /// The generation that the delta changes.
        asked: String,
        /// The generation on file, if any.
        on_file: Option<String>,
    },
    /// More answers than fit into one message were asked for.
    #[error("{references} references for {servers} servers are more than {limit} answers")]
    TooManyAnswers {
        /// How many references.
        references: usize,
        /// How many servers.
        servers: usize,
        /// Most answers.
        limit: usize,
    },
    /// The events after this point are not kept any more, or never were.
    #[error("the history from that point is gone")]
    WatchHistoryGone,
    /// No root of a library is configured.
    #[error("no library root is configured")]
    NoRoots,
    /// No root of the library has this name.
    #[error("there is no library root {0:?}")]
    RootNotFound(String),
    /// A model's picture cannot be had.
    #[error(transparent)]
    Preview(#[from] PreviewFault),
    /// Civitai is never to be asked.
    #[error("Civitai is not asked, because the service runs with --offline")]
    Offline,
    /// The operation was not begun.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}
