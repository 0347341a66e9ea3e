//! Who may call what, as it is promised. Written down once more here, so that
//! neither service can change it unnoticed.

use service_kit::auth::Scope;
use service_kit::auth::Scope::{
    Admin, JobsRead, JobsReadAll, JobsWrite, KeysAdmin, ModelsRead, ModelsWrite, ServersAdmin,
};

/// What is promised of a method.
pub(crate) struct Rule {
    /// Its full name.
    pub(crate) method: &'static str,
    /// The scope that a refusal names.
    pub(crate) needs: Scope,
    /// The scopes that each suffice.
    pub(crate) suffice: &'static [Scope],
    /// Whether it is about one job.
    pub(crate) about: About,
}

/// What a call is about.
#[derive(Clone, Copy)]
pub(crate) enum About {
    /// No job in particular.
    NoJob,
    /// One job; the scopes that each suffice for a job of somebody else.
    Job(&'static [Scope]),
}

const READ: &[Scope] = &[JobsRead, JobsReadAll, Admin];
const WRITE: &[Scope] = &[JobsWrite, Admin];
const SERVERS: &[Scope] = &[ServersAdmin, Admin];
const KEYS: &[Scope] = &[KeysAdmin, Admin];
const ONLY_ADMIN: &[Scope] = &[Admin];
const MODELS_READ: &[Scope] = &[ModelsRead, Admin];
const MODELS_WRITE: &[Scope] = &[ModelsWrite, Admin];

/// Looking at a job.
const LOOK: About = About::Job(&[JobsReadAll, Admin]);
/// Changing a job.
const CHANGE: About = About::Job(&[Admin]);

const fn rule(method: &'static str, needs: Scope, suffice: &'static [Scope], about: About) -> Rule {
    Rule {
        method,
        needs,
        suffice,
        about,
    }
}

/// The services of job-service.
pub(crate) const JOB_SERVICES: [&str; 5] = [
    "stablequeue.jobs.v1.JobService",
    "stablequeue.jobs.v1.ServerService",
    "stablequeue.jobs.v1.ApiKeyService",
    "stablequeue.admin.v1.AdminService",
    "stablequeue.admin.v1.OperationService",
];

/// The services of model-service.
pub(crate) const MODEL_SERVICES: [&str; 5] = [
    "stablequeue.models.v1.ModelService",
    "stablequeue.models.v1.AvailabilityService",
    "stablequeue.models.v1.LibraryService",
    "stablequeue.admin.v1.AdminService",
    "stablequeue.admin.v1.OperationService",
];

/// The methods of job-service.
#[rustfmt::skip]
pub(crate) const JOBS: &[Rule] = &[
    rule("stablequeue.jobs.v1.JobService/SubmitJob", JobsWrite, WRITE, About::NoJob),
    rule("stablequeue.jobs.v1.JobService/BatchSubmitJobs", JobsWrite, WRITE, About::NoJob),
    rule("stablequeue.jobs.v1.JobService/GetJob", JobsRead, READ, LOOK),
    rule("stablequeue.jobs.v1.JobService/ListJobs", JobsRead, READ, About::NoJob),
    rule("stablequeue.jobs.v1.JobService/WaitJob", JobsRead, READ, LOOK),
    rule("stablequeue.jobs.v1.JobService/WatchJob", JobsRead, READ, LOOK),
    rule("stablequeue.jobs.v1.JobService/UpdateJob", JobsWrite, WRITE, CHANGE),
    rule("stablequeue.jobs.v1.JobService/CancelJob", JobsWrite, WRITE, CHANGE),
    rule("stablequeue.jobs.v1.JobService/RetryJob", JobsWrite, WRITE, CHANGE),
    rule("stablequeue.jobs.v1.JobService/BatchRetryJobs", JobsWrite, WRITE, About::NoJob),
    rule("stablequeue.jobs.v1.JobService/DeleteJob", JobsWrite, WRITE, CHANGE),
    rule("stablequeue.jobs.v1.JobService/ListJobImages", JobsRead, READ, LOOK),
    rule("stablequeue.jobs.v1.JobService/DownloadImage", JobsRead, READ, LOOK),
    rule("stablequeue.jobs.v1.ServerService/CreateServer", ServersAdmin, SERVERS, About::NoJob),
    rule("stablequeue.jobs.v1.ServerService/GetServer", JobsRead, READ, About::NoJob),
    rule("stablequeue.jobs.v1.ServerService/ListServers", JobsRead, READ, About::NoJob),
    rule("stablequeue.jobs.v1.ServerService/UpdateServer", ServersAdmin, SERVERS, About::NoJob),
    rule("stablequeue.jobs.v1.ServerService/DeleteServer", ServersAdmin, SERVERS, About::NoJob),
    rule("stablequeue.jobs.v1.ServerService/ProbeServer", ServersAdmin, SERVERS, About::NoJob),
    rule("stablequeue.jobs.v1.ServerService/RefreshInventory", ServersAdmin, SERVERS, About::NoJob),
    rule("stablequeue.jobs.v1.ServerService/CordonServer", ServersAdmin, SERVERS, About::NoJob),
    rule("stablequeue.jobs.v1.ServerService/DrainServer", ServersAdmin, SERVERS, About::NoJob),
    rule("stablequeue.jobs.v1.ServerService/UncordonServer", ServersAdmin, SERVERS, About::NoJob),
    rule("stablequeue.jobs.v1.ApiKeyService/CreateApiKey", KeysAdmin, KEYS, About::NoJob),
    rule("stablequeue.jobs.v1.ApiKeyService/GetApiKey", KeysAdmin, KEYS, About::NoJob),
    rule("stablequeue.jobs.v1.ApiKeyService/ListApiKeys", KeysAdmin, KEYS, About::NoJob),
    rule("stablequeue.jobs.v1.ApiKeyService/UpdateApiKey", KeysAdmin, KEYS, About::NoJob),
    rule("stablequeue.jobs.v1.ApiKeyService/RotateApiKey", KeysAdmin, KEYS, About::NoJob),
    rule("stablequeue.jobs.v1.ApiKeyService/DeleteApiKey", KeysAdmin, KEYS, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/GetServiceInfo", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/GetDatabaseStatus", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/CreateBackup", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/ListBackups", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/VerifyBackup", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/DownloadBackup", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/PruneBackups", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/Optimize", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/ListAuditEvents", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/GetOperation", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/ListOperations", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/WatchOperation", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/WaitOperation", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/CancelOperation", ModelsWrite, MODELS_WRITE, About::NoJob),
];

/// The methods of model-service.
#[rustfmt::skip]
pub(crate) const MODELS: &[Rule] = &[
    rule("stablequeue.models.v1.ModelService/CreateModel", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.ModelService/GetModel", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.ModelService/ListModels", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.ModelService/UpdateModel", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.ModelService/DeleteModel", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.ModelService/ResolveModels", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.ModelService/TouchModels", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.ModelService/AddModelAlias", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.ModelService/ListModelAliases", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.ModelService/DeleteModelAlias", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.ModelService/GetModelPreview", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.AvailabilityService/CheckAvailability", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.AvailabilityService/SyncServerInventory", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.AvailabilityService/SetModelAvailability", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.AvailabilityService/DeleteModelAvailability", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.AvailabilityService/ListAvailability", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.AvailabilityService/WatchAvailability", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.AvailabilityService/ListInventories", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.LibraryService/ListLibraryRoots", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.models.v1.LibraryService/StartScan", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.LibraryService/StartHashing", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.LibraryService/StartEnrichment", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.LibraryService/StartDownload", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.LibraryService/DownloadMissing", ModelsWrite, MODELS_WRITE, About::NoJob),
    rule("stablequeue.models.v1.LibraryService/FindDuplicates", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/GetServiceInfo", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/GetDatabaseStatus", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/CreateBackup", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/ListBackups", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/VerifyBackup", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/DownloadBackup", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/PruneBackups", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/Optimize", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.AdminService/ListAuditEvents", Admin, ONLY_ADMIN, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/GetOperation", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/ListOperations", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/WatchOperation", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/WaitOperation", ModelsRead, MODELS_READ, About::NoJob),
    rule("stablequeue.admin.v1.OperationService/CancelOperation", ModelsWrite, MODELS_WRITE, About::NoJob),
];
