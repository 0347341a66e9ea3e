//! The gRPC surface: parse, one use case, convert. What an error looks like on
//! the wire is decided here, once.

use std::{sync::Arc, time::Duration};

use service_kit::{
    admin::{ADMIN_SERVICE, Admin},
    audit::{Audit, AuditedService},
    auth::{REASON_SCOPE_MISSING, SCOPE_KEY, Scope},
    database::DatabaseError,
    operations::{OPERATION_SERVICE, Operations},
    status::{Failure, Violations},
};
use stablequeue_proto::admin::v1::{
    admin_service_server::AdminServiceServer, operation_service_server::OperationServiceServer,
};
use stablequeue_proto::jobs::v1::api_key_service_server::{ApiKeyService, ApiKeyServiceServer};
use tonic::service::{Interceptor, Routes, interceptor::InterceptedService};

use crate::{
    core::Core,
    error::{Error, key_subject},
    keys::Keys,
    request::Violation,
    servers::Servers,
};

pub(crate) mod access;
mod api_key_service;
mod authenticator;
mod batch;
pub mod convert;
mod download;
mod job_service;
mod page;
mod parse;
mod server_service;
mod viewer;
mod watch;

/// Full names of the services offered, for health and reflection.
pub const SERVICE_NAMES: [&str; 5] = [
    "stablequeue.jobs.v1.JobService",
    "stablequeue.jobs.v1.ServerService",
    "stablequeue.jobs.v1.ApiKeyService",
    ADMIN_SERVICE,
    OPERATION_SERVICE,
];

/// What a caller is told to wait when the service is too busy.
const RETRY_BUSY: Duration = Duration::from_secs(1);
/// What a caller is told to wait when the queue is full.
const RETRY_FULL: Duration = Duration::from_secs(10);
/// What a caller is told to wait when the service stops.
const RETRY_STOPPING: Duration = Duration::from_secs(5);

/// Bytes that a request about keys or operations, or of the admin socket, may have.
const LOCAL_MESSAGE_BYTES: usize = 256 * 1024;

/// The routes of all services but that of operations. `message_bytes` limits a request.
#[must_use]
pub fn routes(core: Arc<Core>, servers: Servers, admin: &Admin, message_bytes: usize) -> Routes {
    use stablequeue_proto::jobs::v1::{
        job_service_server::JobServiceServer, server_service_server::ServerServiceServer,
    };
    let keys = Arc::clone(&core.keys);
    Routes::new(
        JobServiceServer::new(job_service::JobApi::new(core))
            .max_decoding_message_size(message_bytes),
    )
    .add_service(
        ServerServiceServer::new(server_service::ServerApi::new(servers))
            .max_decoding_message_size(message_bytes),
    )
    .add_service(
        ApiKeyServiceServer::new(api_key_service::ApiKeyApi::new(keys))
            .max_decoding_message_size(LOCAL_MESSAGE_BYTES),
    )
    .add_service(admin.server().max_decoding_message_size(message_bytes))
}

/// OperationService, which goes with the routes.
pub(crate) fn operations(operations: &Operations) -> OperationServiceServer<Operations> {
    operations
        .server()
        .max_decoding_message_size(LOCAL_MESSAGE_BYTES)
}

/// ApiKeyService for whoever is on the machine itself, for the admin socket;
/// `introduce` says who that is, and `audit` notes what they do.
pub(crate) fn local_keys<F: Interceptor>(
    keys: Arc<Keys>,
    audit: Audit,
    introduce: F,
) -> InterceptedService<AuditedService<ApiKeyServiceServer<impl ApiKeyService>>, F> {
    let service = ApiKeyServiceServer::new(api_key_service::ApiKeyApi::local(keys))
        .max_decoding_message_size(LOCAL_MESSAGE_BYTES);
    InterceptedService::new(AuditedService::new(service, audit), introduce)
}

/// AdminService, in the same way.
pub(crate) fn local_admin<F: Interceptor>(
    admin: &Admin,
    audit: Audit,
    introduce: F,
) -> InterceptedService<AuditedService<AdminServiceServer<Admin>>, F> {
    let service = admin
        .server()
        .max_decoding_message_size(LOCAL_MESSAGE_BYTES);
    InterceptedService::new(AuditedService::new(service, audit), introduce)
}

