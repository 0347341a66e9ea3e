//! Owns which calls get through: the standard services always, all others only
//! while the service is open. It does not report health.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tonic::service::Routes;

use crate::status::Failure;

/// Reason of an UNAVAILABLE while the service starts.
pub const REASON_STARTING: &str = "STARTING";
/// Reason of an UNAVAILABLE while the service stops.
pub const REASON_STOPPING: &str = "STOPPING";
/// When a caller should try again; a start with migrations can take longer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const STANDARD_PREFIXES: [&str; 2] = ["/grpc.health.", "/grpc.reflection."];

/// Where a call goes.
pub(super) enum Way {
    /// Health and reflection; their streams end when the port does.
    Standard(Routes),
    /// The service's own methods.
    Service(Routes),
    /// Nowhere, with this answer.
    Refused(Failure),
}

#[derive(Debug)]
enum State {
    Starting,
    Open(Routes),
    Stopping,
}

/// The decision which calls get through.
#[derive(Debug)]
pub(super) struct Gate {
    standard: Routes,
    state: RwLock<State>,
}

impl Gate {
    pub(super) fn new(standard: Routes) -> Self {
        Self {
            standard,
            state: RwLock::new(State::Starting),
        }
    }

    /// Opens, unless it is stopping; says whether it is open now.
    pub(super) fn open(&self, routes: Routes) -> bool {
        let mut state = self.write();
        if matches!(*state, State::Stopping) {
            return false;
        }
        *state = State::Open(routes.prepare());
        true
    }

    pub(super) fn stop(&self) {
        *self.write() = State::Stopping;
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(*self.read(), State::Stopping)
    }

    pub(super) fn way(&self, path: &str) -> Way {
        if STANDARD_PREFIXES
            .iter()
            .any(|prefix| path.starts_with(prefix))
        {
            return Way::Standard(self.standard.clone());
        }
        match &*self.read() {
            State::Starting => Way::Refused(starting()),
            State::Open(routes) => Way::Service(routes.clone()),
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
