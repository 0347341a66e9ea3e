//! Owns the fields of models that can be found out: which have a value, who
//! said it, and the writing of both in one go. It does not decide which are
//! written (`findings.rs`).

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::BIND_MAX;
use super::tables::{model_field_sources, models};
use crate::findings::{Field, Finding, Source, Value};

/// The columns that can be found out but the name, which every model has.
#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = models, treat_none_as_default_value = false)]
pub(super) struct Columns<'a> {
    description: Option<&'a str>,
    activation_text: Option<&'a str>,
    preferred_weight: Option<f64>,
    negative_text: Option<&'a str>,
    notes: Option<&'a str>,
    sd_version: Option<&'a str>,
    civitai_id: Option<&'a str>,
    civitai_version_id: Option<&'a str>,
    civitai_model_name: Option<&'a str>,
    civitai_model_base: Option<&'a str>,
    civitai_model_type: Option<&'a str>,
    civitai_model_version_name: Option<&'a str>,
    civitai_model_version_desc: Option<&'a str>,
    civitai_model_version_date: Option<&'a str>,
    civitai_download_url: Option<&'a str>,
    civitai_trained_words: Option<String>,
    civitai_file_size_kb: Option<i32>,
    civitai_nsfw: Option<bool>,
    civitai_blurhash: Option<&'a str>,
    preview_url: Option<&'a str>,
}

/// The name among findings.
pub(super) fn name(findings: &[Finding]) -> Option<&str> {
    let mut names = findings.iter().filter(|it| it.field() == Field::Name);
    names.find_map(|finding| text(finding.value()))
}

impl<'a> Columns<'a> {
    /// The values of findings, of which there is one for a field at most.
    pub(super) fn of(findings: &'a [Finding]) -> Self {
        let mut columns = Self::default();
        for finding in findings {
            columns.set(finding.field(), finding.value());
        }
        columns
    }

    fn set(&mut self, field: Field, value: &'a Value) {
        match field {
            Field::Name => {}
            Field::Description => self.description = text(value),
            Field::ActivationText => self.activation_text = text(value),
            Field::PreferredWeight => self.preferred_weight = number(value),
            Field::NegativeText => self.negative_text = text(value),
            Field::Notes => self.notes = text(value),
            Field::SdVersion => self.sd_version = text(value),
            Field::CivitaiModelId => self.civitai_id = text(value),
            Field::CivitaiVersionId => self.civitai_version_id = text(value),
            Field::CivitaiModelName => self.civitai_model_name = text(value),
            Field::BaseModel => self.civitai_model_base = text(value),
            Field::CivitaiModelType => self.civitai_model_type = text(value),
            Field::CivitaiVersionName => self.civitai_model_version_name = text(value),
            Field::CivitaiVersionDescription => self.civitai_model_version_desc = text(value),
            Field::CivitaiVersionDate => self.civitai_model_version_date = text(value),
            Field::CivitaiDownloadUrl => self.civitai_download_url = text(value),
            Field::TrainedWords => self.civitai_trained_words = words(value),
            Field::CivitaiFileSizeKib => self.civitai_file_size_kb = whole(value),
            Field::CivitaiNsfw => self.civitai_nsfw = flag(value),
            Field::CivitaiBlurhash => self.civitai_blurhash = text(value),
            Field::PreviewUrl => self.preview_url = text(value),
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// What is larger than the documented column is as large as that.
fn whole(value: &Value) -> Option<i32> {
    match value {
        Value::Integer(number) => Some(i32::try_from(*number).unwrap_or(i32::MAX)),
        _ => None,
    }
}

fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Flag(flag) => Some(*flag),
        _ => None,
    }
}

fn words(value: &Value) -> Option<String> {
    match value {
        Value::Words(words) => Some(serde_json::json!(words).to_string()),
        _ => None,
    }
}

/// A column that holds something, or that somebody set by hand.
#[derive(QueryableByName)]
struct Present {
    #[diesel(sql_type = Text)]
    field: String,
    #[diesel(sql_type = Nullable<Text>)]
    source: Option<String>,
}

static PRESENT: LazyLock<String> = LazyLock::new(|| {
    let filled = |field: Field| {
        let column = field.column();
        format!("iif(ifnull({column}, '') <> '', '{column}', NULL)")
    };
    let filled = Field::ALL.map(filled).join(", ");
    format!(
        "SELECT filled.value AS field, source
         FROM models, json_each(json_array({filled})) AS filled
         LEFT JOIN model_field_sources AS said
             ON said.model_id = models.id AND said.field = filled.value
         WHERE models.id = ?1 AND filled.value IS NOT NULL
         UNION
         SELECT field, source FROM model_field_sources WHERE model_id = ?1 AND source = 'manual'"
    )
});

/// The fields of a model that are not to be filled, with who said them where
/// that is known: those that hold a value, and those that somebody set by hand,
/// even to nothing such as no words. One that was emptied is free, since nobody
/// is noted of it ([`clear`]). A name that is only that of its file is none.
pub(crate) fn present(
    connection: &mut SqliteConnection,
    model_id: i64,
) -> QueryResult<BTreeMap<Field, Option<Source>>> {
    let rows: Vec<Present> = diesel::sql_query(PRESENT.as_str())
        .bind::<BigInt, _>(model_id)
        .load(connection)?;
    let fields = rows.into_iter().filter_map(|row| {
        let source = row.source.as_deref().and_then(Source::from_word);
        Some((Field::from_column(&row.field)?, source))
    });
    Ok(fields
        .filter(|said| *said != (Field::Name, Some(Source::FileName)))
        .collect())
}

/// Writes what was found of a model, which must be there, and who said it.
pub(crate) fn apply(
    connection: &mut SqliteConnection,
    model_id: i64,
    findings: &[Finding],
) -> QueryResult<()> {
    if findings.is_empty() {
        return Ok(());
    }
    diesel::update(models::table.find(model_id))
        .set((
            name(findings).map(|name| models::name.eq(name)),
            Columns::of(findings),
            models::revision.eq(models::revision + 1),
        ))
        .execute(connection)?;
    let said: Vec<_> = findings
        .iter()
        .map(|finding| (model_id, finding.field(), finding.source()))
        .collect();
    put(connection, &said)
}

/// Notes who said the values of fields, in place of who did before.
pub(crate) fn put(
    connection: &mut SqliteConnection,
    said: &[(i64, Field, Source)],
) -> QueryResult<()> {
    if said.is_empty() {
        return Ok(());
    }
    let rows = said.iter();
    let rows: Vec<_> = rows
        .map(|(model_id, field, source)| (model_id, field.column(), source.as_str()))
        .collect();
    diesel::sql_query(
        "INSERT OR REPLACE INTO model_field_sources (model_id, field, source)
         SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)",
    )
    .bind::<Text, _>(serde_json::json!(rows).to_string())
    .execute(connection)?;
    Ok(())
}

