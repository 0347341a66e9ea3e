//! Owns which scope each method of AdminService needs, in whichever program it
//! is served.

use crate::auth::Scope;

/// For [`crate::auth::Access::with`].
pub const ADMIN_RULES: [(&str, Scope); 9] = [
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
];
