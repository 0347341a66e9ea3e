//! A database that cannot grow: SQLite then ends the whole transaction by itself.

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use service_kit::database::{Database, DatabaseError};

use crate::support::{Flight, Gate, Place, insert, note};

/// Lets the database grow by a few pages only.
async fn fill(database: &Database) {
    database
        .write("limit", |c| {
            let pages = crate::support::number(c, "SELECT page_count FROM pragma_page_count");
            Ok::<_, DatabaseError>(
                c.batch_execute(&format!("PRAGMA max_page_count = {}", pages + 8))?,
            )
        })
        .await
        .unwrap();
}

/// One row after the other, until there is no room: SQLite rolls everything back.
fn overflow_row_by_row(connection: &mut SqliteConnection) -> Result<(), DatabaseError> {
    for index in 0..100 {
        insert(connection, &format!("{index}{}", "x".repeat(4_096)))?;
    }
    Ok(())
}

/// All in one statement, which has a journal of its own: SQLite rolls back the statement.
fn overflow_at_once(connection: &mut SqliteConnection) -> Result<(), DatabaseError> {
    Ok(connection.batch_execute(
        "INSERT INTO notes (text) SELECT value || hex(zeroblob(4096)) FROM \
         (WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 100) \
          SELECT value FROM n)",
    )?)
}

async fn acknowledged_exactly_if_there(
    overflow: fn(&mut SqliteConnection) -> Result<(), DatabaseError>,
) -> u64 {
    let place = Place::with_notes();
    let database = place.open();
    note(&database, "old").await.unwrap();
    fill(&database).await;
    let gate = Gate::close(&database).await;
    let mut flight = Flight::new();
    flight.add(&database, |c| insert(c, "small before")).await;
    flight.add(&database, overflow).await;
    flight.add(&database, |c| insert(c, "small behind")).await;
    gate.open().await;
    let answers = flight.land().await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert!(
        matches!(answers[1], Err(DatabaseError::Full)),
        "{answers:?}"
    );
    assert!(answers[2].is_ok(), "{answers:?}");
    note(&database, "later").await.unwrap();
    let lost = database.stats().batches_lost;
    database.close().await.unwrap();
    assert_eq!(
        place.notes(),
        ["old", "small before", "small behind", "later"]
    );
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_the_command_that_overflows_and_no_other_of_its_batch() {
    let lost = acknowledged_exactly_if_there(overflow_row_by_row).await;
    assert_eq!(lost, 1, "SQLite has ended the transaction by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_overflows_alone_is_undone_alone() {
    acknowledged_exactly_if_there(overflow_at_once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_command_on_a_full_disk_leaves_nothing_behind() {
    let place = Place::with_notes();
    let database = place.open();
    fill(&database).await;
    let full = database.write("overflow", overflow_row_by_row).await;
    assert!(matches!(full, Err(DatabaseError::Full)), "{full:?}");
    note(&database, "small").await.unwrap();
    assert_eq!(place.notes(), ["small"]);
}
