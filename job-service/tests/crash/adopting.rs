//! SIGKILL at random instants of taking over an older database and migrating it: the next start
//! ends well, and comes to what an undisturbed one comes to.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use job_service::config::DATABASE_FILE;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use service_kit::clock::Clock;

use crate::{
    legacy::{Content, Expected, SAMPLES, backups, beside, copy, secrets},
    program::{Program, command},
};

const SEED: u64 = 20_261_124;
const KILLS: usize = 20;
/// How many the long run makes.
const LONG_RUN: usize = 200;

/// A sample, and what becomes of it.
struct Sample {
    name: &'static str,
    /// What every backup holds.
    older: Content,
    expected: Expected,
    secrets: Vec<String>,
    /// How long an undisturbed run takes.
    took: Duration,
}

impl Sample {
    fn of(name: &'static str) -> Self {
        let before = copy(name);
        let older = before.path().join(DATABASE_FILE);
        let clock = Clock::system();
        let runs = [copy(name), copy(name)];
        let took = runs.each_ref().map(|folder| {
            let began = Instant::now();
            migrated(folder.path());
            began.elapsed()
        });
        let [one, other] = runs.map(|folder| Content::of(&folder.path().join(DATABASE_FILE)));
        let expected = Expected::from(one, other, &clock);
        let secrets = secrets(&older);
        let older = Content::of(&older);
        for table in older.tables().filter(|table| *table != "sqlite_master") {
            assert_eq!(
                expected.rows_of(table),
                older.rows_of(table),
                "{name}: {table}"
            );
        }
        Self {
            name,
            older,
            expected,
            secrets,
            took: took[0].min(took[1]),
        }
    }

    /// Kills a run at a moment, starts again and checks; says what the kill left.
    async fn killed_at(&self, moment: Duration) -> &'static str {
        let folder = copy(self.name);
        let database = folder.path().join(DATABASE_FILE);
        let mut program = Program::start(&mut command(&["migrate"], folder.path()));
        let ended = match tokio::time::timeout(moment, program.ends()).await {
            Ok(status) => {
                assert!(status.success(), "{}", program.said());
                true
            }
            Err(_) => false,
        };
        program.kill();
        let left = if ended {
            "ended before"
        } else {
            left(&database)
        };
        migrated(folder.path());
        let when = format!("{} killed after {moment:?} ({left})", self.name);
        self.expected.is_held_by(&database, &self.secrets, &when);
        all_backups_are_good(folder.path(), &when);
        for backup in backups(&database) {
            assert_eq!(Content::of(&backup), self.older, "{when}");
        }
        left
    }
}

/// Lets the program migrate undisturbed.
fn migrated(data_dir: &Path) {
    let ended = command(&["migrate"], data_dir).output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{errors}");
}

/// At least one is finished, and none is not.
fn all_backups_are_good(data_dir: &Path, when: &str) {
    let ended = command(&["backups", "verify", "--all"], data_dir)
        .output()
        .unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{when}: {said}");
    let there = backups(&data_dir.join(DATABASE_FILE));
    assert!(!there.is_empty(), "{when}");
    assert_eq!(
        said.matches(": good, ").count(),
        there.len(),
        "{when}: {there:?}: {said}"
    );
}

/// How far a run had come, by the files that it left.
fn left(database: &Path) -> &'static str {
    let size = |ending| fs::metadata(beside(database, ending)).map_or(0, |file| file.len());
    let backups = backups(database);
    let finished = |path: &Path| path.extension().is_some_and(|ending| ending == "sqlite");
    if size("-journal") > 0 {
        "a transaction to undo"
    } else if !backups.iter().all(|path| finished(path)) {
        "an unfinished backup"
    } else if backups.is_empty() {
        "no backup yet"
    } else {
        "a backup, and nothing to undo by a journal"
    }
}

async fn play(seed: u64, kills: usize) {
    let samples = SAMPLES.map(Sample::of);
    let mut moments = StdRng::seed_from_u64(seed);
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for kill in 0..kills {
        let sample = &samples[kill % samples.len()];
        let moment = moments.random_range(Duration::ZERO..sample.took);
        *found.entry(sample.killed_at(moment).await).or_default() += 1;
    }
    println!("seed {seed}, {kills} kills; what they left: {found:#?}");
    let hit = kills - found.get("ended before").unwrap_or(&0);
    assert!(hit * 4 > kills, "too few were killed: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_is_killed_at_any_instant_is_ended_by_the_next_start() {
    play(SEED, KILLS).await;
}

/// `cargo test -p job-service --test crash -- --ignored --nocapture two_hundred_other_instants`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; its command is above it"]
async fn the_same_at_two_hundred_other_instants() {
    play(SEED + 1, LONG_RUN).await;
}
