//! What the values of the earlier application become.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use proptest::prelude::*;
use service_kit::database::DatabaseLock;
use service_kit::migrate::{self, AdoptionReport, MigrateOptions};

use super::now;
use crate::availability::AvailabilityFilter;
use crate::model::{MetadataStatus, Model, ModelFilter, ModelKind};
use crate::store::{aliases, availability, filtered, lookup, models, schema};

/// Each writes a database and syncs it.
const CASES: u32 = 48;
/// More than any test has.
const LIMIT: usize = 100;

/// The first models table, with what later versions appended to it.
const FIRST: &str = "CREATE TABLE models (id INTEGER PRIMARY KEY, name TEXT NOT NULL, \
    type TEXT NOT NULL CHECK (type IN ('checkpoint', 'lora')), local_path TEXT NOT NULL, \
    filename TEXT NOT NULL, hash TEXT, civitai_id TEXT, civitai_version_id TEXT, \
    forge_format TEXT, last_used TIMESTAMP, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, \
    metadata_status TEXT NOT NULL DEFAULT 'incomplete', hash_sha256 TEXT, hash_autov2 TEXT, \
    preview_path TEXT, civitai_checked TEXT, is_duplicate BOOLEAN DEFAULT FALSE);";

struct Adopted {
    connection: SqliteConnection,
    report: AdoptionReport,
    _folder: tempfile::TempDir,
}

fn adopted(statements: &[String]) -> Adopted {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mobilesd_models.sqlite");
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection
        .batch_execute("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF")
        .unwrap();
    for statement in statements {
        connection.batch_execute(statement).unwrap();
    }
    drop(connection);
    let lock = DatabaseLock::acquire(&path, "test").unwrap();
    let options = MigrateOptions { backup: false };
    let report = migrate::migrate(&path, &lock, &schema(), now(), &options).unwrap();
    Adopted {
        connection: SqliteConnection::establish(path.to_str().unwrap()).unwrap(),
        report: report.adoption.unwrap(),
        _folder: folder,
    }
}

impl Adopted {
    fn models(&mut self) -> Vec<Model> {
        let all = filtered::ids(&mut self.connection, &ModelFilter::default(), 0, LIMIT);
        models::by_ids(&mut self.connection, &all.unwrap()).unwrap()
    }

    fn model(&mut self, id: i64) -> Model {
        models::get(&mut self.connection, id).unwrap().unwrap()
    }

    /// One value of ours as text.
    fn text(&mut self, id: i64, column: &str) -> Option<String> {
        diesel::dsl::sql::<diesel::sql_types::Nullable<diesel::sql_types::Text>>(&format!(
            "SELECT CAST({column} AS TEXT) FROM models WHERE id = {id}"
        ))
        .get_result(&mut self.connection)
        .unwrap()
    }
}

fn first(rows: &str) -> Adopted {
    adopted(&[FIRST.to_owned(), rows.to_owned()])
}

const SHA: &str = "2870ca6e33d3665391b10c77641074755bf3b0283449ef1d52486dc7cfe392c8";

fn autov2(model: &Model) -> Option<&str> {
    model.facts.autov2.as_ref().map(|hash| hash.as_str())
}

#[test]
fn a_short_hash_is_believed_only_when_something_confirms_it() {
    let upper = SHA.to_uppercase();
    let mut adopted = first(&format!(
        "INSERT INTO models (id, name, type, local_path, filename, hash, hash_autov2, hash_sha256, \
             forge_format) VALUES \
         (1, 'n', 'lora', '/m', 'a', NULL, 'BBBBBBBBBB', '{upper}', NULL), \
         (2, 'n', 'lora', '/m', 'b', 'AAAAAAAAAA', 'bbbbbbbbbb', NULL, NULL), \
         (3, 'n', 'lora', '/m', 'c', NULL, 'CCCCCCCCCC', NULL, 'c.pt [cccccccccc]'), \
         (4, 'n', 'lora', '/m', 'd', NULL, 'dddddddddd', NULL, 'd.pt'), \
         (5, 'n', 'lora', '/m', 'e', 'banana', NULL, 'beef', NULL);"
    ));
    let all = adopted.models();
    let known: Vec<Option<&str>> = all.iter().map(autov2).collect();
    assert_eq!(
        known,
        [
            Some(&SHA[..10]),
            Some("aaaaaaaaaa"),
            Some("cccccccccc"),
            None,
            None
        ]
    );
    assert_eq!(
        all[0].facts.sha256.as_ref().map(|hash| hash.as_str()),
        Some(SHA)
    );
    assert_eq!(all[4].facts.sha256, None);
    let untrusted: Vec<Option<String>> = (1..=5)
        .map(|id| adopted.text(id, "untrusted_autov2"))
        .collect();
    let expected = [
        Some("bbbbbbbbbb"),
        Some("bbbbbbbbbb"),
        None,
        Some("dddddddddd"),
        None,
    ];
    assert_eq!(untrusted, expected.map(|hash| hash.map(str::to_owned)));
    assert!(
        adopted
            .report
            .notes
            .iter()
            .any(|note| note.starts_with("3 short"))
    );
}

