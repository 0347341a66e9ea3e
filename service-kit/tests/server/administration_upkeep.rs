//! What AdminService does with backups that are there, and the schedule.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use service_kit::admin::{BackupFigures, BackupSchedule};
use service_kit::database::DatabaseError;
use service_kit::status::reason_of;
use sha2::{Digest as _, Sha256};
use stablequeue_proto::admin::v1::*;
use tonic::Code;

use crate::administration::{Administered, administered};
use crate::harness::{BOUND, soon};

const HOUR: Duration = Duration::from_secs(3600);

async fn backed_up(all: &mut Administered) -> Backup {
    let made = soon(all.client.create_backup(CreateBackupRequest::default())).await;
    all.hand.advance(HOUR);
    made.unwrap().into_inner().backup.unwrap()
}

async fn listed(all: &mut Administered) -> Vec<String> {
    let listed = soon(all.client.list_backups(ListBackupsRequest::default())).await;
    let backups = listed.unwrap().into_inner().backups;
    backups.into_iter().map(|backup| backup.name).collect()
}

pub(crate) async fn write(all: &Administered, statements: String) {
    let written = all.database.write("test", move |connection| {
        connection.batch_execute(&statements)?;
        Ok::<_, DatabaseError>(())
    });
    written.await.unwrap();
}

fn spoil(all: &Administered, name: &str) {
    let file = all.folder.path().join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100..].fill(0xa5);
    std::fs::write(file, bytes).unwrap();
}

/// The messages of a download.
async fn downloaded(
    all: &mut Administered,
    name: &str,
    offset_bytes: i64,
) -> Vec<DownloadBackupResponse> {
    let request = DownloadBackupRequest {
        name: name.to_owned(),
        offset_bytes,
    };
    let stream = soon(all.client.download_backup(request)).await;
    let mut stream = stream.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(message) = soon(stream.message()).await.unwrap() {
        messages.push(message);
    }
    messages
}

#[tokio::test]
async fn a_good_backup_is_told_from_a_damaged_and_a_missing_one() {
    let mut all = administered().await;
    write(&all, "INSERT INTO notes VALUES ('a'), ('b')".to_owned()).await;
    let made = backed_up(&mut all).await;
    let named = |name: &str| VerifyBackupRequest {
        name: name.to_owned(),
        ..VerifyBackupRequest::default()
    };
    let good = soon(all.client.verify_backup(named(&made.name))).await;
    let good = good.unwrap().into_inner();
    assert_eq!(good.schema_version, "0001");
    assert!(good.row_count >= 2 && !good.pre_adoption);
    assert_eq!(good.backup, Some(made.clone()));
    spoil(&all, &made.name);
    let bad = soon(all.client.verify_backup(named(&made.name))).await;
    let bad = bad.unwrap_err();
    assert_eq!(bad.code(), Code::FailedPrecondition);
    assert_eq!(reason_of(&bad).as_deref(), Some("BACKUP_NOT_GOOD"));
    for none in ["", "notes.sqlite", "../notes.sqlite"] {
        let gone = soon(all.client.verify_backup(named(none))).await;
        assert_eq!(gone.unwrap_err().code(), Code::NotFound, "{none}");
    }
}

#[tokio::test]
async fn a_download_is_the_file_and_goes_on_where_it_broke_off() {
    let mut all = administered().await;
    // Several chunks, the last one not full.
    let fill = "INSERT INTO notes SELECT hex(randomblob(1000)) FROM \
                (WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n LIMIT 1000) \
                SELECT v FROM n)";
    write(&all, fill.to_owned()).await;
    let made = backed_up(&mut all).await;
    let file = std::fs::read(all.folder.path().join(&made.name)).unwrap();
    assert!(file.len() > 2 * 786_432);
    let whole = downloaded(&mut all, &made.name, 0).await;
    let head = &whole[0];
    assert_eq!(head.backup, Some(made.clone()));
    assert_eq!(head.sha256, hex::encode(Sha256::digest(&file)));
    assert!(head.data.is_empty() && whole[1..].iter().all(|piece| piece.data.len() <= 786_432));
    let joined: Vec<u8> = whole.iter().flat_map(|piece| piece.data.clone()).collect();
    assert!(joined == file);
    let from = file.len() - 1_000_000;
    let rest = downloaded(&mut all, &made.name, from as i64).await;
    assert_eq!(rest[0].sha256, head.sha256);
    assert_eq!(rest[1].offset_bytes, from as i64);
    let joined: Vec<u8> = rest.iter().flat_map(|piece| piece.data.clone()).collect();
    assert!(joined == file[from..]);
    // At the very end there is nothing left, and behind it is an error.
    assert_eq!(
        downloaded(&mut all, &made.name, file.len() as i64)
            .await
            .len(),
        1
    );
    for (offset_bytes, code) in [
        (file.len() as i64 + 1, Code::OutOfRange),
        (-1, Code::InvalidArgument),
    ] {
        let request = DownloadBackupRequest {
            name: made.name.clone(),
            offset_bytes,
        };
        let refused = soon(all.client.download_backup(request)).await;
        assert_eq!(refused.unwrap_err().code(), code);
    }
    let database = DownloadBackupRequest {
        name: "notes.sqlite".to_owned(),
        offset_bytes: 0,
    };
    let refused = soon(all.client.download_backup(database)).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn so_many_backups_are_downloaded_at_once_and_no_more() {
    let mut all = administered().await;
    let fill = "INSERT INTO notes VALUES (hex(randomblob(4000000)))";
    write(&all, fill.to_owned()).await;
    let made = backed_up(&mut all).await;
    let request = || DownloadBackupRequest {
        name: made.name.clone(),
        offset_bytes: 0,
    };
    let mut first = soon(all.client.download_backup(request())).await;
    let second = soon(all.client.download_backup(request())).await;
    let refused = soon(all.client.download_backup(request())).await;
    let refused = refused.unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some("TOO_MANY_DOWNLOADS"));
    let stream = first.as_mut().unwrap().get_mut();
    while soon(stream.message()).await.unwrap().is_some() {}
    assert!(soon(all.client.download_backup(request())).await.is_ok());
    drop(second);
}

