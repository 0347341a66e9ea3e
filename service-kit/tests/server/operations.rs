//! Operations over a real port and a real database: they go on without their
//! callers, are followed to their ends, and are cancelled.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use service_kit::operations::{
    NewOperation, OPERATION_WATCHES_MAX, OPERATIONS_RUNNING_MAX, OperationCaller, OperationKind,
    OperationResult, OptimizedDatabase, Unfinished,
};
use service_kit::status::{Failure, reason_of, retry_delay_of};
use stablequeue_proto::admin::v1::*;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use crate::administration::{Administered, administered};
use crate::administration_upkeep::write;
use crate::harness::{BOUND, soon};

const SECOND: Duration = Duration::from_secs(1);

/// What a test lets a piece of work do next.
pub(crate) enum Order {
    /// Say that so many of ten files are done.
    Reach(u64),
    Succeed,
    Fail,
    Panic,
}

/// Begins work that does as it is told.
pub(crate) async fn begun(all: &Administered) -> (String, mpsc::UnboundedSender<Order>) {
    let (sender, mut orders) = mpsc::unbounded_channel();
    let new = NewOperation {
        kind: OperationKind::Optimize,
        target: "the cellar".to_owned(),
        request_json: "{}".to_owned(),
        caller: OperationCaller::default(),
        request_id: None,
    };
    let begun = all.operations.begin(new, |steps| async move {
        loop {
            let go_on = match orders.recv().await {
                Some(Order::Reach(done)) => steps.reach(done, 10, "files"),
                Some(Order::Succeed) => {
                    return Ok(OperationResult::OptimizedDatabase(OptimizedDatabase {
                        size_bytes: 7,
                        wal_pages: 0,
                        checkpointed_pages: 0,
                    }));
                }
                Some(Order::Fail) => {
                    let failure = Failure::precondition("CELLAR_WET", "cellar", "dry it first");
                    return Err(failure.into());
                }
                Some(Order::Panic) => panic!("on purpose"),
                None => steps.pass(),
            };
            if go_on == ControlFlow::Break(()) {
                return Err(Unfinished::Stopped);
            }
        }
    });
    (begun.await.unwrap().follow.now().id, sender)
}

pub(crate) async fn get(all: &mut Administered, id: &str) -> Operation {
    let request = GetOperationRequest {
        operation_id: id.to_owned(),
    };
    let got = soon(all.operations_client.get_operation(request)).await;
    got.unwrap().into_inner().operation.unwrap()
}

/// Asks until it is so.
pub(crate) async fn until(
    all: &mut Administered,
    id: &str,
    so: impl Fn(&Operation) -> bool,
) -> Operation {
    let started = Instant::now();
    loop {
        let operation = get(all, id).await;
        if so(&operation) {
            return operation;
        }
        assert!(started.elapsed() < BOUND, "{operation:#?}");
        tokio::task::yield_now().await;
    }
}

/// The operation at its end.
pub(crate) async fn ended(all: &mut Administered, id: &str) -> Operation {
    let request = WaitOperationRequest {
        operation_id: id.to_owned(),
        timeout: None,
    };
    let waited = soon(all.operations_client.wait_operation(request)).await;
    waited.unwrap().into_inner().operation.unwrap()
}

async fn watch(
    all: &mut Administered,
    id: &str,
) -> Result<Streaming<WatchOperationResponse>, Status> {
    let request = WatchOperationRequest {
        operation_id: id.to_owned(),
    };
    Ok(soon(all.operations_client.watch_operation(request))
        .await?
        .into_inner())
}

async fn next(stream: &mut Streaming<WatchOperationResponse>) -> Operation {
    let message = soon(stream.message()).await.unwrap();
    message.unwrap().operation.unwrap()
}

pub(crate) async fn cancel(all: &mut Administered, id: &str) -> Operation {
    let request = CancelOperationRequest {
        operation_id: id.to_owned(),
    };
    let asked = soon(all.operations_client.cancel_operation(request)).await;
    asked.unwrap().into_inner().operation.unwrap()
}

#[tokio::test]
async fn an_operation_is_shown_from_its_beginning_to_its_end() {
    let mut all = administered().await;
    let (id, orders) = begun(&all).await;
    let running = get(&mut all, &id).await;
    assert_eq!(running.state(), OperationState::Running);
    assert_eq!(
        running.kind(),
        stablequeue_proto::admin::v1::OperationKind::Optimize
    );
    assert_eq!((&*running.target, &*running.caller), ("the cellar", ""));
    assert_eq!((running.starts, &running.progress), (1, &None));
    assert!(running.end_time.is_none() && running.error.is_none());
    all.hand.advance(SECOND);
    orders.send(Order::Reach(3)).unwrap();
    let moved = until(&mut all, &id, |operation| operation.progress.is_some()).await;
    let progress = moved.progress.unwrap();
    assert_eq!((progress.done, progress.total), (3, 10));
    assert_eq!(progress.unit, "files");
    assert_eq!(moved.update_time.unwrap().seconds, 1);
    orders.send(Order::Succeed).unwrap();
    let done = ended(&mut all, &id).await;
    assert_eq!(done.state(), OperationState::Succeeded);
    assert_eq!(done.end_time.unwrap().seconds, 1);
    assert_eq!(done.create_time.unwrap().seconds, 0);
    let Some(operation::Result::OptimizedDatabase(result)) = &done.result else {
        panic!("{done:#?}");
    };
    assert_eq!(result.size_bytes, 7);
    // From the row it is the same as from memory.
    assert_eq!(get(&mut all, &id).await, done);
}

