//! What callers may ask of operations, and those of AdminService: lists, pages,
//! faults, backups in the background, repeated calls.

use std::time::Duration;

use service_kit::status::reason_of;
use stablequeue_proto::admin::v1::*;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::administration::{Administered, administered};
use crate::administration_upkeep::write;
use crate::harness::soon;
use crate::operations::{Order, begun, cancel, ended, get, until};

/// More than a few steps of a copy.
const LARGE: &str = "INSERT INTO notes VALUES (zeroblob(32000000))";

fn backup(background: bool, request_id: &str) -> CreateBackupRequest {
    CreateBackupRequest {
        background,
        request_id: request_id.to_owned(),
    }
}

async fn create(all: &mut Administered, request: CreateBackupRequest) -> CreateBackupResponse {
    let made = soon(all.client.create_backup(request)).await;
    made.unwrap().into_inner()
}

async fn listed(all: &mut Administered, request: ListOperationsRequest) -> ListOperationsResponse {
    let listed = soon(all.operations_client.list_operations(request)).await;
    listed.unwrap().into_inner()
}

fn ids(page: &ListOperationsResponse) -> Vec<&str> {
    let operations = page.operations.iter();
    operations.map(|each| &*each.operation_id).collect()
}

/// The files of the folder that are or were to become backups.
fn files(all: &Administered) -> Vec<String> {
    let entries = std::fs::read_dir(all.folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("_backup_")).collect()
}

#[tokio::test]
async fn a_backup_in_the_background_is_answered_at_once_and_made_without_its_caller() {
    let mut all = administered().await;
    write(&all, LARGE.to_owned()).await;
    let begun = create(&mut all, backup(true, "")).await;
    assert!(begun.backup.is_none());
    let operation = begun.operation.unwrap();
    assert_eq!(operation.state(), OperationState::Running);
    assert_eq!(operation.caller, "anonymous");
    // It is the one backup that may be made.
    let refused = soon(all.client.create_backup(backup(true, ""))).await;
    let refused = refused.unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some("BACKUP_RUNNING"));
    let done = ended(&mut all, &operation.operation_id).await;
    assert_eq!(done.state(), OperationState::Succeeded);
    let progress = done.progress.unwrap();
    assert_eq!((progress.done, &*progress.unit), (progress.total, "bytes"));
    let Some(operation::Result::Backup(made)) = done.result else {
        panic!("{:#?}", done.result);
    };
    assert_eq!(files(&all), [made.name]);
}

#[tokio::test]
async fn what_is_asked_of_administration_comes_with_its_operation() {
    let mut all = administered().await;
    let made = create(&mut all, backup(false, "")).await;
    let operation = made.operation.unwrap();
    assert_eq!(operation.kind(), OperationKind::CreateBackup);
    let result = made.backup.clone().map(operation::Result::Backup);
    assert_eq!(operation.result, result);
    let name = made.backup.unwrap().name;
    for background in [false, true] {
        let request = VerifyBackupRequest {
            name: name.clone(),
            background,
        };
        let checked = soon(all.client.verify_backup(request)).await;
        let checked = checked.unwrap().into_inner();
        assert_eq!(checked.backup.is_none(), background);
        let operation = checked.operation.unwrap();
        assert_eq!(operation.target, name);
        let done = ended(&mut all, &operation.operation_id).await;
        let Some(operation::Result::CheckedBackup(result)) = done.result else {
            panic!("{done:#?}");
        };
        assert_eq!(result.schema_version, "0001");
    }
    let request = OptimizeRequest { background: true };
    let optimized = soon(all.client.optimize(request)).await.unwrap();
    let optimized = optimized.into_inner();
    assert_eq!(optimized.size_bytes, 0);
    let id = optimized.operation.unwrap().operation_id;
    let done = ended(&mut all, &id).await;
    assert_eq!(done.state(), OperationState::Succeeded);
    // What can be told at the door is no operation.
    let request = VerifyBackupRequest {
        name: "notes.sqlite".to_owned(),
        background: true,
    };
    let refused = soon(all.client.verify_backup(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let all_of_them = listed(&mut all, ListOperationsRequest::default()).await;
    assert_eq!(all_of_them.operations.len(), 4);
}

#[tokio::test]
async fn a_backup_that_failed_is_told_to_the_caller_and_in_its_operation() {
    let mut all = administered().await;
    let made = create(&mut all, backup(false, "")).await.backup.unwrap();
    let file = all.folder.path().join(&made.name);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100..].fill(0xa5);
    std::fs::write(file, bytes).unwrap();
    let request = VerifyBackupRequest {
        name: made.name.clone(),
        ..VerifyBackupRequest::default()
    };
    let bad = soon(all.client.verify_backup(request)).await.unwrap_err();
    assert_eq!(reason_of(&bad).as_deref(), Some("BACKUP_NOT_GOOD"));
    assert!(bad.get_details_precondition_failure().is_some());
    let failed = ListOperationsRequest {
        states: vec![OperationState::Failed.into()],
        ..ListOperationsRequest::default()
    };
    let failed = listed(&mut all, failed).await.operations;
    assert_eq!(failed.len(), 1);
    let error = failed[0].error.clone().unwrap();
    assert_eq!(error.reason, "BACKUP_NOT_GOOD");
    assert_eq!(error.message, bad.message());
}

#[tokio::test]
async fn a_backup_is_cancelled_in_the_middle_and_leaves_no_file() {
    let mut all = administered().await;
    write(&all, LARGE.to_owned()).await;
    let begun = create(&mut all, backup(true, "nightly")).await;
    let id = begun.operation.unwrap().operation_id;
    let moved = |operation: &Operation| {
        let progress = operation.progress.as_ref();
        progress.is_some_and(|progress| progress.done > 0)
    };
    until(&mut all, &id, moved).await;
    cancel(&mut all, &id).await;
    let cancelled = ended(&mut all, &id).await;
    assert_eq!(
        cancelled.state(),
        OperationState::Cancelled,
        "{cancelled:#?}"
    );
    let progress = cancelled.progress.unwrap();
    assert!(progress.done < progress.total, "{progress:?}");
    assert_eq!(files(&all), [""; 0]);
    // A repeated call learns that; another makes one.
    let repeated = soon(all.client.create_backup(backup(false, "nightly"))).await;
    let repeated = repeated.unwrap_err();
    assert_eq!(reason_of(&repeated).as_deref(), Some("OPERATION_CANCELLED"));
    let made = create(&mut all, backup(false, "")).await.backup.unwrap();
    assert_eq!(files(&all), [made.name]);
}

#[tokio::test]
async fn a_repeated_backup_is_the_same_one_while_it_runs_and_when_it_is_done() {
    let mut all = administered().await;
    write(&all, LARGE.to_owned()).await;
    let first = create(&mut all, backup(true, "nightly")).await;
    let id = first.operation.unwrap().operation_id;
    let again = create(&mut all, backup(true, "nightly")).await;
    assert_eq!(again.operation.unwrap().operation_id, id);
    let waited = create(&mut all, backup(false, "nightly")).await;
    let made = waited.backup.unwrap();
    let operation = waited.operation.unwrap();
    assert_eq!(operation.operation_id, id);
    all.hand.advance(Duration::from_secs(3600));
    let later = create(&mut all, backup(true, "nightly")).await;
    assert_eq!(later.backup.as_ref(), Some(&made));
    assert_eq!(later.operation, Some(operation));
    assert_eq!(files(&all), std::slice::from_ref(&made.name));
    let other = create(&mut all, backup(false, "weekly")).await;
    assert_ne!(other.backup, Some(made));
    for wrong in ["x".repeat(129), "a\n".to_owned(), "ä".to_owned()] {
        let refused = soon(all.client.create_backup(backup(true, &wrong))).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("request_id: "), "{refused:?}");
    }
}