#[test]
fn rows_that_may_be_several_files_have_no_hash_and_wait_for_a_rescan() {
    let mut adopted = first(&format!(
        "INSERT INTO models (id, name, type, local_path, filename, civitai_id, \
             civitai_version_id, hash_autov2, hash_sha256, civitai_checked) VALUES \
         (1, 'last.pt', 'lora', '/m', 'first.pt', 'none', 'none', 'aaaaaaaaaa', '{SHA}', NULL), \
         (2, 'n', 'lora', '/m', 'b.pt', '333444.0', '111222.0', NULL, NULL, 'found'), \
         (3, 'n', 'lora', '/m', 'c.pt', 'nonesuch', '1.5', NULL, NULL, 'perhaps');"
    ));
    let merged = adopted.model(1);
    assert_eq!(autov2(&merged), None);
    assert_eq!(merged.facts.sha256, None);
    assert_eq!(merged.facts.filename, "first.pt");
    assert_eq!(merged.facts.civitai.version_id, None);
    let text = |adopted: &mut Adopted, id, column| adopted.text(id, column);
    assert_eq!(text(&mut adopted, 1, "needs_rescan").as_deref(), Some("1"));
    assert_eq!(text(&mut adopted, 2, "needs_rescan").as_deref(), Some("0"));
    assert_eq!(
        text(&mut adopted, 1, "civitai_checked").as_deref(),
        Some("not_found")
    );
    assert_eq!(
        text(&mut adopted, 2, "civitai_checked").as_deref(),
        Some("found")
    );
    assert_eq!(text(&mut adopted, 3, "civitai_checked"), None);
    let civitai = adopted.model(2).facts.civitai;
    assert_eq!(civitai.model_id.as_deref(), Some("333444"));
    assert_eq!(civitai.version_id.as_deref(), Some("111222"));
    let other = adopted.model(3).facts.civitai;
    assert_eq!(other.model_id.as_deref(), Some("nonesuch"));
    assert_eq!(other.version_id.as_deref(), Some("1.5"));
    let fitting = crate::reference::Reference::parse(SHA, None);
    let found = lookup::may_fit(&mut adopted.connection, &[fitting]).unwrap();
    assert!(found[0].models.is_empty());
}

#[test]
fn names_types_paths_and_sizes_are_made_usable() {
    let mut adopted = adopted(&[
        "CREATE TABLE models (id INTEGER PRIMARY KEY, name TEXT, type TEXT, local_path TEXT, \
             filename TEXT, civitai_file_size_kb INTEGER, metadata_status TEXT, \
             last_used TIMESTAMP, created_at TIMESTAMP, civitai_trained_words TEXT);"
            .to_owned(),
        "INSERT INTO models VALUES \
         (1, NULL, NULL, '/app/models/Loras/x', 'y.safetensors', 1024.125, 'partial', \
             '2025-06-20T08:05:09.123Z', '2025-06-20 08:05:09', '[\"a\", \"b\"]'), \
         (2, ' ', 'vae', '.', 'Pony\\z.v2.ckpt', 0.8, 'none', 'banana', NULL, 'a, b'), \
         (3, 'Named', 'LORA', 'C:\\m\\w.pt', 'w.pt', 9000000000, 'error', NULL, '', NULL), \
         (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);"
            .to_owned(),
    ]);
    let all = adopted.models();
    let facts: Vec<(&str, ModelKind, &str, &str, Option<i32>)> = all
        .iter()
        .map(|model| {
            let facts = &model.facts;
            (
                facts.name.as_str(),
                facts.kind,
                facts.local_path.as_str(),
                facts.filename.as_str(),
                facts.civitai.file_size_kib,
            )
        })
        .collect();
    assert_eq!(
        facts,
        [
            (
                "y",
                ModelKind::Lora,
                "/app/models/Loras/x/y.safetensors",
                "y.safetensors",
                Some(1024)
            ),
            (
                "z.v2",
                ModelKind::Checkpoint,
                "Pony\\z.v2.ckpt",
                "z.v2.ckpt",
                None
            ),
            ("Named", ModelKind::Lora, "C:\\m\\w.pt", "w.pt", None),
            ("unnamed", ModelKind::Checkpoint, "", "", None),
        ]
    );
    let statuses: Vec<MetadataStatus> = all
        .iter()
        .map(|model| model.facts.metadata_status)
        .collect();
    let incomplete = MetadataStatus::Incomplete;
    assert_eq!(
        statuses,
        [incomplete, incomplete, MetadataStatus::Error, incomplete]
    );
    assert_eq!(
        adopted.text(1, "older_metadata_status").as_deref(),
        Some("partial")
    );
    assert_eq!(
        adopted.text(2, "older_metadata_status").as_deref(),
        Some("none")
    );
    assert_eq!(adopted.text(3, "older_metadata_status"), None);
    assert_eq!(
        adopted.text(1, "last_used").as_deref(),
        Some("2025-06-20 08:05:09")
    );
    assert_eq!(adopted.text(2, "last_used"), None);
    assert_eq!(all[0].facts.civitai.trained_words, ["a", "b"]);
    assert_eq!(all[1].facts.civitai.trained_words, ["a", "b"]);
}

