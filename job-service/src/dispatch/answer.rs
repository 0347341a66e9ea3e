//! Reads the answer of a generation from its spool file: each image is taken
//! into the image store while it is read, so that one at a time is in memory.
//! Whether the answer is what was asked for is `verify`'s work. Blocks.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::generation_info::GenerationInfo;
use crate::images::{ImageError, ImageStore, StagedImage};
use crate::outcome::bounded;

/// Images that an answer may have, those of scripts included.
pub const ANSWER_IMAGES_MAX: usize = 512;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The images in order, checked and on disk, without lasting names.
    pub images: Vec<StagedImage>,
    /// What the server says it did.
    pub info: GenerationInfo,
}

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is not JSON, not of Forge's shape, or an image in it is broken.
    #[error("the answer cannot be used: {0}")]
    Broken(String),
    /// There is no room for the images; the spool file is as it was.
    #[error("there is no room for images: {0}")]
    DiskFull(#[source] io::Error),
    /// Reading the spool file or writing an image failed.
    #[error("reading the answer failed: {0}")]
    Io(#[source] io::Error),
}

impl From<ImageError> for AnswerError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Broken(why) => Self::Broken(why),
            ImageError::DiskFull(error) => Self::DiskFull(error),
            ImageError::Io(error) => Self::Io(error),
            ImageError::Missing(name) => Self::Io(io::Error::new(io::ErrorKind::NotFound, name)),
        }
    }
}

/// Reads a spool file. The images of an answer that fails are removed again.
pub fn read_answer(spool: &Path, store: &ImageStore) -> Result<Answer, AnswerError> {
    let file = BufReader::new(File::open(spool).map_err(AnswerError::Io)?);
    let failed = RefCell::new(None);
    let seed = AnswerSeed {
        store,
        failed: &failed,
    };
    let mut json = serde_json::Deserializer::from_reader(file);
    let parsed = seed.deserialize(&mut json).and_then(|parsed| {
        json.end()?;
        Ok(parsed)
    });
    match parsed {
        Ok((images, Some(info))) => {
            let info = GenerationInfo::parse(&info).map_err(AnswerError::Broken)?;
            Ok(Answer { images, info })
        }
        Ok((_, None)) => Err(AnswerError::Broken("it has no info".to_owned())),
        Err(error) => Err(match failed.into_inner() {
            Some(image) => AnswerError::from(image),
            None if error.is_io() => AnswerError::Io(error.into()),
            None => AnswerError::Broken(bounded(&error.to_string())),
        }),
    }
}

/// The images and `info` of an answer; `failed` takes the failure of an image
/// past serde, whose errors are only text.
struct AnswerSeed<'a> {
    store: &'a ImageStore,
    failed: &'a RefCell<Option<ImageError>>,
}

impl<'de> DeserializeSeed<'de> for AnswerSeed<'_> {
    type Value = (Vec<StagedImage>, Option<String>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnswerSeed<'_> {
    type Value = (Vec<StagedImage>, Option<String>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with images and info")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut images = None;
        let mut info = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "images" if images.is_none() => {
                    let seed = ImagesSeed {
                        store: self.store,
                        failed: self.failed,
                    };
                    images = Some(map.next_value_seed(seed)?);
                }
                "info" => info = Some(map.next_value::<String>()?),
                _ => {
                    let _: IgnoredAny = map.next_value()?;
                }
            }
        }
        let images = images.ok_or_else(|| A::Error::custom("it has no images"))?;
        Ok((images, info))
    }
}

/// The list of images.
struct ImagesSeed<'a> {
    store: &'a ImageStore,
    failed: &'a RefCell<Option<ImageError>>,
}

impl<'de> DeserializeSeed<'de> for ImagesSeed<'_> {
    type Value = Vec<StagedImage>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ImagesSeed<'_> {
    type Value = Vec<StagedImage>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of images")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut images = Vec::new();
        loop {
            let seed = ImageSeed {
                store: self.store,
                failed: self.failed,
            };
            let Some(image) = seq.next_element_seed(seed)? else {
                return Ok(images);
            };
            images.push(image);
            if images.len() > ANSWER_IMAGES_MAX {
                return Err(A::Error::custom(format_args!(
                    "it has more than {ANSWER_IMAGES_MAX} images"
                )));
            }
        }
    }
}

/// One image.
struct ImageSeed<'a> {
    store: &'a ImageStore,
    failed: &'a RefCell<Option<ImageError>>,
}

impl<'de> DeserializeSeed<'de> for ImageSeed<'_> {
    type Value = StagedImage;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for ImageSeed<'_> {
    type Value = StagedImage;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a picture as base64 text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let encoded = match text.strip_prefix("data:") {
            Some(uri) => uri
                .split_once(";base64,")
                .map_or(uri, |(_, encoded)| encoded),
            None => text,
        };
        let bytes = STANDARD.decode(encoded).map_err(E::custom)?;
        self.store.stage(&bytes).map_err(|error| {
            let text = error.to_string();
            *self.failed.borrow_mut() = Some(error);
            E::custom(text)
        })
    }
}

#[cfg(test)]
#[path = "answer/tests.rs"]
mod tests;
