//! Whatever the shape of an older database, its adoption ends well and keeps every value.

use std::collections::BTreeMap;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use service_kit::migrate::{MigrateOptions, migrate};

use crate::adopting::{ADOPTION, DOCUMENTED, LATER, adopting, texts};
use crate::migrating::noon;
use crate::support::{Place, number};

/// Each writes some files and syncs them.
const CASES: u32 = 64;
const ROWS_MAX: usize = 8;

/// An older table: its name, its columns as they are declared, its rows as SQL literals.
#[derive(Debug, Clone)]
struct Table {
    name: &'static str,
    columns: Vec<(String, &'static str)>,
    rows: Vec<Vec<String>>,
    end: &'static str,
}

impl Table {
    fn make(&self, connection: &mut SqliteConnection) {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, declared)| format!("\"{}\" {declared}", quoted(name)))
            .collect();
        let (name, end) = (self.name, self.end);
        let table = format!("CREATE TABLE \"{name}\" ({}) {end}", columns.join(", "));
        connection.batch_execute(&table).unwrap();
        for row in &self.rows {
            let values: Vec<&str> = row.iter().take(columns.len()).map(String::as_str).collect();
            let values = values.join(", ");
            // A row that the older table refuses was never there.
            let _ = connection.batch_execute(&format!("INSERT INTO \"{name}\" VALUES ({values})"));
        }
    }
}

fn value() -> impl Strategy<Value = String> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..12);
    prop_oneof![
        2 => Just("NULL".to_owned()),
        3 => (-2..6_i64).prop_map(|number| number.to_string()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => (-1e300..1e300_f64).prop_map(|number| format!("{number:e}")),
        1 => (-9..9_i32).prop_map(|number| format!("{number}.0")),
        2 => select(vec!["'done'", "' Open'", "'01'", "'none'", "'red'", "'2025-06-20'", "''"])
            .prop_map(str::to_owned),
        2 => "\\PC{0,8}".prop_map(|text| format!("CAST(x'{}' AS TEXT)", hex(text.as_bytes()))),
        2 => bytes().prop_map(|bytes| format!("CAST(x'{}' AS TEXT)", hex(&bytes))),
        2 => bytes().prop_map(|bytes| format!("x'{}'", hex(&bytes))),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A table with `needed` columns and any of `others`, in any order, case and declaration.
fn table(
    name: &'static str,
    needed: &'static [&'static str],
    others: &'static [&'static str],
) -> impl Strategy<Value = Table> {
    let names = subsequence(others, 0..=others.len())
        .prop_map(move |some| [needed, &some[..]].concat())
        .prop_shuffle();
    let declared = select(vec![
        "",
        "TEXT",
        "INTEGER",
        "REAL",
        "NUMERIC",
        "BLOB",
        "BOOLEAN DEFAULT FALSE",
        "TEXT COLLATE NOCASE",
        "TIMESTAMP",
        "TEXT UNIQUE",
    ]);
    let width = needed.len() + others.len();
    let columns = names.prop_flat_map(move |names| {
        let count = names.len();
        let declared = proptest::collection::vec((declared.clone(), any::<bool>()), count);
        declared.prop_map(move |declared| {
            let columns = names.iter().zip(declared);
            columns
                .map(|(name, (declared, upper))| {
                    let name = if upper {
                        name.to_uppercase()
                    } else {
                        (*name).to_owned()
                    };
                    (name, declared)
                })
                .collect::<Vec<_>>()
        })
    });
    let row = proptest::collection::vec(value(), width);
    let rows = proptest::collection::vec(row, 0..ROWS_MAX);
    (columns, rows, 0..4_u8).prop_map(move |(mut columns, rows, key)| {
        let mut end = "";
        let first = columns
            .iter_mut()
            .find(|(column, _)| column.eq_ignore_ascii_case("id"));
        if let Some((_, declared)) = first {
            match key {
                0 => *declared = "INTEGER PRIMARY KEY",
                1 => *declared = "TEXT PRIMARY KEY",
                2 => (*declared, end) = ("PRIMARY KEY", "WITHOUT ROWID"),
                _ => {}
            }
        }
        Table {
            name,
            columns,
            rows,
            end,
        }
    })
}

