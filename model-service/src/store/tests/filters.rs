//! What filters let through, how they find it, and that the search follows every change.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use proptest::prelude::*;

use super::Fixture;
use super::plans::{Recorder, steps};
use crate::model::{FacetField, MetadataStatus, ModelFilter, ModelKind, SearchWords};
use crate::store::{facets, filtered, models};

/// Each looks into a database that is in memory by then.
const CASES: u32 = 128;

fn none() -> ModelFilter {
    ModelFilter::default()
}

fn search(text: &str) -> ModelFilter {
    ModelFilter {
        search: Some(SearchWords::parse(text).unwrap()),
        ..none()
    }
}

fn word(text: &str) -> ModelFilter {
    ModelFilter {
        trained_word: Some(text.to_owned()),
        ..none()
    }
}

fn insert(fixture: &mut Fixture, rows: &str) {
    let statement = format!(
        "INSERT INTO models (id, type, local_path, name, filename, civitai_trained_words, notes)
         VALUES {rows}"
    );
    fixture.connection.batch_execute(&statement).unwrap();
}

/// The plan of listing with a filter.
fn plan(fixture: &mut Fixture, filter: &ModelFilter) -> String {
    let recorder = Recorder::default();
    fixture.connection.set_instrumentation(recorder.clone());
    filtered::ids(&mut fixture.connection, filter, 7, 50).unwrap();
    fixture.connection.set_instrumentation(Recorder::default());
    let statements = recorder.statements();
    let [sql] = &statements[..] else {
        panic!("{statements:#?}");
    };
    steps(fixture, sql).join("\n")
}

#[test]
fn a_filter_looks_up_what_it_can_and_sorts_nothing() {
    let mut fixture = Fixture::new();
    let some = |text: &str| Some(text.to_owned());
    for (filter, by) in [
        (none(), "models USING INTEGER PRIMARY KEY (rowid>?)"),
        (search("fox"), "SCAN models_search VIRTUAL TABLE INDEX 64:M"),
        (
            word("red-fox"),
            "SCAN models_search VIRTUAL TABLE INDEX 64:M",
        ),
        (
            ModelFilter {
                kind: Some(ModelKind::Lora),
                text: some("fox"),
                ..none()
            },
            "models USING INTEGER PRIMARY KEY (rowid>?)",
        ),
        (
            ModelFilter {
                metadata_status: Some(MetadataStatus::Error),
                ..none()
            },
            "idx_models_metadata_status (metadata_status=? AND rowid>?)",
        ),
        (
            ModelFilter {
                base_model: some("Pony"),
                ..none()
            },
            "idx_models_base (civitai_model_base=? AND rowid>?)",
        ),
        (
            ModelFilter {
                civitai_version_id: some("7"),
                ..none()
            },
            "idx_models_civitai_version (civitai_version_id=? AND rowid>?)",
        ),
        (
            ModelFilter {
                civitai_model_id: some("7"),
                ..none()
            },
            "idx_models_civitai_ids (civitai_id=?)",
        ),
        (
            ModelFilter {
                hash_prefix: some("beef"),
                ..none()
            },
            "idx_models_sha256 (hash_sha256>? AND hash_sha256<?)",
        ),
        (
            ModelFilter {
                server: some("left"),
                ..none()
            },
            "idx_model_server_availability_server (server_id=? AND model_id>?)",
        ),
        (
            ModelFilter {
                missing: Some(true),
                ..none()
            },
            "idx_library_files_missing (model_id>?)",
        ),
    ] {
        let plan = plan(&mut fixture, &filter);
        assert!(plan.contains(by), "{filter:?}\n{plan}");
        assert!(
            !plan.contains("TEMP B-TREE FOR ORDER BY"),
            "{filter:?}\n{plan}"
        );
        assert!(!plan.contains("SCAN models\n"), "{filter:?}\n{plan}");
    }
}

