//! SIGKILL while the servers and settings of the earlier application are taken
//! over: after the next start every server is there once, its login sealed with
//! the key that is on disk, and a further start changes nothing.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use diesel::{
    Connection as _, SqliteConnection,
    prelude::*,
    sql_query,
    sql_types::{Binary, Bool, Nullable, Text},
};
use job_service::{
    config::DATABASE_FILE, seal::Sealed, server::LoginKind, stop_point, vault::Vault,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;

use crate::{
    left_alone::SERVE,
    legacy::{SAMPLES, beside, copy},
    program::{Program, command},
};

const SEED: u64 = 20_261_126;
const KILLS: usize = 24;
/// A sample with a database of jobs.
const SAMPLE: &str = SAMPLES[3];
const PASSWORD: &str = "hunter2-of-the-test";
/// The three shapes of logins, one alias twice and one without an address;
/// nobody listens at these addresses.
const SERVERS: &str = r#"[
    {"alias": "open", "apiUrl": "http://127.0.0.1:9/", "auth": null},
    {"alias": "inside", "apiUrl": "http://127.0.0.1:9",
     "auth": {"username": "u", "password": "hunter2-of-the-test"}},
    {"alias": "beside", "apiUrl": "http://127.0.0.1:9", "username": "u", "password": "hunter2-of-the-test"},
    {"alias": "open", "apiUrl": "http://127.0.0.1:9"},
    {"alias": "", "apiUrl": "no address"}
]"#;
const PAUSED: &str = r#"{"queueProcessingEnabled": false}"#;

#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    alias: String,
    #[diesel(sql_type = Text)]
    base_url: String,
    #[diesel(sql_type = Bool)]
    cordoned: bool,
    #[diesel(sql_type = Nullable<Binary>)]
    api_login_sealed: Option<Vec<u8>>,
    #[diesel(sql_type = Text)]
    created_at: String,
}

fn folder() -> TempDir {
    let folder = copy(SAMPLE);
    fs::write(folder.path().join("servers.json"), SERVERS).unwrap();
    fs::write(folder.path().join("app-settings.json"), PAUSED).unwrap();
    folder
}

fn start(folder: &Path, further: &[&str]) -> Program {
    Program::start(&mut command(&[SERVE, further].concat(), folder))
}

/// Starts the program, lets it end in order, and answers the servers.
async fn after_a_start(folder: &Path) -> Vec<Row> {
    let mut program = start(folder, &[]);
    program.serves().await;
    program.terminate();
    assert!(program.ends().await.success(), "{}", program.said());
    let file = folder.join(DATABASE_FILE);
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    sql_query("SELECT * FROM forge_servers ORDER BY alias")
        .load(&mut connection)
        .unwrap()
}

/// Looks at what two further starts find.
async fn all_there_once(folder: &Path, when: &str) {
    let found = after_a_start(folder).await;
    let facts: Vec<_> = found
        .iter()
        .map(|row| (&*row.alias, row.cordoned))
        .collect();
    let wanted = [("beside", true), ("inside", true), ("open", true)];
    assert_eq!(facts, wanted, "{when}");
    let vault = Vault::open(folder, None).unwrap();
    for row in &found {
        let Some(sealed) = row.api_login_sealed.clone() else {
            assert_eq!(row.alias, "open", "{when}");
            continue;
        };
        let sealed = Sealed::from_stored(sealed);
        let login = vault.unseal(LoginKind::Api, &row.alias, &row.base_url, &sealed);
        let login = login.unwrap_or_else(|lost| panic!("{when}: {}: {lost}", row.alias));
        assert_eq!(login.user(), "u", "{when}");
    }
    for ending in ["", "-wal", "-journal"] {
        let bytes = fs::read(beside(&folder.join(DATABASE_FILE), ending)).unwrap_or_default();
        let mut parts = bytes.windows(PASSWORD.len());
        assert!(!parts.any(|part| part == PASSWORD.as_bytes()), "{when}");
    }
    let kept = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(
        (&*kept("servers.json"), &*kept("app-settings.json")),
        (SERVERS, PAUSED)
    );
    assert_eq!(after_a_start(folder).await, found, "{when}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_before_or_after_its_commit_is_there_once() {
    for point in [stop_point::BEFORE_IMPORT, stop_point::AFTER_IMPORT] {
        let folder = folder();
        let program = start(folder.path(), &["--stop-at", point]);
        program.says(&format!("stopped at {point}")).await;
        program.kill();
        all_there_once(folder.path(), point).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_is_killed_at_any_instant_takes_the_servers_over_once() {
    let undisturbed = folder();
    let began = Instant::now();
    let program = start(undisturbed.path(), &[]);
    program.serves().await;
    let took = began.elapsed();
    drop(program);
    let mut moments = StdRng::seed_from_u64(SEED);
    let mut cut = 0;
    for kill in 0..KILLS {
        let folder = folder();
        let moment = moments.random_range(Duration::ZERO..took);
        let mut program = start(folder.path(), &[]);
        program.runs_for(moment).await;
        cut += usize::from(!program.said().contains("\"serving\""));
        program.kill();
        all_there_once(folder.path(), &format!("kill {kill} after {moment:?}")).await;
    }
    println!("seed {SEED}, {KILLS} kills, {cut} of them before it served");
    assert!(cut * 2 > KILLS, "too few were cut off: {cut}");
}
