//! The snapshot of the schema, for readers and for review.

use super::Fixture;

/// Where the snapshot is.
const SNAPSHOT: &str = include_str!("../../../../migrations/jobs/schema.sql");

#[test]
fn the_snapshot_of_the_schema_is_current() {
    let mut fixture = Fixture::new();
    let statements = fixture.texts(
        "SELECT sql || ';' AS text FROM sqlite_master
         WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND tbl_name IN (
             'jobs', 'api_keys', 'job_attempts', 'job_events', 'job_images', 'forge_servers',
             'input_images', 'job_input_images', 'queue_totals', 'request_ids',
             'unneeded_files', 'authentication', 'key_totals', 'audit_events', 'adoption',
             'server_cooldowns', 'operations')
         ORDER BY tbl_name, type DESC, name",
    );
    let current = format!(
        "-- The schema of mobilesd_jobs.sqlite after all migrations, without the\n\
         -- bookkeeping of migrations. A test keeps it current.\n\n{}\n",
        statements.join("\n\n")
    );
    assert!(
        current == SNAPSHOT,
        "migrations/jobs/schema.sql is not current; it must read:\n{current}"
    );
}

#[test]
fn no_table_of_ours_is_missing_in_the_snapshot() {
    let mut fixture = Fixture::new();
    let tables = fixture.texts(
        "SELECT name AS text FROM sqlite_master WHERE type = 'table'
         AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_\\_%' ESCAPE '\\'
         AND name NOT LIKE 'stablequeue_%'",
    );
    for table in tables {
        let opening = format!("CREATE TABLE {table} (");
        assert!(SNAPSHOT.contains(&opening), "{table}");
    }
}
