//! Older tables in every shape become the documented ones, and nothing is lost.

use diesel::connection::SimpleConnection;

use crate::adopting::{adopt, adopted, kept, older, rows};
use crate::support::number;

const NOTES: &str = "SELECT id || ' ' || text || ' ' || coalesce(size, '-') || ' ' || state \
                     || ' ' || coalesce(made_at, '-') FROM notes ORDER BY id";

#[test]
fn columns_are_read_by_name_in_any_order_and_case() {
    let place = older(
        "CREATE TABLE NOTES (State TEXT DEFAULT \"open\", TEXT TEXT, weight REAL, Id INTEGER \
             PRIMARY KEY, Made_At TEXT); \
         INSERT INTO notes VALUES ('DONE', 'b', 2.5, 7, '2025-06-20 08:05:09'); \
         INSERT INTO notes VALUES ('open', 'a', NULL, 3, NULL);",
    );
    let report = adopted(&place);
    assert_eq!(
        rows(&place, NOTES),
        ["3 a - open -", "7 b - done 2025-06-20T08:05:09.000Z"]
    );
    assert_eq!(kept(&place, "notes", "weight"), ["7 extra 2.5"]);
    assert_eq!(kept(&place, "notes", "state"), ["7 replaced 'DONE'"]);
    let [notes] = &report.tables[..] else {
        panic!("{report:?}")
    };
    assert_eq!((notes.rows_before, notes.rows_kept), (2, 2));
    assert_eq!(notes.extra[0].column, "weight");
    assert_eq!(notes.replaced.len(), 2, "{notes:?}");
    assert!(!report.held_secrets && report.statements_lost.is_empty());
}

#[test]
fn values_of_any_class_become_ones_that_readers_can_use() {
    let place = older(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text, size, state); \
         INSERT INTO notes VALUES (1, x'61ff', 1.5, 5), (2, CAST(x'62fe' AS TEXT), '01', x''), \
             (3, 12, 9, 'done'), (4, '', 'x', NULL), (5, 2.5, x'01', ' Done ');",
    );
    adopted(&place);
    assert_eq!(
        rows(&place, NOTES),
        [
            "1 a\u{fffd} - open -",
            "2 b\u{fffd} - open -",
            "3 12 9 done -",
            "4  - open -",
            "5 2.5 - done -"
        ]
    );
    assert_eq!(
        kept(&place, "notes", "size"),
        [
            "1 replaced 1.5",
            "2 replaced '01'",
            "4 replaced 'x'",
            "5 replaced X'01'"
        ]
    );
    let bytes = "SELECT row_id || ' ' || typeof(value) || ' ' || hex(value) FROM adoption_values \
                 WHERE column_name = 'text' ORDER BY id";
    assert_eq!(
        rows(&place, bytes),
        [
            "1 blob 61FF",
            "2 text 62FE",
            "3 integer 3132",
            "5 real 322E35"
        ]
    );
}

#[test]
fn a_value_that_only_an_affinity_or_a_collation_makes_equal_is_kept() {
    let place = older(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text, state TEXT COLLATE NOCASE); \
         CREATE TABLE tags (id, note_id TEXT, label); \
         INSERT INTO notes VALUES (1, 'a', 'Done'); INSERT INTO tags VALUES (1, '01', 'x');",
    );
    adopted(&place);
    assert_eq!(kept(&place, "notes", "state"), ["1 replaced 'Done'"]);
    assert_eq!(kept(&place, "tags", "note_id"), ["1 replaced '01'"]);
    assert_eq!(
        number(&mut place.raw(), "SELECT note_id FROM tags"),
        1,
        "the reference holds"
    );
}

#[test]
fn rows_without_a_key_get_one_and_later_rows_of_a_key_are_set_aside() {
    let place = older(
        "CREATE TABLE notes (id, text, extra); \
         INSERT INTO notes VALUES (NULL, 'first', 'e'), (1, 'one', NULL), (8, 'eight', NULL), \
             (1, 'again', 'f'), ('x', 'word', NULL);",
    );
    let report = adopted(&place);
    assert_eq!(
        rows(&place, "SELECT id || ' ' || text FROM notes ORDER BY id"),
        ["1 one", "8 eight", "9 first", "10 word"]
    );
    assert_eq!(
        kept(&place, "notes", "extra"),
        ["9 extra 'e'", "4 set_aside 'f'"]
    );
    assert_eq!(kept(&place, "notes", "text"), ["4 set_aside 'again'"]);
    assert_eq!(
        kept(&place, "notes", "id"),
        ["10 replaced 'x'", "4 set_aside 1"]
    );
    let notes = &report.tables[0];
    assert_eq!(
        (notes.rows_before, notes.rows_kept, notes.rows_set_aside()),
        (5, 4, 1)
    );
    assert!(notes.set_aside[0].reason.contains("same id"), "{notes:?}");
}