/// What an error is on the wire.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let words = error.to_string();
        match error {
            Error::JobNotFound(id) => Failure::not_found("job", id),
            Error::NotOwner(_) => Failure::permission_denied(REASON_SCOPE_MISSING, words)
                .with_metadata(SCOPE_KEY, Scope::Admin.as_str()),
            Error::ImageNotFound { job_id, position } => {
                Failure::not_found("image", format!("{job_id}/{position}"))
            }
            Error::ServerNotFound(alias) => Failure::not_found("server", alias),
            Error::ServerExists(alias) => Failure::already_exists("server", alias),
            Error::ServerInUse { alias, why } => {
                Failure::precondition("SERVER_IN_USE", format!("server/{alias}"), why)
            }
            Error::ServerDisabled(alias) => {
                Failure::precondition("SERVER_DISABLED", format!("server/{alias}"), words)
            }
            Error::InventoryNotTaken { .. } => {
                Failure::unavailable("INVENTORY_NOT_TAKEN", words, RETRY_STOPPING)
            }
            Error::ApiKeyNotFound(id) => Failure::not_found("api_key", id),
            Error::ApiKeyUnknownForm(id) => {
                Failure::precondition("API_KEY_UNKNOWN_FORM", format!("api_key/{id}"), words)
            }
            Error::LastKeysAdmin(id) => {
                Failure::precondition("LAST_KEYS_ADMIN", format!("api_key/{id}"), words)
            }
            Error::TooManyApiKeys(_) => {
                Failure::exhausted("TOO_MANY_API_KEYS", "api_keys", &words, None)
            }
            Error::ScopeMissing(scope) => Failure::permission_denied(REASON_SCOPE_MISSING, words)
                .with_metadata(SCOPE_KEY, scope.as_str()),
            Error::TooManyServers(_) => {
                Failure::exhausted("TOO_MANY_SERVERS", "servers", &words, None)
            }
            Error::QueueFull { subject, .. } => {
                Failure::exhausted("QUEUE_FULL", subject, words, Some(RETRY_FULL))
            }
            Error::TooManyWatches { key_id, .. } => {
                let subject = key_id.map_or_else(|| "watches".to_owned(), |id| key_subject(&id));
                Failure::exhausted("TOO_MANY_WATCHES", subject, words, Some(RETRY_STOPPING))
            }
            Error::RequestIdReused(id) => {
                Failure::new(tonic::Code::AlreadyExists, "REQUEST_ID_REUSED", words)
                    .with_resource("request_id", id)
            }
            Error::EtagMismatch(_) => Failure::aborted("ETAG_MISMATCH", words),
            Error::Invalid(found) => invalid(found),
            Error::JobNotPending { id, state } => {
                Failure::precondition("JOB_NOT_PENDING", format!("job/{id}"), words)
                    .with_metadata("state", state.as_str())
            }
            Error::JobUnreadable(id) => {
                Failure::precondition("JOB_UNREADABLE", format!("job/{id}"), words)
            }
            Error::JobNotRetriable { id, state } => {
                Failure::precondition("JOB_NOT_RETRIABLE", format!("job/{id}"), words)
                    .with_metadata("state", state.as_str())
            }
            Error::JobRequestUnreadable { id, .. } => {
                Failure::precondition("JOB_UNREADABLE", format!("job/{id}"), words)
            }
            Error::JobNotEnded { id, state } => {
                Failure::precondition("JOB_NOT_ENDED", format!("job/{id}"), words)
                    .with_metadata("state", state.as_str())
            }
            Error::StillCancelling(_) => {
                Failure::unavailable("JOB_STILL_CANCELLING", words, RETRY_BUSY)
            }
            Error::HistoryGone => Failure::out_of_range("WATCH_HISTORY_GONE", words),
            Error::AttemptOver { .. } => Failure::aborted("ATTEMPT_OVER", words),
            Error::Stopping => Failure::unavailable("STOPPING", words, RETRY_STOPPING),
            Error::Database(error) => database_failure(error),
            Error::Vault(_) => {
                Failure::precondition("CREDENTIALS_KEY_UNUSABLE", "credentials_key", words)
            }
            error @ (Error::BrokenRow { .. } | Error::Images(_) | Error::NoRandomness(_)) => {
                Failure::internal_because(&error)
            }
        }
    }
}

/// All violations, as far as a status has room for them.
fn invalid(found: Vec<Violation>) -> Failure {
    let mut violations = Violations::new();
    for Violation { path, description } in found {
        violations.add(&path, description);
    }
    match violations.finish() {
        Err(failure) => failure,
        Ok(()) => Failure::invalid(Vec::new()),
    }
}

fn database_failure(error: DatabaseError) -> Failure {
    let words = error.to_string();
    match error {
        DatabaseError::Busy | DatabaseError::Overloaded => {
            Failure::unavailable("DATABASE_BUSY", words, RETRY_BUSY)
        }
        DatabaseError::Full => Failure::exhausted("DISK_FULL", "disk", &words, None),
        DatabaseError::Closed => Failure::unavailable("STOPPING", words, RETRY_STOPPING),
        DatabaseError::ReadOnly => Failure::unavailable("DATABASE_READ_ONLY", words, RETRY_BUSY),
        error => Failure::internal_because(&error),
    }
}

/// For `?` in handlers.
fn status(error: Error) -> tonic::Status {
    Failure::from(error).into_status()
}
