//! Owns which denied calls are written: each kind once a minute, and only so
//! many kinds. It does not write them.

use std::collections::HashSet;
use std::time::Duration;

use super::Event;

/// What becomes of a denied call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is written.
    New,
    /// The same was written in this minute.
    Repeated,
    /// Too many others were written in this minute, and nobody was told yet.
    FirstTooMany,
    /// As before, and somebody was told.
    TooMany,
}

/// Peer, method, key and code.
type Kind = (String, String, Option<String>, &'static str);

/// The denials of the running minute.
#[derive(Debug)]
pub(super) struct Denials {
    per_minute: usize,
    minute: u64,
    seen: HashSet<Kind>,
    told: bool,
}

impl Denials {
    pub(super) fn new(per_minute: usize) -> Self {
        Self {
            per_minute,
            minute: 0,
            seen: HashSet::new(),
            told: false,
        }
    }

    /// What becomes of a call that is denied at `now`, on the clock's monotonic
    /// time.
    pub(super) fn admit(&mut self, event: &Event, now: Duration) -> Admission {
        let minute = now.as_secs() / 60;
        if minute != self.minute {
            self.minute = minute;
            self.seen.clear();
            self.told = false;
        }
        let kind = (
            event.peer.clone(),
            event.method.clone(),
            event.key_id.clone(),
            event.code,
        );
        if self.seen.contains(&kind) {
            return Admission::Repeated;
        }
        if self.seen.len() < self.per_minute {
            self.seen.insert(kind);
            return Admission::New;
        }
        if std::mem::replace(&mut self.told, true) {
            Admission::TooMany
        } else {
            Admission::FirstTooMany
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(peer: &str) -> Event {
        Event {
            peer: peer.to_owned(),
            ..Event::default()
        }
    }

    #[test]
    fn the_same_denial_is_written_once_a_minute() {
        let mut denials = Denials::new(10);
        let second = Duration::from_secs(1);
        assert_eq!(denials.admit(&by("a"), second), Admission::New);
        assert_eq!(denials.admit(&by("a"), 59 * second), Admission::Repeated);
        assert_eq!(denials.admit(&by("b"), 59 * second), Admission::New);
        let other = Event {
            key_id: Some("k".to_owned()),
            ..by("a")
        };
        assert_eq!(denials.admit(&other, 59 * second), Admission::New);
        assert_eq!(denials.admit(&by("a"), 60 * second), Admission::New);
    }

    #[test]
    fn a_flood_of_different_denials_is_bounded_and_told_once() {
        let mut denials = Denials::new(2);
        let admitted: Vec<_> = ["a", "b", "c", "d", "a"]
            .map(|peer| denials.admit(&by(peer), Duration::ZERO))
            .into();
        assert_eq!(
            admitted,
            [
                Admission::New,
                Admission::New,
                Admission::FirstTooMany,
                Admission::TooMany,
                Admission::Repeated
            ]
        );
        assert_eq!(denials.seen.len(), 2);
        let later = Duration::from_secs(60);
        assert_eq!(denials.admit(&by("c"), later), Admission::New);
    }
}