fn database() -> impl Strategy<Value = Vec<Table>> {
    let notes = table(
        "notes",
        &["id", "text"],
        &[
            "size", "state", "made_at", "body", "colour", "text_key", "rowid", "value", "key",
            "ü\"q",
        ],
    );
    let tags = table(
        "tags",
        &["note_id", "label"],
        &["id", "oid", "weight", "reason"],
    );
    let owners = table(
        "owners",
        &["id", "name"],
        &["token", "token_hash", "adoption_row", "row"],
    );
    let others = table("events", &["a"], &["id", "b"]);
    let unlike = table("adopted_notes", &["id"], &["text", "older"]);
    (
        notes,
        proptest::option::of(tags),
        proptest::option::of(owners),
        proptest::option::of(others),
        proptest::option::of(unlike),
    )
        .prop_map(|(notes, tags, owners, others, unlike)| {
            let mut all = vec![notes];
            all.extend([tags, owners, others, unlike].into_iter().flatten());
            all
        })
}

/// How often each value, with its storage class, is in a query of one column.
fn counts(connection: &mut SqliteConnection, from: &str) -> BTreeMap<String, usize> {
    let query = format!(
        "SELECT typeof(value) || ' ' || hex(CAST(value AS BLOB)) FROM ({from}) \
         WHERE value IS NOT NULL"
    );
    let mut counts = BTreeMap::new();
    for text in texts(connection, &query) {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

/// Where the values of a column can be once the database is adopted.
fn places(table: &Table, column: &str) -> String {
    let name = table.name;
    let Some(spec) = ADOPTION.tables.iter().find(|spec| spec.name == name) else {
        return format!(
            "SELECT \"{}\" AS value FROM \"older_{name}\"",
            quoted(column)
        );
    };
    let kept = format!(
        "SELECT value FROM adoption_values \
         WHERE table_name = '{name}' AND lower(column_name) = lower('{column}')"
    );
    let documented = spec
        .columns
        .iter()
        .any(|(ours, _)| ours.eq_ignore_ascii_case(column));
    if documented {
        format!(
            "{kept} UNION ALL SELECT \"{}\" FROM \"{name}\"",
            quoted(column)
        )
    } else {
        kept
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_shape_is_adopted_and_no_value_is_lost(tables in database()) {
        let place = Place::new();
        let mut connection = place.raw();
        for table in &tables {
            table.make(&mut connection);
        }
        let mut before = Vec::new();
        for table in &tables {
            for (column, _) in &table.columns {
                let from = format!("SELECT \"{}\" AS value FROM \"{}\"", quoted(column), table.name);
                before.push((table, column, counts(&mut connection, &from)));
            }
        }
        drop(connection);

        let options = MigrateOptions { backup: false };
        let schema = adopting(&[DOCUMENTED, LATER]);
        let report = migrate(&place.path, &place.lock(), &schema, noon(), &options).unwrap();
        for table in &report.adoption.unwrap().tables {
            prop_assert_eq!(table.rows_kept + table.rows_set_aside(), table.rows_before);
        }
        let mut connection = place.raw();
        for (table, column, values) in before {
            if column.eq_ignore_ascii_case("token") {
                continue;
            }
            let after = counts(&mut connection, &places(table, column));
            for (value, count) in values {
                let found = after.get(&value).copied().unwrap_or(0);
                prop_assert!(found >= count, "{}.{}: {}", table.name, column, value);
            }
        }
        let secret = "SELECT count(*) FROM adoption_values WHERE lower(column_name) = 'token'";
        prop_assert_eq!(number(&mut connection, secret), 0);
        let references = "SELECT count(*) FROM pragma_foreign_key_check";
        prop_assert_eq!(number(&mut connection, references), 0);
        prop_assert_eq!(texts(&mut connection, "PRAGMA integrity_check"), ["ok"]);
        drop(connection);
        let again = migrate(&place.path, &place.lock(), &schema, noon(), &options).unwrap();
        prop_assert!(again.applied.is_empty() && again.adoption.is_none());
    }
}

fn quoted(column: &str) -> String {
    column.replace('"', "\"\"")
}
