//! Owns which calls get through: the standard services always, all others only
//! while the service is open. It does not report health and does not ask who
//! calls; it only says which calls must be asked, and by whom.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tonic::service::Routes;

use crate::auth::Authenticator;
use crate::status::Failure;

/// Reason of an UNAVAILABLE while the service starts.
pub const REASON_STARTING: &str = "STARTING";
/// Reason of an UNAVAILABLE while the service stops.
pub const REASON_STOPPING: &str = "STOPPING";
/// When a caller should try again; a start with migrations can take longer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const HEALTH_PREFIX: &str = "/grpc.health.";
const REFLECTION_PREFIX: &str = "/grpc.reflection.";

/// Who tells callers apart; without one nobody does.
pub(super) type Authentication = Option<Arc<dyn Authenticator>>;

/// Where a call goes.
pub(super) enum Way {
    /// Health, for anybody; its streams end when the port does.
    Health(Routes),
    /// Reflection; its streams end when the port does.
    Reflection(Routes, Authentication),
    /// The service's own methods.
    Service(Routes, Authentication),
    /// Nowhere, with this answer.
    Refused(Failure),
}

#[derive(Debug)]
enum State {
    Starting,
    Open(Routes, Authentication),
    Stopping,
}

/// The decision which calls get through.
#[derive(Debug)]
pub(super) struct Gate {
    standard: Routes,
    /// Whether only this machine can reach the port; then reflection is always there.
    loopback: bool,
    state: RwLock<State>,
}

impl Gate {
    pub(super) fn new(standard: Routes, loopback: bool) -> Self {
        Self {
            standard,
            loopback,
            state: RwLock::new(State::Starting),
        }
    }

    /// Opens, unless it is stopping; says whether it is open now.
    pub(super) fn open(&self, routes: Routes, authentication: Authentication) -> bool {
        let mut state = self.write();
        if matches!(*state, State::Stopping) {
            return false;
        }
        *state = State::Open(routes.prepare(), authentication);
        true
    }

    pub(super) fn stop(&self) {
        *self.write() = State::Stopping;
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(*self.read(), State::Stopping)
    }

    pub(super) fn way(&self, path: &str) -> Way {
        if path.starts_with(HEALTH_PREFIX) {
            return Way::Health(self.standard.clone());
        }
        let reflection = path.starts_with(REFLECTION_PREFIX);
        match &*self.read() {
            State::Open(_, authentication) if reflection => {
                Way::Reflection(self.standard.clone(), authentication.clone())
            }
            State::Starting | State::Stopping if reflection && self.loopback => {
                Way::Reflection(self.standard.clone(), None)
            }
            State::Open(routes, authentication) => {
                Way::Service(routes.clone(), authentication.clone())
            }
            State::Starting => Way::Refused(starting()),
            State::Stopping => Way::Refused(stopping()),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn starting() -> Failure {
    Failure::unavailable(REASON_STARTING, "the service is starting", RETRY_AFTER)
}

/// The answer to calls and the end of streams while the service stops.
pub(crate) fn stopping() -> Failure {
    Failure::unavailable(REASON_STOPPING, "the service is stopping", RETRY_AFTER)
}
