//! Owns how long a call may wait for something, read from its request. It does
//! not wait.

use std::time::Duration;

use crate::clock::from_proto_duration;

/// How long a wait takes when its request does not say.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// How long a wait may take.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// What a wait must be, for the field of the request.
pub const WAIT_FAULT: &str = "must be 0 to 10 minutes; wait again after that";

/// The time of a request: [`WAIT_DEFAULT`] where it says none.
///
/// # Errors
/// [`WAIT_FAULT`] when it is negative or more than [`WAIT_MAX`].
pub fn wait_time(timeout: Option<&prost_types::Duration>) -> Result<Duration, &'static str> {
    let Some(timeout) = timeout else {
        return Ok(WAIT_DEFAULT);
    };
    let time = from_proto_duration(timeout).filter(|time| *time <= WAIT_MAX);
    time.ok_or(WAIT_FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_takes_no_time_or_ten_minutes_and_half_a_minute_unless_it_says() {
        let of = |seconds, nanos| wait_time(Some(&prost_types::Duration { seconds, nanos }));
        assert_eq!(wait_time(None), Ok(Duration::from_secs(30)));
        assert_eq!(of(0, 0), Ok(Duration::ZERO));
        assert_eq!(of(600, 0), Ok(Duration::from_secs(600)));
        for (seconds, nanos) in [(600, 1), (-1, 0), (0, -1)] {
            assert_eq!(of(seconds, nanos), Err(WAIT_FAULT));
        }
    }
}
