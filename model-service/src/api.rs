//! Owns the gRPC surface: requests are parsed and checked, one use case is
//! called, its answer is converted. It decides nothing and meets no SQL.

pub(crate) mod access;
mod availability_service;
mod convert;
mod duplicates;
mod failure;
mod inventory_stream;
mod library_request;
mod library_service;
mod missing_models;
mod model_change;
mod model_filter;
mod model_service;
mod model_use;
mod model_view;
mod new_model;
mod preview_stream;
mod request;
mod watch_stream;

use std::sync::Arc;

use service_kit::admin::{ADMIN_SERVICE, Admin};
use service_kit::operations::{OPERATION_SERVICE, Operations};
use service_kit::shutdown::Shutdown;
use stablequeue_proto::admin::v1::operation_service_server::OperationServiceServer;
use stablequeue_proto::models::v1::availability_service_server::{
    AvailabilityServiceServer, SERVICE_NAME as AVAILABILITY_SERVICE,
};
use stablequeue_proto::models::v1::library_service_server::{
    LibraryServiceServer, SERVICE_NAME as LIBRARY_SERVICE,
};
use stablequeue_proto::models::v1::model_service_server::{
    ModelServiceServer, SERVICE_NAME as MODEL_SERVICE,
};
use tokio::sync::Semaphore;
use tonic::service::Routes;

use crate::inventories::Inventories;
use crate::ledger::Ledger;
use crate::library::Library;
use crate::metrics::ModelMetrics;
use crate::models::Models;

/// The services that are offered.
pub const SERVICE_NAMES: [&str; 5] = [
    MODEL_SERVICE,
    AVAILABILITY_SERVICE,
    LIBRARY_SERVICE,
    ADMIN_SERVICE,
    OPERATION_SERVICE,
];
/// Watch streams at one time.
pub const WATCHES_MAX: usize = 256;
/// Pictures that are sent at one time.
pub const PREVIEWS_MAX: usize = 64;
/// Inventories that are received at one time.
pub const SYNCS_MAX: usize = 16;

/// Bytes that a request about the library may have: 10,000 ids fit.
const LIBRARY_MESSAGE_BYTES: usize = 1024 * 1024;
/// Bytes that a request about operations may have.
const OPERATION_MESSAGE_BYTES: usize = 256 * 1024;

/// The routes of all services but that of operations. `message_bytes` limits one message.
pub fn routes(
    ledger: &Ledger,
    library: &Library,
    admin: &Admin,
    metrics: &ModelMetrics,
    shutdown: &Shutdown,
    message_bytes: usize,
) -> Routes {
    let models = model_service::ModelApi {
        models: Models::new(ledger.clone()),
        library: library.clone(),
        previews: Arc::new(Semaphore::new(PREVIEWS_MAX)),
    };
    let availability = availability_service::AvailabilityApi {
        inventories: Inventories::new(ledger.clone()),
        ledger: ledger.clone(),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
        watches: Arc::new(Semaphore::new(WATCHES_MAX)),
        syncs: Arc::new(Semaphore::new(SYNCS_MAX)),
        stale_after: library.config().stale_after,
    };
    let library = library_service::LibraryApi {
        library: library.clone(),
    };
    Routes::new(ModelServiceServer::new(models).max_decoding_message_size(message_bytes))
        .add_service(
            AvailabilityServiceServer::new(availability).max_decoding_message_size(message_bytes),
        )
        .add_service(
            LibraryServiceServer::new(library).max_decoding_message_size(LIBRARY_MESSAGE_BYTES),
        )
        .add_service(admin.server().max_decoding_message_size(message_bytes))
}

/// OperationService, which goes with the routes. Its requests are small.
pub(crate) fn operations(operations: &Operations) -> OperationServiceServer<Operations> {
    operations
        .server()
        .max_decoding_message_size(OPERATION_MESSAGE_BYTES)
}