/// Notes that somebody set fields of a model by hand: nothing fills them from now
/// on. What somebody empties is cleared instead ([`clear`]).
pub(crate) fn set_manual(
    connection: &mut SqliteConnection,
    model_id: i64,
    fields: &[Field],
) -> QueryResult<()> {
    let said: Vec<_> = fields
        .iter()
        .map(|field| (model_id, *field, Source::Manual))
        .collect();
    put(connection, &said)
}

/// Forgets who said fields of a model, so that they are filled again once they
/// are empty.
pub(crate) fn clear(
    connection: &mut SqliteConnection,
    model_id: i64,
    fields: &[Field],
) -> QueryResult<()> {
    let columns = fields.iter().map(|field| field.column());
    diesel::delete(model_field_sources::table)
        .filter(model_field_sources::model_id.eq(model_id))
        .filter(model_field_sources::field.eq_any(columns))
        .execute(connection)?;
    Ok(())
}

/// Empties the fields of a model whose values one of these said, but for those
/// that are kept, and forgets that; whether there were any. A name becomes
/// `stem`, since every model has one.
pub(crate) fn forget(
    connection: &mut SqliteConnection,
    model_id: i64,
    sources: &[Source],
    kept: &[Field],
    stem: &str,
) -> QueryResult<bool> {
    let said = of_models(connection, &[model_id])?.remove(&model_id);
    let fields: Vec<Field> = said
        .unwrap_or_default()
        .into_iter()
        .filter(|(field, said)| sources.contains(said) && !kept.contains(field))
        .map(|(field, _)| field)
        .collect();
    if fields.is_empty() {
        return Ok(false);
    }
    let emptied = fields.iter().filter(|field| **field != Field::Name);
    let emptied: String = emptied
        .map(|field| format!(", {} = NULL", field.column()))
        .collect();
    let empty = format!("UPDATE models SET revision = revision + 1{emptied} WHERE id = ?");
    diesel::sql_query(empty)
        .bind::<BigInt, _>(model_id)
        .execute(connection)?;
    clear(connection, model_id, &fields)?;
    if fields.contains(&Field::Name) {
        diesel::update(models::table.find(model_id))
            .set(models::name.eq(stem))
            .execute(connection)?;
        put(connection, &[(model_id, Field::Name, Source::FileName)])?;
    }
    Ok(true)
}

/// Who said which fields, by model, in the order of the fields.
pub(crate) fn of_models(
    connection: &mut SqliteConnection,
    ids: &[i64],
) -> QueryResult<HashMap<i64, Vec<(Field, Source)>>> {
    let mut said: HashMap<i64, Vec<(Field, Source)>> = HashMap::new();
    for chunk in ids.chunks(BIND_MAX) {
        let rows: Vec<(i64, String, String)> = model_field_sources::table
            .filter(model_field_sources::model_id.eq_any(chunk))
            .select(model_field_sources::all_columns)
            .load(connection)?;
        for (model_id, column, word) in rows {
            // A word of a newer program is left out.
            if let Some(one) = Field::from_column(&column).zip(Source::from_word(&word)) {
                said.entry(model_id).or_default().push(one);
            }
        }
    }
    for fields in said.values_mut() {
        fields.sort_unstable();
    }
    Ok(said)
}