#[tokio::test]
async fn work_that_fails_or_panics_says_so_and_is_over() {
    let mut all = administered().await;
    let (id, orders) = begun(&all).await;
    orders.send(Order::Fail).unwrap();
    let failed = ended(&mut all, &id).await;
    assert_eq!(failed.state(), OperationState::Failed);
    let error = failed.error.clone().unwrap();
    assert_eq!(
        (&*error.reason, &*error.message),
        ("CELLAR_WET", "dry it first")
    );
    assert_eq!(get(&mut all, &id).await, failed);
    let (id, orders) = begun(&all).await;
    orders.send(Order::Panic).unwrap();
    let failed = ended(&mut all, &id).await;
    assert_eq!(failed.error.unwrap().reason, "INTERNAL");
}

#[tokio::test]
async fn a_watch_tells_how_it_moves_at_most_twice_a_second_and_ends_with_it() {
    let mut all = administered().await;
    let (id, orders) = begun(&all).await;
    let mut stream = watch(&mut all, &id).await.unwrap();
    assert!(next(&mut stream).await.progress.is_none());
    for (sent, told) in [([1, 2], 2), ([3, 4], 4)] {
        for done in sent {
            orders.send(Order::Reach(done)).unwrap();
        }
        let so = |operation: &Operation| {
            let progress = operation.progress.as_ref();
            progress.is_some_and(|progress| progress.done == told)
        };
        until(&mut all, &id, so).await;
        all.hand.advance(SECOND / 2);
        let progress = next(&mut stream).await.progress.unwrap();
        assert_eq!(progress.done, told);
    }
    // Nothing more comes within the half second.
    orders.send(Order::Reach(5)).unwrap();
    until(&mut all, &id, |it| it.progress.as_ref().unwrap().done == 5).await;
    let early = futures_util::FutureExt::now_or_never(stream.message());
    assert!(early.is_none(), "{early:?}");
    orders.send(Order::Succeed).unwrap();
    ended(&mut all, &id).await;
    all.hand.advance(SECOND / 2);
    assert_eq!(next(&mut stream).await.state(), OperationState::Succeeded);
    assert!(soon(stream.message()).await.unwrap().is_none());
    // Of one that has ended there is one message.
    let mut stream = watch(&mut all, &id).await.unwrap();
    assert_eq!(next(&mut stream).await.state(), OperationState::Succeeded);
    assert!(soon(stream.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_wait_ends_with_its_time_and_answers_what_there_is() {
    let all = administered().await;
    let (id, orders) = begun(&all).await;
    let wait = |seconds| WaitOperationRequest {
        operation_id: id.clone(),
        timeout: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    let mut client = all.operations_client.clone();
    let waiting = client.wait_operation(wait(600));
    let later = async {
        // The tick of the operation, and the wait.
        all.hand.wait_for_waiters(2).await;
        all.hand.advance(600 * SECOND);
    };
    let (waited, ()) = soon(futures_util::future::join(waiting, later)).await;
    let operation = waited.unwrap().into_inner().operation.unwrap();
    assert_eq!(operation.state(), OperationState::Running);
    let waited = soon(client.wait_operation(wait(0))).await.unwrap();
    let operation = waited.into_inner().operation.unwrap();
    assert!(operation.end_time.is_none());
    orders.send(Order::Succeed).unwrap();
    let waited = soon(client.wait_operation(wait(600))).await.unwrap();
    let operation = waited.into_inner().operation.unwrap();
    assert!(operation.end_time.is_some());
}

#[tokio::test]
async fn a_cancelled_operation_ends_at_its_next_step_and_stays_cancelled() {
    let mut all = administered().await;
    let (id, orders) = begun(&all).await;
    let asked = cancel(&mut all, &id).await;
    assert_eq!(asked.cancel_requested_time.unwrap().seconds, 0);
    all.hand.advance(SECOND);
    // Again changes nothing.
    let again = cancel(&mut all, &id).await;
    assert_eq!(again.cancel_requested_time, asked.cancel_requested_time);
    orders.send(Order::Reach(1)).unwrap();
    let cancelled = ended(&mut all, &id).await;
    assert_eq!(cancelled.state(), OperationState::Cancelled);
    assert!(cancelled.end_time.is_some() && cancelled.error.is_none());
    assert_eq!(cancel(&mut all, &id).await, cancelled);
    let (id, orders) = begun(&all).await;
    orders.send(Order::Succeed).unwrap();
    let done = ended(&mut all, &id).await;
    assert_eq!(cancel(&mut all, &id).await, done);
}

#[tokio::test]
async fn so_many_run_at_once_and_one_more_is_refused_until_one_has_ended() {
    let mut all = administered().await;
    let mut running = Vec::new();
    for _ in 0..OPERATIONS_RUNNING_MAX {
        running.push(begun(&all).await);
    }
    let refused = soon(all.client.optimize(OptimizeRequest::default())).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&refused).as_deref(), Some("TOO_MANY_OPERATIONS"));
    assert!(retry_delay_of(&refused).is_some());
    let (id, orders) = running.pop().unwrap();
    orders.send(Order::Succeed).unwrap();
    ended(&mut all, &id).await;
    soon(all.client.optimize(OptimizeRequest::default()))
        .await
        .unwrap();
}

#[tokio::test]
async fn so_many_watch_at_once_and_one_more_is_refused_until_one_has_left() {
    let mut all = administered().await;
    let (id, _orders) = begun(&all).await;
    let mut streams = Vec::new();
    for _ in 0..OPERATION_WATCHES_MAX {
        streams.push(watch(&mut all, &id).await.unwrap());
    }
    let refused = watch(&mut all, &id).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&refused).as_deref(), Some("TOO_MANY_WATCHES"));
    streams.pop();
    let started = Instant::now();
    while watch(&mut all, &id).await.is_err() {
        assert!(started.elapsed() < BOUND, "the place is not given back");
    }
}

