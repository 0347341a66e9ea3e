//! Owns what a version says of a model: which of its fields become which of ours. It does not say
//! which are written (`findings.rs`).

use serde_json::Value as Json;

use super::Version;
use crate::findings::{Field, Finding, Source, Value};

impl Version {
    /// What it says of the model whose file has these first digits of the SHA-256, in lower case.
    /// The size is that of the file with this hash, else of the model file.
    ///
    /// The date is that of the publication, and of the making where there is none. Not safe for
    /// work is the author's own word for the model, not the rating of the pictures.
    pub fn findings(&self, source: Source, digits: Option<&str>) -> Vec<Finding> {
        let text = |field, value: Option<&str>| Finding::text(field, value?, source);
        let model = |name: &str| self.field("model").and_then(|model| model.get(name));
        let own = |name: &str| self.field(name).and_then(Json::as_str);
        let of_model = |name: &str| model(name).and_then(Json::as_str);
        let nsfw = model("nsfw").and_then(Json::as_bool);
        let file = digits.and_then(|digits| self.file_of(digits));
        let file = file.or_else(|| self.model_file());
        let size_kib = file.and_then(|file| file.size_bytes).map(kib);
        [
            text(Field::CivitaiModelId, self.model_id().as_deref()),
            text(Field::CivitaiVersionId, Some(self.id())),
            text(Field::CivitaiModelName, of_model("name")),
            text(Field::BaseModel, own("baseModel")),
            text(Field::CivitaiModelType, of_model("type")),
            text(Field::CivitaiVersionName, own("name")),
            text(Field::CivitaiVersionDescription, own("description")),
            text(
                Field::CivitaiVersionDate,
                own("publishedAt").or_else(|| own("createdAt")),
            ),
            self.words()
                .and_then(|words| Finding::new(Field::TrainedWords, words, source)),
            size_kib.and_then(|kib| {
                Finding::new(Field::CivitaiFileSizeKib, Value::Integer(kib), source)
            }),
            nsfw.and_then(|nsfw| Finding::new(Field::CivitaiNsfw, Value::Flag(nsfw), source)),
            text(Field::CivitaiBlurhash, self.blurhash()),
            text(
                Field::PreviewUrl,
                self.picture_url().filter(|url| is_web(url)),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// In their order, repeated ones too; an empty list says that there are none.
    fn words(&self) -> Option<Value> {
        let words = self.field("trainedWords")?.as_array()?;
        let words = words.iter().filter_map(Json::as_str).map(str::to_owned);
        Some(Value::Words(words.collect()))
    }

    /// Of the first picture that has one.
    fn blurhash(&self) -> Option<&str> {
        let images = self.field("images")?.as_array()?;
        let pictures = images.iter().filter(super::is_picture);
        pictures
            .into_iter()
            .find_map(|image| image.get("hash")?.as_str())
    }
}

/// The nearest whole KiB.
fn kib(bytes: u64) -> i64 {
    i64::try_from(bytes.saturating_add(512) / 1024).unwrap_or(i64::MAX)
}

fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}
