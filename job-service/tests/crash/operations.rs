//! A backup in the background that its program does not outlive: the next start
//! takes it up and finishes it.

use std::{path::Path, time::Instant};

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use job_service::config::DATABASE_FILE;
use stablequeue_proto::admin::v1::{
    CreateBackupRequest, GetOperationRequest, Operation, OperationState, WaitOperationRequest,
    admin_service_client::AdminServiceClient, operation::Result as Outcome,
    operation_service_client::OperationServiceClient,
};
use tonic::transport::Channel;

use crate::{
    program::{BOUND, Program},
    world::World,
};

/// So much that a backup of it takes many steps.
const BALLAST: &str =
    "CREATE TABLE ballast (bytes BLOB); INSERT INTO ballast VALUES (zeroblob(96000000))";

/// Makes the database of a stopped program large.
fn load(data_dir: &Path) {
    let file = data_dir.join(DATABASE_FILE);
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    connection.batch_execute(BALLAST).unwrap();
}

async fn channel(program: &Program) -> Channel {
    let address = format!("http://{}", program.serves().await);
    Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// Begins a backup and waits until some of the copy is on disk.
async fn halfway(program: &Program) -> String {
    let channel = channel(program).await;
    let request = CreateBackupRequest {
        background: true,
        ..CreateBackupRequest::default()
    };
    let begun = AdminServiceClient::new(channel.clone())
        .create_backup(request)
        .await
        .unwrap();
    let id = begun.into_inner().operation.unwrap().operation_id;
    let mut operations = OperationServiceClient::new(channel);
    let begun = Instant::now();
    loop {
        let request = GetOperationRequest {
            operation_id: id.clone(),
        };
        let got = operations.get_operation(request).await.unwrap();
        let operation = got.into_inner().operation.unwrap();
        assert_eq!(operation.state(), OperationState::Running);
        if operation.progress.is_some_and(|progress| progress.done > 0) {
            return id;
        }
        assert!(begun.elapsed() < BOUND, "nothing is copied");
    }
}

async fn ended(program: &Program, id: &str) -> Operation {
    let request = WaitOperationRequest {
        operation_id: id.to_owned(),
        timeout: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
    };
    let mut operations = OperationServiceClient::new(channel(program).await);
    let waited = operations.wait_operation(request).await.unwrap();
    waited.into_inner().operation.unwrap()
}

/// What there is of backups, finished or not.
fn files(data_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data_dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("_backup_")).collect()
}

/// A program on a large database, which has made no backup yet.
async fn loaded(world: &World) -> Program {
    let mut program = world.start(&[]);
    program.serves().await;
    program.terminate();
    assert!(program.ends().await.success(), "{}", program.said());
    load(&world.data_dir());
    world.start(&[])
}

/// The next start has made this very backup, which counts so many starts, and nothing else is left.
async fn is_finished(world: &World, id: &str, starts: i32) {
    let mut program = world.start(&[]);
    let done = ended(&program, id).await;
    assert_eq!(done.state(), OperationState::Succeeded, "{done:#?}");
    assert_eq!(done.starts, starts, "{done:#?}");
    let Some(Outcome::Backup(made)) = done.result else {
        panic!("it has no backup");
    };
    assert_eq!(files(&world.data_dir()), [made.name]);
    program.terminate();
    assert!(program.ends().await.success(), "{}", program.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_killed_halfway_is_made_after_the_restart() {
    let world = World::new().await;
    let program = loaded(&world).await;
    let id = halfway(&program).await;
    program.kill();
    let left = files(&world.data_dir());
    assert!(
        left.iter().all(|name| name.contains(".partial")),
        "{left:?}"
    );
    is_finished(&world, &id, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_a_stop_came_upon_is_made_after_the_restart() {
    let world = World::new().await;
    let mut program = loaded(&world).await;
    let id = halfway(&program).await;
    program.terminate();
    assert_eq!(program.ends().await.code(), Some(0), "{}", program.said());
    assert_eq!(files(&world.data_dir()), [""; 0]);
    // A start that an orderly stop ended does not count.
    is_finished(&world, &id, 1).await;
}