#[test]
fn tables_without_a_row_number_of_their_own() {
    for columns in [
        "id INTEGER PRIMARY KEY, text TEXT UNIQUE, size INTEGER UNIQUE, more) WITHOUT ROWID",
        "rowid, _rowid_, oid, adoption_row, id INTEGER, text, size UNIQUE, more)",
    ] {
        let place = older(&format!("CREATE TABLE notes ({columns};"));
        // The order of the indexes is not the order of the rows.
        for id in 1..=9 {
            let sql = format!(
                "INSERT INTO notes (id, text, size, more) VALUES ({id}, 't{}', {}, {id})",
                10 - id,
                (id * 7) % 10
            );
            place.raw().batch_execute(&sql).unwrap();
        }
        adopted(&place);
        let wrong = "SELECT count(*) FROM notes JOIN adoption_values AS v \
                     ON v.row_id = notes.id AND v.column_name = 'more' \
                     WHERE text <> 't' || (10 - notes.id) OR size <> (notes.id * 7) % 10 \
                         OR v.value <> notes.id";
        assert_eq!(number(&mut place.raw(), wrong), 0, "{columns}");
        let all = "SELECT count(*) FROM adoption_values WHERE column_name = 'more'";
        assert_eq!(number(&mut place.raw(), all), 9, "{columns}");
    }
}

#[test]
fn rows_that_the_table_cannot_hold_are_set_aside_with_the_reason() {
    let place = older(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text); \
         CREATE TABLE tags (id INTEGER PRIMARY KEY, note_id, label, colour); \
         INSERT INTO notes VALUES (1, 'a'); \
         INSERT INTO tags VALUES (1, 1, 'x', 'red'), (2, 1, CAST('x' AS BLOB), 'blue'), \
             (3, 99, 'y', NULL), (4, NULL, 'z', NULL), (5, 1, 'w', NULL);",
    );
    let report = adopted(&place);
    let tags = &report.tables[1];
    assert_eq!((tags.rows_kept, tags.rows_set_aside()), (2, 3));
    assert_eq!(tags.set_aside.len(), 2, "{tags:?}");
    assert_eq!(
        kept(&place, "tags", "label"),
        ["2 set_aside X'78'", "3 set_aside 'y'", "4 set_aside 'z'"]
    );
    assert_eq!(
        kept(&place, "tags", "colour"),
        ["1 extra 'red'", "2 set_aside 'blue'"]
    );
    assert_eq!(
        kept(&place, "tags", "note_id"),
        ["2 set_aside 1", "3 set_aside 99"]
    );
}

#[test]
fn columns_of_later_migrations_get_the_older_values_that_they_can_hold() {
    let place = older(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text, colour, text_key, body); \
         INSERT INTO notes VALUES (1, 'A', 'red', 'k', 'b'), (2, 'B', 'green', NULL, NULL), \
             (3, NULL, x'626c7565', NULL, 'the body'), (4, 'D', NULL, NULL, NULL);",
    );
    adopted(&place);
    let colours = "SELECT id || ' ' || coalesce(colour, '-') || ' ' || text_key FROM notes";
    assert_eq!(
        rows(&place, colours),
        ["1 red a", "2 - b", "3 blue the body", "4 - d"]
    );
    assert_eq!(
        kept(&place, "notes", "colour"),
        ["1 extra 'red'", "2 extra 'green'", "3 extra X'626C7565'"]
    );
    assert_eq!(kept(&place, "notes", "text_key"), ["1 extra 'k'"]);
}

#[test]
fn tables_of_others_stay_and_give_way_where_ours_need_the_name() {
    let place = older(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text); \
         CREATE TABLE events (a); INSERT INTO events VALUES (1), (2); \
         CREATE TABLE Adopted_Notes (a); INSERT INTO adopted_notes VALUES (3); \
         CREATE TABLE adoption_values (a); INSERT INTO adoption_values VALUES (4); \
         CREATE TABLE mine (a UNIQUE, b); CREATE INDEX idx_events_kind ON mine (b); \
         CREATE INDEX mine_b ON mine (b); INSERT INTO mine VALUES (5, x'00');",
    );
    let mine = "SELECT sql FROM sqlite_master WHERE tbl_name = 'mine' AND name <> 'idx_events_kind' \
                AND sql IS NOT NULL";
    let before = rows(&place, mine);
    let report = adopted(&place);
    assert_eq!(rows(&place, mine), before);
    assert_eq!(
        rows(&place, "SELECT quote(a) || quote(b) FROM mine"),
        ["5X'00'"]
    );
    let all = "SELECT group_concat(a, ' ') FROM (SELECT a FROM older_events UNION ALL \
               SELECT a FROM older_adopted_notes UNION ALL SELECT a FROM older_adoption_values)";
    assert_eq!(rows(&place, all), ["1 2 3 4"]);
    assert_eq!(report.renamed.len(), 3, "{report:?}");
    let [lost] = &report.statements_lost[..] else {
        panic!("{report:?}")
    };
    assert!(lost.contains("idx_events_kind ON mine (b)"), "{lost}");
}