#[tokio::test]
async fn operations_are_listed_newest_first_by_state_and_kind_a_page_at_a_time() {
    let mut all = administered().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let backup = create(&mut all, backup(false, "")).await;
        made.insert(0, backup.operation.unwrap().operation_id);
        all.hand.advance(Duration::from_secs(1));
    }
    let (running, orders) = begun(&all).await;
    orders.send(Order::Reach(1)).unwrap();
    until(&mut all, &running, |it| it.progress.is_some()).await;
    let every = [vec![running.clone()], made.clone()].concat();
    let any = ListOperationsRequest::default;
    let page = listed(&mut all, any()).await;
    assert_eq!(ids(&page), every);
    assert_eq!(page.next_page_token, "");
    assert_eq!(page.operations[0], get(&mut all, &running).await);
    let of_kind = ListOperationsRequest {
        kinds: vec![OperationKind::CreateBackup.into()],
        states: vec![
            OperationState::Succeeded.into(),
            OperationState::Failed.into(),
        ],
        page_size: 2,
        ..any()
    };
    let first = listed(&mut all, of_kind.clone()).await;
    assert_eq!(ids(&first), made[..2]);
    let next = ListOperationsRequest {
        page_token: first.next_page_token.clone(),
        ..of_kind
    };
    let second = listed(&mut all, next.clone()).await;
    assert_eq!(ids(&second), made[2..]);
    assert_eq!(second.next_page_token, "");
    let other = ListOperationsRequest {
        kinds: Vec::new(),
        ..next
    };
    let refused = soon(all.operations_client.list_operations(other)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("page_token: "), "{refused:?}");
    let running_ones = ListOperationsRequest {
        states: vec![OperationState::Running.into()],
        ..any()
    };
    assert_eq!(ids(&listed(&mut all, running_ones).await), [&*running]);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_with_the_remedy() {
    let mut all = administered().await;
    let operation_id = "nightly".to_owned();
    let client = &mut all.operations_client;
    let wait = WaitOperationRequest {
        operation_id: operation_id.clone(),
        timeout: Some(prost_types::Duration {
            seconds: 601,
            nanos: 0,
        }),
    };
    let wait = soon(client.wait_operation(wait)).await.unwrap_err();
    let faults = wait.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = faults.iter().map(|fault| &*fault.field).collect();
    assert_eq!(fields, ["operation_id", "timeout"]);
    assert!(faults[0].description.contains("ListOperations"));
    assert!(faults[1].description.contains("10 minutes"));
    let list = ListOperationsRequest {
        states: vec![77],
        ..ListOperationsRequest::default()
    };
    let list = soon(client.list_operations(list)).await.unwrap_err();
    assert_eq!(list.code(), Code::InvalidArgument);
    assert!(list.message().contains("states[0]"), "{list:?}");
    assert!(
        list.message().contains("OPERATION_STATE_RUNNING"),
        "{list:?}"
    );
    let operation_id = "0193530e-0000-7000-8000-000000000000".to_owned();
    let cancel = CancelOperationRequest {
        operation_id: operation_id.clone(),
    };
    let cancel = soon(client.cancel_operation(cancel)).await.unwrap_err();
    let watch = WatchOperationRequest { operation_id };
    let watch = soon(client.watch_operation(watch)).await.unwrap_err();
    for missing in [cancel, watch] {
        assert_eq!(missing.code(), Code::NotFound);
        assert_eq!(reason_of(&missing).as_deref(), Some("OPERATION_NOT_FOUND"));
    }
}
