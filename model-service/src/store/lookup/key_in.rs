//! Owns the condition that a column has one of some keys, as a statement of few shapes, so that it
//! is prepared once. It does not own which columns have an index.

use std::marker::PhantomData;

use diesel::expression::{AppearsOnTable, SelectableExpression, ValidGrouping};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{Bool, HasSqlType};
use diesel::sqlite::Sqlite;

/// Most keys of one condition; a power of two.
pub(super) const KEYS_MAX: usize = 512;

/// `column IN (?, …)`. Diesel's own is prepared anew each time, since it has as many places as
/// there are keys. This one has a power of two of them and repeats the last key in those that are
/// left, which finds nothing twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyIn<'a, ST, C, K> {
    column: C,
    keys: &'a [K],
    _type: PhantomData<ST>,
}

/// `column` is one of `keys`, at most [`KEYS_MAX`] of them; none is nothing.
pub(super) fn key_in<ST, C, K>(column: C, keys: &[K]) -> KeyIn<'_, ST, C, K> {
    debug_assert!(keys.len() <= KEYS_MAX, "{} keys", keys.len());
    KeyIn {
        column,
        keys,
        _type: PhantomData,
    }
}

impl<ST, C, K> Expression for KeyIn<'_, ST, C, K> {
    // Nothing is neither in a list nor not in it, which a condition takes for false.
    type SqlType = Bool;
}

impl<ST, C, K> QueryId for KeyIn<'_, ST, C, K> {
    type QueryId = ();
    // It is known by its text, of which the number of places is a part.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<ST, C, K, T> AppearsOnTable<T> for KeyIn<'_, ST, C, K> where C: AppearsOnTable<T> {}

impl<ST, C, K, T> SelectableExpression<T> for KeyIn<'_, ST, C, K> where C: SelectableExpression<T> {}

impl<ST, C, K, G> ValidGrouping<G> for KeyIn<'_, ST, C, K>
where
    C: ValidGrouping<G>,
{
    type IsAggregate = C::IsAggregate;
}

impl<ST, C, K> QueryFragment<Sqlite> for KeyIn<'_, ST, C, K>
where
    C: QueryFragment<Sqlite>,
    K: ToSql<ST, Sqlite>,
    Sqlite: HasSqlType<ST>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" IN (");
        let places = self.keys.len().next_power_of_two();
        let repeated = self.keys.last().into_iter().cycle();
        let keys = self.keys.iter().chain(repeated).take(places);
        for (place, key) in keys.enumerate() {
            if place > 0 {
                out.push_sql(", ");
            }
            out.push_bind_param::<ST, K>(key)?;
        }
        out.push_sql(")");
        Ok(())
    }
}
