//! Owns who a caller is and what it may call: keys, the credentials of a call,
//! scopes, and the check before every method. It does not store keys and does
//! not know whose a job is; the services do.
//!
//! A service declares one table of its methods ([`Access`]), gives it to the
//! port in [`crate::server::ServerOptions::access`], implements
//! [`Authenticator`] over where its keys are, and opens the port with
//! [`crate::server::ServerHandle::open_authenticated`]. Handlers find the
//! [`Caller`] in the request's extensions ([`Caller::of`]).

mod access;
mod credentials;
mod digest;
mod failures;
mod key;
mod layer;
mod scope;

use std::fmt;

pub use access::{Access, Noted, SharedRule, methods_without_rule, rules_without_method};
pub use credentials::{
    AUTHORIZATION_HEADER, CREDENTIAL_BYTES_MAX, Credentials, KEY_HEADER, SECRET_HEADER,
};
pub use digest::{DIGEST_BYTES, Digest, KeyHashes};
pub use failures::{FailureLimits, REASON_TOO_MANY_FAILURES};
pub use key::{ApiKey, KEY_BITS, KeyError, KeyPrefix, NoRandomness, SECRET_BITS, Token};
pub(crate) use layer::Guard;
pub use scope::{Scope, Scopes, ScopesError, UnknownScope};

use crate::status::Failure;

/// Reason of every UNAUTHENTICATED.
pub const REASON_UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// The text of every UNAUTHENTICATED, whatever is wrong with the credentials.
pub const UNAUTHENTICATED_TEXT: &str = "valid credentials are required: \
     x-api-key and x-api-secret, or authorization with a Bearer token";
/// Reason of a PERMISSION_DENIED for want of a scope.
pub const REASON_SCOPE_MISSING: &str = "SCOPE_MISSING";
/// Metadata key under which such a failure names the scope.
pub const SCOPE_KEY: &str = "scope";

/// The name of a caller while authentication is off.
const ANONYMOUS: &str = "anonymous";

/// Who calls, and what that caller may do. Handlers find it in the request's
/// extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The id of the key; `None` while authentication is off.
    pub key_id: Option<String>,
    /// The name of the key, for logs and the audit.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The Forge servers (aliases) it may report about; `None` is all.
    pub servers: Option<Vec<String>>,
}

impl Caller {
    /// Whoever calls while authentication is off: all scopes, all servers.
    pub fn anonymous() -> Self {
        Self {
            key_id: None,
            name: ANONYMOUS.to_owned(),
            scopes: Scopes::ALL,
            servers: None,
        }
    }

    /// The caller of a request, from its extensions.
    ///
    /// # Errors
    /// INTERNAL when the request did not come through the port.
    pub fn of(extensions: &http::Extensions) -> Result<&Self, Failure> {
        extensions.get().ok_or_else(|| {
            tracing::error!("a call came to its handler without a caller");
            Failure::internal()
        })
    }

    /// Checks a scope that a method needs beyond the one in its table.
    ///
    /// # Errors
    /// PERMISSION_DENIED naming the scope.
    pub fn require(&self, scope: Scope) -> Result<(), Failure> {
        if self.scopes.allow(scope) {
            return Ok(());
        }
        let message = format!("this needs a key with the scope {scope}");
        Err(Failure::permission_denied(REASON_SCOPE_MISSING, message)
            .with_metadata(SCOPE_KEY, scope.as_str()))
    }

    /// Whether the caller may report about the Forge server with this alias.
    pub fn may_report(&self, server: &str) -> bool {
        self.servers
            .as_ref()
            .is_none_or(|bound| bound.iter().any(|alias| alias == server))
    }
}

/// What an [`Authenticator`] says about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The credentials are this caller's.
    Known(Caller),
    /// No, wrong, revoked or expired credentials; the caller learns only that.
    Unknown,
    /// There is no key yet. On a loopback listener the call passes as
    /// [`Caller::anonymous`], elsewhere it is answered as `Unknown`.
    Off,
}

/// Where a service keeps its keys.
///
/// `Debug` must print no secret and no digest.
#[tonic::async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Says who presents these credentials; `None` when none were presented.
    ///
    /// All `Some` take the same path: look up [`Credentials::prefix`], then
    /// [`Credentials::pick`], and only then look whether the key found is
    /// revoked or expired. Malformed credentials come as `Some` too and never
    /// match, so that they take as long as wrong ones.
    ///
    /// # Errors
    /// When it cannot be decided, such as UNAVAILABLE for a busy database.
    /// Never for credentials that are not good: that is [`Verdict::Unknown`].
    async fn authenticate(&self, credentials: Option<&Credentials>) -> Result<Verdict, Failure>;
}

/// The one answer to credentials that are absent or not good.
pub fn unauthenticated() -> Failure {
    Failure::unauthenticated(REASON_UNAUTHENTICATED, UNAUTHENTICATED_TEXT)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_denial_names_the_scope() {
        let mut caller = Caller::anonymous();
        assert!(caller.require(Scope::KeysAdmin).is_ok());
        caller.scopes = Scopes::from_iter([Scope::JobsRead]);
        let denial = caller.require(Scope::KeysAdmin).unwrap_err();
        assert_eq!(denial.code(), Code::PermissionDenied);
        assert_eq!(denial.reason(), REASON_SCOPE_MISSING);
        assert!(denial.message().contains("keys:admin"), "{denial}");
    }

    #[test]
    fn a_bound_caller_reports_only_its_own_servers() {
        let mut caller = Caller::anonymous();
        assert!(caller.may_report("left"));
        caller.servers = Some(vec!["left".to_owned()]);
        assert!(caller.may_report("left"));
        assert!(!caller.may_report("right"));
        caller.servers = Some(Vec::new());
        assert!(!caller.may_report("left"));
    }

    #[test]
    fn a_request_from_nowhere_has_no_caller() {
        let mut extensions = http::Extensions::new();
        assert_eq!(Caller::of(&extensions).unwrap_err().code(), Code::Internal);
        extensions.insert(Caller::anonymous());
        assert_eq!(Caller::of(&extensions).unwrap(), &Caller::anonymous());
    }
}