#[test]
fn indexes_triggers_and_views_are_put_back_where_they_can_be() {
    let place = older(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text, old); CREATE TABLE log (a); \
         INSERT INTO notes VALUES (1, 'a', 'o'); \
         CREATE VIEW of_later AS SELECT a FROM sees_log; \
         CREATE VIEW sees_log AS SELECT a FROM log; \
         CREATE VIEW sees_old AS SELECT old FROM notes; \
         CREATE INDEX by_text ON notes (text); CREATE INDEX by_old ON notes (old); \
         CREATE TRIGGER logs AFTER INSERT ON notes BEGIN INSERT INTO log VALUES (new.text); END; \
         CREATE TRIGGER breaks AFTER UPDATE ON notes \
             BEGIN INSERT INTO log VALUES (new.old); END; \
         CREATE TRIGGER elsewhere AFTER INSERT ON log \
             BEGIN UPDATE notes SET old = new.a; END;",
    );
    let report = adopted(&place);
    let there = "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view') \
                 OR name LIKE 'by~_%' ESCAPE '~' ORDER BY name";
    assert_eq!(
        rows(&place, there),
        ["by_text", "logs", "of_later", "sees_log"]
    );
    let mut lost: Vec<&str> = report
        .statements_lost
        .iter()
        .filter_map(|lost| lost.split(':').next())
        .collect();
    lost.sort_unstable();
    assert_eq!(
        lost,
        [
            "index by_old",
            "trigger breaks",
            "trigger elsewhere",
            "view sees_old"
        ]
    );
    assert!(
        report
            .statements_lost
            .iter()
            .any(|lost| lost.contains("SELECT old FROM notes")),
        "the text is told"
    );
    // The adoption itself fired none, and changes of the table work.
    assert!(rows(&place, "SELECT a FROM of_later").is_empty());
    place
        .raw()
        .batch_execute("INSERT INTO notes (text, state) VALUES ('b', 'open'); DELETE FROM notes")
        .unwrap();
    assert_eq!(rows(&place, "SELECT a FROM of_later"), ["b"]);
}

#[test]
fn an_index_is_named_when_ours_of_that_name_is_another_one() {
    for (columns, lost) in [("( State )", 0), ("(text)", 1)] {
        let place = older(&format!(
            "CREATE TABLE notes (id, text, state); CREATE INDEX idx_notes_state ON notes {columns}"
        ));
        let report = adopted(&place);
        assert_eq!(report.statements_lost.len(), lost, "{report:?}");
        let ours = "SELECT sql FROM sqlite_master WHERE name = 'idx_notes_state'";
        assert!(rows(&place, ours)[0].ends_with("(state)"));
    }
}

#[test]
fn references_of_others_to_what_is_not_there_stop_nothing() {
    let place = older(
        "PRAGMA foreign_keys = OFF; \
         CREATE TABLE notes (id INTEGER PRIMARY KEY, text, old UNIQUE); \
         CREATE TABLE by_old (a REFERENCES notes (old), b); CREATE INDEX by_old_b ON by_old (b); \
         CREATE TABLE orphans (a REFERENCES notes (id)); \
         CREATE TABLE well (a REFERENCES notes (id) ON DELETE CASCADE); \
         INSERT INTO notes VALUES (1, 'a', 'o'); INSERT INTO by_old VALUES ('o', 1); \
         INSERT INTO orphans VALUES (77); INSERT INTO well VALUES (1);",
    );
    let report = adopted(&place);
    assert_eq!(report.notes.len(), 2, "{report:?}");
    let mut connection = place.raw();
    connection
        .batch_execute("PRAGMA foreign_keys = ON; DELETE FROM notes")
        .unwrap();
    let left = "SELECT (SELECT count(*) FROM by_old) * 100 + (SELECT count(*) FROM orphans) * 10 \
                + (SELECT count(*) FROM well)";
    assert_eq!(number(&mut connection, left), 110);
    let index = "SELECT count(*) FROM sqlite_master WHERE name = 'by_old_b'";
    assert_eq!(number(&mut connection, index), 1);
}

#[test]
fn an_empty_older_table_and_missing_ones_are_enough() {
    let place = older("CREATE TABLE owners (id, name)");
    let report = adopt(&place).unwrap();
    assert_eq!(report.applied, ["0001", "0002"]);
    assert!(!report.created && report.backup.is_some());
    assert_eq!(report.adoption.unwrap().tables[0].rows_before, 0);
    assert!(rows(&place, NOTES).is_empty());
}