#[test]
fn the_search_follows_every_insert_change_and_removal() {
    let mut fixture = Fixture::new();
    insert(
        &mut fixture,
        "(1, 'lora', '', 'fox', 'a.pt', NULL, NULL), (2, 'lora', '', 'hare', 'b.pt', NULL, 'fox')",
    );
    let ids = |fixture: &mut Fixture, text: &str| {
        filtered::ids(&mut fixture.connection, &search(text), 0, 10).unwrap()
    };
    assert_eq!(ids(&mut fixture, "fox"), [1, 2]);
    let execute = |fixture: &mut Fixture, sql: &str| {
        fixture.connection.batch_execute(sql).unwrap();
    };
    execute(&mut fixture, "UPDATE models SET notes = 'owl' WHERE id = 2");
    assert_eq!(ids(&mut fixture, "fox"), [1]);
    execute(
        &mut fixture,
        "UPDATE models SET last_used = 'now', revision = 9",
    );
    execute(&mut fixture, "DELETE FROM models WHERE id = 1");
    assert_eq!(ids(&mut fixture, "fox"), [0_i64; 0]);
    assert_eq!(ids(&mut fixture, "owl"), [2]);
    let whole = "INSERT INTO models_search (models_search, rank) VALUES ('integrity-check', 1)";
    execute(&mut fixture, whole);
}

#[test]
fn an_older_database_is_searched_once_it_is_migrated_and_keeps_its_rows_on_the_way_back() {
    let mut fixture = Fixture::new();
    fixture.migrate_to("0006");
    fixture
        .connection
        .batch_execute(
            "INSERT INTO models (id, type, local_path, name, filename, civitai_trained_words) \
             VALUES (3, 'lora', '/m', 'Fôx', 'a.pt', 'Red, hare'); \
             INSERT INTO server_inventories (server_id, generation, synced_at, checkpoint_count, \
                 lora_count, asset_count) VALUES ('left', '1', '', 0, 1, 0);",
        )
        .unwrap();
    fixture.migrate_to("0007");
    let ids = |fixture: &mut Fixture, filter: ModelFilter| {
        filtered::ids(&mut fixture.connection, &filter, 0, 10).unwrap()
    };
    assert_eq!(ids(&mut fixture, search("fox hare")), [3]);
    assert_eq!(ids(&mut fixture, word("red")), [3]);
    let details = "UPDATE models SET notes = 'owl', hash_autov3 = '0123456789ab'";
    fixture.connection.batch_execute(details).unwrap();
    fixture.migrate_to("0006");
    let rows =
        "SELECT name || ' ' || (SELECT generation FROM server_inventories) AS text FROM models";
    assert_eq!(fixture.texts(rows), ["Fôx 1"]);
    let rename = "UPDATE models SET name = 'Fox of 0006'";
    fixture.connection.batch_execute(rename).unwrap();
    fixture.migrate_to("0007");
    assert_eq!(ids(&mut fixture, search("0006")), [3]);
    assert_eq!(ids(&mut fixture, search("owl")), [0_i64; 0]);
}

#[test]
fn words_of_the_earlier_application_are_found_and_counted_too() {
    let mut fixture = Fixture::new();
    insert(
        &mut fixture,
        r#"(1, 'lora', '', 'a', 'a', '["red", "Fox"]', NULL),
           (2, 'lora', '', 'b', 'b', 'red, fox of "old"', NULL),
           (3, 'lora', '', 'c', 'c', '["broken', NULL),
           (4, 'lora', '', 'd', 'd', '["\u00e9t\u00e9", 7, null]', NULL),
           (5, 'lora', '', 'e', 'e', x'61', NULL), (6, 'lora', '', 'f', 'f', '', NULL)"#,
    );
    let ids = |fixture: &mut Fixture, text: &str| {
        filtered::ids(&mut fixture.connection, &word(text), 0, 10).unwrap()
    };
    assert_eq!(ids(&mut fixture, "RED"), [1, 2]);
    assert_eq!(ids(&mut fixture, "fox of \"old\""), [2]);
    assert_eq!(ids(&mut fixture, "été"), [4]);
    let facets = facets::of(&mut fixture.connection, &none()).unwrap();
    let words = facets
        .iter()
        .find(|it| it.field == FacetField::TrainedWords)
        .unwrap();
    assert_eq!(words.counts[0], ("red".to_owned(), 2));
    assert!(words.counts.contains(&("été".to_owned(), 1)), "{words:?}");
    let types = facets
        .iter()
        .find(|it| it.field == FacetField::Type)
        .unwrap();
    assert_eq!(types.counts, [("lora".to_owned(), 6)]);
}

#[test]
fn facets_show_the_most_frequent_values_only() {
    let mut fixture = Fixture::new();
    fixture
        .connection
        .batch_execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) \
             INSERT INTO models (type, local_path, name, filename, civitai_model_base) \
             SELECT 'lora', '', 'n', 'f', 'base ' || max(i, 3) FROM n",
        )
        .unwrap();
    let facets = facets::of(&mut fixture.connection, &none()).unwrap();
    let bases = facets
        .iter()
        .find(|it| it.field == FacetField::BaseModel)
        .unwrap();
    assert_eq!(bases.counts.len(), 50);
    assert_eq!(bases.counts[0], ("base 3".to_owned(), 3));
}

