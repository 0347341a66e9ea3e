//! JSON at the door: a strict reader of JSON text, and the way between JSON
//! and `google.protobuf.Struct`. What the fields mean is not known here.

use std::collections::BTreeMap;
use std::fmt;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as ProtoValue};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::request::{EXACT_INTEGER_MAX, Violation};

/// Parses the text of one JSON object: a key that stands twice and anything
/// behind the object are errors, where a lenient reader would let the last
/// value win.
pub(super) fn object_from_text(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str::<Strict>(text) {
        Ok(Strict(Value::Object(object))) => Ok(object),
        Ok(_) => Err("must be the text of a JSON object".to_owned()),
        Err(error) => Err(format!("is not valid JSON: {error}")),
    }
}

/// A JSON value whose objects have each key once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} stands twice"
                )));
            }
            let Strict(value) = map.next_value()?;
            fields.insert(key, value);
        }
        Ok(fields.into())
    }
}

/// A Struct as JSON, keys in alphabetical order (the wire has none). Whole
/// numbers become integers. What cannot be told exactly is a violation below
/// `path`; `remedy` says what to use instead.
pub(super) fn object_from_struct(
    fields: Struct,
    path: &str,
    remedy: &str,
    violations: &mut Vec<Violation>,
) -> Map<String, Value> {
    let Struct { fields } = fields;
    fields
        .into_iter()
        .map(|(name, value)| {
            let path = format!("{path}.{name}");
            (name, value_from_proto(value, &path, remedy, violations))
        })
        .collect()
}

fn value_from_proto(
    value: ProtoValue,
    path: &str,
    remedy: &str,
    violations: &mut Vec<Violation>,
) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::NumberValue(number)) => match exact_number(number) {
            Ok(number) => number.into(),
            Err(fault) => {
                violations.push(Violation::new(path, format!("{fault}: {remedy}")));
                Value::Null
            }
        },
        Some(Kind::ListValue(ListValue { values })) => values
            .into_iter()
            .enumerate()
            .map(|(at, item)| value_from_proto(item, &format!("{path}[{at}]"), remedy, violations))
            .collect(),
        Some(Kind::StructValue(fields)) => {
            object_from_struct(fields, path, remedy, violations).into()
        }
    }
}

/// A number as JSON: whole ones as integers, as long as a double tells them
/// exactly.
pub(super) fn exact_number(number: f64) -> Result<Number, &'static str> {
    if number.fract() != 0.0 {
        return Number::from_f64(number).ok_or("is not a finite number");
    }
    if number.abs() > EXACT_INTEGER_MAX {
        return Err("is beyond 2^53, where whole numbers are not exact any more");
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    let integer = number as i64;
    Ok(integer.into())
}

/// A JSON object for showing. Integers that a double cannot tell exactly are
/// shown as text; anything but an object is an empty one.
pub(super) fn struct_from_value(value: &Value) -> Struct {
    let fields: BTreeMap<String, ProtoValue> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), proto_from_value(value)))
            .collect(),
        _ => BTreeMap::new(),
    };
    Struct { fields }
}

fn proto_from_value(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(prost_types::NullValue::NullValue.into()),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => match number.as_f64() {
            Some(double) if number.is_f64() || double.abs() <= EXACT_INTEGER_MAX => {
                Kind::NumberValue(double)
            }
            _ => Kind::StringValue(number.to_string()),
        },
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(proto_from_value).collect(),
        }),
        object @ Value::Object(_) => Kind::StructValue(struct_from_value(object)),
    };
    ProtoValue { kind: Some(kind) }
}

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;
