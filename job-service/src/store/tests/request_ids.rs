//! Request ids: found by key, call and id, kept for their time.

use std::time::Duration;

use super::{Fixture, now};
use crate::{
    error::Error,
    request_id::{Once, RequestId},
    store::request_ids,
};

fn once(key_id: &str, method: &'static str, id: &str) -> Once {
    Once {
        request_id: RequestId {
            key_id: key_id.to_owned(),
            id: id.to_owned(),
        },
        method,
        fingerprint: "f".to_owned(),
    }
}

#[test]
fn an_id_belongs_to_one_key_and_one_call() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    let known = once("k", "SubmitJob", "1");
    request_ids::insert(conn, &known, "job", now()).unwrap();
    assert_eq!(request_ids::find(conn, &known).unwrap().unwrap(), "job");
    for other in [
        once("", "SubmitJob", "1"),
        once("k", "CreateServer", "1"),
        once("k", "SubmitJob", "2"),
    ] {
        assert_eq!(request_ids::find(conn, &other).unwrap(), None);
    }
    let other = Once {
        fingerprint: "g".to_owned(),
        ..known
    };
    let refused = request_ids::find(conn, &other).unwrap_err();
    assert!(matches!(refused, Error::RequestIdReused(id) if id == "1"));
}

#[test]
fn ids_go_when_their_time_is_over_oldest_first() {
    let mut fixture = Fixture::new();
    let start = now();
    for (second, id) in [(0, "a"), (1, "b"), (2, "c")] {
        let at = start + Duration::from_secs(second);
        let call = once("", "SubmitJob", id);
        request_ids::insert(&mut fixture.connection, &call, id, at).unwrap();
    }
    let before = start + Duration::from_secs(2);
    let sent = fixture.recorded(|conn| {
        assert_eq!(request_ids::prune(conn, before, 1).unwrap(), 1);
        let first = once("", "SubmitJob", "a");
        assert_eq!(request_ids::find(conn, &first).unwrap(), None);
        assert_eq!(request_ids::prune(conn, before, 10).unwrap(), 1);
        assert_eq!(request_ids::prune(conn, before, 10).unwrap(), 0);
    });
    fixture.assert_indexed(&sent);
    let left = "SELECT request_id AS text FROM request_ids";
    assert_eq!(fixture.texts(left), ["c"]);
}
