//! How operations begin: once for each id of a caller, with places of their own
//! for those of a library.

use std::sync::Arc;

use service_kit::operations::{
    Begun, LIBRARY_OPERATIONS_RUNNING_MAX, LibraryReport, NewOperation, OPERATIONS_RUNNING_MAX,
    OperationCaller, OperationError, OperationKind, OperationResult, OperationState, Operations,
    Steps, Unfinished,
};
use service_kit::status::Failure;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tonic::Code;

use crate::administration::administered;
use crate::harness::soon;

pub(crate) fn new(kind: OperationKind, content: &str, request_id: Option<&str>) -> NewOperation {
    NewOperation {
        kind,
        target: "the shelf".to_owned(),
        request_json: content.to_owned(),
        caller: OperationCaller::default(),
        request_id: request_id.map(str::to_owned),
    }
}

/// Work that goes on until it is stopped.
pub(crate) async fn until_stopped(steps: Steps) -> Result<OperationResult, Unfinished> {
    steps.cancelled().await;
    Err(Unfinished::Stopped)
}

async fn at_once(_: Steps) -> Result<OperationResult, Unfinished> {
    Ok(OperationResult::Library(LibraryReport::default()))
}

async fn scan(operations: &Operations, content: &str) -> Result<Begun, OperationError> {
    let new = new(OperationKind::Scan, content, Some("nightly"));
    soon(operations.begin(new, until_stopped)).await
}

#[tokio::test]
async fn the_same_call_finds_the_first_and_another_with_its_id_is_refused() {
    let all = administered().await;
    let first = scan(&all.operations, r#"{"root": "a", "deep": true}"#).await;
    let first = first.unwrap();
    assert!(!first.repeated);
    let id = first.follow.now().id;
    let again = scan(&all.operations, r#"{"deep": true, "root": "a"}"#).await;
    let again = again.unwrap();
    assert!(again.repeated);
    assert_eq!(again.follow.now().id, id);
    let other = scan(&all.operations, r#"{"root": "b", "deep": true}"#).await;
    let other = Failure::from(other.unwrap_err());
    assert_eq!(other.code(), Code::AlreadyExists);
    assert_eq!(other.reason(), "REQUEST_ID_REUSED");
    assert!(other.message().contains("request_id"), "{other}");
    // Of another kind it is another id.
    let download = new(OperationKind::Download, "{}", Some("nightly"));
    let download = all.operations.begin(download, at_once).await.unwrap();
    assert!(!download.repeated);
    // When it has ended, it is the same still.
    all.operations.cancel(&id).await.unwrap();
    soon(first.follow.end()).await.unwrap();
    let later = scan(&all.operations, r#"{"root": "a", "deep": true}"#).await;
    let later = later.unwrap();
    assert!(later.repeated);
    assert_eq!(later.follow.now().state, OperationState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_moment_follow_one_operation_to_its_end() {
    let all = administered().await;
    for round in 0..50 {
        let id = round.to_string();
        let calls = (0..8).map(|_| {
            let operations = all.operations.clone();
            let new = new(OperationKind::Scan, "{}", Some(&id));
            TaskTracker::new().spawn(async move {
                let begun = operations.begin(new, at_once).await.unwrap();
                (begun.repeated, begun.follow.end().await.unwrap())
            })
        });
        let calls: Vec<_> = calls.collect();
        let mut ids = Vec::new();
        let mut firsts = 0;
        for call in calls {
            let (repeated, ended) = soon(call).await.unwrap();
            firsts += usize::from(!repeated);
            assert_eq!(ended.state, OperationState::Succeeded);
            ids.push(ended.id);
        }
        ids.dedup();
        assert_eq!((ids.len(), firsts), (1, 1));
    }
}

#[tokio::test]
async fn operations_of_a_library_have_places_of_their_own() {
    let all = administered().await;
    let begin = |kind, id: Option<&str>| all.operations.begin(new(kind, "{}", id), until_stopped);
    for number in 0..LIBRARY_OPERATIONS_RUNNING_MAX {
        let id = number.to_string();
        begin(OperationKind::Hashing, Some(&id)).await.unwrap();
    }
    let refused = begin(OperationKind::Scan, None).await.unwrap_err();
    assert!(
        matches!(
            refused,
            OperationError::TooMany(LIBRARY_OPERATIONS_RUNNING_MAX)
        ),
        "{refused}"
    );
    // A repeated call needs no place.
    assert!(
        begin(OperationKind::Hashing, Some("7"))
            .await
            .unwrap()
            .repeated
    );
    for _ in 0..OPERATIONS_RUNNING_MAX {
        begin(OperationKind::Optimize, None).await.unwrap();
    }
    let refused = begin(OperationKind::Optimize, None).await.unwrap_err();
    assert!(matches!(
        refused,
        OperationError::TooMany(OPERATIONS_RUNNING_MAX)
    ));
    all.port.shutdown.begin();
}

#[tokio::test]
async fn what_is_refused_at_the_door_is_no_operation_and_gives_back_what_it_took() {
    let all = administered().await;
    let door = Arc::new(Semaphore::new(1));
    let begin = |id: &'static str| {
        let door = Arc::clone(&door);
        let admit = move || {
            let place = Arc::clone(&door).try_acquire_owned();
            place.map_err(|_| Failure::precondition("SHELF_TAKEN", "shelf", "wait for it"))
        };
        let work = |place, steps| async move {
            let done = until_stopped(steps).await;
            drop(place);
            done
        };
        let new = new(OperationKind::Scan, "{}", Some(id));
        soon(all.operations.begin_if(new, admit, work))
    };
    let first = begin("one").await.unwrap();
    assert!(begin("one").await.unwrap().repeated);
    let refused = Failure::from(begin("two").await.unwrap_err());
    assert_eq!(refused.reason(), "SHELF_TAKEN");
    let id = first.follow.now().id;
    all.operations.cancel(&id).await.unwrap();
    soon(first.follow.end()).await.unwrap();
    assert!(!begin("two").await.unwrap().repeated);
    all.port.shutdown.begin();
}
