//! The messages, client stubs and server traits of StableQueue's gRPC
//! services, generated from the `.proto` files in this crate. Nothing here is
//! written by hand but this map, and how a message that holds a secret is shown.
//!
//! The feature `client` adds the client stubs and `server` the server traits;
//! both are on by default.

/// A service itself and its database: what both services speak.
pub mod admin {
    /// Version 1.
    pub mod v1 {
        #![allow(missing_docs, clippy::all, reason = "generated")]
        tonic::include_proto!("stablequeue.admin.v1");
    }
}

/// Jobs and the Forge servers they run on: what job-service speaks.
pub mod jobs {
    /// Version 1.
    pub mod v1 {
        #![allow(missing_docs, clippy::all, reason = "generated")]
        tonic::include_proto!("stablequeue.jobs.v1");

        impl std::fmt::Debug for ServerLogin {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("ServerLogin(***)")
            }
        }
    }
}

/// Models and where they are: what model-service speaks.
pub mod models {
    /// Version 1.
    pub mod v1 {
        #![allow(missing_docs, clippy::all, reason = "generated")]
        tonic::include_proto!("stablequeue.models.v1");
    }
}

/// The descriptors of all packages here, an encoded
/// `google.protobuf.FileDescriptorSet` for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/stablequeue.descriptors"));
