//! What makes a repeated call the same call (AIP-155): its request id, whose
//! it is, and a fingerprint of what it asks for. Pure; where that is kept is
//! the store's business.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::request::whole;

/// Bytes that a request id may have.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// The id of a call and the key that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The caller's key; empty for callers without one.
    pub key_id: String,
    /// The id that the caller chose.
    pub id: String,
}

/// A call that is to have its effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// Whose call, by which id.
    pub request_id: RequestId,
    /// The call's name, such as `SubmitJob`.
    pub method: &'static str,
    /// What it asks for, as [`fingerprint`] tells it.
    pub fingerprint: String,
}

/// What is wrong with a request id, in words; `None` when nothing is.
#[must_use]
pub fn request_id_fault(id: &str) -> Option<String> {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte);
    let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(printable);
    (!fits).then(|| format!("must have 1 to {REQUEST_ID_BYTES_MAX} printable ASCII characters"))
}

/// The SHA-256 of parsed values, in hexadecimal. The order of keys makes no
/// difference, nor does the way in which a whole number is written.
#[must_use]
pub fn fingerprint(values: &Value) -> String {
    let mut digest = Sha256::new();
    feed(&mut digest, values);
    hex::encode(digest.finalize())
}

/// Feeds a value so that no two different ones feed the same bytes: every text
/// is quoted, every list and object closed.
fn feed(digest: &mut Sha256, value: &Value) {
    match value {
        Value::Array(items) => {
            digest.update("[");
            for item in items {
                feed(digest, item);
                digest.update(",");
            }
            digest.update("]");
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| name.as_str());
            digest.update("{");
            for (name, value) in fields {
                digest.update(Value::String(name.clone()).to_string());
                digest.update(":");
                feed(digest, value);
                digest.update(",");
            }
            digest.update("}");
        }
        Value::Number(_) => {
            let mut number = value.clone();
            whole(&mut number);
            digest.update(number.to_string());
        }
        Value::Null | Value::Bool(_) | Value::String(_) => digest.update(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_have_one_fingerprint_however_they_were_written() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": [7.0], "d": "x"}}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":{"d":"x","c":[7]},"a":1.0}"#).unwrap();
        assert_eq!(fingerprint(&one), fingerprint(&two));
        assert_eq!(fingerprint(&one).len(), 64);
    }

    #[test]
    fn different_values_have_different_fingerprints() {
        let values = [
            json!({"a": 1}),
            json!({"a": "1"}),
            json!({"a": 1.5}),
            json!({"a": [1]}),
            json!({"a": [[1], 2]}),
            json!({"a": [[1, 2]]}),
            json!({"a": null}),
            json!({}),
            json!({"a": "1,\"b\":2"}),
            json!({"a": "1", "b": 2}),
        ];
        let prints: std::collections::BTreeSet<String> = values.iter().map(fingerprint).collect();
        assert_eq!(prints.len(), values.len());
    }

    #[test]
    fn a_request_id_is_short_printable_ascii() {
        let longest = "x".repeat(REQUEST_ID_BYTES_MAX);
        for good in ["a", "0191 / B~", longest.as_str()] {
            assert_eq!(request_id_fault(good), None, "{good}");
        }
        for bad in ["", "a\n", "ä", "\u{7f}", &format!("{longest}x")] {
            assert!(request_id_fault(bad).is_some(), "{bad:?}");
        }
    }
}
