//! SIGKILL at random instants of taking over an older database: the next start ends well, and
//! comes to what an undisturbed one comes to.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;
use model_service::config::DATABASE_FILE;

use crate::adoption::{copied, samples};

/// Each is killed at so many instants.
const KILLS: u32 = 4;
/// The same in the long run.
const LONG_RUN: u32 = 50;
/// Divides the time of an undisturbed run into instants that look random and are the same in
/// every run: multiples of the golden ratio.
const GOLDEN: f64 = 0.618_033_988_749_895;

fn texts(database: &Path, query: &str) -> Vec<String> {
    let mut connection = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    sql::<Text>(query).load(&mut connection).unwrap()
}

const TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' \
                      AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name";

/// The rows of every table in those of its columns that `older` has too, and how many there are
/// of those that only the adopted database has.
fn content(database: &Path, older: &Path) -> BTreeMap<String, Vec<String>> {
    let columns = |database: &Path, table: &str| {
        texts(
            database,
            &format!("SELECT name FROM pragma_table_info('{table}') ORDER BY name"),
        )
    };
    let of = |table: String| {
        let theirs = columns(older, &table);
        let mut shared = columns(database, &table);
        shared.retain(|column| theirs.contains(column));
        let shared: Vec<String> = shared
            .iter()
            .map(|name| format!("quote(\"{name}\")"))
            .collect();
        let rows = if shared.is_empty() {
            texts(
                database,
                &format!("SELECT CAST(count(*) AS TEXT) FROM \"{table}\""),
            )
        } else {
            let shared = shared.join(" || char(31) || ");
            texts(
                database,
                &format!("SELECT {shared} FROM \"{table}\" ORDER BY id"),
            )
        };
        (table, rows)
    };
    texts(database, TABLES).into_iter().map(of).collect()
}

fn migrate(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-service"));
    command.arg("migrate").arg("--data-dir").arg(data_dir);
    command
}

fn migrated(data_dir: &Path) {
    let ended = migrate(data_dir).output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

/// Kills a run at a moment; whether it had not ended before.
fn killed(data_dir: &Path, moment: Duration) -> bool {
    let mut child = migrate(data_dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = child.stderr.take().unwrap();
    let (ends, ended) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let read = log.read_to_end(&mut Vec::new());
        // Nobody waits any more where the child was killed.
        let _ = ends.send(read.is_ok());
    });
    let running = ended.recv_timeout(moment).is_err();
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    running
}

fn play(kills: u32) {
    let mut running = 0;
    let mut tried = 0;
    for entry in std::fs::read_dir(samples()).unwrap() {
        let sample = entry.unwrap().file_name().into_string().unwrap();
        if !samples().join(&sample).join(DATABASE_FILE).exists() {
            continue;
        }
        let older = copied(&sample);
        let older = older.path().join(DATABASE_FILE);
        let undisturbed = copied(&sample);
        let began = Instant::now();
        migrated(undisturbed.path());
        let took = began.elapsed();
        let expected = content(&undisturbed.path().join(DATABASE_FILE), &older);
        for kill in 1..=kills {
            let folder = copied(&sample);
            let moment = took.mul_f64((f64::from(kill) * GOLDEN).fract());
            let when = format!("{sample} killed after {moment:?}");
            tried += 1;
            running += u32::from(killed(folder.path(), moment));
            migrated(folder.path());
            let database = folder.path().join(DATABASE_FILE);
            assert_eq!(content(&database, &older), expected, "{when}");
            assert_eq!(texts(&database, "PRAGMA integrity_check"), ["ok"], "{when}");
            let names = std::fs::read_dir(folder.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let backups: Vec<String> = names
                .filter(|name| name.contains("models_backup_"))
                .collect();
            assert!(!backups.is_empty(), "{when}");
            for backup in backups {
                let backup = folder.path().join(backup);
                assert_eq!(content(&backup, &older), content(&older, &older), "{when}");
            }
        }
    }
    println!("{tried} kills, {running} of them before the end");
    assert!(running * 4 > tried, "too few were killed");
}

#[test]
fn an_adoption_that_is_killed_at_any_instant_is_ended_by_the_next_start() {
    play(KILLS);
}

/// `cargo test -p model-service --test service -- --ignored --nocapture at_many_other_instants`
#[test]
#[ignore = "takes a minute; its command is above it"]
fn the_same_at_many_other_instants() {
    play(LONG_RUN);
}
