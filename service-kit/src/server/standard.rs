//! Owns the services that every gRPC port offers beside its own: health and
//! reflection. It does not decide what they say.

use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::{Builder, Error};

use super::ServerOptions;

/// The name under which health speaks for the whole process.
const WHOLE_PROCESS: &str = "";
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION_V1: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// Health that says NOT_SERVING for the process and for every name.
pub(super) async fn health(service_names: &[&str]) -> HealthReporter {
    let reporter = HealthReporter::new();
    report(&reporter, service_names, ServingStatus::NotServing).await;
    reporter
}

/// Says `status` for the process and for every name.
pub(super) async fn report(
    reporter: &HealthReporter,
    service_names: &[&str],
    status: ServingStatus,
) {
    reporter.set_service_status(WHOLE_PROCESS, status).await;
    for name in service_names {
        reporter.set_service_status(name, status).await;
    }
}

/// The routes of health and, if wanted, of both versions of reflection.
pub(super) fn routes(health: &HealthReporter, options: &ServerOptions) -> Result<Routes, Error> {
    let health = HealthService::from_health_reporter(health.clone());
    let routes = Routes::new(HealthServer::new(health));
    if !options.reflection {
        return Ok(routes.prepare());
    }
    let v1 = reflection(options).build_v1()?;
    let v1alpha = reflection(options).build_v1alpha()?;
    Ok(routes.add_service(v1).add_service(v1alpha).prepare())
}

/// The given descriptor sets, those of the standard services, and those of the
/// details that errors carry, so that callers like grpcurl can show them.
pub(super) fn descriptor_sets(options: &ServerOptions) -> Vec<&'static [u8]> {
    let mut sets = options.descriptor_sets.clone();
    sets.push(tonic_health::pb::FILE_DESCRIPTOR_SET);
    sets.push(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET);
    sets.push(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
    sets.push(tonic_types::pb::FILE_DESCRIPTOR_SET);
    sets
}

/// Lists exactly what this port offers, although the descriptor sets may
/// describe services of other programs too.
fn reflection(options: &ServerOptions) -> Builder<'static> {
    let mut builder = Builder::configure().include_reflection_service(false);
    for set in descriptor_sets(options) {
        builder = builder.register_encoded_file_descriptor_set(set);
    }
    let standard = [HEALTH, REFLECTION_V1, REFLECTION_V1ALPHA];
    for name in options.service_names.iter().chain(&standard) {
        builder = builder.with_service_name(*name);
    }
    builder
}
