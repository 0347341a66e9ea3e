//! Owns backups on a schedule: when the next one is due, and that older ones
//! go. It does not make them.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;

use super::error::{BACKUP_RUNNING, NOT_ENOUGH_SPACE};
use super::{Admin, blocking};
use crate::clock::Clock;
use crate::database::Database;
use crate::migrate::{self, Prune};
use crate::operations::OperationCaller;
use crate::shutdown::Shutdown;
use crate::status::{Failure, error_chain};

/// Backups that are kept when nothing is configured.
pub const BACKUPS_KEPT_DEFAULT: u32 = 7;
/// When one is tried again that failed.
const RETRY: Duration = Duration::from_secs(15 * 60);

/// When backups are made without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupSchedule {
    /// The time from one to the next; `None` makes none.
    pub every: Option<Duration>,
    /// How many are kept, those that were asked for included.
    pub keep: usize,
}

impl BackupSchedule {
    /// One every so many hours, 0 for none, of which the newest `keep` stay.
    pub fn new(hours: u32, keep: u32) -> Self {
        let every = Duration::from_secs(u64::from(hours) * 3600);
        Self {
            every: (!every.is_zero()).then_some(every),
            keep: keep.max(1) as usize,
        }
    }
}

impl Default for BackupSchedule {
    fn default() -> Self {
        Self::new(0, BACKUPS_KEPT_DEFAULT)
    }
}

impl Admin {
    /// Makes backups until the service stops. One is due when the newest backup,
    /// whoever asked for it, is as old as the schedule says; so a service that
    /// was stopped for long makes one soon.
    pub fn begin_schedule(&self, schedule: BackupSchedule, shutdown: &Shutdown) {
        if let Some(every) = schedule.every {
            let admin = self.clone();
            let stop = shutdown.clone();
            let keeping = async move { admin.keep_schedule(every, schedule.keep, stop).await };
            shutdown.spawn("backup_schedule", keeping);
        }
    }

    async fn keep_schedule(&self, every: Duration, keep: usize, shutdown: Shutdown) {
        let mut wait = self.until_due(every).await;
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = self.0.clock.sleep(wait) => {}
            }
            match self.back_up_and_prune(keep).await {
                Ok(()) => {}
                // The next start takes it up.
                Err(_) if shutdown.is_requested() => return,
                Err(failure) => {
                    if failure.reason() == BACKUP_RUNNING {
                        tracing::info!("a backup was due while one was being made or checked");
                    } else {
                        let error = failure.message();
                        tracing::error!(error, "a backup on schedule failed; it is tried again");
                    }
                    tokio::select! {
                        biased;
                        () = shutdown.requested() => return,
                        () = self.0.clock.sleep(RETRY.min(every)) => {}
                    }
                }
            }
            // Somebody may have made one meanwhile.
            wait = self.until_due(every).await;
        }
    }

    /// A clock that was set back puts it off by no more than one interval.
    async fn until_due(&self, every: Duration) -> Duration {
        let admin = self.clone();
        let newest = blocking(move || Ok(admin.backups()?.into_iter().next())).await;
        match newest {
            Ok(Some(newest)) => every.saturating_sub(age(&self.0.clock, newest.created_at)),
            Ok(None) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "the backups cannot be listed");
                RETRY.min(every)
            }
        }
    }

    /// Without space for one more the oldest makes room, if it is not the only
    /// good one: a newer one is worth more.
    async fn back_up_and_prune(&self, keep: usize) -> Result<(), Failure> {
        match self.back_up_now().await {
            Err(failure) if failure.reason() == NOT_ENOUGH_SPACE => {
                tracing::warn!(
                    error = failure.message(),
                    "older backups go before a new one is made"
                );
                self.prune_to(keep.saturating_sub(1).max(1)).await?;
                self.back_up_now().await?;
            }
            made => made?,
        }
        self.prune_to(keep).await
    }

    async fn back_up_now(&self) -> Result<(), Failure> {
        let asked = self.begin_backup(OperationCaller::default(), None).await?;
        self.done(asked.follow, None).await?;
        Ok(())
    }

    async fn prune_to(&self, keep: usize) -> Result<(), Failure> {
        let prune = Prune {
            keep: Some(keep),
            ..Prune::default()
        };
        self.prune(prune).await?;
        Ok(())
    }
}

