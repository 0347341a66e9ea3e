//! Reads: one state, no writing, bounded waiting.

use std::sync::mpsc;

use diesel::connection::SimpleConnection;
use service_kit::database::{DatabaseError, DatabaseOptions};
use tokio::task::JoinSet;

use crate::support::{PATIENCE, Place, note, notes, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_sees_what_was_answered_before_and_nothing_newer() {
    let place = Place::with_notes();
    let database = place.open();
    note(&database, "a").await.unwrap();
    let (go_on, may_go_on) = mpsc::channel();
    let (began, has_begun) = mpsc::channel();
    let own = database.clone();
    let mut reads = JoinSet::new();
    reads.spawn(async move {
        own.read("two looks", move |c| {
            let first = notes(c);
            began.send(()).unwrap();
            may_go_on.recv_timeout(PATIENCE).unwrap();
            Ok::<_, DatabaseError>((first, notes(c)))
        })
        .await
    });
    until("the read has begun", || has_begun.try_recv().is_ok()).await;
    note(&database, "b").await.unwrap();
    let beside = database
        .read("beside", |c| Ok::<_, DatabaseError>(notes(c)))
        .await
        .unwrap();
    assert_eq!(beside, ["a", "b"]);
    go_on.send(()).unwrap();
    let (first, second) = reads.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(first, ["a"]);
    assert_eq!(second, ["a"]);
    assert_eq!(database.stats().reads, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_cannot_write() {
    let place = Place::with_notes();
    let database = place.open();
    let refused = database
        .read("writes", |c| {
            Ok(c.batch_execute("INSERT INTO notes VALUES ('a')")?)
        })
        .await;
    assert!(
        matches!(refused, Err(DatabaseError::ReadOnly)),
        "{refused:?}"
    );
    assert!(place.notes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_read_costs_no_connection() {
    let place = Place::with_notes();
    let database = place.open_with(DatabaseOptions {
        readers: 1,
        ..Default::default()
    });
    for _ in 0..3 {
        let read = database.read("panics", |_| -> Result<(), DatabaseError> { panic!("so") });
        assert!(matches!(read.await, Err(DatabaseError::Panicked)));
    }
    let found = database
        .read("notes", |c| Ok::<_, DatabaseError>(notes(c)))
        .await
        .unwrap();
    assert!(found.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_a_connection_within_a_limit() {
    let place = Place::with_notes();
    let options = DatabaseOptions {
        readers: 1,
        read_wait_ms: 20,
        read_long_ms: 0,
        ..Default::default()
    };
    let database = place.open_with(options);
    let (go_on, may_go_on) = mpsc::channel();
    let (began, has_begun) = mpsc::channel();
    let own = database.clone();
    let mut reads = JoinSet::new();
    reads.spawn(async move {
        own.read("holds", move |_| {
            began.send(()).unwrap();
            may_go_on.recv_timeout(PATIENCE).unwrap();
            Ok::<_, DatabaseError>(())
        })
        .await
    });
    until("the read has begun", || has_begun.try_recv().is_ok()).await;
    let second = database.read("waits", |_| Ok::<_, DatabaseError>(())).await;
    assert!(
        matches!(second, Err(DatabaseError::Overloaded)),
        "{second:?}"
    );
    go_on.send(()).unwrap();
    reads.join_next().await.unwrap().unwrap().unwrap();
    database
        .read("again", |_| Ok::<_, DatabaseError>(()))
        .await
        .unwrap();
    assert!(database.stats().reads_long >= 1);
}
