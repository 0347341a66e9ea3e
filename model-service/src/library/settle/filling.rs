//! Owns what a file writes into its model: only what is certain to be about that
//! model. It does not decide which model a file is of.

use super::{Item, len};
use crate::error::ModelError;
use crate::findings::{Field, Source, fill};
use crate::names;
use crate::store::{self, Connection};

/// Fills the model of a file with what the file and what lies beside it say; how
/// many fields were written. `None` when nothing may be written: the hash of the
/// model is known, and that of the file is not, or is another one.
pub(in crate::library) fn fill_in(
    connection: &mut Connection,
    item: &Item,
    model_id: i64,
) -> Result<Option<u64>, ModelError> {
    let hashes = store::library_models::hashes(connection, model_id)?;
    let is_sure = match &item.sha256 {
        Some(sha256) => !hashes.contradict(sha256),
        None => !hashes.any(),
    };
    if !is_sure {
        return Ok(None);
    }
    store::library_models::put_file(connection, model_id, item.file.stamp)?;
    let taken_back =
        item.was_unproven && item.of_another_file && take_back(connection, item, model_id)?;
    if item.findings.is_empty() {
        return Ok(Some(0));
    }
    let mut present = store::field_sources::present(connection, model_id)?;
    if taken_back {
        present.retain(|_, source| *source != Some(Source::Sidecar));
    }
    let written = fill(&present, item.findings.clone());
    store::field_sources::apply(connection, model_id, &written)?;
    Ok(Some(len(&written)))
}

/// Empties what sidecars said that turned out to be about another file, but for
/// the fields of which others speak; whether there was any. Civitai is asked again
/// then, and what lies beside other files of the model is read again.
fn take_back(connection: &mut Connection, item: &Item, model_id: i64) -> Result<bool, ModelError> {
    let said = item
        .findings
        .iter()
        .filter(|it| it.source() == Source::Sidecar);
    let kept: Vec<Field> = said.map(|finding| finding.field()).collect();
    let stem = names::without_ending(&item.filename);
    // Civitai may have been asked about the version that such a sidecar named.
    let sources: &[Source] = match store::library_models::is_by_version(connection, model_id)? {
        true => &[Source::Sidecar, Source::Civitai],
        false => &[Source::Sidecar],
    };
    let forgotten = store::field_sources::forget(connection, model_id, sources, &kept, stem)?;
    if forgotten {
        store::library_models::ask_again(connection, model_id)?;
        store::library_files::read_again(connection, model_id)?;
    }
    Ok(forgotten)
}
