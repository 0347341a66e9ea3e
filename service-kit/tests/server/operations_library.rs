//! Who sees the operations of a library, what they tell, and that looking at
//! operations leaves neither a place taken nor a row in the audit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use diesel::RunQueryDsl as _;
use diesel::sql_types::BigInt;
use service_kit::auth::{ApiKey, Scope};
use service_kit::database::DatabaseError;
use service_kit::operations::{
    LibraryReport, OPERATION_WATCHES_MAX, OperationKind as Kind, OperationResult,
};
use service_kit::status::reason_of;
use stablequeue_proto::admin::v1::operation_service_client::OperationServiceClient;
use stablequeue_proto::admin::v1::*;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::administration::{Administered, administered, administered_for};
use crate::authentication_keys::KeyList;
use crate::harness::{BOUND, soon};
use crate::operations::{begun, get};
use crate::operations_begun::{new, until_stopped};

/// A caller of OperationService.
struct As<'a> {
    key: &'a ApiKey,
    client: OperationServiceClient<Channel>,
}

impl As<'_> {
    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = self.key.token().authorization();
        request.metadata_mut().insert("authorization", token);
        request
    }

    /// How looking, waiting, watching and cancelling end for this one.
    async fn tries(&mut self, operation_id: &str) -> [Result<(), Status>; 4] {
        fn done<T>(answer: Result<Response<T>, Status>) -> Result<(), Status> {
            answer.map(|_| ())
        }
        let operation_id = operation_id.to_owned();
        let get = self.with(GetOperationRequest {
            operation_id: operation_id.clone(),
        });
        let wait = self.with(WaitOperationRequest {
            operation_id: operation_id.clone(),
            timeout: Some(prost_types::Duration::default()),
        });
        let watch = self.with(WatchOperationRequest {
            operation_id: operation_id.clone(),
        });
        let cancel = self.with(CancelOperationRequest { operation_id });
        [
            done(soon(self.client.get_operation(get)).await),
            done(soon(self.client.wait_operation(wait)).await),
            done(soon(self.client.watch_operation(watch)).await),
            done(soon(self.client.cancel_operation(cancel)).await),
        ]
    }

    /// The kinds of what is listed; all of it was begun in the same moment.
    async fn listed(&mut self, kinds: &[OperationKind]) -> Vec<OperationKind> {
        let request = self.with(ListOperationsRequest {
            kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
            ..ListOperationsRequest::default()
        });
        let listed = soon(self.client.list_operations(request)).await.unwrap();
        let operations = listed.into_inner().operations;
        let kinds = operations.iter().map(|operation| operation.kind());
        kinds.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn codes(answers: [Result<(), Status>; 4]) -> [Code; 4] {
    answers.map(|answer| answer.map_or_else(|status| status.code(), |()| Code::Ok))
}

#[tokio::test]
async fn who_may_see_models_sees_the_operations_of_a_library_and_no_others() {
    let keys = Arc::new(KeyList::default());
    let admin = keys.issue("k-1", &[Scope::Admin]);
    let reader = keys.issue("k-2", &[Scope::ModelsRead]);
    let writer = keys.issue("k-3", &[Scope::ModelsRead, Scope::ModelsWrite]);
    let other = keys.issue("k-4", &[Scope::JobsReadAll, Scope::ServersAdmin]);
    let all = administered_for(tempfile::tempdir().unwrap(), Some(keys), true).await;
    let client = all.operations_client.clone();
    let caller = |key| As {
        key,
        client: client.clone(),
    };
    let begin = |kind| all.operations.begin(new(kind, "{}", None), until_stopped);
    let scan = begin(Kind::Scan).await.unwrap().follow.now().id;
    let optimize = begin(Kind::Optimize).await.unwrap().follow.now().id;
    let (scanning, optimizing) = (OperationKind::Scan, OperationKind::Optimize);
    assert_eq!(caller(&admin).listed(&[]).await, [optimizing, scanning]);
    for key in [&reader, &writer] {
        let mut caller = caller(key);
        assert_eq!(caller.listed(&[]).await, [scanning]);
        assert_eq!(caller.listed(&[optimizing, scanning]).await, [scanning]);
        assert!(caller.listed(&[optimizing]).await.is_empty());
        let of_others = caller.tries(&optimize).await;
        let unknown = caller.tries("00000000-0000-7000-8000-000000000000").await;
        for (hidden, unknown) in of_others.into_iter().zip(unknown) {
            let (hidden, unknown) = (hidden.unwrap_err(), unknown.unwrap_err());
            assert_eq!(hidden.code(), unknown.code());
            assert_eq!(reason_of(&hidden), reason_of(&unknown));
        }
    }
    let denied = Code::PermissionDenied;
    assert_eq!(codes(caller(&other).tries(&scan).await), [denied; 4]);
    let ok = Code::Ok;
    assert_eq!(
        codes(caller(&reader).tries(&scan).await),
        [ok, ok, ok, denied]
    );
    assert_eq!(codes(caller(&writer).tries(&scan).await), [ok; 4]);
    assert_eq!(codes(caller(&admin).tries(&optimize).await), [ok; 4]);
}

#[tokio::test]
async fn a_report_is_whole_in_its_operation_and_short_in_a_list() {
    let mut all = administered().await;
    let work = |_| async {
        let mut report = LibraryReport::default();
        report.count("files_added", 7);
        for _ in 0..101 {
            report.problem("a/b.safetensors", "UNREADABLE", "look at its mode");
        }
        Ok(OperationResult::Library(report))
    };
    let new = new(Kind::Enrichment, "{}", None);
    let begun = all.operations.begin(new, work).await.unwrap();
    let id = soon(begun.follow.end()).await.unwrap().id;
    let report = |operation: Operation| match operation.result {
        Some(operation::Result::LibraryReport(report)) => report,
        other => panic!("{other:#?}"),
    };
    let whole = report(get(&mut all, &id).await);
    assert_eq!(whole.counts["files_added"], 7);
    assert_eq!((whole.problems.len(), whole.problem_count), (100, 101));
    assert_eq!(whole.problems[0].reason, "UNREADABLE");
    let list = ListOperationsRequest::default();
    let mut listed = soon(all.operations_client.list_operations(list)).await;
    let operations = &mut listed.as_mut().unwrap().get_mut().operations;
    let short = report(operations.remove(0));
    assert_eq!((short.problems.len(), short.problem_count), (0, 101));
    assert_eq!(short.counts, whole.counts);
}

async fn noted(all: &Administered) -> i64 {
    let count = |connection: &mut diesel::SqliteConnection| {
        diesel::select(diesel::dsl::sql::<BigInt>(
            "(SELECT count(*) FROM audit_events)",
        ))
        .get_result(connection)
        .map_err(DatabaseError::from)
    };
    all.database.read("test", count).await.unwrap()
}

#[tokio::test]
async fn waits_that_were_left_give_their_places_back_and_looking_is_not_noted() {
    let mut all = administered_for(tempfile::tempdir().unwrap(), None, true).await;
    let (id, _orders) = begun(&all).await;
    let wait = |seconds| WaitOperationRequest {
        operation_id: id.clone(),
        timeout: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    let waits = (0..OPERATION_WATCHES_MAX).map(|_| {
        let (mut client, request) = (all.operations_client.clone(), wait(600));
        TaskTracker::new().spawn(async move { client.wait_operation(request).await.map(|_| ()) })
    });
    let waits: Vec<_> = waits.collect();
    // The tick of the operation, and the waits.
    soon(all.hand.wait_for_waiters(1 + OPERATION_WATCHES_MAX)).await;
    let refused = soon(all.operations_client.wait_operation(wait(0))).await;
    assert_eq!(
        reason_of(&refused.unwrap_err()).as_deref(),
        Some("TOO_MANY_WATCHES")
    );
    for wait in waits {
        wait.abort();
    }
    let started = Instant::now();
    while soon(all.operations_client.wait_operation(wait(0)))
        .await
        .is_err()
    {
        assert!(started.elapsed() < BOUND, "the places are not given back");
    }
    get(&mut all, &id).await;
    assert_eq!(noted(&all).await, 0);
    // What changes something is noted, whoever may do it.
    crate::operations::cancel(&mut all, &id).await;
    assert_eq!(noted(&all).await, 1);
}
