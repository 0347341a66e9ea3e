//! What becomes of operations when the service stops, and at its next start.

use service_kit::operations::{OPERATION_STARTS_MAX, Operations};
use service_kit::shutdown::Shutdown;
use service_kit::status::reason_of;
use stablequeue_proto::admin::v1::*;
use tempfile::TempDir;
use tonic::Code;

use crate::administration::{Administered, administered, administered_in};
use crate::administration_upkeep::write;
use crate::harness::{BOUND, soon};
use crate::operations::{Order, begun, cancel, ended, get};

pub(crate) const ID: &str = "00000000-0000-7000-8000-000000000001";

/// A row that an earlier process left running.
fn left(kind: &str, more: &str, values: &str) -> String {
    format!(
        "INSERT INTO operations (id, kind, state, created_at, updated_at, epoch{more}) \
         SELECT '{ID}', '{kind}', 'running', '1969-01-01T00:00:00.000Z', \
         '1969-01-01T00:00:00.000Z', value{values} FROM stablequeue_meta WHERE key = 'epoch'"
    )
}

/// Ends the service in order and starts it again in its folder.
pub(crate) async fn restarted(all: Administered) -> Administered {
    let folder = stopped(all).await;
    administered_in(folder).await
}

async fn stopped(all: Administered) -> TempDir {
    let Administered {
        port,
        database,
        folder,
        ..
    } = all;
    assert_eq!(port.shutdown.wait(BOUND).await, Ok(()));
    // Calls that were cut have told so themselves.
    let _ = port.handle.finished().await;
    database.close().await.unwrap();
    folder
}

#[tokio::test]
async fn a_stop_leaves_it_running_and_those_who_follow_it_are_told() {
    let mut all = administered().await;
    let (id, orders) = begun(&all).await;
    let request = WatchOperationRequest {
        operation_id: id.clone(),
    };
    let stream = soon(all.operations_client.watch_operation(request)).await;
    let mut stream = stream.unwrap().into_inner();
    soon(stream.message()).await.unwrap();
    let mut client = all.operations_client.clone();
    let request = WaitOperationRequest {
        operation_id: id.clone(),
        timeout: None,
    };
    let waiting = client.wait_operation(request);
    let stopping = async {
        // The tick of the operation, and the wait.
        all.hand.wait_for_waiters(2).await;
        all.port.shutdown.begin();
    };
    let (waited, ()) = soon(futures_util::future::join(waiting, stopping)).await;
    let watched = soon(stream.message()).await.unwrap_err();
    for status in [waited.unwrap_err(), watched] {
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(reason_of(&status).as_deref(), Some("STOPPING"));
    }
    // The work ends at its next step.
    orders.send(Order::Reach(1)).unwrap();
    let mut all = restarted(all).await;
    let done = ended(&mut all, &id).await;
    assert_eq!(done.state(), OperationState::Succeeded, "{done:#?}");
    // A stop in order is no start that failed.
    assert_eq!(done.starts, 1);
    assert!(matches!(
        done.result,
        Some(operation::Result::OptimizedDatabase(_))
    ));
}

