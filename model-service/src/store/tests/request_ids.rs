//! Ids of requests against the table.

use chrono::TimeDelta;
use diesel::prelude::*;

use super::{Fixture, now};
use crate::request_id::{KnownRequest, REQUEST_IDS_KEPT, RequestId};
use crate::store::request_ids::{FORGOTTEN_PER_WRITE_MAX, find, put};

fn request(id: &str) -> KnownRequest {
    KnownRequest::add_model_alias(RequestId::parse(id).unwrap(), 1, "a")
}

#[test]
fn an_old_id_is_forgotten_for_good_and_few_with_each_write() {
    let mut fixture = Fixture::new();
    let connection = &mut fixture.connection;
    for sql in [
        "INSERT INTO models (id, name, type, local_path, filename) VALUES (1, 'x', 'lora', '', '')",
        "INSERT INTO model_aliases (id, model_id, alias_path) VALUES (1, 1, 'a'), (2, 1, 'a')",
    ] {
        diesel::sql_query(sql).execute(connection).unwrap();
    }
    let begin = now();
    for number in 0..150 {
        put(connection, &request(&format!("old {number:03}")), 1, begin).unwrap();
    }
    let kept = begin + REQUEST_IDS_KEPT - TimeDelta::milliseconds(1);
    let earlier = find(connection, &request("old 149"), kept)
        .unwrap()
        .unwrap();
    assert_eq!(earlier.made, Some(1));
    let over = begin + REQUEST_IDS_KEPT;
    assert_eq!(find(connection, &request("old 149"), over).unwrap(), None);
    put(connection, &request("old 149"), 2, over).unwrap();
    let again = find(connection, &request("old 149"), over)
        .unwrap()
        .unwrap();
    assert_eq!(
        again.made,
        Some(2),
        "the row that is not forgotten yet is replaced"
    );
    let count = "SELECT count(*) || '' AS text FROM request_ids";
    let left = 150 - FORGOTTEN_PER_WRITE_MAX;
    assert_eq!(fixture.texts(count), [left.to_string()]);
    put(&mut fixture.connection, &request("new"), 1, over).unwrap();
    assert_eq!(fixture.texts(count), ["2"]);
}

#[test]
fn what_was_made_and_removed_is_known_to_be_gone() {
    let mut fixture = Fixture::new();
    let connection = &mut fixture.connection;
    let run = |connection: &mut SqliteConnection, sql: &str| {
        diesel::sql_query(sql).execute(connection).unwrap();
    };
    run(
        connection,
        "INSERT INTO models (id, name, type, local_path, filename) VALUES (1, 'x', 'lora', '', '')",
    );
    run(
        connection,
        "INSERT INTO model_aliases (id, model_id, alias_path) VALUES (1, 1, 'a')",
    );
    put(connection, &request("x"), 1, now()).unwrap();
    run(connection, "DELETE FROM models");
    let earlier = find(connection, &request("x"), now()).unwrap().unwrap();
    assert_eq!(earlier.made, None);
    assert_eq!(earlier.fingerprint, request("x").fingerprint);
}
