//! Operations while something is in their way: a writer that is busy, a disk
//! that is full, places that are taken, a service that is stopped again and again.

use std::time::Instant;

use service_kit::database::DatabaseError;
use service_kit::operations::{
    LIBRARY_OPERATIONS_RUNNING_MAX, OPERATION_STARTS_MAX, OperationKind,
};
use stablequeue_proto::admin::v1::OperationState;
use tokio_util::task::TaskTracker;

use crate::administration::administered;
use crate::administration_upkeep::write;
use crate::harness::{BOUND, soon};
use crate::operations::{Order, begun, ended, get, until};
use crate::operations_begun::{new, until_stopped};
use crate::operations_taken_up::restarted;

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_while_a_note_of_its_progress_waits_for_the_writer() {
    let mut all = administered().await;
    let (id, orders) = begun(&all).await;
    let (entered, inside) = std::sync::mpsc::channel();
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let database = all.database.clone();
    let held = TaskTracker::new().spawn(async move {
        let hold = move |_: &mut diesel::SqliteConnection| {
            entered.send(()).unwrap();
            left.recv().unwrap();
            Ok::<_, DatabaseError>(())
        };
        database.write("hold", hold).await
    });
    tokio::task::spawn_blocking(move || inside.recv_timeout(BOUND).unwrap())
        .await
        .unwrap();
    let at = |done| {
        move |operation: &stablequeue_proto::admin::v1::Operation| {
            let progress = operation.progress.as_ref();
            progress.is_some_and(|progress| progress.done == done)
        }
    };
    orders.send(Order::Reach(1)).unwrap();
    until(&mut all, &id, at(1)).await;
    all.hand.advance(std::time::Duration::from_secs(1));
    let started = Instant::now();
    while all.database.stats().queue_length == 0 {
        assert!(started.elapsed() < BOUND, "nothing is noted");
        tokio::task::yield_now().await;
    }
    orders.send(Order::Reach(2)).unwrap();
    until(&mut all, &id, at(2)).await;
    leave.send(()).unwrap();
    held.await.unwrap().unwrap();
    orders.send(Order::Succeed).unwrap();
    let done = ended(&mut all, &id).await;
    assert_eq!(done.state(), OperationState::Succeeded);
}

#[tokio::test]
async fn work_is_told_to_end_though_the_wish_cannot_be_written() {
    let mut all = administered().await;
    let full = "CREATE TRIGGER full BEFORE UPDATE ON operations WHEN NEW.state = 'running' \
                BEGIN SELECT raise(ABORT, 'no space'); END";
    write(&all, full.to_owned()).await;
    let begun = all
        .operations
        .begin(new(OperationKind::Scan, "{}", None), until_stopped)
        .await
        .unwrap();
    let id = begun.follow.now().id;
    soon(all.operations.cancel(&id)).await.unwrap_err();
    let over = soon(begun.follow.end()).await.unwrap();
    assert!(over.cancel_requested_at.is_some());
    let over = get(&mut all, &id).await;
    assert_eq!(over.state(), OperationState::Cancelled);
    assert!(over.cancel_requested_time.is_some());
}

#[tokio::test]
async fn stops_in_order_do_not_count_as_starts() {
    let mut all = administered().await;
    let content = r#"{"roots": ["a", "b"]}"#;
    let begun = all
        .operations
        .begin(new(OperationKind::Scan, content, None), until_stopped)
        .await
        .unwrap();
    let id = begun.follow.now().id;
    for _ in 0..=OPERATION_STARTS_MAX {
        all = restarted(all).await;
        let mut taken = all
            .operations
            .take_up(&[OperationKind::Scan])
            .await
            .unwrap();
        let taken = taken.pop().unwrap();
        assert_eq!(taken.request(), content);
        all.operations.resume(taken, until_stopped);
        let running = get(&mut all, &id).await;
        assert_eq!(running.state(), OperationState::Running);
        assert_eq!(running.starts, 1);
    }
}

#[tokio::test]
async fn one_that_waits_for_a_place_after_a_start_can_be_cancelled() {
    let all = administered().await;
    for number in 0..=LIBRARY_OPERATIONS_RUNNING_MAX {
        let row = format!(
            "INSERT INTO operations (id, kind, state, created_at, updated_at, epoch, starts) \
             SELECT '00000000-0000-7000-8000-00000000000{number}', 'hashing', 'running', \
             '1969-01-01T00:00:00.000Z', '1969-01-01T00:00:00.000Z', value, 1 \
             FROM stablequeue_meta WHERE key = 'epoch'"
        );
        write(&all, row).await;
    }
    let taken = all.operations.take_up(&[OperationKind::Hashing]).await;
    let taken = taken.unwrap();
    assert_eq!(taken.len(), LIBRARY_OPERATIONS_RUNNING_MAX + 1);
    for taken in taken {
        all.operations.resume(taken, until_stopped);
    }
    for number in (0..=LIBRARY_OPERATIONS_RUNNING_MAX).rev() {
        let id = format!("00000000-0000-7000-8000-00000000000{number}");
        all.operations.cancel(&id).await.unwrap();
        let follow = all.operations.follow(&id).await.unwrap();
        let over = soon(follow.end()).await.unwrap();
        assert_eq!(over.state.as_str(), "cancelled");
    }
}
