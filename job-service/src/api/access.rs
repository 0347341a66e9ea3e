//! Which scope each method needs. Whose a job is, is asked further in.

use service_kit::admin::ADMIN_RULES;
use service_kit::auth::{Access, Scope};

/// Every method and the scope that it needs.
pub(crate) const ACCESS: Access = Access::new(&[
    ("stablequeue.jobs.v1.JobService/SubmitJob", Scope::JobsWrite),
    (
        "stablequeue.jobs.v1.JobService/BatchSubmitJobs",
        Scope::JobsWrite,
    ),
    ("stablequeue.jobs.v1.JobService/GetJob", Scope::JobsRead),
    ("stablequeue.jobs.v1.JobService/ListJobs", Scope::JobsRead),
    ("stablequeue.jobs.v1.JobService/WaitJob", Scope::JobsRead),
    ("stablequeue.jobs.v1.JobService/WatchJob", Scope::JobsRead),
    ("stablequeue.jobs.v1.JobService/UpdateJob", Scope::JobsWrite),
    ("stablequeue.jobs.v1.JobService/CancelJob", Scope::JobsWrite),
    ("stablequeue.jobs.v1.JobService/RetryJob", Scope::JobsWrite),
    (
        "stablequeue.jobs.v1.JobService/BatchRetryJobs",
        Scope::JobsWrite,
    ),
    ("stablequeue.jobs.v1.JobService/DeleteJob", Scope::JobsWrite),
    (
        "stablequeue.jobs.v1.JobService/ListJobImages",
        Scope::JobsRead,
    ),
    (
        "stablequeue.jobs.v1.JobService/DownloadImage",
        Scope::JobsRead,
    ),
    (
        "stablequeue.jobs.v1.ServerService/CreateServer",
        Scope::ServersAdmin,
    ),
    (
        "stablequeue.jobs.v1.ServerService/GetServer",
        Scope::JobsRead,
    ),
    (
        "stablequeue.jobs.v1.ServerService/ListServers",
        Scope::JobsRead,
    ),
    (
        "stablequeue.jobs.v1.ServerService/UpdateServer",
        Scope::ServersAdmin,
    ),
    (
        "stablequeue.jobs.v1.ServerService/DeleteServer",
        Scope::ServersAdmin,
    ),
    (
        "stablequeue.jobs.v1.ServerService/ProbeServer",
        Scope::ServersAdmin,
    ),
    (
        "stablequeue.jobs.v1.ServerService/RefreshInventory",
        Scope::ServersAdmin,
    ),
    (
        "stablequeue.jobs.v1.ServerService/CordonServer",
        Scope::ServersAdmin,
    ),
    (
        "stablequeue.jobs.v1.ServerService/DrainServer",
        Scope::ServersAdmin,
    ),
    (
        "stablequeue.jobs.v1.ServerService/UncordonServer",
        Scope::ServersAdmin,
    ),
    (
        "stablequeue.jobs.v1.ApiKeyService/CreateApiKey",
        Scope::KeysAdmin,
    ),
    (
        "stablequeue.jobs.v1.ApiKeyService/GetApiKey",
        Scope::KeysAdmin,
    ),
    (
        "stablequeue.jobs.v1.ApiKeyService/ListApiKeys",
        Scope::KeysAdmin,
    ),
    (
        "stablequeue.jobs.v1.ApiKeyService/UpdateApiKey",
        Scope::KeysAdmin,
    ),
    (
        "stablequeue.jobs.v1.ApiKeyService/RotateApiKey",
        Scope::KeysAdmin,
    ),
    (
        "stablequeue.jobs.v1.ApiKeyService/DeleteApiKey",
        Scope::KeysAdmin,
    ),
])
.with(&ADMIN_RULES);

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