fn age(clock: &Clock, created_at: DateTime<Utc>) -> Duration {
    let age = clock.now().signed_duration_since(created_at);
    age.to_std().unwrap_or_default()
}

/// The age of the newest backup, read when it is asked for; nothing where there
/// is no backup.
#[derive(Debug)]
pub struct BackupFigures {
    path: PathBuf,
    name: &'static str,
    clock: Clock,
}

impl BackupFigures {
    /// Figures of the backups of a database, which begin with `name`.
    pub fn new(database: &Database, name: &'static str, clock: Clock) -> Self {
        Self {
            path: database.path().to_owned(),
            name,
            clock,
        }
    }
}

impl Collector for BackupFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let newest = match migrate::backups(&self.path, self.name) {
            Ok(backups) => backups.into_iter().next(),
            Err(error) => {
                tracing::warn!(%error, "the backups cannot be listed");
                None
            }
        };
        let Some(newest) = newest else {
            return Ok(());
        };
        let seconds = age(&self.clock, newest.created_at).as_secs();
        let gauge = ConstGauge::new(i64::try_from(seconds).unwrap_or(i64::MAX));
        let metric = encoder.encode_descriptor(
            "database_last_backup_age_seconds",
            "Seconds since the newest backup was begun",
            None,
            gauge.metric_type(),
        )?;
        gauge.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::{admin, admin_on};
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn backups_in(folder: &Path) -> usize {
        let names = std::fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let finished = |name: &String| name.contains("_backup_") && name.ends_with(".sqlite");
        names.filter(finished).count()
    }

    #[tokio::test]
    async fn without_space_the_oldest_makes_room_and_a_good_one_stays() {
        // Two backups fill the volume.
        let (admin, hand, folder) = admin_on(|path| {
            let full = backups_in(path.parent().unwrap()) > 1;
            Ok(if full { 0 } else { u64::MAX })
        });
        for _ in 0..2 {
            admin.back_up_and_prune(7).await.unwrap();
            hand.advance(HOUR);
        }
        let before = admin.backups().unwrap();
        admin.back_up_and_prune(2).await.unwrap();
        let after = admin.backups().unwrap();
        assert_eq!(after.len(), 2);
        assert_eq!(after[1], before[0]);
        assert_eq!(backups_in(folder.path()), 2);
    }

    #[tokio::test]
    async fn what_somebody_else_makes_meanwhile_is_not_made_once_more() {
        let (admin, hand, _folder) = admin_on(|_| Ok(u64::MAX));
        let shutdown = Shutdown::new(admin.0.clock.clone());
        let held = admin.0.backing_up.acquire().await.unwrap();
        admin.begin_schedule(BackupSchedule::new(6, 7), &shutdown);
        // It sleeps for the next try once it was refused.
        hand.wait_for_waiters(1).await;
        drop(held);
        admin.back_up_now().await.unwrap();
        hand.advance(RETRY);
        hand.wait_for_waiters(1).await;
        assert_eq!(admin.backups().unwrap().len(), 1);
        assert_eq!(shutdown.wait(HOUR).await, Ok(()));
    }

    #[tokio::test]
    async fn the_reason_of_a_backup_that_runs_is_known() {
        let (admin, _folder) = admin();
        let _held = admin.0.backing_up.acquire().await.unwrap();
        let refused = admin.back_up_now().await.unwrap_err();
        assert_eq!(refused.reason(), BACKUP_RUNNING);
    }
}
