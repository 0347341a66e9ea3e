//! Owns how often a peer may fail to authenticate. It does not authenticate.
//!
//! Failures are counted for the peer's address as a whole. A key that was good
//! from there has a count of its own, so that one program with an old key, or
//! somebody who guesses, does not lock out the others behind the same address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::KeyPrefix;
use crate::clock::Clock;
use crate::status::Failure;

/// Reason of a RESOURCE_EXHAUSTED for a peer that failed too often.
pub const REASON_TOO_MANY_FAILURES: &str = "TOO_MANY_AUTHENTICATION_FAILURES";
/// Bits of an IPv6 address that one peer has to itself.
const IPV6_HOST_BITS: u32 = 64;

/// How many failed authentications a peer has free, and how they come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureLimits {
    /// Failures in a row; the next call is RESOURCE_EXHAUSTED, unlooked at.
    pub burst: u32,
    /// After each such time one more failure is free.
    pub interval: Duration,
    /// Peers, and keys seen from them, that are remembered; the one that was
    /// quiet for longest is forgotten first.
    pub remembered: usize,
}

impl Default for FailureLimits {
    fn default() -> Self {
        Self {
            burst: 100,
            interval: Duration::from_millis(200),
            remembered: 4096,
        }
    }
}

impl FailureLimits {
    /// The time in which so many failures come back.
    fn free_for(&self, failures: u32) -> Duration {
        self.interval.saturating_mul(failures)
    }
}

/// A peer's network, and the key if it was good from there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Subject {
    peer: IpAddr,
    prefix: Option<KeyPrefix>,
}

#[derive(Debug)]
struct Count {
    /// When all failures are free again, on [`Clock::monotonic`].
    free_at: Duration,
    used_at: Duration,
}

/// The counts of failed authentications.
#[derive(Debug)]
pub(super) struct Failures {
    limits: FailureLimits,
    clock: Clock,
    counts: Mutex<HashMap<Subject, Count>>,
}

impl Failures {
    pub(super) fn new(limits: FailureLimits, clock: Clock) -> Self {
        Self {
            limits,
            clock,
            counts: Mutex::default(),
        }
    }

    /// Whether the peer may try.
    pub(super) fn check(&self, peer: IpAddr, prefix: Option<KeyPrefix>) -> Result<(), Failure> {
        let mut counts = self.lock();
        let subject = subject(&counts, peer, prefix);
        let Some(count) = counts.get_mut(&subject) else {
            return Ok(());
        };
        count.used_at = self.clock.monotonic();
        let free = self.limits.free_for(self.limits.burst.saturating_sub(1));
        let wait = count
            .free_at
            .saturating_sub(count.used_at)
            .saturating_sub(free);
        if wait.is_zero() {
            return Ok(());
        }
        let limit = format!(
            "at most {} failed authentications, then one every {} ms",
            self.limits.burst,
            self.limits.interval.as_millis()
        );
        let whose = format!("peer:{}", subject.peer);
        Err(Failure::exhausted(
            REASON_TOO_MANY_FAILURES,
            whose,
            limit,
            Some(wait),
        ))
    }

    /// Counts a failure.
    pub(super) fn failed(&self, peer: IpAddr, prefix: Option<KeyPrefix>) {
        let mut counts = self.lock();
        let subject = subject(&counts, peer, prefix);
        let now = self.clock.monotonic();
        let count = self.entry(&mut counts, subject, now);
        let most = now.saturating_add(self.limits.free_for(self.limits.burst));
        count.free_at = count
            .free_at
            .max(now)
            .saturating_add(self.limits.interval)
            .min(most);
    }

    /// Remembers that this key is good from there.
    pub(super) fn succeeded(&self, peer: IpAddr, prefix: KeyPrefix) {
        let subject = Subject {
            peer: network(peer),
            prefix: Some(prefix),
        };
        let now = self.clock.monotonic();
        self.entry(&mut self.lock(), subject, now).used_at = now;
    }

