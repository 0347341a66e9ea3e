//! Follows one job: the events of the table as they come, progress in
//! between, a sign of life when quiet. Ends after the terminal event.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::sync::broadcast;

use super::{Jobs, Shown};
use crate::{
    core::Core,
    error::Error,
    hints::Progress,
    job::{Event, Job},
    store::events,
    watches::WatchPlace,
};

/// How long a watch is silent before it gives a sign of life.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// Between two progress messages of one watch.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// One thing that a watch tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// The job as it is now.
    Snapshot(Box<Shown>),
    /// Something that happened.
    Event(Event),
    /// How far the attempt is.
    Progress(Progress),
    /// Nothing happened; the place in the history.
    Heartbeat(i64),
}

/// A watch of one job.
pub struct Watch {
    core: Arc<Core>,
    jobs: Jobs,
    job_id: String,
    after: i64,
    changes: broadcast::Receiver<String>,
    progress: broadcast::Receiver<Progress>,
    waiting: VecDeque<Told>,
    last_progress: Duration,
    /// When a sign of life is due.
    heartbeat_at: Duration,
    ended: bool,
    /// Whether the table is to be read before anything is waited for.
    look: bool,
    _place: WatchPlace,
}

impl Jobs {
    /// Begins to watch a job: after a place in the history, or from a snapshot
    /// of now.
    pub async fn watch(&self, id: &str, after: Option<i64>) -> Result<Watch, Error> {
        let most = self.watches_of_key();
        let place = self.core.watches.enter(most)?;
        // Interest first, then the look: nothing falls between.
        let changes = self.core.hints.changes();
        let progress = self.core.hints.progress();
        let shown = self.get(id).await?;
        let mut watch = Watch {
            core: Arc::clone(&self.core),
            jobs: self.clone(),
            job_id: id.to_owned(),
            after: shown.sequence,
            changes,
            progress,
            waiting: VecDeque::new(),
            last_progress: Duration::ZERO,
            heartbeat_at: self.core.clock.monotonic() + HEARTBEAT,
            ended: false,
            look: true,
            _place: place,
        };
        match after {
            Some(after) => {
                self.check_history(&shown.job, after).await?;
                watch.after = after;
            }
            None => {
                watch.ended = shown.job.state.is_terminal();
                watch.look = !watch.ended;
                watch.waiting.push_back(Told::Snapshot(Box::new(shown)));
            }
        }
        Ok(watch)
    }

    /// Whether everything of this job after a place is still kept.
    async fn check_history(&self, job: &Job, after: i64) -> Result<(), Error> {
        let (first, last) = self
            .core
            .database
            .read("history_bounds", |conn| {
                Ok::<_, Error>((events::first_sequence(conn)?, events::last_sequence(conn)?))
            })
            .await?;
        let pruned = first.is_some_and(|first| after + 1 < first);
        // What was pruned was older than the job's own time here.
        let kept_from = self.core.clock.now() - self.core.pace.event_retention;
        if after > last || (pruned && job.created_at < kept_from) {
            return Err(Error::HistoryGone);
        }
        Ok(())
    }
}

impl Watch {
    /// The place in the history up to which everything was told.
    #[must_use]
    pub fn place(&self) -> i64 {
        self.after
    }

    /// The next thing; `None` after the terminal event was told.
    pub async fn next(&mut self) -> Result<Option<Told>, Error> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                if let Told::Event(event) = &told {
                    self.after = event.sequence;
                    // Another run may follow its end.
                    self.ended = event.state.is_terminal();
                }
                self.heartbeat_at = self.core.clock.monotonic() + HEARTBEAT;
                return Ok(Some(told));
            }
            if self.ended && !self.look {
                return Ok(None);
            }
            if self.look {
                self.look = false;
                self.read_events().await?;
                continue;
            }
            self.wait().await?;
            if self.look {
                continue;
            }
        }
    }

    async fn read_events(&mut self) -> Result<(), Error> {
        let mut events = self.jobs.events_after(&self.job_id, self.after).await?;
        if events.is_empty() && self.jobs.get(&self.job_id).await?.job.state.is_terminal() {
            // It may have ended between the two looks. If there still is
            // nothing, the token was taken after the terminal event.
            events = self.jobs.events_after(&self.job_id, self.after).await?;
            self.ended = events.is_empty();
        }
        // A full page may have more behind it.
        self.look = events.len() >= usize::try_from(super::EVENTS_PAGE).unwrap_or(usize::MAX);
        self.waiting.extend(events.into_iter().map(Told::Event));
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), Error> {
        tokio::select! {
            changed = self.changes.recv() => match changed {
                Ok(job_id) => self.look = job_id == self.job_id,
                // Some were missed: the table knows.
                Err(broadcast::error::RecvError::Lagged(_)) => self.look = true,
                Err(broadcast::error::RecvError::Closed) => return Err(Error::Stopping),
            },
            progress = self.progress.recv() => {
                // Progress that was missed is gone, and that is all right.
                if let Ok(progress) = progress
                    && progress.job_id == self.job_id
                {
                    let now = self.core.clock.monotonic();
                    if now.saturating_sub(self.last_progress) >= PROGRESS_EVERY {
                        self.last_progress = now;
                        self.waiting.push_back(Told::Progress(progress));
                    }
                }
            }
            () = self.core.clock.sleep_until(self.heartbeat_at) => {
                self.waiting.push_back(Told::Heartbeat(self.after));
            }
            () = self.core.shutdown.requested() => return Err(Error::Stopping),
        }
        Ok(())
    }
}
