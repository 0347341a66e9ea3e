//! Owns how instants and spans are written: as text in databases, as
//! `google.protobuf` messages on the wire. It does not read the clock.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};

/// `google.protobuf.Duration` allows about ten thousand years.
const PROTO_DURATION_MAX_S: i64 = 315_576_000_000;
/// 0001-01-01T00:00:00Z, the first second `google.protobuf.Timestamp` allows.
const TIMESTAMP_MIN_S: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z, the last second `google.protobuf.Timestamp` allows.
const TIMESTAMP_MAX_S: i64 = 253_402_300_799;
const NANOS_PER_SECOND: i32 = 1_000_000_000;
/// The length of the one text shape; years outside 0000 to 9999 do not fit it.
const TEXT_LEN: usize = "2026-11-22T11:08:00.123Z".len();

/// Writes an instant as `2026-11-22T11:08:00.123Z`: UTC, always milliseconds
/// (cut, not rounded), so that the order of texts is the order of times.
pub fn to_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads exactly the shape that [`to_text`] writes; any other text is `None`.
pub fn from_text(text: &str) -> Option<DateTime<Utc>> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.3fZ")
        .ok()?
        .and_utc();
    (to_text(time) == text).then_some(time)
}

/// An instant as the wire carries it, with nanoseconds.
pub fn to_timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        // chrono counts past a second during a leap second; the wire must not.
        nanos: i32::try_from(time.timestamp_subsec_nanos()).map_or(NANOS_PER_SECOND - 1, |nanos| {
            nanos.min(NANOS_PER_SECOND - 1)
        }),
    }
}

/// An instant from the wire; `None` outside the years 1 to 9999 or with
/// nanoseconds outside one second, as the message's own rules say.
pub fn from_timestamp(timestamp: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    let in_range = (TIMESTAMP_MIN_S..=TIMESTAMP_MAX_S).contains(&timestamp.seconds)
        && (0..NANOS_PER_SECOND).contains(&timestamp.nanos);
    let nanos = u32::try_from(timestamp.nanos).ok()?;
    in_range.then(|| DateTime::from_timestamp(timestamp.seconds, nanos))?
}

/// A span as the wire carries it; longer than ten thousand years is cut to that.
pub fn to_proto_duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(PROTO_DURATION_MAX_S);
    if seconds >= PROTO_DURATION_MAX_S {
        return prost_types::Duration {
            seconds: PROTO_DURATION_MAX_S,
            nanos: 0,
        };
    }
    prost_types::Duration {
        seconds,
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(NANOS_PER_SECOND - 1),
    }
}

/// A span from the wire; `None` when negative or outside the message's own range.
pub fn from_proto_duration(duration: &prost_types::Duration) -> Option<Duration> {
    let in_range = (0..=PROTO_DURATION_MAX_S).contains(&duration.seconds)
        && (0..NANOS_PER_SECOND).contains(&duration.nanos);
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos).ok()?;
    in_range.then(|| Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_one_text_shape_is_read() {
        for text in [
            "",
            "2026-11-22 11:08:00.123Z",
            "2026-11-22T11:08:00Z",
            "2026-11-22T11:08:00.1234Z",
            "2026-11-22T11:08:00.123+00:00",
            "2026-02-30T11:08:00.123Z",
            "2026-11-22T11:08:00.12 Z",
            "+026-11-22T11:08:00.123Z",
        ] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_outside_their_range_are_refused() {
        let stamp = |seconds, nanos| from_timestamp(&prost_types::Timestamp { seconds, nanos });
        assert!(stamp(TIMESTAMP_MIN_S, 0).is_some());
        assert!(stamp(TIMESTAMP_MIN_S - 1, 0).is_none());
        assert!(stamp(TIMESTAMP_MAX_S, 999_999_999).is_some());
        assert!(stamp(TIMESTAMP_MAX_S + 1, 0).is_none());
        assert!(stamp(0, -1).is_none());
        assert!(stamp(0, NANOS_PER_SECOND).is_none());
    }

    #[test]
    fn negative_spans_are_refused() {
        let span = |seconds, nanos| from_proto_duration(&prost_types::Duration { seconds, nanos });
        assert_eq!(span(1, 5), Some(Duration::new(1, 5)));
        assert_eq!(span(-1, 0), None);
        assert_eq!(span(0, -1), None);
        assert_eq!(span(i64::MAX, 0), None);
        assert_eq!(
            to_proto_duration(Duration::MAX).seconds,
            PROTO_DURATION_MAX_S
        );
    }

    proptest! {
        #[test]
        fn text_keeps_milliseconds_and_order(a in 0_i64..253_402_300_799_999, b in 0_i64..253_402_300_799_999) {
            let (first, second) = (
                DateTime::from_timestamp_millis(a).unwrap(),
                DateTime::from_timestamp_millis(b).unwrap(),
            );
            prop_assert_eq!(from_text(&to_text(first)), Some(first));
            prop_assert_eq!(to_text(first).cmp(&to_text(second)), first.cmp(&second));
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,30}") {
            if let Some(time) = from_text(&text) {
                prop_assert_eq!(to_text(time), text);
            }
        }

        #[test]
        fn wire_instants_come_back_as_they_were(seconds in TIMESTAMP_MIN_S..=TIMESTAMP_MAX_S, nanos in 0..NANOS_PER_SECOND) {
            let stamp = prost_types::Timestamp { seconds, nanos };
            prop_assert_eq!(to_timestamp(from_timestamp(&stamp).unwrap()), stamp);
        }
    }
}
