//! Owns what a change of a registered model does to it, and which changes break
//! a rule. It does not own the rules of single texts (`api/model_change.rs`).

use crate::findings::Field;
use crate::inventory::ListedModel;
use crate::model::{
    AutoV2, CivitaiMetadata, Details, FILENAME_BYTES_MAX, MetadataStatus, NewModel, Sha256, Weight,
};
use crate::names;

/// What is to change of a model. Absent stays as it is; an absent value inside
/// is cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelChange {
    /// Its display name.
    pub name: Option<String>,
    /// Its path.
    pub local_path: Option<String>,
    /// The last part of its path; empty: taken from the path.
    pub filename: Option<String>,
    /// The title that Forge shows for it.
    pub forge_format: Option<Option<String>>,
    /// Its AutoV2 hash.
    pub autov2: Option<Option<AutoV2>>,
    /// Its SHA-256.
    pub sha256: Option<Option<Sha256>>,
    /// How much of Civitai's metadata is known.
    pub metadata_status: Option<MetadataStatus>,
    /// What Civitai says.
    pub civitai: CivitaiChange,
    /// What else is said of it.
    pub details: DetailsChange,
}

/// What is to change of what else is said of a model; as in [`ModelChange`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetailsChange {
    /// What somebody wrote of it.
    pub description: Option<Option<String>>,
    /// What a prompt has to say so that it works.
    pub activation_text: Option<Option<String>>,
    /// The weight that suits it in a prompt.
    pub preferred_weight: Option<Option<Weight>>,
    /// What a negative prompt should say with it.
    pub negative_text: Option<Option<String>>,
    /// Notes.
    pub notes: Option<Option<String>>,
    /// Its family.
    pub sd_version: Option<Option<String>>,
}

/// What is to change of what Civitai says; as in [`ModelChange`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CivitaiChange {
    /// The model's id there.
    pub model_id: Option<Option<String>>,
    /// The version's id there.
    pub version_id: Option<Option<String>>,
    /// The model's name.
    pub model_name: Option<Option<String>>,
    /// The base model.
    pub base_model: Option<Option<String>>,
    /// Civitai's word for the kind of model.
    pub model_type: Option<Option<String>>,
    /// The version's name.
    pub version_name: Option<Option<String>>,
    /// The version's description.
    pub version_description: Option<Option<String>>,
    /// The version's date as Civitai writes it.
    pub version_date: Option<Option<String>>,
    /// Where it can be downloaded.
    pub download_url: Option<Option<String>>,
    /// Trigger words.
    pub trained_words: Option<Vec<String>>,
    /// The file's size in KiB as Civitai says.
    pub file_size_kib: Option<Option<i32>>,
}

/// A rule that only the model as it would be after the change breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenRule {
    /// The file name that is left is empty or too long.
    FilenameLength,
    /// The file name is not the last part of the path.
    FilenameApart,
    /// The AutoV2 hash is not the beginning of the SHA-256.
    Autov2Apart,
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

impl ModelChange {
    /// The fields that it names and that can also be found out.
    #[must_use]
    pub fn named(&self) -> Vec<Field> {
        let (civitai, details) = (&self.civitai, &self.details);
        let named = [
            (Field::Name, self.name.is_some()),
            (Field::Description, details.description.is_some()),
            (Field::ActivationText, details.activation_text.is_some()),
            (Field::PreferredWeight, details.preferred_weight.is_some()),
            (Field::NegativeText, details.negative_text.is_some()),
            (Field::Notes, details.notes.is_some()),
            (Field::SdVersion, details.sd_version.is_some()),
            (Field::CivitaiModelId, civitai.model_id.is_some()),
            (Field::CivitaiVersionId, civitai.version_id.is_some()),
            (Field::CivitaiModelName, civitai.model_name.is_some()),
            (Field::BaseModel, civitai.base_model.is_some()),
            (Field::CivitaiModelType, civitai.model_type.is_some()),
            (Field::CivitaiVersionName, civitai.version_name.is_some()),
            (
                Field::CivitaiVersionDescription,
                civitai.version_description.is_some(),
            ),
            (Field::CivitaiVersionDate, civitai.version_date.is_some()),
            (Field::CivitaiDownloadUrl, civitai.download_url.is_some()),
            (Field::TrainedWords, civitai.trained_words.is_some()),
            (Field::CivitaiFileSizeKib, civitai.file_size_kib.is_some()),
        ];
        named
            .into_iter()
            .filter_map(|(field, named)| named.then_some(field))
            .collect()
    }

