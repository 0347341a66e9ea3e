//! Folders that cannot be written, and disks that are full: the message says
//! what to do, and what is there stays as it is.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use job_service::config::DATABASE_FILE;
use service_kit::exit::Exit;
use tempfile::TempDir;

use crate::{
    left_alone::{BACKUP, MIGRATE, SERVE, code, ended, files, refused_by, wrapped},
    legacy::{Content, SAMPLES, beside, copy},
    program::command,
};

const OURS: &[&[&str]] = &[SERVE, MIGRATE, BACKUP];
/// For the superuser no mode counts unless that power is given up.
const WITHOUT_POWER: &[&str] = &["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
/// What `ulimit -f` counts in.
const BLOCK_BYTES: usize = 512;
/// A write behind so many blocks of a file fails, as on a full
/// disk, and the signal that would come with it is ignored.
const LIMITED: &str = "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"";
/// Makes a volume of 1 MiB with what is in a folder, and does something there.
const ON_A_VOLUME: &str = "set -e; mount -t tmpfs -o size=1m none \"$1\"; cp \"$0\"/* \"$1\"; \
    if test \"$2\" = full; then dd if=/dev/zero of=\"$1/filler\" bs=4k 2>/dev/null || true; fi; \
    cd \"$1\"; cksum * > \"$0/before\"; shift 2; code=0; \"$@\" >&2 || code=$?; \
    rm -f *.lock *-shm; find . -name '*-wal' -empty -delete; cksum * > \"$0/after\"; exit $code";

/// Takes away the right to write, and gives it back in the end.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn of(path: PathBuf) -> Self {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Self(path)
    }

    /// What a program is started by, so that it may not write there.
    fn wrap(&self) -> &'static [&'static str] {
        let folder = if self.0.is_dir() {
            self.0.as_path()
        } else {
            self.0.parent().unwrap()
        };
        let probe = folder.join("probe");
        let root = if self.0.is_dir() {
            fs::write(&probe, "").is_ok()
        } else {
            fs::OpenOptions::new().write(true).open(&self.0).is_ok()
        };
        // It is there only where it could be written.
        let _ = fs::remove_file(probe);
        if root { WITHOUT_POWER } else { &[] }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        fs::set_permissions(&self.0, Permissions::from_mode(0o755)).unwrap();
    }
}

/// One database of each kind.
fn folders() -> [TempDir; 3] {
    let ours = tempfile::tempdir().unwrap();
    let (made, said) = ended(&mut command(MIGRATE, ours.path()));
    assert_eq!(made, code(Exit::Clean), "{said}");
    [copy(SAMPLES[4]), copy(SAMPLES[5]), ours]
}

#[test]
fn a_folder_that_cannot_be_written() {
    for folder in folders() {
        let read_only = ReadOnly::of(folder.path().to_owned());
        let words = ["must be able to write", "denied", "owners and modes"];
        refused_by(read_only.wrap(), folder.path(), OURS, Exit::Failure, &words);
    }
    // Not even a first database can be made there.
    let empty = tempfile::tempdir().unwrap();
    let read_only = ReadOnly::of(empty.path().to_owned());
    let words = ["must be able to write", "denied"];
    refused_by(
        read_only.wrap(),
        empty.path(),
        &[SERVE, MIGRATE],
        Exit::Failure,
        &words,
    );
}

#[test]
fn a_database_that_cannot_be_written() {
    for folder in folders() {
        let database = folder.path().join(DATABASE_FILE);
        let name = format!("{} cannot be written", database.display());
        let read_only = ReadOnly::of(database);
        let words = [name.as_str(), "must be able to write"];
        refused_by(
            read_only.wrap(),
            folder.path(),
            &[SERVE, MIGRATE],
            Exit::Failure,
            &words,
        );
    }
}

/// What a folder holds, in any form in which it can be compared.
type Seen = dyn Fn(&Path) -> String;