#[test]
fn a_trigger_word_is_counted_as_it_is_found() {
    let mut fixture = Fixture::new();
    fixture
        .connection
        .batch_execute(
            "INSERT INTO models (type, local_path, name, filename, civitai_trained_words) VALUES \
             ('lora', '', 'n', 'f', '[\"Red Fox\", \"red fox \"]'), \
             ('lora', '', 'n', 'f', '[\"RED FOX\", \"Äpfel\"]'), \
             ('lora', '', 'n', 'f', '[\"äpfel\"]')",
        )
        .unwrap();
    let facets = facets::of(&mut fixture.connection, &none()).unwrap();
    let words = facets
        .iter()
        .find(|it| it.field == FacetField::TrainedWords)
        .unwrap();
    let expected = [("Red Fox", 2), ("Äpfel", 1), ("äpfel", 1)];
    let counts = words.counts.iter().map(|(word, count)| (&**word, *count));
    assert_eq!(counts.collect::<Vec<_>>(), expected);
    for (word, count) in expected {
        let filter = ModelFilter {
            trained_word: Some(word.to_owned()),
            ..none()
        };
        let found = filtered::ids(&mut fixture.connection, &filter, 0, 10).unwrap();
        assert_eq!(found.len(), usize::try_from(count).unwrap(), "{word}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn no_text_breaks_a_search(texts in proptest::collection::vec("\\PC{0,12}|[\"*:^(){}+ a-]{0,12}", 1..8)) {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        connection.batch_execute(
            "CREATE TABLE models (id INTEGER PRIMARY KEY, name, civitai_trained_words, type); \
             CREATE VIRTUAL TABLE models_search USING fts5 (name, civitai_trained_words);"
        ).unwrap();
        for text in texts {
            let filter = ModelFilter {
                search: SearchWords::parse(&text).ok(),
                trained_word: (!text.is_empty()).then_some(text),
                ..ModelFilter::default()
            };
            prop_assert!(filtered::ids(&mut connection, &filter, 0, 10).is_ok(), "{filter:?}");
        }
    }
}

#[test]
fn a_model_is_shown_with_what_its_files_are() {
    let mut fixture = Fixture::new();
    insert(
        &mut fixture,
        "(1, 'lora', '', 'a', 'a', NULL, NULL), (2, 'lora', '', 'b', 'b', NULL, NULL),
         (3, 'lora', '', 'c', 'c', NULL, NULL)",
    );
    let file = |root: &str, model: i64, preview: &str, missing: &str| {
        format!(
            "INSERT INTO library_files (root, path, model_id, size_bytes, modified_ns, device, \
                 inode, beside_stamp, preview_path, first_seen_at, seen_at, missing_since) \
             VALUES ('{root}', x'61', {model}, 1, 1, 1, 1, '', {preview}, '', '', {missing});"
        )
    };
    let files = [
        file("one", 1, "NULL", "NULL"),
        file("two", 1, "x'62'", "'2026-11-22T11:08:00.000Z'"),
        file("three", 2, "x'62'", "'2026-11-22T11:08:00.000Z'"),
        file("four", 1, "x'ff2e706e67'", "NULL"),
    ];
    fixture.connection.batch_execute(&files.join(" ")).unwrap();
    let all = filtered::ids(&mut fixture.connection, &none(), 0, 10).unwrap();
    let all = models::by_ids(&mut fixture.connection, &all).unwrap();
    let states: Vec<(bool, bool)> = all.iter().map(|it| (it.has_preview, it.missing)).collect();
    assert_eq!(states, [(true, false), (false, true), (false, false)]);
    let preview = crate::store::files_of_models::preview(&mut fixture.connection, 1).unwrap();
    let (root, path) = preview.unwrap();
    assert_eq!(root, "four");
    assert_eq!(
        std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()),
        b"\xff.png"
    );
    let of_two = crate::store::files_of_models::preview(&mut fixture.connection, 2).unwrap();
    assert_eq!(of_two, None);
    let missing = |missing| ModelFilter {
        missing: Some(missing),
        ..none()
    };
    let ids = |fixture: &mut Fixture, filter| {
        filtered::ids(&mut fixture.connection, &filter, 0, 10).unwrap()
    };
    assert_eq!(ids(&mut fixture, missing(true)), [2]);
    assert_eq!(ids(&mut fixture, missing(false)), [1, 3]);
}
