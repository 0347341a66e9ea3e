//! Owns which scope each method needs, and whether a caller may report about a
//! server. It does not own who a caller is.

use service_kit::admin::ADMIN_RULES;
use service_kit::auth::{Access, Caller, Scope};
use service_kit::status::Failure;

/// Every method and the scope that it needs.
pub(crate) const ACCESS: Access = Access::new(&[
    (
        "stablequeue.models.v1.ModelService/CreateModel",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.ModelService/GetModel",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.ModelService/ListModels",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.ModelService/UpdateModel",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.ModelService/DeleteModel",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.ModelService/ResolveModels",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.ModelService/TouchModels",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.ModelService/AddModelAlias",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.ModelService/ListModelAliases",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.ModelService/DeleteModelAlias",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.ModelService/GetModelPreview",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.AvailabilityService/CheckAvailability",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.AvailabilityService/SyncServerInventory",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.AvailabilityService/SetModelAvailability",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.AvailabilityService/DeleteModelAvailability",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.AvailabilityService/ListAvailability",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.AvailabilityService/WatchAvailability",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.AvailabilityService/ListInventories",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.LibraryService/ListLibraryRoots",
        Scope::ModelsRead,
    ),
    (
        "stablequeue.models.v1.LibraryService/StartScan",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.LibraryService/StartHashing",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.LibraryService/StartEnrichment",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.LibraryService/StartDownload",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.LibraryService/DownloadMissing",
        Scope::ModelsWrite,
    ),
    (
        "stablequeue.models.v1.LibraryService/FindDuplicates",
        Scope::ModelsRead,
    ),
])
.with(&ADMIN_RULES);

/// Reason of a PERMISSION_DENIED for a server that a token is not bound to.
const REASON_SERVER_NOT_ALLOWED: &str = "SERVER_NOT_ALLOWED";

/// Whether the caller may say what is on a server.
pub(super) fn may_report(caller: &Caller, server: &str) -> Result<(), Failure> {
    if caller.may_report(server) {
        return Ok(());
    }
    let text = format!("this token may not report about server {server:?}");
    Err(Failure::permission_denied(REASON_SERVER_NOT_ALLOWED, text).with_metadata("server", server))
}

#[cfg(test)]
mod tests {
    use service_kit::auth::{methods_without_rule, rules_without_method};

    use super::*;
    use crate::api::SERVICE_NAMES;

    #[test]
    fn every_method_has_its_scope() {
        let set = stablequeue_proto::FILE_DESCRIPTOR_SET;
        let none: [&str; 0] = [];
        assert_eq!(
            methods_without_rule(set, &SERVICE_NAMES, ACCESS).unwrap(),
            none
        );
        assert_eq!(
            rules_without_method(set, &SERVICE_NAMES, ACCESS).unwrap(),
            none
        );
    }
}
