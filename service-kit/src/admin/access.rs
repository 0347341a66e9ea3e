//! Owns which scope each method of AdminService and OperationService needs, in
//! whichever program they are served, and which of their calls the audit notes:
//! what changes or hands out something, and who reads the audit; not what is
//! asked again and again to see how things are.
//!
//! OperationService itself shows callers without [`Scope::Admin`] the operations
//! of a library and no others.

use crate::auth::{Noted, Scope, SharedRule};

/// For [`crate::auth::Access::with`].
pub const ADMIN_RULES: [SharedRule; 14] = [
    rule(
        "stablequeue.admin.v1.AdminService/GetServiceInfo",
        Scope::Admin,
        Noted::No,
    ),
    rule(
        "stablequeue.admin.v1.AdminService/GetDatabaseStatus",
        Scope::Admin,
        Noted::No,
    ),
    rule(
        "stablequeue.admin.v1.AdminService/CreateBackup",
        Scope::Admin,
        Noted::Yes,
    ),
    rule(
        "stablequeue.admin.v1.AdminService/ListBackups",
        Scope::Admin,
        Noted::No,
    ),
    rule(
        "stablequeue.admin.v1.AdminService/VerifyBackup",
        Scope::Admin,
        Noted::Yes,
    ),
    rule(
        "stablequeue.admin.v1.AdminService/DownloadBackup",
        Scope::Admin,
        Noted::Yes,
    ),
    rule(
        "stablequeue.admin.v1.AdminService/PruneBackups",
        Scope::Admin,
        Noted::Yes,
    ),
    rule(
        "stablequeue.admin.v1.AdminService/Optimize",
        Scope::Admin,
        Noted::Yes,
    ),
    rule(
        "stablequeue.admin.v1.AdminService/ListAuditEvents",
        Scope::Admin,
        Noted::Yes,
    ),
    rule(
        "stablequeue.admin.v1.OperationService/GetOperation",
        Scope::ModelsRead,
        Noted::No,
    ),
    rule(
        "stablequeue.admin.v1.OperationService/ListOperations",
        Scope::ModelsRead,
        Noted::No,
    ),
    rule(
        "stablequeue.admin.v1.OperationService/WatchOperation",
        Scope::ModelsRead,
        Noted::No,
    ),
    rule(
        "stablequeue.admin.v1.OperationService/WaitOperation",
        Scope::ModelsRead,
        Noted::No,
    ),
    rule(
        "stablequeue.admin.v1.OperationService/CancelOperation",
        Scope::ModelsWrite,
        Noted::Yes,
    ),
];

const fn rule(method: &'static str, scope: Scope, noted: Noted) -> SharedRule {
    SharedRule {
        method,
        scope,
        noted,
    }
}