#[test]
fn aliases_may_be_double_and_orphans_and_double_sights_are_set_aside() {
    let mut adopted = adopted(&[
        FIRST.to_owned(),
        "INSERT INTO models (id, name, type, local_path, filename) \
             VALUES (5, 'n', 'lora', '/m', 'a'); \
         CREATE TABLE model_aliases (id INTEGER PRIMARY KEY, model_id INTEGER, alias_path TEXT); \
         INSERT INTO model_aliases VALUES (1, 5, 'x'), (2, 5, 'x'), (3, 6, 'y'), (4, 5, NULL); \
         CREATE TABLE model_server_availability (id INTEGER PRIMARY KEY, model_id INTEGER, \
             server_id TEXT, last_seen TIMESTAMP); \
         INSERT INTO model_server_availability VALUES (1, 5, 'local', '2025-06-20 08:05:09'), \
             (2, 5, 'local', NULL), (3, 6, 'local', NULL), (4, 5, 'left', 'banana');"
            .to_owned(),
    ]);
    let kept: Vec<(i64, i64)> = adopted
        .report
        .tables
        .iter()
        .map(|table| (table.rows_kept, table.rows_set_aside()))
        .collect();
    assert_eq!(kept, [(1, 0), (2, 2), (2, 2)]);
    let found = aliases::of_models(&mut adopted.connection, &[5]).unwrap();
    assert_eq!(found.len(), 2);
    let filter = AvailabilityFilter {
        model_id: Some(5),
        ..AvailabilityFilter::default()
    };
    let seen = availability::list(&mut adopted.connection, &filter, 0, LIMIT).unwrap();
    let seen: Vec<(&str, bool)> = seen
        .iter()
        .map(|one| (one.server.as_str(), one.seen_at.is_some()))
        .collect();
    assert_eq!(seen, [("local", true), ("left", false)]);
}

const COLUMNS: [&str; 24] = [
    "id",
    "name",
    "type",
    "local_path",
    "filename",
    "hash",
    "preview_path",
    "civitai_id",
    "civitai_version_id",
    "forge_format",
    "hash_autov2",
    "hash_sha256",
    "civitai_model_name",
    "civitai_trained_words",
    "civitai_file_size_kb",
    "civitai_nsfw",
    "metadata_status",
    "metadata_source",
    "has_embedded_metadata",
    "last_used",
    "created_at",
    "civitai_checked",
    "is_duplicate",
    "duplicate_group_size",
];

fn value() -> impl Strategy<Value = String> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..8);
    prop_oneof![
        Just("NULL".to_owned()),
        (-1..5_i64).prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        (-1e10..1e10_f64).prop_map(|number| format!("{number:e}")),
        proptest::sample::select(vec![
            "'none'",
            "'complete'",
            "'lora'",
            "'12.0'",
            "'0123456789'",
            "'[\"a\"]'",
            "'a, b'",
            "'.'",
            "'a\\b.pt'",
            "'2025-06-20 08:05:09'",
            "'true'",
        ])
        .prop_map(str::to_owned),
        bytes().prop_map(|bytes| format!("x'{}'", hex::encode(bytes))),
        bytes().prop_map(|bytes| format!("CAST(x'{}' AS TEXT)", hex::encode(bytes))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn whatever_was_in_the_columns_every_row_can_be_read(
        rows in proptest::collection::vec(
            proptest::collection::vec(value(), COLUMNS.len()), 1..6),
        children in proptest::collection::vec((value(), value(), value()), 0..6),
    ) {
        let mut statements = vec![
            format!("CREATE TABLE models ({})", COLUMNS.join(", ")),
            "CREATE TABLE model_aliases (id, model_id, alias_path); \
             CREATE TABLE model_server_availability (model_id, server_id, last_seen)".to_owned(),
        ];
        for row in &rows {
            statements.push(format!("INSERT INTO models VALUES ({})", row.join(", ")));
        }
        for (a, b, c) in &children {
            statements.push(format!("INSERT INTO model_aliases VALUES ({c}, {a}, {b})"));
            statements.push(format!(
                "INSERT INTO model_server_availability VALUES ({a}, {b}, {c})"
            ));
        }
        let mut adopted = adopted(&statements);
        for table in &adopted.report.tables {
            prop_assert_eq!(table.rows_kept + table.rows_set_aside(), table.rows_before);
        }
        let kept = adopted.report.tables[0].rows_kept;
        let all = adopted.models();
        prop_assert_eq!(i64::try_from(all.len()).unwrap(), kept);
        let ids: Vec<i64> = all.iter().map(|model| model.id).collect();
        aliases::of_models(&mut adopted.connection, &ids).unwrap();
        availability::servers_of(&mut adopted.connection, &ids).unwrap();
        let references: Vec<_> = ["b", "0123456789", "a\\b.pt"]
            .map(|text| crate::reference::Reference::parse(text, None))
            .into();
        lookup::may_fit(&mut adopted.connection, &references).unwrap();
    }
}
