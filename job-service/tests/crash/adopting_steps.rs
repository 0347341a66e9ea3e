//! Processes that end by themselves, as if killed, at every call of SQLite and after every
//! statement of a migration, while an older database is taken over or a first one is made: the
//! next start ends well, and comes to what an undisturbed one comes to.

use std::{os::unix::process::ExitStatusExt as _, path::PathBuf};

use service_kit::{clock::Clock, migrate::NOTHING};
use tempfile::TempDir;

use crate::{
    legacy::{Content, Expected, backups, copy, secrets},
    stepping::{CALLS_MAX, JOBS, Kind, MODELS, SIGABRT, Stop, Way, child, run, within},
};

/// The sample with the most in it.
const NEWEST: &str = "2025-06-20-wal-not-checkpointed";
/// In the ordinary run, which of the stops are tried: every so many.
const EVERY: usize = 9;
/// Fewer calls than any migration makes.
const CALLS_MIN: usize = 30;

/// A database before it is migrated, and what becomes of it.
struct Case {
    kind: Kind,
    /// `None`: no database yet.
    sample: Option<&'static str>,
    /// What that is a backup of.
    older: Option<Content>,
    expected: Expected,
    secrets: Vec<String>,
}

impl Case {
    fn new(kind: Kind, sample: Option<&'static str>) -> Self {
        let clock = Clock::system();
        let content = || {
            let folder = before(sample);
            let database = folder.path().join(kind.file);
            run(&database, &(kind.schema)(), None);
            Content::of(&database)
        };
        let expected = Expected::from(content(), content(), &clock);
        let copied = sample.map(copy);
        let older = copied.as_ref().map(|folder| folder.path().join(kind.file));
        Self {
            kind,
            sample,
            expected,
            secrets: older.as_deref().map_or_else(Vec::new, secrets),
            older: older.as_deref().map(Content::of),
        }
    }

    /// Whether a child that is to end at `stop` did; then the next start has been checked.
    fn stopped_at(&self, stop: &Stop) -> bool {
        let folder = before(self.sample);
        let database = folder.path().join(self.kind.file);
        // An adoption first tries the migrations in memory, for their names.
        let text_runs = if self.sample.is_some() { 2 } else { 1 };
        let (ended, asked) = child(self.kind, folder.path(), None, stop, text_runs);
        if ended.status.success() {
            return false;
        }
        assert_eq!(ended.status.signal(), Some(SIGABRT), "{asked}: {ended:?}");
        run(&database, &(self.kind.schema)(), None);
        self.expected.is_held_by(&database, &self.secrets, &asked);
        let backups = backups(&database);
        let finished = |path: &PathBuf| path.extension().is_some_and(|it| it == "sqlite");
        assert!(backups.iter().all(finished), "{asked}: {backups:?}");
        assert_eq!(
            backups.is_empty(),
            self.sample.is_none(),
            "{asked}: {backups:?}"
        );
        for backup in backups {
            assert_eq!(Some(Content::of(&backup)), self.older, "{asked}");
        }
        true
    }

    /// Ends a child at every `every`th stop.
    fn play(&self, every: usize) {
        let calls = (1..CALLS_MAX).step_by(every);
        let calls = calls
            .take_while(|call| self.stopped_at(&Stop::Call(*call)))
            .count();
        let mut between = 0;
        for stop in within(self.kind, Way::Up, NOTHING).iter().step_by(every) {
            assert!(self.stopped_at(stop), "a cut migration is never committed");
            between += 1;
        }
        let (name, sample) = (self.kind.name, self.sample.unwrap_or("nothing"));
        println!(
            "{name} from {sample}: ended at {calls} calls and within migrations {between} times"
        );
        assert!(calls * every > CALLS_MIN && between > 0);
    }
}

/// A folder before the run.
fn before(sample: Option<&str>) -> TempDir {
    sample.map_or_else(|| tempfile::tempdir().unwrap(), copy)
}

#[test]
fn taking_over_jobs_can_end_before_any_statement() {
    Case::new(JOBS, Some(NEWEST)).play(EVERY);
}

#[test]
fn taking_over_models_can_end_before_any_statement() {
    Case::new(MODELS, Some(NEWEST)).play(EVERY);
}

#[test]
fn making_a_database_can_end_before_any_statement() {
    for kind in [JOBS, MODELS] {
        Case::new(kind, None).play(EVERY);
    }
}

/// `cargo test -p job-service --test crash -- --ignored --nocapture at_each_of_them`
#[test]
#[ignore = "takes minutes; its command is above it"]
fn the_same_at_each_of_them() {
    for kind in [JOBS, MODELS] {
        for sample in [None, Some(NEWEST)] {
            Case::new(kind, sample).play(1);
        }
    }
}
