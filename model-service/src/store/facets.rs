//! Owns how the values of some fields are spread over the models that a filter lets through. It
//! does not list models.

use std::collections::{HashMap, HashSet};

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::filtered::Filtered;
use super::model_row::words;
use crate::model::{Facet, FacetField, ModelFilter};

/// Most values of one field that are told.
const VALUES_MAX: usize = 50;
/// Most different values of one field that are counted; what comes up later is left out.
const COUNTED_MAX: usize = 1_000_000;

/// What is counted of one model.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    metadata_status: String,
    #[diesel(sql_type = Nullable<Text>)]
    base_model: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    trained_words: Option<String>,
}

#[derive(QueryableByName)]
struct OnServer {
    #[diesel(sql_type = Text)]
    server: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(Default)]
struct Counts(HashMap<String, i64>);

impl Counts {
    fn add(&mut self, value: String, count: i64) {
        if let Some(known) = self.0.get_mut(&value) {
            *known += count;
        } else if !value.is_empty() && self.0.len() < COUNTED_MAX {
            self.0.insert(value, count);
        }
    }

    /// The most frequent values, the most frequent first.
    fn into_facet(self, field: FacetField) -> Facet {
        let mut counts: Vec<(String, i64)> = self.0.into_iter().collect();
        counts.sort_unstable_by(|(one, count), (other, others)| {
            others.cmp(count).then_with(|| one.cmp(other))
        });
        counts.truncate(VALUES_MAX);
        Facet { field, counts }
    }
}

/// For each field the most frequent values, the most frequent first.
///
/// Every model that is let through is read, and looked up where servers have it: with 100,000 of
/// them that takes some tenths of a second. Only the first page of a list asks for it.
pub(crate) fn of(
    connection: &mut SqliteConnection,
    filter: &ModelFilter,
) -> QueryResult<Vec<Facet>> {
    let [mut kinds, mut statuses, mut bases, mut trained] =
        std::array::from_fn(|_| Counts::default());
    // How a word is written where it comes up first.
    let mut spelled: HashMap<String, String> = HashMap::new();
    let filtered = Filtered::new(filter, 0);
    let sql = filtered.select(
        "models.type AS kind, models.metadata_status AS metadata_status,
         models.civitai_model_base AS base_model, models.civitai_trained_words AS trained_words",
    );
    let query = filtered.bind(diesel::sql_query(sql).into_boxed());
    for row in query.load_iter::<Row, DefaultLoadingMode>(connection)? {
        let row = row?;
        kinds.add(row.kind, 1);
        statuses.add(row.metadata_status, 1);
        bases.add(row.base_model.unwrap_or_default(), 1);
        let words = row.trained_words.map(words).unwrap_or_default();
        // A model that says a word twice has it once. Words are counted as they are found by
        // the filter: whatever the case of their ASCII letters.
        let mut said = HashSet::new();
        for word in words.iter().map(|word| word.trim()) {
            let folded = word.to_ascii_lowercase();
            if !said.contains(&folded) {
                trained.add(folded.clone(), 1);
                if spelled.len() < COUNTED_MAX && !spelled.contains_key(&folded) {
                    spelled.insert(folded.clone(), word.to_owned());
                }
                said.insert(folded);
            }
        }
    }
    let mut trained = trained.into_facet(FacetField::TrainedWords);
    for (word, _) in &mut trained.counts {
        if let Some(first) = spelled.remove(word) {
            *word = first;
        }
    }
    Ok(vec![
        kinds.into_facet(FacetField::Type),
        statuses.into_facet(FacetField::MetadataStatus),
        bases.into_facet(FacetField::BaseModel),
        servers(connection, filter)?.into_facet(FacetField::Server),
        trained,
    ])
}

fn servers(connection: &mut SqliteConnection, filter: &ModelFilter) -> QueryResult<Counts> {
    let filtered = Filtered::new(filter, 0);
    let chosen = filtered.select("models.id AS id");
    let sql = format!(
        "SELECT server_id AS server, count(*) AS count FROM ({chosen}) AS chosen
         CROSS JOIN model_server_availability ON model_id = chosen.id GROUP BY server_id"
    );
    let rows: Vec<OnServer> = filtered
        .bind(diesel::sql_query(sql).into_boxed())
        .load(connection)?;
    let mut counts = Counts::default();
    for row in rows {
        counts.add(row.server, row.count);
    }
    Ok(counts)
}
