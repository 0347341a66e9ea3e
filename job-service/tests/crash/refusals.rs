//! What the program refuses to start with, by exit code and in words.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use diesel::{Connection as _, RunQueryDsl as _};
use job_service::{config::DATABASE_FILE, vault::KEY_FILE};
use service_kit::exit::Exit;

use crate::{
    program::command,
    world::{Client, World},
};

const SERVE: [&str; 3] = [
    "serve",
    "--listen=127.0.0.1:0",
    "--metrics-listen=127.0.0.1:0",
];

fn ended(arguments: &[&str], data_dir: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(arguments, data_dir).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn code(exit: Exit) -> Option<i32> {
    Some(exit.code().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_program_on_the_same_folder_is_told_who_is_there() {
    let world = World::new().await;
    let first = world.start(&[]);
    first.serves().await;
    for arguments in [&SERVE[..], &["migrate"]] {
        let (ended, said) = ended(arguments, &world.data_dir());
        assert_eq!(ended, code(Exit::Locked), "{said}");
        let holder = format!("job-service (process {})", first.id());
        assert!(said.contains(&holder), "{said}");
    }
    first.kill();
    // A kill leaves no lock behind.
    let mut next = world.start(&[]);
    next.serves().await;
    next.terminate();
    assert!(next.ends().await.success());
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (made, said) = ended(&["migrate"], folder.path());
    assert_eq!(made, code(Exit::Clean), "{said}");
    let file = folder.path().join(DATABASE_FILE);
    let sql = "INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')";
    let mut connection = diesel::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    diesel::sql_query(sql).execute(&mut connection).unwrap();
    drop(connection);
    let before = std::fs::read(&file).unwrap();
    for arguments in [&SERVE[..], &["migrate"]] {
        let (ended, said) = ended(arguments, folder.path());
        assert_eq!(ended, code(Exit::BadData), "{said}");
        assert!(said.contains("9999"), "{said}");
    }
    assert!(std::fs::read(&file).unwrap() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_a_newer_program_left_open_to_this_one_is_served() {
    let world = World::new().await;
    std::fs::create_dir_all(world.data_dir()).unwrap();
    let (made, said) = ended(&["migrate"], &world.data_dir());
    assert_eq!(made, code(Exit::Clean), "{said}");
    let file = world.data_dir().join(DATABASE_FILE);
    let mut connection = diesel::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    // A program later by two migrations that only expand.
    for sql in [
        "ALTER TABLE jobs ADD COLUMN colour TEXT NOT NULL DEFAULT 'white'",
        "REPLACE INTO stablequeue_meta \
         SELECT 'oldest_schema_version', max(version) FROM stablequeue_migrations",
        "INSERT INTO stablequeue_migrations VALUES \
         ('9998', '9998_a', 'a', '2026-11-22T11:08:00.123Z'), \
         ('9999', '9999_b', 'b', '2026-11-22T11:08:00.123Z')",
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('9998'), ('9999')",
    ] {
        diesel::sql_query(sql).execute(&mut connection).unwrap();
    }
    drop(connection);
    let (migrated, said) = ended(&["migrate"], &world.data_dir());
    assert_eq!(migrated, code(Exit::Clean), "{said}");
    let mut program = world.start(&[]);
    let warned = program.says("this one may still open it").await;
    assert!(
        warned.contains("WARN") && warned.contains("9999"),
        "{warned}"
    );
    let mut client = Client::of(&program).await;
    let id = client.submit("a lighthouse").await;
    client.completed(&id).await;
    program.terminate();
    assert!(program.ends().await.success());
}

#[test]
fn a_wrong_command_line_ends_as_bad_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let wrong: [&[&str]; 9] = [
        &["--no-such-flag"],
        &["--listen=not an address"],
        &["--bootstrap-key-file=no-such-file"],
        &["--metrics-listen=0.0.0.0:9464"],
        &["--servers=[{}]"],
        &["--servers-file=no-such-file"],
        &["--credentials-key-file=no-such-file"],
        &["--model-service=nowhere"],
        &["--log=a=b=c"],
    ];
    for arguments in wrong {
        let (ended, said) = ended(arguments, folder.path());
        assert_eq!(ended, code(Exit::BadConfiguration), "{arguments:?}: {said}");
        assert!(!said.is_empty());
    }
    let made = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(made, 0, "nothing was made");
}

#[test]
fn a_key_of_logins_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(KEY_FILE);
    let key = "5e".repeat(32);
    std::fs::write(&file, &key).unwrap();
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&file, mode).unwrap();
    let (ended, said) = ended(&SERVE, folder.path());
    assert_eq!(ended, code(Exit::BadConfiguration), "{said}");
    let remedy = format!("chmod 600 {}", file.display());
    assert!(said.contains(&remedy) && !said.contains(&key), "{said}");
}