#[tokio::test]
async fn each_kind_is_done_again_from_what_its_row_says() {
    for (kind, request) in [
        ("create_backup", "{}"),
        ("verify_backup", r#"{"name": "NAME"}"#),
        ("optimize", "{}"),
    ] {
        let mut all = administered().await;
        let made = all.client.create_backup(CreateBackupRequest::default());
        let made = soon(made).await.unwrap().into_inner().backup.unwrap();
        let request = request.replace("NAME", &made.name);
        let values = format!(", 1, '{request}'");
        write(&all, left(kind, ", starts, request_json", &values)).await;
        let mut all = restarted(all).await;
        let done = ended(&mut all, ID).await;
        assert_eq!(done.state(), OperationState::Succeeded, "{done:#?}");
        assert_eq!(done.starts, 2);
    }
}

#[tokio::test]
async fn an_operation_that_nobody_here_knows_is_left_alone_until_it_is_cancelled() {
    for kind in ["moon walk", "scan"] {
        let all = administered().await;
        write(&all, left(kind, ", starts", ", 1")).await;
        let mut all = restarted(all).await;
        let there = get(&mut all, ID).await;
        assert_eq!(there.state(), OperationState::Running);
        assert_eq!(there.starts, 1);
        let over = cancel(&mut all, ID).await;
        assert_eq!(over.state(), OperationState::Cancelled);
        assert!(over.cancel_requested_time.is_some() && over.end_time.is_some());
        let mut all = restarted(all).await;
        assert_eq!(get(&mut all, ID).await, over);
    }
}

#[tokio::test]
async fn what_makes_no_sense_any_more_is_not_begun_again() {
    let often = format!(", {OPERATION_STARTS_MAX}");
    for (more, values, change, state, reason) in [
        (
            ", starts",
            &*often,
            "",
            OperationState::Failed,
            Some("OPERATION_KEEPS_ENDING"),
        ),
        (
            ", starts",
            ", 1",
            "UPDATE operations SET epoch = 'of another life'",
            OperationState::Failed,
            Some("OPERATION_RESTORED"),
        ),
        (
            ", starts, cancel_requested_at",
            ", 1, '1969-01-01T00:00:01.000Z'",
            "",
            OperationState::Cancelled,
            None,
        ),
    ] {
        let all = administered().await;
        write(&all, left("create_backup", more, values)).await;
        write(&all, change.to_owned()).await;
        let mut all = restarted(all).await;
        let over = get(&mut all, ID).await;
        assert!(over.end_time.is_some(), "{over:#?}");
        let why = over.error.as_ref().map(|error| &*error.reason);
        assert_eq!((over.state(), why), (state, reason));
        let backups = soon(all.client.list_backups(ListBackupsRequest::default())).await;
        assert!(backups.unwrap().into_inner().backups.is_empty());
    }
}

#[tokio::test]
async fn a_restored_backup_does_not_begin_the_backup_that_it_is() {
    let mut all = administered().await;
    let made = all.client.create_backup(CreateBackupRequest::default());
    let made = soon(made).await.unwrap().into_inner();
    let (backup, id) = (made.backup.unwrap(), made.operation.unwrap().operation_id);
    let clock = all.clock.clone();
    let folder = stopped(all).await;
    let path = folder.path().join("notes.sqlite");
    let lock = service_kit::database::DatabaseLock::acquire(&path, "the test").unwrap();
    let schema = crate::administration::schema();
    service_kit::migrate::restore(&path, &lock, &schema, &backup.name, clock.now()).unwrap();
    drop(lock);
    let mut all = administered_in(folder).await;
    let there = get(&mut all, &id).await;
    assert_eq!(there.error.unwrap().reason, "OPERATION_RESTORED");
    let backups = soon(all.client.list_backups(ListBackupsRequest::default())).await;
    assert_eq!(backups.unwrap().into_inner().backups, [backup]);
}

#[tokio::test]
async fn nothing_is_begun_once_the_service_stops() {
    let all = administered().await;
    let shutdown = Shutdown::new(all.clock.clone());
    let stopping = Operations::new(all.database.clone(), all.clock.clone(), shutdown.clone());
    shutdown.begin();
    let new = service_kit::operations::NewOperation {
        kind: service_kit::operations::OperationKind::Optimize,
        target: String::new(),
        request_json: "{}".to_owned(),
        caller: Default::default(),
        request_id: None,
    };
    let refused = stopping
        .begin(new, |_| async { panic!("it must not begin") })
        .await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.to_string(), "the service is stopping");
}

#[test]
fn both_databases_have_the_same_table() {
    let jobs = include_str!("../../../migrations/jobs/0008_operations/up.sql");
    let models = include_str!("../../../migrations/models/0006_operations/up.sql");
    assert_eq!(jobs, models);
}
