//! Why an operation fails, in the words of jobs and servers. How that looks
//! on the wire is decided in `api`.

use service_kit::{
    auth::{NoRandomness, Scope},
    database::DatabaseError,
};

use crate::{images::ImageError, job::JobState, request::Violation, vault::VaultFault};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No job has this id.
    #[error("no job has the id {0:?}")]
    JobNotFound(String),
    /// The caller sees this job, but only its owner and `admin` change it.
    #[error("job {0} is not of this key; changing it needs a key with the scope admin")]
    NotOwner(String),
    /// The job has no image at this position.
    #[error("job {job_id} has no image at position {position}")]
    ImageNotFound {
        /// The job.
        job_id: String,
        /// The position asked for.
        position: i32,
    },
    /// No server has this alias.
    #[error("no server has the alias {0:?}")]
    ServerNotFound(String),
    /// A server with this alias is there already.
    #[error("a server with the alias {0:?} exists already")]
    ServerExists(String),
    /// A server cannot be removed now.
    #[error("server {alias} is in use: {why}")]
    ServerInUse {
        /// The server.
        alias: String,
        /// By what, and what to do.
        why: String,
    },
    /// A server that is not looked after.
    #[error("server {0} is disabled; enable it with UpdateServer first")]
    ServerDisabled(String),
    /// The inventory of a server was not taken.
    #[error("the inventory of server {alias} was not taken: {why}")]
    InventoryNotTaken {
        /// The server.
        alias: String,
        /// What went wrong.
        why: String,
    },
    /// There are as many servers as there may be.
    #[error("there are {0} servers already, which is the limit; delete one first")]
    TooManyServers(usize),
    /// No key has this id.
    #[error("no key has the id {0:?}")]
    ApiKeyNotFound(String),
    /// There are as many keys as there may be.
    #[error("there are {0} keys already, which is the limit; delete one first")]
    TooManyApiKeys(usize),
    /// A key whose form is of another program.
    #[error("key {0} is of a form that this version does not know; make a new one and delete it")]
    ApiKeyUnknownForm(String),
    /// The caller lacks a scope that the key has or is to get.
    #[error("this needs a key with the scope {0} itself")]
    ScopeMissing(Scope),
    /// Nobody could manage keys any more.
    #[error(
        "key {0} is the last one that can manage keys; give another one keys:admin first, or use \
         job-service api-key on the machine itself"
    )]
    LastKeysAdmin(String),
    /// No secret can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The caller's etag is not the current one.
    #[error("{0} has changed since the etag was read; read it again")]
    EtagMismatch(String),
    /// A request id that was used for another request.
    #[error("the request id {0:?} was used for a request with other content; choose a new one")]
    RequestIdReused(String),
    /// As much waits as may.
    #[error("the queue is full: {what}, and {limit} is the limit; send it again later")]
    QueueFull {
        /// Of what there is too much: `queued_jobs`, `queued_bytes` or a
        /// [`key_subject`].
        subject: String,
        /// How much there would be, in words.
        what: String,
        /// How much there may be.
        limit: u64,
    },
    /// As many watches are open as may be.
    #[error(
        "{limit} watches{} are open, which is the limit; close one, or try again later",
        if key_id.is_some() { " of this key" } else { "" }
    )]
    TooManyWatches {
        /// The key that has so many; `None` when all together do.
        key_id: Option<String>,
        /// How many there may be.
        limit: usize,
    },
    /// Fields of the request are wrong; all of them.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// The job is not pending, and only a pending one can be changed.
    #[error("job {id} is {state}; only a pending job can be changed")]
    JobNotPending {
        /// The job.
        id: String,
        /// Its state.
        state: JobState,
    },
    /// What the job asks for cannot be understood, so it cannot be let run.
    #[error("what job {0} asks for cannot be understood; give it another input, or cancel it")]
    JobUnreadable(String),
    /// The job is in no state from which it could run again.
    #[error(
        "job {id} is {state} and cannot run again{}",
        match state {
            JobState::Pending => ": it waits for an attempt already",
            JobState::Processing => ": wait for its end, or cancel it first",
            JobState::Completed => "; set as_new to make a job of its own from it",
            JobState::Failed | JobState::Cancelled => "",
        }
    )]
    JobNotRetriable {
        /// The job.
        id: String,
        /// Its state.
        state: JobState,
    },
    /// What a job asked for cannot be understood, so it cannot run again.
    #[error("what job {id} asked for cannot be understood: {why}; submit it anew")]
    JobRequestUnreadable {
        /// The job.
        id: String,
        /// What is wrong with its request.
        why: String,
    },
    /// The job has not ended, and only one that has can be deleted.
    #[error("job {id} is {state}; cancel it first, or set cancel_first")]
    JobNotEnded {
        /// The job.
        id: String,
        /// Its state.
        state: JobState,
    },
    /// A cancelled job has not ended yet.
    #[error("job {0} is cancelled, but its server has not confirmed; repeat the call")]
    StillCancelling(String),
    /// The history that a token points into is gone.
    #[error("the history that the token points into is gone; list again and watch from there")]
    HistoryGone,
    /// A write of an attempt that is not the current one any more.
    #[error("attempt {number} of job {job_id} is over; what came later changed nothing")]
    AttemptOver {
        /// The job.
        job_id: String,
        /// The attempt.
        number: i32,
    },
    /// The server process would not take part any more.
    #[error("the service is stopping")]
    Stopping,
    /// A row that cannot be understood.
    #[error("row {id} of {table} cannot be read: {why}")]
    BrokenRow {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// The key of logins cannot be used.
    #[error("the login cannot be stored: {0}")]
    Vault(#[from] VaultFault),
    /// Reading or writing an image file failed.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// How a limit of one key is named.
#[must_use]
pub fn key_subject(key_id: &str) -> String {
    format!("api_key/{key_id}")
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}
