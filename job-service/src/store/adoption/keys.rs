//! Keys that were taken over: which of several equal ones counts, and what an
//! operator has to know of them.

use diesel::{
    dsl::sql,
    prelude::*,
    sql_types::{BigInt, Text},
};

/// Rows of keys that nothing can prove: of a form that the earlier application
/// did not make, or without a key or secret.
const UNUSABLE: &str = "SELECT count(*) FROM api_keys \
    WHERE length(key_prefix) <> 8 OR key_prefix GLOB '*[^0-9a-f]*' \
        OR length(key_hash) <> 64 OR length(secret_hash) <> 64";

/// Of several rows with the same key and secret one counts: the active one, of
/// those the oldest. The others are found by no credentials any more, so that
/// it does not depend on the order of rows which one a call is from.
const DOUBLES: &str = "UPDATE api_keys SET key_prefix = '' WHERE id IN ( \
    SELECT id FROM (SELECT id, row_number() OVER ( \
            PARTITION BY key_hash, secret_hash \
            ORDER BY is_active IS 1 DESC, created_at, id) AS place \
        FROM api_keys WHERE key_hash <> '' AND key_prefix <> '') \
    WHERE place > 1)";

/// Ids of keys whose use was limited by more than the default, at most a few.
const LIMITED: &str = "SELECT id FROM api_keys \
    WHERE coalesce(rate_limit_tier, 'default') <> 'default' OR custom_rate_limits IS NOT NULL \
    ORDER BY id LIMIT 20";

/// Settles which keys count; sentences for the report.
pub(super) fn settle(conn: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    let count = |conn: &mut SqliteConnection, question: &str| -> QueryResult<i64> {
        sql::<BigInt>(question).get_result(conn)
    };
    let keys = count(conn, "SELECT count(*) FROM api_keys")?;
    if keys == 0 {
        return Ok(Vec::new());
    }
    let unusable = count(conn, UNUSABLE)?;
    let doubles = diesel::sql_query(DOUBLES).execute(conn)?;
    let limited: Vec<String> = sql::<Text>(LIMITED).load(conn)?;
    let mut notes = vec![format!(
        "{keys} API keys were taken over and keep working as they are, with the scopes jobs:read \
         and jobs:write. Calls need a key from now on, and none of these can administer: make one \
         that can with `job-service api-key create --name NAME --scopes admin`"
    )];
    if unusable > 0 {
        notes.push(format!(
            "{unusable} API keys are of no form that the earlier application made and open nothing"
        ));
    }
    if doubles > 0 {
        notes.push(format!(
            "{doubles} API keys have the same key and secret as another and open nothing \
             themselves; of equal ones the active one counts, and of those the oldest"
        ));
    }
    if !limited.is_empty() {
        notes.push(format!(
            "rate limits of API keys are kept in rate_limit_tier and custom_rate_limits and are \
             not applied; UpdateApiKey sets limits of this service: {}",
            limited.join(", ")
        ));
    }
    Ok(notes)
}
