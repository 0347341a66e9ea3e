//! Commands: group commit, savepoints, panics, limits, closing.

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use service_kit::database::{Database, DatabaseError, DatabaseLock, DatabaseOptions, LockError};
use tokio::task::JoinSet;

use crate::support::{Flight, Gate, Place, insert, note, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_command_is_in_the_file() {
    let place = Place::with_notes();
    let database = place.open();
    note(&database, "a").await.unwrap();
    assert_eq!(place.notes(), ["a"], "another program sees it at once");
    database.close().await.unwrap();
    assert_eq!(place.notes(), ["a"], "and after the close");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_wait_together_share_one_commit() {
    let place = Place::with_notes();
    let database = place.open();
    let gate = Gate::close(&database).await;
    let before = database.stats();
    let mut flight = Flight::new();
    for index in 0..64 {
        flight
            .add(&database, move |c| insert(c, &format!("{index:02}")))
            .await;
    }
    gate.open().await;
    assert!(flight.land().await.iter().all(Result::is_ok));
    let after = database.stats();
    assert_eq!(
        after.commits - before.commits,
        2,
        "the gate's and the batch's"
    );
    assert_eq!(after.commit_buckets.iter().sum::<u64>(), after.commits);
    assert_eq!(place.notes().len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_bounded() {
    let place = Place::with_notes();
    let database = place.open_with(DatabaseOptions {
        batch_max: 4,
        ..Default::default()
    });
    let gate = Gate::close(&database).await;
    let before = database.stats().commits;
    let mut flight = Flight::new();
    for index in 0..10 {
        flight
            .add(&database, move |c| insert(c, &index.to_string()))
            .await;
    }
    gate.open().await;
    assert!(flight.land().await.iter().all(Result::is_ok));
    assert_eq!(database.stats().commits - before, 1 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_command_undoes_itself_and_no_other() {
    let place = Place::with_notes();
    let database = place.open();
    let gate = Gate::close(&database).await;
    let mut flight = Flight::new();
    flight.add(&database, |c| insert(c, "first")).await;
    flight
        .add(&database, |c| {
            insert(c, "half")?;
            insert(c, "first")
        })
        .await;
    flight.add(&database, |c| insert(c, "last")).await;
    gate.open().await;
    let answers = flight.land().await;
    assert!(
        matches!(answers[1], Err(DatabaseError::Query(_))),
        "{answers:?}"
    );
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(database.stats().batches_lost, 0);
    assert_eq!(place.notes(), ["first", "last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_command_alone_undoes_itself() {
    let place = Place::with_notes();
    let database = place.open();
    let failed: Result<(), DatabaseError> = database
        .write("half", |c| {
            insert(c, "half")?;
            Err(diesel::result::Error::NotFound.into())
        })
        .await;
    assert!(matches!(
        failed,
        Err(DatabaseError::Query(diesel::result::Error::NotFound))
    ));
    note(&database, "next").await.unwrap();
    assert_eq!(place.notes(), ["next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_answered_and_the_writer_goes_on() {
    let place = Place::with_notes();
    let database = place.open();
    let gate = Gate::close(&database).await;
    let mut flight = Flight::new();
    flight.add(&database, |c| insert(c, "before")).await;
    flight
        .add(&database, |c| {
            insert(c, "lost")?;
            panic!("on purpose")
        })
        .await;
    flight.add(&database, |c| insert(c, "behind")).await;
    gate.open().await;
    let answers = flight.land().await;
    assert!(
        matches!(answers[1], Err(DatabaseError::Panicked)),
        "{answers:?}"
    );
    let alone = database.write("alone", |_| -> Result<(), DatabaseError> {
        panic!("again")
    });
    assert!(matches!(alone.await, Err(DatabaseError::Panicked)));
    note(&database, "after").await.unwrap();
    assert_eq!(place.notes(), ["before", "behind", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_cannot_open_a_transaction_of_its_own() {
    let place = Place::with_notes();
    let database = place.open();
    let gate = Gate::close(&database).await;
    let mut flight = Flight::new();
    flight.add(&database, |c| insert(c, "before")).await;
    flight
        .add(&database, |c| {
            c.immediate_transaction(|c| insert(c, "nested"))
        })
        .await;
    flight.add(&database, |c| insert(c, "behind")).await;
    gate.open().await;
    let answers = flight.land().await;
    assert!(answers[1].is_err());
    note(&database, "after").await.unwrap();
    assert_eq!(place.notes(), ["before", "behind", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_that_fails_at_the_commit_fails_its_command_only() {
    let place = Place::with_notes();
    place
        .raw()
        .batch_execute(
            "CREATE TABLE children (parent TEXT REFERENCES notes (text) \
             DEFERRABLE INITIALLY DEFERRED)",
        )
        .unwrap();
    let database = place.open();
    let gate = Gate::close(&database).await;
    let mut flight = Flight::new();
    flight.add(&database, |c| insert(c, "before")).await;
    flight
        .add(&database, |c| {
            Ok(c.batch_execute("INSERT INTO children VALUES ('nobody')")?)
        })
        .await;
    flight.add(&database, |c| insert(c, "behind")).await;
    gate.open().await;
    let answers = flight.land().await;
    assert!(
        matches!(answers[1], Err(DatabaseError::Query(_))),
        "{answers:?}"
    );
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(database.stats().batches_lost, 1);
    assert_eq!(place.notes(), ["before", "behind"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once() {
    let place = Place::with_notes();
    let database = place.open_with(DatabaseOptions {
        queue_capacity: 2,
        ..Default::default()
    });
    let gate = Gate::close(&database).await;
    let mut flight = Flight::new();
    flight.add(&database, |c| insert(c, "a")).await;
    flight.add(&database, |c| insert(c, "b")).await;
    assert!(matches!(
        note(&database, "c").await,
        Err(DatabaseError::Overloaded)
    ));
    assert_eq!(database.stats().overloaded, 1);
    gate.open().await;
    assert!(flight.land().await.iter().all(Result::is_ok));
    assert_eq!(place.notes(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_command_runs_though_its_caller_went_away() {
    let place = Place::with_notes();
    let database = place.open();
    let gate = Gate::close(&database).await;
    let mut callers = JoinSet::new();
    let own = database.clone();
    callers.spawn(async move { note(&own, "orphan").await });
    until("the command is queued", || {
        database.stats().queue_length == 1
    })
    .await;
    callers.shutdown().await;
    gate.open().await;
    database.close().await.unwrap();
    assert_eq!(place.notes(), ["orphan"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_drains_the_queue_and_empties_the_log() {
    let place = Place::with_notes();
    let database = place.open();
    let other = database.clone();
    let gate = Gate::close(&database).await;
    let mut flight = Flight::new();
    flight.add(&database, |c| insert(c, "queued")).await;
    let mut closing = JoinSet::new();
    closing.spawn(database.close());
    until("the queue has ended", || other.stats().queue_capacity == 0).await;
    assert!(matches!(
        note(&other, "late").await,
        Err(DatabaseError::Closed)
    ));
    gate.open().await;
    closing.join_next().await.unwrap().unwrap().unwrap();
    assert!(flight.land().await.iter().all(Result::is_ok));

    let late = other.read("late", |_| Ok::<_, DatabaseError>(())).await;
    assert!(matches!(late, Err(DatabaseError::Closed)));
    assert!(!place.sibling("-wal").exists(), "{:?}", place.files());
    assert!(!place.lock().unclean_before());
    assert_eq!(place.notes(), ["queued"]);
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_handle_closes_too() {
    let place = Place::with_notes();
    let database = place.open();
    let other = database.clone();
    note(&database, "a").await.unwrap();
    drop(database);
    note(&other, "b").await.unwrap();
    let held = DatabaseLock::acquire(&place.path, "the next");
    assert!(matches!(held, Err(LockError::Held { .. })));
    drop(other);
    assert!(!place.lock().unclean_before());
    assert_eq!(place.notes(), ["a", "b"]);
}

#[test]
fn a_database_is_not_opened_with_the_lock_of_another() {
    let (place, other) = (Place::new(), Place::new());
    let refused = Database::open(&place.path, other.lock(), DatabaseOptions::default());
    assert!(refused.unwrap_err().to_string().contains("not the lock"));
    assert!(!place.path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_syncs_every_commit_and_keeps_foreign_keys() {
    let place = Place::with_notes();
    let database = place.open();
    let pragma =
        |c: &mut SqliteConnection, name: &str| crate::support::number(c, &format!("PRAGMA {name}"));
    let found = database
        .write("pragmas", move |c| {
            let names = [
                "synchronous",
                "foreign_keys",
                "wal_autocheckpoint",
                "busy_timeout",
            ];
            Ok::<_, DatabaseError>(names.map(|name| pragma(c, name)))
        })
        .await
        .unwrap();
    assert_eq!(found, [2, 1, 1_000, 5_000]);
}
