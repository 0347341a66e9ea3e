//! The texts by which failures of SQLite are told apart, against the real failures.

use std::io::{Seek, SeekFrom, Write};

use diesel::connection::SimpleConnection;
use service_kit::database::{Database, DatabaseError, DatabaseOptions};

use crate::support::{Place, note, number};

#[tokio::test(flavor = "multi_thread")]
async fn another_program_that_holds_the_database_makes_it_busy() {
    let place = Place::with_notes();
    let options = DatabaseOptions {
        busy_timeout_ms: 10,
        busy_retries: 2,
        ..Default::default()
    };
    let database = place.open_with(options);
    let mut other = place.raw();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(
        note(&database, "a").await,
        Err(DatabaseError::Busy)
    ));
    assert_eq!(database.stats().busy_retries, 2);
    other.batch_execute("COMMIT").unwrap();
    note(&database, "b").await.unwrap();
    assert_eq!(place.notes(), ["b"]);
}

#[test]
fn a_file_of_another_kind_is_not_a_database() {
    let place = Place::new();
    std::fs::write(
        &place.path,
        "this is a text and no database at all\n".repeat(100),
    )
    .unwrap();
    let refused = Database::open(&place.path, place.lock(), DatabaseOptions::default());
    assert!(
        matches!(refused, Err(DatabaseError::NotADatabase(_))),
        "{refused:?}"
    );
}

#[test]
fn a_folder_in_place_of_the_file_cannot_be_opened() {
    let place = Place::new();
    std::fs::create_dir(&place.path).unwrap();
    let refused = Database::open(&place.path, place.lock(), DatabaseOptions::default());
    assert!(matches!(refused, Err(DatabaseError::Io(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_page_is_corrupt() {
    let place = Place::with_notes();
    break_a_page(&place);
    let database = place.open();
    let found = database
        .read("all", |c| {
            c.batch_execute("SELECT sum(length(text)) FROM notes NOT INDEXED")?;
            Ok::<_, DatabaseError>(())
        })
        .await;
    assert!(matches!(found, Err(DatabaseError::Corrupt(_))), "{found:?}");
}

/// Fills `notes` and overwrites a page in the middle of it.
pub(crate) fn break_a_page(place: &Place) {
    let mut connection = place.raw();
    connection
        .batch_execute(
            "INSERT INTO notes (text) SELECT value || hex(zeroblob(400)) FROM \
             (WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 500) \
              SELECT value FROM n); PRAGMA wal_checkpoint(TRUNCATE);",
        )
        .unwrap();
    let page = number(
        &mut connection,
        "SELECT pageno FROM dbstat WHERE name = 'notes' AND pagetype = 'leaf' LIMIT 1 OFFSET 20",
    );
    drop(connection);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(&place.path)
        .unwrap();
    file.seek(SeekFrom::Start(u64::try_from(page - 1).unwrap() * 4_096))
        .unwrap();
    file.write_all(&[0xa5; 4_096]).unwrap();
}
