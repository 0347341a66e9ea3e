//! Owns which scope each method of AdminService and OperationService
//! needs, in whichever program they are served.

use crate::auth::Scope;

/// For [`crate::auth::Access::with`].
pub const ADMIN_RULES: [(&str, Scope); 14] = [
    (
        "stablequeue.admin.v1.AdminService/GetServiceInfo",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.AdminService/GetDatabaseStatus",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.AdminService/CreateBackup",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.AdminService/ListBackups",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.AdminService/VerifyBackup",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.AdminService/DownloadBackup",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.AdminService/PruneBackups",
        Scope::Admin,
    ),
    ("stablequeue.admin.v1.AdminService/Optimize", Scope::Admin),
    (
        "stablequeue.admin.v1.AdminService/ListAuditEvents",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.OperationService/GetOperation",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.OperationService/ListOperations",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.OperationService/WatchOperation",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.OperationService/WaitOperation",
        Scope::Admin,
    ),
    (
        "stablequeue.admin.v1.OperationService/CancelOperation",
        Scope::Admin,
    ),
];