#[tokio::test]
async fn how_far_it_is_is_noted_in_its_row_once_a_second_and_its_end_at_once() {
    let mut all = administered().await;
    let (id, orders) = begun(&all).await;
    orders.send(Order::Reach(4)).unwrap();
    until(&mut all, &id, |operation| operation.progress.is_some()).await;
    assert_eq!(row(&all, "progress_done").await, None);
    all.hand.advance(SECOND);
    let started = Instant::now();
    while row(&all, "progress_done").await != Some(4) {
        assert!(started.elapsed() < BOUND, "it is not noted");
        tokio::task::yield_now().await;
    }
    orders.send(Order::Reach(9)).unwrap();
    orders.send(Order::Succeed).unwrap();
    ended(&mut all, &id).await;
    assert_eq!(row(&all, "progress_done").await, Some(9));
}

/// A number in the only row.
async fn row(all: &Administered, column: &'static str) -> Option<i64> {
    use diesel::RunQueryDsl as _;
    use diesel::sql_types::{BigInt, Nullable};
    let read = move |connection: &mut diesel::SqliteConnection| {
        let query = format!("(SELECT {column} FROM operations)");
        diesel::select(diesel::dsl::sql::<Nullable<BigInt>>(&query))
            .get_result(connection)
            .map_err(service_kit::database::DatabaseError::from)
    };
    all.database.read("test", read).await.unwrap()
}

#[tokio::test]
async fn the_newest_thousand_that_ended_are_kept_and_those_that_run() {
    let mut all = administered().await;
    let fill = "INSERT INTO operations (id, kind, state, created_at, updated_at, ended_at) \
                SELECT printf('00000000-0000-7000-8000-%012d', v), 'optimize', 'succeeded', \
                '1969-01-01T00:00:00.000Z', '1969-01-01T00:00:00.000Z', \
                printf('1969-01-01T00:00:%06.3fZ', v / 1000.0) FROM \
                (WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n LIMIT 1000) \
                SELECT v FROM n); \
                INSERT INTO operations (id, kind, state, created_at, updated_at) VALUES \
                ('00000000-0000-7000-8000-00000000ffff', 'moon walk', 'running', \
                '1968-01-01T00:00:00.000Z', '1968-01-01T00:00:00.000Z')";
    write(&all, fill.to_owned()).await;
    soon(all.client.optimize(OptimizeRequest::default()))
        .await
        .unwrap();
    assert_eq!(row(&all, "count(*)").await, Some(1001));
    let gone = GetOperationRequest {
        operation_id: "00000000-0000-7000-8000-000000000001".to_owned(),
    };
    let gone = soon(all.operations_client.get_operation(gone)).await;
    let gone = gone.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert_eq!(reason_of(&gone).as_deref(), Some("OPERATION_NOT_FOUND"));
    assert!(gone.message().contains("ListOperations"), "{gone:?}");
    get(&mut all, "00000000-0000-7000-8000-000000000002").await;
    get(&mut all, "00000000-0000-7000-8000-00000000ffff").await;
}
