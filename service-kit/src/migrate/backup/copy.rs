//! Copies a database into a new file, step by step, while others may go on writing it.
//!
//! Does not check the copy, does not name it and does not remove what is left of one that failed.
//!
//! The pages come through SQLite's online backup (<https://sqlite.org/c3ref/backup_finish.html>).
//! One read transaction pins what is copied to one moment, so the copy never begins anew because
//! others write. The write-ahead log cannot be reused meanwhile, so a copy must not take forever.

use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::CopyProgress;

/// How long SQLite waits for a lock that another program holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Page cache of either side, in KiB: of the copy, no more than this waits in memory.
const CACHE_KIB: u32 = 256;

/// The longest pause between two steps, however slow the disk is.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How fast a copy is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Bytes that are copied before they are synced; at least a page is.
    step_bytes: u32,
    /// Copying takes one part of the time in so many; 1 never pauses.
    one_part_in: u32,
}

impl Pace {
    /// Where nobody else uses the database.
    pub(super) const FULL: Self = Self {
        step_bytes: 16 * 1024 * 1024,
        one_part_in: 1,
    };

    /// Beside a service, whose commits wait behind what we sync: little at a time, half of the time.
    /// Slower, the write-ahead log grows so large that moving it into the database is what stalls.
    pub(super) const BESIDE_WRITER: Self = Self {
        step_bytes: 1024 * 1024,
        one_part_in: 2,
    };

    fn pages(self, page_bytes: u64) -> i32 {
        let pages = u64::from(self.step_bytes) / page_bytes.max(1);
        i32::try_from(pages).unwrap_or(i32::MAX).max(1)
    }

    /// How long to pause after a step that took so long.
    fn pause(self, busy: Duration) -> Duration {
        busy.saturating_mul(self.one_part_in.saturating_sub(1))
            .min(PAUSE_MAX)
    }
}

/// Why there is no copy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoCopy {
    /// Whoever asked for it ended it.
    Cancelled,
    /// This is wrong.
    Failed(String),
}

impl From<rusqlite::Error> for NoCopy {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<std::io::Error> for NoCopy {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Copies the database at `source`, the content of its write-ahead log included, into the new file
/// `target`, which only its owner can read, which is on disk and needs no file beside it.
///
/// `step` is told how far it is, before the first page and after every step.
pub(super) fn copy(
    source: &Path,
    target: &Path,
    pace: Pace,
    step: &mut dyn FnMut(CopyProgress) -> ControlFlow<()>,
) -> Result<(), NoCopy> {
    let from = pinned(source)?;
    // SQLite takes an empty file that exists; made here, nobody else can ever read it.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(target)?;
    let mut to = unjournaled(target)?;
    copy_pages(&from, &mut to, &file, pace, step)?;
    release(from, source, pace);
    // The pages say the journal mode of the database, in which a reader makes files beside it.
    to.query_row("PRAGMA journal_mode = DELETE", (), |_| Ok(()))?;
    to.close().map_err(|(_, error)| error)?;
    Ok(file.sync_all()?)
}

/// A connection that sees the database as it is now, until it is dropped.
fn pinned(source: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(source, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(&format!("PRAGMA cache_size = -{CACHE_KIB}; BEGIN;"))?;
    // A transaction begins with the first read.
    connection.query_row("SELECT count(*) FROM sqlite_master", (), |_| Ok(()))?;
    Ok(connection)
}

/// Ends the pinned moment, and where somebody writes moves what they wrote meanwhile into the
/// database: else the next of their commits does it all, and everybody waits behind that one.
fn release(pinned: Connection, source: &Path, pace: Pace) {
    if pace == Pace::FULL {
        return;
    }
    if let Err(error) = release_and_move(pinned, source) {
        // The copy is whole; the next commit moves it.
        tracing::warn!(%error, "the write-ahead log was not moved after a backup");
    }
}

fn release_and_move(pinned: Connection, source: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mover = Connection::open_with_flags(source, flags)?;
    // The database is on disk before the write-ahead log is used anew.
    mover.execute_batch("PRAGMA synchronous = FULL;")?;
    // It knows the log before the moment ends, to be there before the next commit is.
    mover.query_row("SELECT count(*) FROM sqlite_master", (), |_| Ok(()))?;
    drop(pinned);
    // Without waiting for anybody: where another one is at it, it is done all the same.
    mover.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))
}

/// A connection to a file that is thrown away unless all of it is written: it keeps no journal,
/// and whoever uses it syncs.
fn unjournaled(target: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(target, flags)?;
    connection.execute_batch(&format!(
        "PRAGMA cache_size = -{CACHE_KIB}; PRAGMA locking_mode = EXCLUSIVE; \
         PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
    ))?;
    Ok(connection)
}

fn copy_pages(
    from: &Connection,
    to: &mut Connection,
    file: &File,
    pace: Pace,
    step: &mut dyn FnMut(CopyProgress) -> ControlFlow<()>,
) -> Result<(), NoCopy> {
    let page_bytes = number(from, "PRAGMA page_size")?;
    let total_pages = number(from, "PRAGMA page_count")?;
    let mut tell = |left_pages: u64| {
        let progress = CopyProgress {
            done_bytes: total_pages.saturating_sub(left_pages) * page_bytes,
            total_bytes: total_pages * page_bytes,
        };
        match step(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(NoCopy::Cancelled),
        }
    };
    tell(total_pages)?;
    let pages = pace.pages(page_bytes);
    let backup = Backup::new(from, to)?;
    // Every round copies pages or ends, so there are no more rounds than pages.
    loop {
        let begun = Instant::now();
        let done = match backup.step(pages)? {
            StepResult::Done => true,
            StepResult::More => false,
            // The moment is pinned and the file is ours alone.
            stopped => return Err(NoCopy::Failed(format!("its pages are locked: {stopped:?}"))),
        };
        file.sync_data()?;
        tell(u64::try_from(backup.progress().remaining).unwrap_or(0))?;
        if done {
            return Ok(());
        }
        thread::sleep(pace.pause(begun.elapsed()));
    }
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    let value: i64 = connection.query_row(pragma, (), |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_the_other_parts_of_the_time_and_has_an_end() {
        let pace = Pace {
            step_bytes: 4096,
            one_part_in: 4,
        };
        let ms = Duration::from_millis;
        assert_eq!(pace.pause(ms(2)), ms(6));
        assert_eq!(pace.pause(Duration::from_secs(9)), PAUSE_MAX);
        assert_eq!(Pace::FULL.pause(ms(2)), Duration::ZERO);
    }

    #[test]
    fn a_step_is_whole_pages_and_never_none() {
        let pace = Pace {
            step_bytes: 64 * 1024,
            one_part_in: 1,
        };
        assert_eq!(pace.pages(4_096), 16);
        assert_eq!(pace.pages(128 * 1024), 1);
    }
}
