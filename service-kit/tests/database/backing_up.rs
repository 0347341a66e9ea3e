//! Backups of a database that is being written.

use std::ops::ControlFlow;

use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::sql_types::Text;
use service_kit::migrate::{CopyProgress, back_up_running, backups};

use crate::migrating::{FIRST, at_first, noon, run};
use crate::support::{Place, note, notes, raw};

const NAME: &str = "mobilesd_jobs_backup_2026-11-22T11-08-00-123Z.sqlite";

/// Rows that make a copy take some time.
const ROWS: &str = "INSERT INTO notes (text) WITH RECURSIVE n (value) AS \
     (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 4000) \
     SELECT 'before ' || value || hex(zeroblob(1000)) FROM n;";

/// For whoever lets a copy go on to its end.
fn go_on(_: CopyProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// For a copy whose check goes on to its end.
fn never() -> service_kit::migrate::Stop {
    std::sync::Arc::new(|| false)
}

#[tokio::test]
async fn it_is_one_moment_of_a_database_that_goes_on() {
    let place = at_first();
    place.raw().batch_execute(ROWS).unwrap();
    let before = place.notes();
    let database = place.open();
    note(&database, "acknowledged before").await.unwrap();
    let path = place.path.clone();
    let backing_up = tokio::task::spawn_blocking(move || {
        back_up_running(&path, "mobilesd_jobs", noon(), &never(), &mut go_on)
    });
    let mut written = 0;
    while !backing_up.is_finished() {
        note(&database, &format!("during {written}")).await.unwrap();
        written += 1;
    }
    let backup = backing_up.await.unwrap().unwrap();
    assert!(written > 0, "nothing was written meanwhile");
    assert_eq!((&*backup.name, backup.created_at), (NAME, noon()));
    let file = place.folder.path().join(&backup.name);
    assert_eq!(backup.size_bytes, std::fs::metadata(&file).unwrap().len());

    let mut copy = raw(&file);
    let check: String = sql::<Text>("PRAGMA integrity_check")
        .get_result(&mut copy)
        .unwrap();
    assert_eq!(check, "ok");
    let kept = notes(&mut copy);
    let all = place.notes();
    assert!(kept.len() > before.len());
    assert_eq!(
        kept,
        all[..kept.len()],
        "it is a prefix of what was written"
    );
    assert!(kept.contains(&"acknowledged before".to_owned()));
    drop(copy);
    database.close().await.unwrap();
    // And it is a database of this program.
    std::fs::copy(&file, &place.path).unwrap();
    assert_eq!(run(&place, &[FIRST]).unwrap().schema_version, "0001");
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_it_and_nothing_unfinished_stays() {
    use std::os::unix::fs::PermissionsExt;
    let place = at_first();
    let left = place.folder.path().join(format!("{NAME}.partial"));
    std::fs::write(&left, "half").unwrap();
    let _database = place.open();
    let backup =
        back_up_running(&place.path, "mobilesd_jobs", noon(), &never(), &mut go_on).unwrap();
    let file = place.folder.path().join(&backup.name);
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!left.exists());
    assert_eq!(backups(&place.path, "mobilesd_jobs").unwrap(), [backup]);
}

#[test]
fn a_database_with_broken_references_is_no_backup() {
    let place = Place::new();
    run(&place, &[FIRST, crate::migrating::SECOND]).unwrap();
    place
        .raw()
        .batch_execute("PRAGMA foreign_keys = OFF; INSERT INTO tags VALUES ('a', 'nowhere')")
        .unwrap();
    let _database = place.open();
    let before = place.files();
    let failed =
        back_up_running(&place.path, "mobilesd_jobs", noon(), &never(), &mut go_on).unwrap_err();
    assert!(failed.reason.contains("missing ones"), "{failed}");
    assert_eq!(place.files(), before);
}

/// No more than this is copied between two looks at whether to go on.
const STEP_MAX_BYTES: u64 = 1024 * 1024;

#[test]
fn it_is_the_moment_before_the_first_step_whatever_is_written_and_checkpointed_behind_it() {
    let place = at_first();
    place.raw().batch_execute(ROWS).unwrap();
    let mut writer = place.raw();
    writer
        .batch_execute("PRAGMA wal_autocheckpoint = 0; INSERT INTO notes VALUES ('in the log')")
        .unwrap();
    let before = place.notes();
    let mut steps = 0;
    let backup = back_up_running(&place.path, "mobilesd_jobs", noon(), &never(), &mut |_| {
        steps += 1;
        // Rows all over the file, so that a page of a later moment would be noticed.
        writer
            .batch_execute(&format!(
                "UPDATE notes SET text = 'step {steps} ' || text WHERE rowid % 500 = 7; \
                 INSERT INTO notes VALUES ('row of step {steps}'); \
                 PRAGMA wal_checkpoint;"
            ))
            .unwrap();
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(steps > 10, "it was copied in {steps} steps");
    assert_eq!(
        notes(&mut raw(&place.folder.path().join(backup.name))),
        before
    );
    assert!(place.notes().contains(&format!("row of step {steps}")));
}

#[test]
fn it_tells_how_far_it_is_and_what_is_told_is_in_the_file() {
    let place = at_first();
    place.raw().batch_execute(ROWS).unwrap();
    let unfinished = place.folder.path().join(format!("{NAME}.partial"));
    let mut told = Vec::new();
    let backup = back_up_running(
        &place.path,
        "mobilesd_jobs",
        noon(),
        &never(),
        &mut |progress| {
            let in_file = std::fs::metadata(&unfinished).unwrap().len();
            told.push((progress, in_file));
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    let total_bytes = backup.size_bytes;
    let mut done_bytes = 0;
    for (progress, in_file) in &told {
        assert_eq!(progress.total_bytes, total_bytes);
        assert!(progress.done_bytes >= done_bytes);
        assert!(progress.done_bytes - done_bytes <= STEP_MAX_BYTES);
        // What is not in it waits in memory, of which a step's worth is the most.
        assert!(in_file + STEP_MAX_BYTES >= progress.done_bytes, "{in_file}");
        done_bytes = progress.done_bytes;
    }
    assert_eq!(told[0].0.done_bytes, 0);
    assert_eq!(done_bytes, total_bytes);
    assert!(total_bytes > 4 * STEP_MAX_BYTES, "{total_bytes}");
}

#[test]
fn one_that_is_cancelled_says_so_and_leaves_nothing() {
    let place = at_first();
    place.raw().batch_execute(ROWS).unwrap();
    let _database = place.open();
    let before = place.files();
    // Before the first page, in the middle, and when only the check is left.
    for share in [0.0, 0.5, 1.0] {
        let failed = back_up_running(
            &place.path,
            "mobilesd_jobs",
            noon(),
            &never(),
            &mut |progress| {
                #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
                let done = progress.done_bytes as f64 / progress.total_bytes as f64;
                if done >= share {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            },
        )
        .unwrap_err();
        assert!(failed.cancelled, "{failed}");
        assert!(failed.to_string().contains("cancelled"), "{failed}");
        assert_eq!(place.files(), before);
    }
    back_up_running(&place.path, "mobilesd_jobs", noon(), &never(), &mut go_on).unwrap();
}

#[test]
fn it_is_one_file_that_is_read_without_any_beside_it() {
    let place = at_first();
    let _database = place.open();
    let backup =
        back_up_running(&place.path, "mobilesd_jobs", noon(), &never(), &mut go_on).unwrap();
    let file = place.folder.path().join(&backup.name);
    // Write and read version of a rollback journal (https://sqlite.org/fileformat2.html).
    assert_eq!(std::fs::read(&file).unwrap()[18..20], [1, 1]);
    assert_eq!(notes(&mut raw(&file)), place.notes());
    let beside = place.files();
    let beside = beside.iter().filter(|name| name.contains(&backup.name));
    assert_eq!(beside.count(), 1);
}

#[test]
fn what_an_adoption_removed_and_has_yet_to_scrub_is_not_in_it() {
    const SECRET: &str = "5ecre7-5ecre7-5ecre7";
    let place = at_first();
    let mut writer = place.raw();
    // As a kill between the commit of an adoption and its scrub leaves it.
    writer
        .batch_execute(&format!(
            "INSERT INTO notes SELECT '{SECRET}' || hex(zeroblob(20000)); \
             DELETE FROM notes WHERE text LIKE '{SECRET}%'; \
             INSERT INTO stablequeue_meta VALUES ('scrub_pending', '1'); \
             PRAGMA wal_checkpoint(TRUNCATE);"
        ))
        .unwrap();
    let holds_secret = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        bytes
            .windows(SECRET.len())
            .any(|it| it == SECRET.as_bytes())
    };
    assert!(holds_secret(&place.path));
    let backup =
        back_up_running(&place.path, "mobilesd_jobs", noon(), &never(), &mut go_on).unwrap();
    let file = place.folder.path().join(&backup.name);
    assert!(!holds_secret(&file));
    assert_eq!(notes(&mut raw(&file)), place.notes());
}
