//! Wake-ups between the parts of the service. All of them are hints: whoever
//! is woken looks into the database, and nothing is lost when a hint is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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
    wishes: Mutex<HashMap<String, CancellationToken>>,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            dispatch: Notify::new(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            progress: broadcast::Sender::new(PROGRESS_KEPT),
            wishes: Mutex::default(),
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

    /// Somebody wants this job cancelled and it is written in its row.
    pub fn wish_to_cancel(&self, job_id: &str) {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wish) = wishes.get(job_id) {
            wish.cancel();
        }
    }

    /// Whether somebody attends to this job's attempt.
    pub fn is_attended(&self, job_id: &str) -> bool {
        self.wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(job_id)
    }

    /// Begins to attend to a job whose attempt is under way, and to listen for
    /// the wish to cancel it; until the guard is dropped.
    pub fn attend(self: &Arc<Self>, job_id: &str) -> Attended {
        let wish = CancellationToken::new();
        self.wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(job_id.to_owned(), wish.clone());
        Attended {
            hints: Arc::clone(self),
            job_id: job_id.to_owned(),
            wish,
        }
    }
}

/// Attends to one job and listens for the wish to cancel it.
#[derive(Debug)]
pub struct Attended {
    hints: Arc<Hints>,
    job_id: String,
    wish: CancellationToken,
}

impl Attended {
    /// The wish; cancelled when it comes.
    #[must_use]
    pub fn wish(&self) -> CancellationToken {
        self.wish.clone()
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.hints
            .wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.job_id);
    }
}
