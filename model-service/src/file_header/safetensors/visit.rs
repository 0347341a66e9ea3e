//! Owns the walk through the JSON of a safetensors header: tensors are counted, `__metadata__` is
//! kept as far as it is wanted. It does not read bytes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::super::{keep, wanted};
use super::Gathering;
use crate::file_header::fault::HeaderFault;

/// The name of the object that holds metadata.
const METADATA: &str = "__metadata__";

/// Reads the whole object. What is wrong is noted where the error alone does not tell.
pub(super) fn object<'de, D: Deserializer<'de>>(
    reader: D,
    gathered: &Gathering<'_>,
) -> Result<(), D::Error> {
    reader.deserialize_map(Object(gathered))
}

struct Object<'a>(&'a Gathering<'a>);

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let is_metadata = |name: &str| {
            let metadata = name == METADATA;
            if !metadata {
                self.0.signs.borrow_mut().see(name);
            }
            metadata
        };
        while let Some(metadata) = map.next_key_seed(Name(self.0, 0, is_metadata))? {
            if metadata {
                map.next_value_seed(Metadata(self.0))?;
            } else {
                map.next_value_seed(Tensor(self.0))?;
                self.0.header.borrow_mut().tensor_count += 1;
            }
        }
        Ok(())
    }
}

/// A name that must be the only one of its object, and what is made of it.
struct Name<'a, F>(&'a Gathering<'a>, u8, F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Name<'_, F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<T, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Name<'_, F> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
        match self.0.name(self.1, name) {
            true => Ok((self.2)(name)),
            false => Err(E::custom("a name that cannot stand")),
        }
    }
}

/// The value of `__metadata__`: an object of strings, or nothing.
struct Metadata<'a>(&'a Gathering<'a>);

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of strings")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let kept = |name: &str| wanted(name).then(|| name.to_owned());
        while let Some(name) = map.next_key_seed(Name(self.0, 1, kept))? {
            map.next_value_seed(Text(self.0, name.as_deref()))?;
        }
        Ok(())
    }
}

/// A value of the metadata, which is kept under the name if it has one.
struct Text<'a>(&'a Gathering<'a>, Option<&'a str>);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let whole = !self.0.notes.cut.take();
        if let Some(name) = self.1 {
            let mut header = self.0.header.borrow_mut();
            let mut room = self.0.room.borrow_mut();
            keep(&mut header, &mut room, name, whole.then_some(value));
        }
        Ok(())
    }
}

/// The value of a tensor, of which only its place is read.
struct Tensor<'a>(&'a Gathering<'a>);

impl<'de> DeserializeSeed<'de> for Tensor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tensor<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a tensor with its data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut place = None;
        while let Some(is_place) = map.next_key_seed(IsPlace)? {
            if !is_place {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let offsets = map.next_value::<(u64, u64)>()?;
            if place.replace(offsets).is_some() {
                let name = self.0.notes.place();
                self.0.notes.fault(HeaderFault::DuplicateName {
                    name: format!("{name}.data_offsets"),
                });
                return Err(A::Error::custom("two places"));
            }
        }
        // No text of a tensor is kept, so that none needs to be whole.
        self.0.notes.cut.set(false);
        match place {
            Some((start, end)) if start <= end => {
                let mut data_end = self.0.data_end.borrow_mut();
                *data_end = end.max(*data_end);
                Ok(())
            }
            _ => Err(A::Error::custom("no place")),
        }
    }
}

/// Whether a key of a tensor is `data_offsets`.
struct IsPlace;

impl<'de> DeserializeSeed<'de> for IsPlace {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for IsPlace {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == "data_offsets")
    }
}