/// Migrates with files that can be as large as that, and larger, until it gets
/// through; answers that size in blocks. Until then what is seen of the folder
/// stays the same, and no file is added.
fn least_blocks(folder: impl Fn() -> TempDir, seen: &Seen) -> usize {
    let mut blocks = 8;
    loop {
        let folder = folder();
        let names = || files(folder.path()).into_keys().collect::<BTreeSet<_>>();
        let before = (seen(folder.path()), names());
        let limit = blocks.to_string();
        let wrap = ["sh", "-c", LIMITED, &limit];
        let (exit, said) = ended(&mut wrapped(&wrap, command(MIGRATE, folder.path())));
        if exit == code(Exit::Clean) {
            return blocks;
        }
        let last = said.lines().last().unwrap();
        assert_eq!(exit, code(Exit::Failure), "{blocks}: {said}");
        assert!(last.contains("look at the disk, its free space"), "{last}");
        assert_eq!(seen(folder.path()), before.0, "{blocks}: {last}");
        let after = names();
        assert!(after.is_subset(&before.1), "{blocks}: {after:?}: {last}");
        blocks += blocks / 2;
    }
}

/// The rows of a database, its log included, as a copy shows them.
fn rows(folder: &Path) -> String {
    let other = tempfile::tempdir().unwrap();
    let (from, to) = (folder.join(DATABASE_FILE), other.path().join(DATABASE_FILE));
    for ending in ["", "-wal"] {
        if beside(&from, ending).exists() {
            fs::copy(beside(&from, ending), beside(&to, ending)).unwrap();
        }
    }
    format!("{:?}", Content::of(&to))
}

#[test]
fn a_disk_that_becomes_full_at_any_point_of_a_migration() {
    let sample = copy(SAMPLES[4]);
    let blocks = fs::read(sample.path().join(DATABASE_FILE)).unwrap().len() / BLOCK_BYTES;
    let bytes = |folder: &Path| format!("{:?}", files(folder));
    assert!(least_blocks(|| copy(SAMPLES[4]), &bytes) > blocks);
    // SQLite may move what is in a log into its database when it closes that.
    assert!(least_blocks(|| copy(SAMPLES[5]), &rows) > blocks);
}

/// How a namespace with volumes of its own is made here: the superuser may, and
/// others where the kernel lets them.
fn namespace() -> Option<&'static [&'static str]> {
    let all: [&[&str]; 2] = [
        &["unshare", "--mount"],
        &["unshare", "--map-root-user", "--mount"],
    ];
    all.into_iter().find(|wrap| {
        let tried = Command::new(wrap[0])
            .args(&wrap[1..])
            .args(["sh", "-c", "mount -t tmpfs none /mnt"])
            .output();
        tried.is_ok_and(|tried| tried.status.success())
    })
}

#[test]
fn a_volume_without_room() {
    let Some(namespace) = namespace() else {
        // No volume can be made here: a limit on files is the next best, and at
        // nothing at all not even the lock can be written.
        let folder = copy(SAMPLES[4]);
        let wrap = ["sh", "-c", LIMITED, "0"];
        let words = ["cannot lock the database", "look at the disk"];
        refused_by(&wrap, folder.path(), OURS, Exit::Failure, &words);
        return;
    };
    for (how, words) in [
        (
            "room",
            ["bytes of free space and its volume has", "free some space"],
        ),
        (
            "full",
            [
                "cannot lock the database",
                "the disk is full: free some space",
            ],
        ),
    ] {
        for (at, folder) in folders().iter().enumerate() {
            for arguments in [SERVE, MIGRATE, BACKUP] {
                // Of ours nothing is pending, so nothing but a backup needs room.
                if at == 2 && how == "room" && arguments != BACKUP {
                    continue;
                }
                on_a_volume(namespace, folder.path(), arguments, how, &words);
            }
        }
    }
}

fn on_a_volume(namespace: &[&str], folder: &Path, arguments: &[&str], how: &str, words: &[&str]) {
    let volume = tempfile::tempdir().unwrap();
    let _ = fs::remove_file(beside(&folder.join(DATABASE_FILE), ".lock"));
    let place = |path: &Path| path.to_str().unwrap().to_owned();
    let (from, to) = (place(folder), place(volume.path()));
    let mut wrap = namespace.to_vec();
    wrap.extend(["sh", "-c", ON_A_VOLUME, &from, &to, how]);
    let (exit, said) = ended(&mut wrapped(&wrap, command(arguments, volume.path())));
    assert_eq!(exit, code(Exit::Failure), "{how}: {arguments:?}: {said}");
    for part in words {
        assert!(said.contains(part), "{how}: {arguments:?}: {part}: {said}");
    }
    let sums = |name: &str| {
        let file = folder.join(name);
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        text
    };
    assert_eq!(
        sums("before"),
        sums("after"),
        "{how}: {arguments:?}: {said}"
    );
}