    /// The model after the change.
    ///
    /// # Errors
    /// Every rule that the change would break. What was wrong before and is not
    /// changed is left alone.
    pub fn apply(self, before: &NewModel) -> Result<NewModel, Vec<BrokenRule>> {
        let Self {
            name,
            local_path,
            filename,
            forge_format,
            autov2,
            sha256,
            metadata_status,
            civitai,
            details,
        } = self;
        let mut after = before.clone();
        let mut broken = Vec::new();
        put(&mut after.name, name);
        put(&mut after.forge_format, forge_format);
        put(&mut after.metadata_status, metadata_status);
        civitai.apply(&mut after.civitai);
        details.apply(&mut after.details);
        if local_path.is_some() || filename.is_some() {
            rename(&mut after, local_path, filename, &mut broken);
        }
        if autov2.is_some() || sha256.is_some() {
            rehash(&mut after, autov2, sha256, &mut broken);
        }
        if broken.is_empty() {
            Ok(after)
        } else {
            Err(broken)
        }
    }
}

fn rename(
    model: &mut NewModel,
    local_path: Option<String>,
    filename: Option<String>,
    broken: &mut Vec<BrokenRule>,
) {
    put(&mut model.local_path, local_path);
    let last_part = names::last_part(&model.local_path);
    let nameless = model.local_path.is_empty();
    match filename {
        Some(filename) if !filename.is_empty() => {
            if !nameless && filename != last_part {
                broken.push(BrokenRule::FilenameApart);
            }
            model.filename = filename;
        }
        // A model that loses its path keeps the name of its file.
        None if nameless => {}
        Some(_) | None => model.filename = last_part.to_owned(),
    }
    if !(1..=FILENAME_BYTES_MAX).contains(&model.filename.len()) {
        broken.push(BrokenRule::FilenameLength);
    }
}

fn rehash(
    model: &mut NewModel,
    autov2: Option<Option<AutoV2>>,
    sha256: Option<Option<Sha256>>,
    broken: &mut Vec<BrokenRule>,
) {
    let given = autov2.clone().flatten();
    put(&mut model.autov2, autov2);
    put(&mut model.sha256, sha256);
    let Some(derived) = model.sha256.as_ref().map(Sha256::autov2) else {
        return;
    };
    if given.is_some_and(|given| given != derived) {
        broken.push(BrokenRule::Autov2Apart);
    }
    model.autov2 = Some(derived);
}

impl CivitaiChange {
    fn apply(self, metadata: &mut CivitaiMetadata) {
        let Self {
            model_id,
            version_id,
            model_name,
            base_model,
            model_type,
            version_name,
            version_description,
            version_date,
            download_url,
            trained_words,
            file_size_kib,
        } = self;
        put(&mut metadata.model_id, model_id);
        put(&mut metadata.version_id, version_id);
        put(&mut metadata.model_name, model_name);
        put(&mut metadata.base_model, base_model);
        put(&mut metadata.model_type, model_type);
        put(&mut metadata.version_name, version_name);
        put(&mut metadata.version_description, version_description);
        put(&mut metadata.version_date, version_date);
        put(&mut metadata.download_url, download_url);
        put(&mut metadata.trained_words, trained_words);
        put(&mut metadata.file_size_kib, file_size_kib);
    }
}

impl DetailsChange {
    fn apply(self, details: &mut Details) {
        let Self {
            description,
            activation_text,
            preferred_weight,
            negative_text,
            notes,
            sd_version,
        } = self;
        put(&mut details.description, description);
        put(&mut details.activation_text, activation_text);
        put(&mut details.preferred_weight, preferred_weight);
        put(&mut details.negative_text, negative_text);
        put(&mut details.notes, notes);
        put(&mut details.sd_version, sd_version);
    }
}

/// Whether what a server knows of its file speaks against the hashes of the
/// model: two different known hashes are never one model.
pub fn contradicts(file: &ListedModel, model: &NewModel) -> bool {
    fn differ<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.zip(other).is_some_and(|(one, other)| one != other)
    }
    differ(file.sha256.as_ref(), model.sha256.as_ref())
        || differ(file.autov2().as_ref(), model.autov2.as_ref())
}

#[cfg(test)]
mod tests;
