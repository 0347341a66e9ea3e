//! Folders that the program has to refuse: what it said, how it ended, and that
//! every file is byte for byte what it was.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use service_kit::exit::Exit;

use crate::program::command;

pub(crate) const SERVE: &[&str] = &[
    "serve",
    "--listen=127.0.0.1:0",
    "--metrics-listen=127.0.0.1:0",
];
pub(crate) const MIGRATE: &[&str] = &["migrate"];
pub(crate) const BACKUP: &[&str] = &["backup"];

/// What a run ended with and said.
pub(crate) fn ended(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

pub(crate) fn code(exit: Exit) -> Option<i32> {
    Some(exit.code().into())
}

/// Every file of a folder with its content. Aside are the lock, the shared
/// memory, in which SQLite has nothing that counts, and a log that is empty,
/// which is none: SQLite leaves both beside a database that it has only read.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .filter(|(name, bytes)| {
            let aside = name.ends_with(".lock") || name.ends_with("-shm");
            let emptied = name.ends_with("-wal") && bytes.is_empty();
            !aside && !emptied
        })
        .collect()
}

/// Fails unless every one of these ends so, says all of that, once, and leaves
/// the folder alone. `wrap` is what the program is started by.
pub(crate) fn refused_by(
    wrap: &[&str],
    folder: &Path,
    all: &[&[&str]],
    exit: Exit,
    words: &[&str],
) -> String {
    let before = files(folder);
    let mut last = String::new();
    for arguments in all {
        let plain = command(arguments, folder);
        let (ended, said) = ended(&mut wrapped(wrap, plain));
        assert_eq!(ended, code(exit), "{arguments:?}: {said}");
        let said = said.lines().last().unwrap_or_default().to_owned();
        for part in words {
            assert!(said.contains(part), "{arguments:?}: {part:?}: {said}");
            assert_eq!(said.matches(part).count(), 1, "{arguments:?}: {said}");
        }
        let after = files(folder);
        assert!(
            after == before,
            "{arguments:?} changed the folder: {:?} became {:?}",
            sizes(&before),
            sizes(&after)
        );
        last = said;
    }
    last
}

/// The same of a program that is started as it is.
pub(crate) fn refused(folder: &Path, all: &[&[&str]], exit: Exit, words: &[&str]) -> String {
    refused_by(&[], folder, all, exit, words)
}

/// The program, started by another one.
pub(crate) fn wrapped(wrap: &[&str], plain: Command) -> Command {
    let Some((first, further)) = wrap.split_first() else {
        return plain;
    };
    let mut command = Command::new(first);
    command
        .args(further)
        .arg(plain.get_program())
        .args(plain.get_args());
    command
}

fn sizes(files: &BTreeMap<String, Vec<u8>>) -> Vec<(&String, usize)> {
    files
        .iter()
        .map(|(name, bytes)| (name, bytes.len()))
        .collect()
}
