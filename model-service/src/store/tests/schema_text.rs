//! The snapshot of the schema, for readers and for review.

use super::Fixture;

/// Where the snapshot is.
const SNAPSHOT: &str = include_str!("../../../../migrations/models/schema.sql");

#[test]
fn the_snapshot_of_the_schema_is_current() {
    let mut fixture = Fixture::new();
    let statements = fixture.texts(
        "SELECT sql || ';' AS text FROM sqlite_master
         WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND tbl_name IN (
             'models', 'model_aliases', 'model_server_availability', 'server_inventories',
             'server_model_files', 'server_assets', 'availability_events', 'request_ids',
             'audit_events', 'operations', 'models_search', 'model_field_sources',
             'library_roots', 'library_files', 'civitai_answers')
         ORDER BY tbl_name, type DESC, name",
    );
    let current = format!(
        "-- The schema of mobilesd_models.sqlite after all migrations, without the\n\
         -- bookkeeping of migrations. A test keeps it current.\n\n{}\n",
        statements.join("\n\n")
    );
    assert!(
        current == SNAPSHOT,
        "migrations/models/schema.sql is not current; it must read:\n{current}"
    );
}
