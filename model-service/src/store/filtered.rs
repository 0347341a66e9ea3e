//! Owns which models a filter lets through, as SQL that lists and counts share. It does not own the
//! rows of models (`models.rs`).

use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;

use crate::model::{ModelFilter, SearchWords};

/// Sorts after every hexadecimal digit.
pub(super) const AFTER_HEX: char = 'g';

/// The trigger words of a model as a table of JSON values: they are a JSON list, or words between
/// commas in rows of the earlier application.
const TRAINED_WORDS: &str = "json_each(iif(json_valid(models.civitai_trained_words), \
    models.civitai_trained_words, '[' || replace(json_quote( \
    CAST(models.civitai_trained_words AS TEXT)), ',', '\",\"') || ']')) AS word";

/// What stands for a `?`.
enum Bind {
    Text(String),
    Integer(i64),
}

/// `FROM … WHERE …` with what it binds.
pub(super) struct Filtered {
    from: &'static str,
    /// The id of a model, by which rows come without being sorted.
    id: &'static str,
    conditions: Vec<String>,
    binds: Vec<Bind>,
}

impl Filtered {
    /// The models after the id `after` that a filter lets through.
    ///
    /// Which index is used is as good as decided here: a search and a trigger word are looked up in
    /// the words, hashes, ids of Civitai, base model, status and server in their indexes. Type, text,
    /// and a trigger word with other signs than ASCII's walk through the models in the order of
    /// their ids, from `after` on. The shorter a word of a search, the more words begin so, and each
    /// page goes through the places of all of them.
    pub(super) fn new(filter: &ModelFilter, after: i64) -> Self {
        let ModelFilter {
            kind,
            metadata_status,
            hash_prefix,
            base_model,
            server,
            text,
            trained_word,
            civitai_model_id,
            civitai_version_id,
            search,
            missing,
        } = filter;
        let mut filtered = Self::beginning(search.as_ref(), trained_word.as_deref(), after);
        if let Some(kind) = kind {
            // The index of types is in the order of file names: a page would sort half of all.
            filtered.and_text("+models.type = ?", kind.as_str());
        }
        if let Some(status) = metadata_status {
            filtered.and_text("models.metadata_status = ?", status.as_str());
        }
        let equal = [
            ("models.civitai_model_base = ?", base_model),
            // SQLite would rather walk than sort the few of one model of Civitai.
            (
                "models.id IN (SELECT id FROM models WHERE civitai_id = ?)",
                civitai_model_id,
            ),
            ("models.civitai_version_id = ?", civitai_version_id),
        ];
        for (condition, value) in equal {
            if let Some(value) = value {
                filtered.and_text(condition, value);
            }
        }
        if let Some(prefix) = hash_prefix {
            filtered.and_hash(prefix);
        }
        if let Some(server) = server {
            filtered.and(
                "models.id IN (SELECT model_id FROM model_server_availability
                 WHERE server_id = ? AND model_id > ?)",
                [Bind::Text(server.clone()), Bind::Integer(after)],
            );
        }
        if let Some(text) = text {
            let pattern = format!("%{}%", escape_like(text));
            filtered.and(
                r"(models.name LIKE ? ESCAPE '\' OR models.filename LIKE ? ESCAPE '\')",
                [Bind::Text(pattern.clone()), Bind::Text(pattern)],
            );
        }
        if let Some(word) = trained_word {
            let condition = format!(
                "EXISTS (SELECT 1 FROM {TRAINED_WORDS}
                 WHERE word.type = 'text' AND lower(trim(word.value)) = lower(trim(?)))"
            );
            filtered.and_text(&condition, word);
        }
        if let Some(missing) = missing {
            filtered.and_missing(*missing, after);
        }
        filtered
    }

    fn beginning(search: Option<&SearchWords>, word: Option<&str>, after: i64) -> Self {
        let mut filtered = match matched(search, word) {
            None => Self {
                from: "models",
                id: "models.id",
                conditions: Vec::new(),
                binds: Vec::new(),
            },
            Some(matched) => Self {
                // In this order: the words come first, and come by id.
                from: "models_search CROSS JOIN models ON models.id = models_search.rowid",
                id: "models_search.rowid",
                conditions: vec!["models_search MATCH ?".to_owned()],
                binds: vec![Bind::Text(matched)],
            },
        };
        let behind = format!("{} > ?", filtered.id);
        filtered.and(&behind, [Bind::Integer(after)]);
        filtered
    }

    fn and(&mut self, condition: &str, binds: impl IntoIterator<Item = Bind>) {
        self.conditions.push(condition.to_owned());
        self.binds.extend(binds);
    }

    fn and_text(&mut self, condition: &str, value: &str) {
        self.and(condition, [Bind::Text(value.to_owned())]);
    }

    fn and_hash(&mut self, prefix: &str) {
        let range = || [prefix.to_owned(), format!("{prefix}{AFTER_HEX}")].map(Bind::Text);
        self.and(
            "models.id IN (SELECT id FROM models WHERE hash_sha256 >= ? AND hash_sha256 < ?
                 UNION ALL SELECT id FROM models WHERE hash_autov2 >= ? AND hash_autov2 < ?)",
            range().into_iter().chain(range()),
        );
    }

    fn and_missing(&mut self, missing: bool, after: i64) {
        if missing {
            self.and(
                "models.id IN (SELECT model_id FROM library_files
                     WHERE missing_since IS NOT NULL AND model_id > ?)
                 AND NOT EXISTS (SELECT 1 FROM library_files
                     WHERE model_id = models.id AND missing_since IS NULL)",
                [Bind::Integer(after)],
            );
        } else {
            self.and(
                "(NOT EXISTS (SELECT 1 FROM library_files
                     WHERE model_id = models.id AND missing_since IS NOT NULL)
                  OR EXISTS (SELECT 1 FROM library_files
                     WHERE model_id = models.id AND missing_since IS NULL))",
                [],
            );
        }
    }

    /// `SELECT columns FROM … WHERE …`, to be put into a statement that binds with [`Self::bind`].
    pub(super) fn select(&self, columns: &str) -> String {
        let conditions = self.conditions.join(" AND ");
        format!("SELECT {columns} FROM {} WHERE {conditions}", self.from)
    }

    /// Binds what the conditions want, in their order.
    pub(super) fn bind<'a>(
        self,
        query: BoxedSqlQuery<'a, Sqlite, SqlQuery>,
    ) -> BoxedSqlQuery<'a, Sqlite, SqlQuery> {
        self.binds
            .into_iter()
            .fold(query, |query, bind| match bind {
                Bind::Text(text) => query.bind::<Text, _>(text),
                Bind::Integer(number) => query.bind::<BigInt, _>(number),
            })
    }
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// The ids of at most `limit` models after the id `after` that a filter lets through, in their
/// order.
pub(crate) fn ids(
    connection: &mut SqliteConnection,
    filter: &ModelFilter,
    after: i64,
    limit: usize,
) -> QueryResult<Vec<i64>> {
    let filtered = Filtered::new(filter, after);
    let select = filtered.select("models.id AS id");
    let sql = format!("{select} ORDER BY {} LIMIT ?", filtered.id);
    let rows: Vec<Id> = filtered
        .bind(diesel::sql_query(sql).into_boxed())
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
        .load(connection)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// What the search over words is asked for: every word is quoted, so that none of it is taken for
/// an operator (<https://sqlite.org/fts5.html#fts5_strings>).
fn matched(search: Option<&SearchWords>, trained_word: Option<&str>) -> Option<String> {
    let word = trained_word
        .filter(|word| is_found_by_its_words(word))
        .map(|word| format!("civitai_trained_words : {}", quoted(word)));
    let words = search.into_iter().flat_map(SearchWords::words);
    let words = words.map(|word| format!("{} *", quoted(word)));
    let parts: Vec<String> = word.into_iter().chain(words).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

/// Whether the words of a trigger word are in the search as they are here: it has one, and nothing
/// that JSON may write in another way.
fn is_found_by_its_words(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" _-.,:;()[]#".contains(&byte);
    word.bytes().all(plain) && word.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}
