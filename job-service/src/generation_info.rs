//! What a server says it did: the `info` of an answer, or the texts in saved
//! files. Whether that is what was asked for is decided in `verify`.

use serde::Deserialize;
use serde_json::Value;

use crate::infotext;

/// Bytes of `info` that are read.
pub const INFO_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The facts about a generation (`forge/forge-api.md` §1). Fields that a
/// server leaves out are empty.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GenerationInfo {
    /// The seed of each image that was asked for.
    #[serde(rename = "all_seeds", deserialize_with = "or_default")]
    pub seeds: Vec<i64>,
    /// The variation seed of each.
    #[serde(rename = "all_subseeds", deserialize_with = "or_default")]
    pub subseeds: Vec<i64>,
    /// The text of each image in the answer, a grid's included.
    #[serde(deserialize_with = "or_default")]
    pub infotexts: Vec<String>,
    /// The checkpoint's name: the stem of its file.
    pub sd_model_name: Option<String>,
    /// Its short hash; `None` when the server does not hash.
    pub sd_model_hash: Option<String>,
    /// The sampler that was used.
    pub sampler_name: Option<String>,
    /// Sampling steps.
    pub steps: Option<i64>,
    /// Where the images that were asked for begin: 1 behind a grid.
    #[serde(deserialize_with = "or_default")]
    pub index_of_first_image: usize,
    /// When it began, in the server's local time; the same text as in its
    /// progress.
    pub job_timestamp: Option<String>,
    /// The positive prompt.
    pub prompt: Option<String>,
    /// The negative prompt.
    pub negative_prompt: Option<String>,
    /// All of it, as the server wrote it.
    #[serde(skip)]
    pub raw: Value,
}

/// Null counts as absent.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl GenerationInfo {
    /// Parses the JSON text that `info` is.
    pub fn parse(info: &str) -> Result<Self, String> {
        if info.len() > INFO_BYTES_MAX {
            return Err(format!("info has more than {INFO_BYTES_MAX} bytes"));
        }
        let raw: Value =
            serde_json::from_str(info).map_err(|error| format!("info is not JSON: {error}"))?;
        if !raw.is_object() {
            return Err("info is not an object".to_owned());
        }
        let mut parsed = Self::deserialize(&raw).map_err(|error| format!("info: {error}"))?;
        parsed.raw = raw;
        Ok(parsed)
    }

    /// What the texts of an attempt's saved files say, in the order of the
    /// images.
    pub fn from_infotexts(infotexts: Vec<String>) -> Result<Self, String> {
        let mut info = Self::default();
        for (at, text) in infotexts.iter().enumerate() {
            let Some(parameters) = infotext::parse(text) else {
                return Err(format!("the text in image {at} holds no parameters"));
            };
            info.seeds.extend(parameters.seed);
            if at == 0 {
                info.sd_model_name = parameters.model;
                info.sd_model_hash = parameters.model_hash;
                info.sampler_name = parameters.sampler;
                info.steps = parameters.steps;
            } else if info.sd_model_name != parameters.model
                || info.sd_model_hash != parameters.model_hash
            {
                return Err(format!("image {at} names another model than image 0"));
            }
        }
        info.infotexts = infotexts;
        Ok(info)
    }

    /// The seed of the image at a position of the answer, where it is known.
    #[must_use]
    pub fn seed_of(&self, position: usize) -> Option<i64> {
        let sample = position.checked_sub(self.index_of_first_image)?;
        self.seeds.get(sample).copied()
    }

    /// The text of the image at a position of the answer, where there is one.
    #[must_use]
    pub fn infotext_of(&self, position: usize) -> Option<&str> {
        self.infotexts.get(position).map(String::as_str)
    }
}
