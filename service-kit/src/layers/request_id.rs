//! Owns the id under which one call appears in answers and logs.
//! It has nothing to do with the `request_id` field of messages (idempotency).

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue};
use uuid::{NoContext, Timestamp, Uuid};

/// The metadata key that carries the id, in both directions.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Longest id that is taken over from a caller.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// The id of one call: the caller's own, or a fresh UUID. Handlers find it in
/// the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id in the headers, if it is plain and short enough, else a new one.
    pub(crate) fn of(headers: &HeaderMap, now: DateTime<Utc>) -> Self {
        headers
            .get(REQUEST_ID_HEADER)
            .and_then(|value| value.to_str().ok())
            .filter(|id| is_plain(id))
            .map_or_else(|| Self::generate(now), |id| Self(id.into()))
    }

    /// A fresh id: a UUID of version 7 for this time.
    pub fn generate(now: DateTime<Utc>) -> Self {
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let time = Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos());
        Self(Uuid::new_v7(time).to_string().into())
    }

    /// The id as text: letters, digits and `-_.:/+=` only.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn to_header(&self) -> HeaderValue {
        // Only characters that a header may carry get in.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("invalid"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_plain(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(value: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID_HEADER, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn a_callers_id_is_kept_when_it_is_plain() {
        assert_eq!(id_of(b"order-7:retry=1").as_str(), "order-7:retry=1");
    }

    #[test]
    fn anything_else_is_replaced() {
        let long = [b'a'; REQUEST_ID_BYTES_MAX + 1];
        for value in [&b""[..], b"two words", b"\"quoted\"", "ä".as_bytes(), &long] {
            let id = id_of(value);
            assert_eq!(Uuid::parse_str(id.as_str()).unwrap().get_version_num(), 7);
        }
    }
}
