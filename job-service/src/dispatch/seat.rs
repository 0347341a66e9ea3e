//! The place that an attempt takes on its server. Who may take one is the
//! dispatcher's to know.

use std::sync::Arc;

use crate::{core::Core, job::Attempt};

/// The place of one attempt; given back when dropped, whatever happens.
pub struct Seat {
    core: Arc<Core>,
    server: String,
    job_id: String,
}

impl Seat {
    /// Takes the place.
    #[must_use]
    pub fn take(core: &Arc<Core>, attempt: &Attempt) -> Self {
        core.board.occupy(&attempt.server, &attempt.job_id);
        Self {
            core: Arc::clone(core),
            server: attempt.server.clone(),
            job_id: attempt.job_id.clone(),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.core.board.vacate(&self.server, &self.job_id);
        self.core.hints.wake_dispatcher();
    }
}
