//! Each documented statement is found in the created database. The expectation
//! is built by SQLite itself from the documented statements, written out here.

use diesel::prelude::*;

use super::Fixture;

/// The documented schema of the models database, statement for statement.
const DOCUMENTED: [&str; 8] = [
    "CREATE TABLE IF NOT EXISTS models (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    type TEXT NOT NULL CHECK (type IN ('checkpoint', 'lora')),
    local_path TEXT NOT NULL,
    filename TEXT NOT NULL,
    civitai_id TEXT,
    civitai_version_id TEXT,
    forge_format TEXT,
    hash_autov2 TEXT,
    hash_sha256 TEXT,
    civitai_model_name TEXT,
    civitai_model_base TEXT,
    civitai_model_type TEXT,
    civitai_model_version_name TEXT,
    civitai_model_version_desc TEXT,
    civitai_model_version_date TEXT,
    civitai_download_url TEXT,
    civitai_trained_words TEXT,
    civitai_file_size_kb INTEGER,
    metadata_status TEXT NOT NULL DEFAULT 'incomplete' CHECK (metadata_status IN ('complete', 'incomplete', 'error')),
    last_used TIMESTAMP,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);",
    "CREATE INDEX IF NOT EXISTS idx_models_type_filename ON models (type, filename);",
    "CREATE INDEX IF NOT EXISTS idx_models_civitai_ids ON models (civitai_id, civitai_version_id);",
    "CREATE INDEX IF NOT EXISTS idx_models_metadata_status ON models (metadata_status);",
    "CREATE INDEX IF NOT EXISTS idx_models_hashes ON models (hash_autov2, hash_sha256);",
    "CREATE TABLE IF NOT EXISTS model_aliases (
    id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL,
    alias_path TEXT NOT NULL,
    FOREIGN KEY (model_id) REFERENCES models(id) ON DELETE CASCADE
);

CREATE INDEX IF NOT EXISTS idx_model_aliases_path ON model_aliases (alias_path);",
    "CREATE TABLE IF NOT EXISTS model_server_availability (
    id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL,
    server_id TEXT NOT NULL,
    last_seen TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (model_id) REFERENCES models(id) ON DELETE CASCADE,
    UNIQUE(model_id, server_id)
);",
    "CREATE INDEX IF NOT EXISTS idx_model_server_availability ON model_server_availability (model_id, server_id);",
];

/// The newest migration.
const NEWEST: &str = "0007";

const TABLES: [&str; 3] = ["models", "model_aliases", "model_server_availability"];

/// What SQLite says of a table: columns with type, NOT NULL, default and key;
/// indexes with their columns; foreign keys.
fn facts(fixture: &mut Fixture, table: &str) -> Vec<String> {
    let columns = format!(
        "SELECT 'column ' || name || ' ' || type || ' ' || \"notnull\" || ' '
             || ifnull(dflt_value, 'NULL') || ' ' || pk AS text
         FROM pragma_table_info('{table}')"
    );
    let indexes = format!(
        "SELECT 'index ' || l.name || ' ' || l.\"unique\" || ' ' || l.origin || ' ' || l.partial
             || ' ' || (SELECT group_concat(name) FROM pragma_index_info(l.name)) AS text
         FROM pragma_index_list('{table}') AS l"
    );
    let foreign_keys = format!(
        "SELECT 'foreign key ' || \"from\" || ' ' || \"table\" || ' ' || \"to\" || ' '
             || on_update || ' ' || on_delete AS text
         FROM pragma_foreign_key_list('{table}')"
    );
    [columns, indexes, foreign_keys]
        .iter()
        .flat_map(|sql| fixture.texts(sql))
        .collect()
}

#[test]
fn every_documented_statement_is_in_the_created_database() {
    let mut created = Fixture::new();
    let mut documented = Fixture::new();
    documented.connection = SqliteConnection::establish(":memory:").unwrap();
    for statement in DOCUMENTED {
        diesel::connection::SimpleConnection::batch_execute(&mut documented.connection, statement)
            .unwrap();
    }
    for table in TABLES {
        let found = facts(&mut created, table);
        let expected = facts(&mut documented, table);
        assert!(expected.len() > 4, "{expected:?}");
        for fact in expected {
            assert!(
                found.contains(&fact),
                "{table}: {fact} is not in {found:#?}"
            );
        }
    }
}

#[test]
fn the_first_migration_is_the_documented_text() {
    let first = include_str!("../../../../migrations/models/0001_documented_schema/up.sql");
    for statement in DOCUMENTED {
        assert!(first.contains(statement), "{statement}");
    }
}

#[test]
fn the_documented_checks_and_defaults_hold() {
    let mut fixture = Fixture::new();
    let mut run = |sql: &str| diesel::sql_query(sql).execute(&mut fixture.connection);
    let model =
        "INSERT INTO models (name, type, local_path, filename) VALUES ('n', 'lora', '', '')";
    run(model).unwrap();
    for wrong in [
        "INSERT INTO models (name, type, local_path, filename) VALUES ('n', 'vae', '', '')",
        "UPDATE models SET metadata_status = 'partial'",
        "INSERT INTO model_aliases (model_id, alias_path) VALUES (99, 'a')",
        "INSERT INTO model_server_availability (model_id, server_id) VALUES (1, 's'), (1, 's')",
    ] {
        assert!(run(wrong).is_err(), "{wrong}");
    }
    run("INSERT INTO model_server_availability (model_id, server_id) VALUES (1, 's')").unwrap();
    run("INSERT INTO model_aliases (model_id, alias_path) VALUES (1, 'a')").unwrap();
    let defaults = "SELECT metadata_status || ' ' || (created_at GLOB '????-??-?? ??:??:??') || ' '
        || (last_seen GLOB '????-??-?? ??:??:??') AS text
        FROM models JOIN model_server_availability AS a ON a.model_id = models.id";
    assert_eq!(fixture.texts(defaults), ["incomplete 1 1"]);
    diesel::sql_query("DELETE FROM models")
        .execute(&mut fixture.connection)
        .unwrap();
    let left = "SELECT (SELECT count(*) FROM model_aliases) || ' '
        || (SELECT count(*) FROM model_server_availability) AS text";
    assert_eq!(fixture.texts(left), ["0 0"]);
}

#[test]
fn every_migration_can_be_taken_back_and_done_again() {
    let mut fixture = Fixture::new();
    // What the search keeps its words in is its own.
    let tables = "SELECT name AS text FROM pragma_table_list WHERE type <> 'shadow'
        AND name LIKE '%model%' ORDER BY name";
    assert_eq!(fixture.texts(tables).len(), 6);
    fixture.migrate_to("0001");
    assert_eq!(
        fixture.texts(tables),
        ["model_aliases", "model_server_availability", "models"]
    );
    let columns = "SELECT name AS text FROM pragma_table_xinfo('models')
        WHERE name LIKE '%key%' OR name = 'revision' UNION ALL
        SELECT name FROM pragma_table_xinfo('model_server_availability') WHERE name = 'title'";
    assert!(fixture.texts(columns).is_empty());
    fixture.migrate_to(service_kit::migrate::NOTHING);
    assert!(fixture.texts(tables).is_empty());
    fixture.migrate_to(NEWEST);
    assert_eq!(fixture.texts(tables).len(), 6);
}
