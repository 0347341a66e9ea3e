//! The commands `backup` and `backups`: make, list, verify, restore, prune.

use clap::Parser as _;
use diesel::connection::SimpleConnection;
use service_kit::commands::back_up;
use service_kit::exit::Exit;

use crate::administering::{BackupsLine, Desk};
use crate::migrating::{FIRST, schema};
use crate::support::{Place, raw};

fn fill_with_rubbish(desk: &Desk, name: &str) {
    let file = desk.place.folder.path().join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100..].fill(0xa5);
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_backup_is_listed_verified_and_restored_in_a_new_epoch() {
    let desk = Desk::new(&[FIRST]);
    assert_eq!(desk.backups(&["list"]).unwrap().text, "there is no backup");
    let name = desk.back_up();
    assert!(desk.backups(&["list"]).unwrap().text.starts_with(&name));
    let good = desk.backups(&["verify"]).unwrap();
    assert!(
        good.text
            .starts_with(&format!("{name}: good, schema version 0001")),
        "{}",
        good.text
    );
    desk.place
        .raw()
        .batch_execute("INSERT INTO notes VALUES ('later')")
        .unwrap();
    let before = desk.epoch();
    let running = desk.place.lock();
    let held = desk.backups(&["restore", &name]).unwrap_err();
    assert_eq!(held.exit(), Exit::Locked);
    drop(running);
    let told = desk.backups(&["restore", &name]).unwrap();
    assert_eq!(desk.place.notes(), ["a", "b"]);
    assert_ne!(desk.epoch(), before);
    let (_, aside) = told
        .text
        .split_once("the database from before is ")
        .unwrap();
    let aside = std::path::Path::new(aside);
    assert_eq!(crate::support::notes(&mut raw(aside)), ["a", "b", "later"]);
    desk.migrate(&[]).unwrap();
    let database = desk.place.open();
    drop(database);
}

#[test]
fn a_damaged_or_unknown_backup_is_told_and_restores_nothing() {
    let desk = Desk::new(&[FIRST]);
    let (bad, good) = (desk.back_up(), desk.back_up());
    fill_with_rubbish(&desk, &bad);
    let told = desk.backups(&["verify", "--all"]).unwrap();
    assert_eq!(told.exit, Exit::BadData);
    assert!(
        told.text.contains(&format!("{good}: good")),
        "{}",
        told.text
    );
    assert!(
        told.text.contains(&format!("{bad}: the backup is damaged")),
        "{}",
        told.text
    );
    for words in [["verify", &bad], ["restore", &bad]] {
        let error = desk.backups(&words).unwrap_err();
        assert_eq!(error.exit(), Exit::BadData, "{error}");
    }
    let error = desk
        .backups(&["restore", "mobilesd_jobs.sqlite"])
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Failure);
    assert_eq!(desk.place.notes(), ["a", "b"]);
    // One that a newer program made.
    let mut older = desk;
    older.schema = schema(&[("0000_else", "CREATE TABLE other (a)", None)]);
    let error = older.backups(&["verify", &good]).unwrap_err();
    assert!(
        error.to_string().contains("newer than this program"),
        "{error}"
    );
}

#[test]
fn pruning_keeps_the_newest_and_what_is_young_and_never_the_last_good_one_goes() {
    let desk = Desk::new(&[FIRST]);
    let names: Vec<String> = (0..4).map(|_| desk.back_up()).collect();
    let mine = desk
        .place
        .folder
        .path()
        .join("mobilesd_jobs_backup_mine.sqlite");
    std::fs::write(&mine, "not ours").unwrap();
    let kept = |desk: &Desk| -> Vec<String> {
        let listed = desk.backups(&["list"]).unwrap().text;
        let lines = listed.lines().rev();
        lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    };
    // All four are older than a day, three are older than two.
    desk.backups(&["prune", "--keep=3", "--older-than-days=30"])
        .unwrap();
    assert_eq!(kept(&desk), names);
    let told = desk.backups(&["prune", "--keep=3"]).unwrap();
    assert_eq!(told.text, format!("removed {}", names[0]));
    // The newest two are damaged: the one before them is the last good one.
    for name in &names[2..] {
        fill_with_rubbish(&desk, name);
    }
    let told = desk.backups(&["prune", "--keep=1"]).unwrap();
    assert!(
        told.text.contains(&format!("{} stays", names[1])),
        "{}",
        told.text
    );
    assert_eq!(kept(&desk), [&*names[1], &*names[3]]);
    fill_with_rubbish(&desk, &names[1]);
    // Where none is good none goes.
    desk.backups(&["prune", "--keep=1"]).unwrap();
    assert_eq!(kept(&desk), [&*names[1], &*names[3]]);
    assert!(mine.exists());
    for wrong in [&["backups", "prune"][..], &["backups", "prune", "--keep=0"]] {
        assert!(BackupsLine::try_parse_from(wrong).is_err());
    }
}

#[test]
fn a_backup_from_before_an_adoption_goes_on_request_once_a_newer_one_is_there() {
    let desk = Desk::new(&[FIRST]);
    // A copy of a database that no migration of ours ever touched.
    let name = "mobilesd_jobs_backup_2026-11-22T10-00-00-000Z.sqlite";
    let older = desk.place.folder.path().join(name);
    raw(&older)
        .batch_execute("CREATE TABLE api_keys (secret TEXT)")
        .unwrap();
    desk.backups(&["prune", "--pre-adoption"]).unwrap();
    assert!(older.exists(), "there is no other backup");
    let newer = desk.back_up();
    let told = desk.backups(&["prune", "--pre-adoption"]).unwrap();
    assert_eq!(told.text, format!("removed {name}"));
    assert!(desk.backups(&["list"]).unwrap().text.starts_with(&newer));
}

#[test]
fn there_is_no_backup_of_nothing() {
    let mut desk = Desk::new(&[FIRST]);
    desk.place = Place::new();
    let error = back_up(&desk.subject()).unwrap_err();
    assert!(error.to_string().contains("no database"), "{error}");
}
