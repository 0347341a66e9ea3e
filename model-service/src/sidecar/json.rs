//! Owns the JSON of sidecars as a tree of bounded size and depth. It does not know what keys mean,
//! but for those whose values are large and of no use.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{BYTES_MAX, DEPTH_MAX, SidecarFault, VALUES_MAX};

/// Keys whose values are passed over: how pictures were made can be whole workflows.
const PASSED_OVER: [&str; 4] = [
    "meta",
    "customImages",
    "InferenceDefaults",
    "trainingDetails",
];

/// What a tree may still take, and why it is too much.
struct Bounds {
    left: Cell<usize>,
    fault: Cell<Option<SidecarFault>>,
}

/// The object that the bytes hold. Of a key that is there twice, the last counts, as in Python.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, SidecarFault> {
    if bytes.len() > BYTES_MAX {
        return Err(SidecarFault::TooLarge);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| SidecarFault::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let bounds = Bounds {
        left: Cell::new(VALUES_MAX),
        fault: Cell::new(None),
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let tree = Tree(&bounds, 0).deserialize(&mut reader);
    let tree = tree.and_then(|tree| reader.end().map(|()| tree));
    match tree {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(SidecarFault::NotAnObject),
        Err(error) => Err(bounds.fault.take().unwrap_or(SidecarFault::NotJson {
            line: error.line(),
            column: error.column(),
        })),
    }
}

/// One value at a depth.
#[derive(Clone, Copy)]
struct Tree<'a>(&'a Bounds, usize);

impl Tree<'_> {
    /// The values inside this one.
    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.1 == DEPTH_MAX {
            self.0.fault.set(Some(SidecarFault::NestedTooDeep));
            return Err(E::custom("too deep"));
        }
        Ok(Self(self.0, self.1 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        let Some(left) = self.0.left.get().checked_sub(1) else {
            self.0.fault.set(Some(SidecarFault::TooManyValues));
            return Err(D::Error::custom("too many"));
        };
        self.0.left.set(left);
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if PASSED_OVER.contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else {
                values.insert(key, map.next_value_seed(inner)?);
            }
        }
        Ok(Value::Object(values))
    }
}
