//! Figures about one database, as plain counters that any number of threads may read.
//!
//! Does not know how metrics are exposed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the commit time buckets in microseconds; the last bucket has none.
pub const COMMIT_BUCKETS_US: [u64; 11] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
];

const BUCKETS: usize = COMMIT_BUCKETS_US.len() + 1;

/// Figures of one database since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseStats {
    /// Commands that wait for the writer now.
    pub queue_length: usize,
    /// Commands that may wait at most; 0 once the database is closed.
    pub queue_capacity: usize,
    /// Commands refused because the queue was full.
    pub overloaded: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Commands run, failed ones included.
    pub commands: u64,
    /// Batches that SQLite lost and whose commands ran again one by one.
    pub batches_lost: u64,
    /// Times the writer waited again because another program held the database.
    pub busy_retries: u64,
    /// Time spent in commits, in microseconds.
    pub commit_us_total: u64,
    /// Commits by time: one count for each bound in [`COMMIT_BUCKETS_US`] and one for the rest;
    /// not cumulative.
    pub commit_buckets: [u64; BUCKETS],
    /// Reads finished.
    pub reads: u64,
    /// Reads that took longer than the limit for long reads.
    pub reads_long: u64,
}

/// The counters behind [`DatabaseStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    overloaded: AtomicU64,
    commits: AtomicU64,
    commands: AtomicU64,
    batches_lost: AtomicU64,
    busy_retries: AtomicU64,
    commit_us_total: AtomicU64,
    commit_buckets: [AtomicU64; BUCKETS],
    reads: AtomicU64,
    reads_long: AtomicU64,
}

impl Counters {
    pub(super) fn overloaded(&self) {
        self.overloaded.fetch_add(1, Relaxed);
    }

    pub(super) fn committed(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BUCKETS_US.partition_point(|bound_us| *bound_us < took_us);
        self.commits.fetch_add(1, Relaxed);
        self.commit_us_total.fetch_add(took_us, Relaxed);
        self.commit_buckets[bucket].fetch_add(1, Relaxed);
    }

    pub(super) fn taken(&self, commands: usize) {
        self.commands.fetch_add(commands as u64, Relaxed);
    }

    pub(super) fn batch_lost(&self) {
        self.batches_lost.fetch_add(1, Relaxed);
    }

    pub(super) fn busy_retry(&self) {
        self.busy_retries.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self, long: bool) {
        self.reads.fetch_add(1, Relaxed);
        self.reads_long.fetch_add(u64::from(long), Relaxed);
    }

    pub(super) fn snapshot(&self, queue_length: usize, queue_capacity: usize) -> DatabaseStats {
        DatabaseStats {
            queue_length,
            queue_capacity,
            overloaded: self.overloaded.load(Relaxed),
            commits: self.commits.load(Relaxed),
            commands: self.commands.load(Relaxed),
            batches_lost: self.batches_lost.load(Relaxed),
            busy_retries: self.busy_retries.load(Relaxed),
            commit_us_total: self.commit_us_total.load(Relaxed),
            commit_buckets: std::array::from_fn(|bucket| self.commit_buckets[bucket].load(Relaxed)),
            reads: self.reads.load(Relaxed),
            reads_long: self.reads_long.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_counts_in_the_first_bucket_that_holds_it() {
        let counters = Counters::default();
        for took_us in [0, 250, 251, 1_000_000, 1_000_001] {
            counters.committed(Duration::from_micros(took_us));
        }
        let stats = counters.snapshot(0, 0);
        assert_eq!(stats.commits, 5);
        assert_eq!(stats.commit_us_total, 2_000_502);
        assert_eq!(stats.commit_buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