#[tokio::test]
async fn a_backup_that_is_removed_while_it_is_sent_is_sent_to_its_end() {
    let mut all = administered().await;
    let fill = "INSERT INTO notes VALUES (hex(randomblob(4000000)))";
    write(&all, fill.to_owned()).await;
    let made = backed_up(&mut all).await;
    let request = DownloadBackupRequest {
        name: made.name.clone(),
        offset_bytes: 0,
    };
    let stream = soon(all.client.download_backup(request)).await;
    let mut stream = stream.unwrap().into_inner();
    let head = soon(stream.message()).await.unwrap().unwrap();
    std::fs::remove_file(all.folder.path().join(&made.name)).unwrap();
    let mut digest = Sha256::new();
    while let Some(piece) = soon(stream.message()).await.unwrap() {
        digest.update(&piece.data);
    }
    assert_eq!(hex::encode(digest.finalize()), head.sha256);
}

#[tokio::test]
async fn old_backups_go_on_request_and_the_newest_good_one_stays() {
    let mut all = administered().await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.insert(0, backed_up(&mut all).await.name);
    }
    let prune = |keep, hours: Option<i64>| PruneBackupsRequest {
        keep,
        older_than: hours.map(|hours| prost_types::Duration {
            seconds: hours * 3600,
            nanos: 0,
        }),
        pre_adoption: false,
    };
    for (wrong, field) in [
        (prune(0, None), "keep"),
        (prune(-1, None), "keep"),
        (prune(1, Some(-1)), "older_than"),
    ] {
        let refused = soon(all.client.prune_backups(wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(field), "{refused:?}");
    }
    let pruned = soon(all.client.prune_backups(prune(1, Some(3)))).await;
    let removed = pruned.unwrap().into_inner().removed;
    assert_eq!(removed.len(), 1);
    assert_eq!(listed(&mut all).await, names[..3]);
    for name in &names[..2] {
        spoil(&all, name);
    }
    let pruned = soon(all.client.prune_backups(prune(1, None))).await;
    let pruned = pruned.unwrap().into_inner();
    assert_eq!(pruned.spared.unwrap().name, names[2]);
    assert_eq!(listed(&mut all).await, [&*names[0], &*names[2]]);
}

#[tokio::test]
async fn a_database_is_looked_after_while_it_is_used() {
    let mut all = administered().await;
    write(&all, "CREATE INDEX by_text ON notes (text)".to_owned()).await;
    write(&all, "INSERT INTO notes VALUES ('a'), ('b')".to_owned()).await;
    let done = soon(all.client.optimize(OptimizeRequest::default())).await;
    let done = done.unwrap().into_inner();
    // Nobody reads, so all of the log is in the main file.
    assert!(done.wal_pages > 0);
    assert_eq!(done.checkpointed_pages, done.wal_pages);
    let size = std::fs::metadata(all.folder.path().join("notes.sqlite")).unwrap();
    assert_eq!(done.size_bytes as u64, size.len());
    write(&all, "INSERT INTO notes VALUES ('c')".to_owned()).await;
}

#[tokio::test]
async fn backups_are_made_on_schedule_and_so_many_are_kept() {
    let mut all = administered().await;
    let schedule = BackupSchedule::new(6, 2);
    all.admin.begin_schedule(schedule, &all.port.shutdown);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let started = Instant::now();
        let newest = loop {
            let newest = listed(&mut all).await.into_iter().next();
            match newest {
                Some(newest) if seen.last() != Some(&newest) => break newest,
                _ => {}
            }
            assert!(started.elapsed() < BOUND, "no backup was made");
            tokio::task::yield_now().await;
        };
        seen.push(newest);
        // Not before it is due.
        all.hand.advance(5 * HOUR);
        assert_eq!(listed(&mut all).await.first(), seen.last());
        all.hand.advance(HOUR);
    }
    // Six hours apart, and none between.
    let at = |hour| format!("notes_backup_1970-01-01T{hour:02}-00-00-000Z.sqlite");
    assert_eq!(seen, [0, 6, 12, 18].map(at));
    let started = Instant::now();
    while listed(&mut all).await.len() > 2 {
        assert!(started.elapsed() < BOUND, "older ones stay");
        tokio::task::yield_now().await;
    }
    assert!(!listed(&mut all).await.contains(&seen[0]));
    all.port.shutdown.begin();
    assert_eq!(all.port.shutdown.wait(BOUND).await, Ok(()));
}

#[tokio::test]
async fn the_age_of_the_newest_backup_is_a_figure_once_there_is_one() {
    let mut all = administered().await;
    let figures = BackupFigures::new(&all.database, "notes", all.clock.clone());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    let text = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    };
    assert!(!text().contains("age_seconds"));
    backed_up(&mut all).await;
    assert!(
        text().contains("database_last_backup_age_seconds 3600"),
        "{}",
        text()
    );
}
