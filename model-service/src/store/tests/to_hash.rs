//! How much there is to hash, whatever sizes files say that they have.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::Fixture;
use crate::library::FILE_BYTES_MAX;
use crate::store::library_hashes::{Amount, Wanted, amounts};

#[test]
fn sizes_that_no_sum_holds_are_counted_as_what_could_be_hashed() {
    let mut fixture = Fixture::new();
    let connection = &mut fixture.connection;
    let insert = "INSERT INTO library_files
        (root, path, size_bytes, modified_ns, device, inode, beside_stamp, first_seen_at, seen_at)
        VALUES ('main', ?, 9223372036854775807, 1, 1, ?, '-', '', '')";
    for number in [1, 2] {
        diesel::sql_query(insert)
            .bind::<BigInt, _>(number)
            .bind::<BigInt, _>(number)
            .execute(connection)
            .unwrap();
    }
    let wanted = Wanted {
        roots: vec!["main".to_owned()],
        model_ids: Vec::new(),
        hashed_before: None,
    };
    let (to_hash, all) = amounts(connection, &wanted).unwrap();
    let two = Amount {
        files: 2,
        bytes: 2 * FILE_BYTES_MAX,
    };
    assert_eq!((to_hash, all), (two, two));
}
