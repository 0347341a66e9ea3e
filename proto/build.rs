//! Compiles the protos with protox, so that no protoc is needed.

use std::{error::Error, fs, path::PathBuf};

use prost::Message;

const PROTOS: [&str; 12] = [
    "stablequeue/admin/v1/admin_service.proto",
    "stablequeue/admin/v1/backup.proto",
    "stablequeue/admin/v1/operation.proto",
    "stablequeue/admin/v1/operation_service.proto",
    "stablequeue/jobs/v1/api_key_service.proto",
    "stablequeue/jobs/v1/job.proto",
    "stablequeue/jobs/v1/job_service.proto",
    "stablequeue/jobs/v1/server_service.proto",
    "stablequeue/models/v1/library_service.proto",
    "stablequeue/models/v1/model.proto",
    "stablequeue/models/v1/model_service.proto",
    "stablequeue/models/v1/availability_service.proto",
];

#[expect(
    clippy::disallowed_methods,
    reason = "a build script learns its folders and features from cargo's environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=stablequeue");
    let descriptors = protox::compile(PROTOS, ["."])?;
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    fs::write(
        out_dir.join("stablequeue.descriptors"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        .build_client(std::env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(std::env::var_os("CARGO_FEATURE_SERVER").is_some())
        .bytes(".stablequeue.jobs.v1.DownloadImageResponse.data")
        .bytes(".stablequeue.models.v1.GetModelPreviewResponse.data")
        // Theirs are written by hand, without what is secret.
        .skip_debug([".stablequeue.jobs.v1.ServerLogin"])
        .compile_fds(descriptors)?;
    Ok(())
}