    fn entry<'a>(
        &self,
        counts: &'a mut HashMap<Subject, Count>,
        subject: Subject,
        now: Duration,
    ) -> &'a mut Count {
        if counts.len() >= self.limits.remembered && !counts.contains_key(&subject) {
            let quiet = counts.iter().min_by_key(|(_, count)| count.used_at);
            if let Some(quiet) = quiet.map(|(subject, _)| *subject) {
                counts.remove(&quiet);
            }
        }
        counts.entry(subject).or_insert(Count {
            free_at: now,
            used_at: now,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which count stands for a call.
fn subject(counts: &HashMap<Subject, Count>, peer: IpAddr, prefix: Option<KeyPrefix>) -> Subject {
    let peer = network(peer);
    let own = Subject { peer, prefix };
    if prefix.is_some() && counts.contains_key(&own) {
        return own;
    }
    Subject { peer, prefix: None }
}

/// The part of an address that a peer cannot change at will.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> IPV6_HOST_BITS << IPV6_HOST_BITS;
            Ipv6Addr::from_bits(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::clock::ManualClock;
    use crate::status::retry_delay_of;

    const LIMITS: FailureLimits = FailureLimits {
        burst: 3,
        interval: Duration::from_secs(1),
        remembered: 4,
    };

    fn failures() -> (Failures, ManualClock) {
        let (clock, hand) = Clock::manual(chrono::DateTime::UNIX_EPOCH);
        (Failures::new(LIMITS, clock), hand)
    }

    fn peer(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn exhaust(failures: &Failures, peer: IpAddr, prefix: Option<KeyPrefix>) {
        for _ in 0..LIMITS.burst {
            failures.check(peer, prefix).unwrap();
            failures.failed(peer, prefix);
        }
    }

    #[test]
    fn after_the_burst_a_peer_waits_for_each_try() {
        let (failures, hand) = failures();
        exhaust(&failures, peer(1), None);
        let refusal = failures.check(peer(1), None).unwrap_err();
        assert_eq!(refusal.code(), Code::ResourceExhausted);
        let retry = retry_delay_of(&refusal.into_status());
        assert_eq!(retry, Some(LIMITS.interval));
        assert!(failures.check(peer(2), None).is_ok());
        hand.advance(LIMITS.interval);
        failures.check(peer(1), None).unwrap();
        failures.failed(peer(1), None);
        assert!(failures.check(peer(1), None).is_err());
    }

    #[test]
    fn a_flood_does_not_lengthen_the_wait() {
        let (failures, hand) = failures();
        for _ in 0..1000 {
            failures.failed(peer(1), None);
        }
        hand.advance(LIMITS.interval);
        assert!(failures.check(peer(1), None).is_ok());
    }

    #[test]
    fn a_key_that_was_good_is_not_locked_out_by_its_neighbours() {
        let (failures, _hand) = failures();
        let good = KeyPrefix::parse("00000001").unwrap();
        let other = KeyPrefix::parse("00000002").unwrap();
        failures.succeeded(peer(1), good);
        exhaust(&failures, peer(1), Some(other));
        assert!(failures.check(peer(1), Some(other)).is_err());
        assert!(failures.check(peer(1), None).is_err());
        exhaust(&failures, peer(1), Some(good));
        assert!(failures.check(peer(1), Some(good)).is_err());
        // Good from elsewhere says nothing about here.
        exhaust(&failures, peer(2), Some(good));
        assert!(failures.check(peer(2), None).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_quietest_goes_first() {
        let (failures, hand) = failures();
        exhaust(&failures, peer(0), None);
        for last in 1..=LIMITS.remembered as u8 {
            hand.advance(Duration::from_millis(1));
            failures.failed(peer(last), None);
            assert!(failures.lock().len() <= LIMITS.remembered);
        }
        assert!(failures.check(peer(0), None).is_ok());
        exhaust(&failures, peer(0), None);
        assert!(failures.check(peer(0), None).is_err());
    }

    #[test]
    fn addresses_of_one_network_are_one_peer() {
        let (failures, _hand) = failures();
        exhaust(&failures, "2001:db8::1".parse().unwrap(), None);
        let check = |text: &str| failures.check(text.parse().unwrap(), None);
        assert!(check("2001:db8::ffff:2").is_err());
        assert!(check("2001:db8:0:1::1").is_ok());
        exhaust(&failures, "::ffff:10.0.0.1".parse().unwrap(), None);
        assert!(check("10.0.0.1").is_err());
    }
}
