//! The lock file: one holder, and what a killed holder leaves.

use service_kit::database::{DatabaseLock, LockError};

use crate::children::Child;
use crate::support::Place;

#[test]
fn a_second_holder_is_refused_with_the_name_of_the_first() {
    let place = Place::new();
    let lock = DatabaseLock::acquire(&place.path, "job-service serve").unwrap();
    let refused = DatabaseLock::acquire(&place.path, "job-service migrate").unwrap_err();
    assert!(matches!(&refused, LockError::Held { .. }));
    let text = refused.to_string();
    assert!(text.contains("job-service serve"), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    drop(lock);
    assert!(!place.lock().unclean_before());
}

#[test]
fn another_process_is_refused_until_the_holder_is_gone() {
    let place = Place::new();
    let mut child = Child::start(&place, "children::child_holds_the_lock");
    child.wait_for("locked");
    match DatabaseLock::acquire(&place.path, "the test") {
        Err(LockError::Held { by }) => assert!(by.contains(&child.id().to_string()), "{by}"),
        other => panic!("{other:?}"),
    }
    child.kill();
    let lock = place.lock();
    assert!(
        lock.unclean_before(),
        "a killed holder could not clear its name"
    );
    drop(lock);
    assert!(
        place.lock().unclean_before(),
        "and nobody has checked the database yet"
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_a_database_has_the_same_lock() {
    let place = Place::with_notes();
    let link = place.folder.path().join("link.sqlite");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    let lock = place.lock();
    assert!(lock.guards(&link));
    assert!(matches!(
        DatabaseLock::acquire(&link, "x"),
        Err(LockError::Held { .. })
    ));
}

#[test]
fn the_databases_of_one_folder_have_locks_of_their_own() {
    let place = Place::new();
    let other = place.folder.path().join("mobilesd_models.sqlite");
    let lock = place.lock();
    let second = DatabaseLock::acquire(&other, "the other").unwrap();
    assert!(lock.guards(&place.path) && !lock.guards(&other));
    assert!(second.guards(&other));
}

#[test]
fn a_missing_folder_is_named() {
    let place = Place::new();
    let path = place.folder.path().join("missing/a.sqlite");
    let error = DatabaseLock::acquire(&path, "x").unwrap_err();
    assert!(matches!(error, LockError::Io { .. }));
    assert!(error.to_string().contains("missing"), "{error}");
}
