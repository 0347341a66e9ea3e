//! Which changes make what was remembered untrue.

use service_kit::database::{DatabaseLock, DatabaseOptions};
use service_kit::migrate::{self, MigrateOptions};

use super::*;
use crate::inventories::Inventories;
use crate::models::{ModelUse, Models, UsedModel};

fn ledger(folder: &tempfile::TempDir) -> Ledger {
    let path = folder.path().join("mobilesd_models.sqlite");
    let lock = DatabaseLock::acquire(&path, "test").unwrap();
    let clock = Clock::system();
    let options = MigrateOptions::default();
    migrate::migrate(&path, &lock, &store::schema(), clock.now(), &options).unwrap();
    let database = Database::open(&path, lock, DatabaseOptions::default()).unwrap();
    Ledger::new(database, clock, 10, "epoch".to_owned())
}

fn model() -> crate::model::NewModel {
    crate::model::NewModel {
        name: "x".to_owned(),
        kind: crate::model::ModelKind::Lora,
        local_path: "/a/x.pt".to_owned(),
        filename: "x.pt".to_owned(),
        forge_format: None,
        autov2: None,
        sha256: None,
        civitai: crate::model::CivitaiMetadata::default(),
        metadata_status: crate::model::MetadataStatus::Incomplete,
        details: crate::model::Details::default(),
    }
}

#[tokio::test]
async fn what_is_remembered_outlives_the_use_of_a_model_and_no_other_change() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let (models, inventories) = (
        Models::new(ledger.clone()),
        Inventories::new(ledger.clone()),
    );
    let first = ledger.stand().unwrap();
    let made = models.create(model(), None).await.unwrap();
    let created = ledger.stand().unwrap();
    assert_ne!(created, first);
    let used = ModelUse {
        model: UsedModel::Id(made.id),
        used_at: None,
    };
    models.touch(vec![used]).await.unwrap();
    let used = models
        .get(made.id, crate::models::View::Basic)
        .await
        .unwrap();
    assert!(used.last_used_at.is_some());
    assert_eq!(ledger.stand(), Some(created));
    inventories
        .set("left".to_owned(), made.id, None)
        .await
        .unwrap();
    assert_ne!(ledger.stand(), Some(created));
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn there_is_no_stand_while_a_change_is_under_way_and_there_is_beside_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let tasks = TaskTracker::new();
    let before = ledger.stand();
    let (reached, heard) = std::sync::mpsc::channel();
    let (go_on, waiting) = std::sync::mpsc::channel::<()>();
    let beside = ledger.clone();
    let note = ledger.note("note", move |_, _| Ok(beside.stand()));
    assert_eq!(note.await.unwrap(), before);
    let beside = ledger.clone();
    let change = tasks.spawn(async move {
        let under_way = move |_: &mut Connection, _| {
            reached.send(()).unwrap();
            waiting.recv().unwrap();
            Ok(Changed::silent(()))
        };
        beside.change("change", under_way).await.unwrap();
    });
    tokio::task::spawn_blocking(move || heard.recv().unwrap())
        .await
        .unwrap();
    assert_eq!(ledger.stand(), None);
    go_on.send(()).unwrap();
    change.await.unwrap();
    assert!(ledger.stand().is_some_and(|after| Some(after) != before));
    ledger.close().await.unwrap();
}
