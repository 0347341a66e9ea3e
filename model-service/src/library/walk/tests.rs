//! What a walk makes of what it cannot look at.

use std::os::unix::fs::PermissionsExt as _;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::*;
use crate::config::RootConfig;
use crate::library::roots::Root;

#[test]
fn a_file_is_beneath_its_folders_and_no_others() {
    for folder in ["", "a", "a/b"] {
        assert!(is_beneath(b"a/b/c", folder.as_bytes()), "{folder}");
    }
    for other in ["a/b/c", "a/b/", "b", "a/bb", "aa"] {
        assert!(!is_beneath(b"a/b/c", other.as_bytes()), "{other}");
    }
}

/// Does something on a thread for which modes of files count, also as root.
fn without_privileges(work: impl FnOnce() + Send) {
    let thread = || {
        let mut mine = capabilities(None).unwrap();
        mine.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, mine).unwrap();
        work();
    };
    std::thread::scope(|scope| scope.spawn(thread).join().unwrap());
}

/// A root with a folder in which names can be read and nothing looked at.
fn listable() -> (tempfile::TempDir, OpenRoot) {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::write(closed.join("a.sft"), "model").unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o644)).unwrap();
    let root = Root::new(RootConfig {
        name: "main".into(),
        path: folder.path().to_owned(),
        kind: None,
    });
    let open = root.open().unwrap();
    (folder, open)
}

#[test]
fn a_file_that_cannot_be_looked_at_is_not_one_that_is_gone() {
    let (_folder, root) = listable();
    let problems = Problems::new("main", LibraryReport::default());
    let entries = AtomicU64::new(0);
    without_privileges(|| {
        let walk = Walk::new(&root, &problems, &entries);
        let walked = walk.run(1, &|| true, &|listed| panic!("{:?}", listed.models));
        assert!(walked.complete);
        assert_eq!(walked.unread, [b"closed/a.sft"]);
        assert!(!walked.has_seen(b"closed/a.sft"));
        // What has no name there any more is gone.
        assert!(walked.has_seen(b"closed/b.sft") && walked.has_seen(b"a.sft"));
    });
    assert_eq!(problems.count(), 1);
}

#[test]
fn a_name_of_which_nobody_says_what_it_is_is_left_out_with_all_beneath_it() {
    let (_folder, root) = listable();
    let problems = Problems::new("main", LibraryReport::default());
    let entries = AtomicU64::new(0);
    without_privileges(|| {
        let walk = Walk::new(&root, &problems, &entries);
        let open = root.open_folder(std::path::Path::new("closed")).unwrap();
        assert_eq!(walk.kind_of(b"closed", &open, c"a.sft"), None);
        let walked = walk.run(1, &|| false, &|_| {});
        assert!(!walked.has_seen(b"closed/a.sft/beneath"));
        assert!(walked.has_seen(b"closed/other"));
    });
    assert_eq!(problems.count(), 1);
}

#[test]
fn empty_folders_are_told_with_their_volume() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["empty", "full", "full/empty"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let root = Root::new(RootConfig {
        name: "main".into(),
        path: folder.path().to_owned(),
        kind: None,
    });
    let root = root.open().unwrap();
    let problems = Problems::new("main", LibraryReport::default());
    let entries = AtomicU64::new(0);
    let walked = Walk::new(&root, &problems, &entries).run(1, &|| true, &|_| {});
    let volume = FileStamp::of(&folder.path().metadata().unwrap()).device;
    let expected = [
        (b"empty".to_vec(), volume),
        (b"full/empty".to_vec(), volume),
    ];
    assert_eq!(walked.empty, HashMap::from(expected));
    assert!(!walked.is_empty);
}
