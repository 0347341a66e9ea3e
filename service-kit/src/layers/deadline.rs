//! Owns how long a caller waits, read from `grpc-timeout`. It does not stop
//! work by itself; [`super::Layers`] does.

use std::time::Duration;

use http::HeaderMap;
use tonic::Code;

use crate::clock::Clock;
use crate::status::Failure;

const GRPC_TIMEOUT_HEADER: &str = "grpc-timeout";
/// Most digits of a timeout (gRPC over HTTP/2, "Requests").
const DIGITS_MAX: usize = 8;

/// The moment after which nobody waits for the answer any more. Handlers find
/// it in the request's extensions when the caller set one; work that starts
/// later than this must not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Duration);

impl Deadline {
    /// The deadline in the headers, counted from now.
    pub(crate) fn of(headers: &HeaderMap, clock: &Clock) -> Result<Option<Self>, Failure> {
        let Some(value) = headers.get(GRPC_TIMEOUT_HEADER) else {
            return Ok(None);
        };
        let timeout = value.to_str().ok().and_then(parse).ok_or_else(|| {
            Failure::new(
                Code::InvalidArgument,
                "INVALID_TIMEOUT",
                "grpc-timeout must be 1 to 8 digits and one of H, M, S, m, u, n",
            )
        })?;
        Ok(Some(Self(clock.monotonic().saturating_add(timeout))))
    }

    /// The moment, on [`Clock::monotonic`].
    pub fn at(self) -> Duration {
        self.0
    }

    /// The time that is left, zero when it has passed.
    pub fn remaining(self, clock: &Clock) -> Duration {
        self.0.saturating_sub(clock.monotonic())
    }

    /// Whether nobody waits any more.
    pub fn has_passed(self, clock: &Clock) -> bool {
        self.remaining(clock).is_zero()
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    let amount: u64 = plain.then(|| digits.parse().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(amount * 60 * 60)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_the_protocol_is_read() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse("4S"), Some(Duration::from_secs(4)));
        assert_eq!(parse("5m"), Some(Duration::from_millis(5)));
        assert_eq!(parse("6u"), Some(Duration::from_micros(6)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "S",
            "1",
            "1x",
            "-1S",
            "+1S",
            "1.5S",
            "100000000S",
            "1ä",
            "ä",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_time_left_shrinks_to_zero() {
        let (clock, hand) = Clock::manual(chrono::DateTime::UNIX_EPOCH);
        let mut headers = HeaderMap::new();
        assert!(matches!(Deadline::of(&headers, &clock), Ok(None)));
        headers.insert(GRPC_TIMEOUT_HEADER, "3S".parse().unwrap());
        let deadline = Deadline::of(&headers, &clock).unwrap().unwrap();
        hand.advance(Duration::from_secs(2));
        assert_eq!(deadline.remaining(&clock), Duration::from_secs(1));
        assert!(!deadline.has_passed(&clock));
        hand.advance(Duration::from_secs(2));
        assert!(deadline.has_passed(&clock));
    }
}
