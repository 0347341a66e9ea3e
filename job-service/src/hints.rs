//! Wake-ups between the parts of the service. All of them are hints: whoever
//! is woken looks into the database, and nothing is lost when a hint is.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use crate::job::AttemptPhase;

/// Changed jobs that a slow watcher may fall behind before it is told to look
/// into the table anyway.
const CHANGES_KEPT: usize = 1024;
/// Progress messages that a slow watcher may fall behind before it loses some.
const PROGRESS_KEPT: usize = 256;

/// How far an attempt is, as its server says. Never kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The job.
    pub job_id: String,
    /// The attempt.
    pub attempt: i32,
    /// Its phase.
    pub phase: AttemptPhase,
    /// 0 to 1 over the whole job.
    pub fraction: f64,
    /// The step of the current image.
    pub step: i32,
    /// The steps of the current image.
    pub steps: i32,
    /// Seconds that the server expects still to need.
    pub remaining_s: Option<f64>,
}

/// The wake-ups of one service.
#[derive(Debug)]
pub struct Hints {
    dispatch: Notify,
    changes: broadcast::Sender<String>,
    progress: broadcast::Sender<Progress>,
    wishes: Mutex<HashMap<String, Listener>>,
    next_listener: AtomicU64,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            dispatch: Notify::new(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            progress: broadcast::Sender::new(PROGRESS_KEPT),
            wishes: Mutex::default(),
            next_listener: AtomicU64::new(0),
        }
    }
}

impl Hints {
    /// Something changed that the dispatcher may act on.
    pub fn wake_dispatcher(&self) {
        self.dispatch.notify_one();
    }

    /// Waits for the next wake-up of the dispatcher, or takes the one that
    /// came since the last.
    pub async fn dispatcher_woken(&self) {
        self.dispatch.notified().await;
    }

    /// The history of a job has grown.
    pub fn job_changed(&self, job_id: &str) {
        // Nobody watching is no error.
        let _ = self.changes.send(job_id.to_owned());
    }

    /// The ids of jobs whose history grows from now on.
    pub fn changes(&self) -> broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    /// An attempt is so far.
    pub fn progressed(&self, progress: Progress) {
        // Nobody watching is no error.
        let _ = self.progress.send(progress);
    }

    /// How far attempts are from now on.
    pub fn progress(&self) -> broadcast::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The attempt of this job with this number is to end, and why is written in
    /// the job's row: it was cancelled, or its time is up. A wish that comes late
    /// does not end a later attempt.
    pub fn wish_to_cancel(&self, job_id: &str, attempt: i32) {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = wishes.get(job_id)
            && listener.attempt == attempt
        {
            listener.wish.cancel();
        }
    }

    /// Whether somebody attends to this job's attempt.
    pub fn is_attended(&self, job_id: &str) -> bool {
        self.wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(job_id)
    }

    /// Begins to attend to a job whose attempt of this number is under way, and
    /// to listen for the wish to end it; until the guard is dropped.
    pub fn attend(self: &Arc<Self>, job_id: &str, attempt: i32) -> Attended {
        let listener = Listener {
            attempt,
            number: self.next_listener.fetch_add(1, Ordering::Relaxed),
            wish: CancellationToken::new(),
        };
        self.wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(job_id.to_owned(), listener.clone());
        Attended {
            hints: Arc::clone(self),
            job_id: job_id.to_owned(),
            listener,
        }
    }
}

/// Who listens for the wish to end one attempt.
#[derive(Clone, Debug)]
struct Listener {
    /// Which attempt of the job.
    attempt: i32,
    /// No other has it.
    number: u64,
    wish: CancellationToken,
}

/// Attends to one job and listens for the wish to end its attempt.
#[derive(Debug)]
pub struct Attended {
    hints: Arc<Hints>,
    job_id: String,
    listener: Listener,
}

impl Attended {
    /// The wish; cancelled when it comes.
    #[must_use]
    pub fn wish(&self) -> CancellationToken {
        self.listener.wish.clone()
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        let mut wishes = self
            .hints
            .wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The job may have its next attempt already, and that its own listener.
        let number = wishes.get(&self.job_id).map(|listener| listener.number);
        if number == Some(self.listener.number) {
            wishes.remove(&self.job_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_one_attempt_leaves_the_wish_of_the_next_alone() {
        let hints = Arc::new(Hints::default());
        let first = hints.attend("job", 1);
        let second = hints.attend("job", 2);
        drop(first);
        assert!(hints.is_attended("job"));
        hints.wish_to_cancel("job", 1);
        assert!(!second.wish().is_cancelled(), "it came too late");
        hints.wish_to_cancel("job", 2);
        assert!(second.wish().is_cancelled());
        drop(second);
        assert!(!hints.is_attended("job"));
    }
}
