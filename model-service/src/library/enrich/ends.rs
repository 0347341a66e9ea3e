//! Owns in which words an enrichment ends before it is done, and which trouble ends it. It asks
//! nothing.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::clock;
use service_kit::status::Failure;

use crate::civitai::{FinalReason, Trouble};

/// When to go on after a rate limit that did not say.
const GO_ON_AFTER: Duration = Duration::from_secs(600);
/// Reason of an enrichment that Civitai's rate limit ended.
pub(super) const CIVITAI_RATE_LIMITED: &str = "CIVITAI_RATE_LIMITED";
/// Reason of an enrichment that Civitai refuses.
pub(super) const CIVITAI_REFUSES: &str = "CIVITAI_REFUSES";
/// Reason of an enrichment that ended because Civitai does not answer.
pub(super) const CIVITAI_UNAVAILABLE: &str = "CIVITAI_UNAVAILABLE";

/// How far an enrichment was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) now: DateTime<Utc>,
}

impl Reached {
    /// What trouble ends an enrichment at once, in the words of its failure.
    pub(super) fn end(self, trouble: &Trouble) -> Option<Failure> {
        match trouble {
            Trouble::Limited { after, .. } => {
                let after = after.unwrap_or(GO_ON_AFTER);
                let text = format!(
                    "Civitai limits how often it is asked ({trouble}); {}",
                    self.go_on(after)
                );
                let subject = "civitai";
                Some(Failure::exhausted(
                    CIVITAI_RATE_LIMITED,
                    subject,
                    text,
                    Some(after),
                ))
            }
            Trouble::Final { reason, .. } => {
                let remedy = match reason {
                    FinalReason::Region => "it serves nobody where this machine is",
                    FinalReason::Unauthorized | FinalReason::Forbidden => {
                        "look at the key in --civitai-key-file and at --civitai-url"
                    }
                    FinalReason::Archived | FinalReason::Quota | FinalReason::Other => {
                        "look at --civitai-url"
                    }
                };
                let text = format!("{trouble}; {remedy}; {}", self.kept());
                Some(Failure::precondition(CIVITAI_REFUSES, "civitai", text))
            }
            Trouble::Later { .. }
            | Trouble::Unreachable { .. }
            | Trouble::OwnFault { .. }
            | Trouble::TooLarge { .. } => None,
        }
    }

    /// The failure after too many questions without an answer.
    pub(super) fn unavailable(self, trouble: &Trouble) -> Failure {
        let text = format!("{trouble}; {}", self.go_on(GO_ON_AFTER));
        Failure::unavailable(CIVITAI_UNAVAILABLE, text, GO_ON_AFTER)
    }

    fn kept(self) -> String {
        format!("{} of {} models are done and kept", self.done, self.total)
    }

    fn go_on(self, after: Duration) -> String {
        let after = TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX);
        let at = self.now.checked_add_signed(after);
        let at = clock::to_text(at.unwrap_or(DateTime::<Utc>::MAX_UTC));
        format!(
            "{}; start another enrichment after {at} to go on with the rest",
            self.kept()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACHED: Reached = Reached {
        done: 30,
        total: 500,
        now: DateTime::UNIX_EPOCH,
    };

    #[test]
    fn a_rate_limit_says_when_to_go_on_and_what_is_kept() {
        let limited = |after| Trouble::Limited {
            after,
            words: "Civitai answered 429".to_owned(),
        };
        let end = REACHED
            .end(&limited(Some(Duration::from_secs(3_600))))
            .unwrap();
        let status = tonic_free_text(&end);
        assert!(status.contains("30 of 500 models are done"), "{status}");
        assert!(status.contains("after 1970-01-01T01:00:00"), "{status}");
        let status = tonic_free_text(&REACHED.end(&limited(None)).unwrap());
        assert!(status.contains("after 1970-01-01T00:10:00"), "{status}");
    }

    #[test]
    fn only_a_limit_and_a_refusal_end_at_once() {
        let words = String::new;
        assert!(
            REACHED
                .end(&Trouble::Later {
                    after: None,
                    words: words()
                })
                .is_none()
        );
        assert!(
            REACHED
                .end(&Trouble::Unreachable { words: words() })
                .is_none()
        );
        assert!(REACHED.end(&Trouble::OwnFault { words: words() }).is_none());
        assert!(REACHED.end(&Trouble::TooLarge { limit: 1 }).is_none());
        let reason = FinalReason::Region;
        assert!(
            REACHED
                .end(&Trouble::Final {
                    reason,
                    words: words()
                })
                .is_some()
        );
    }

    fn tonic_free_text(failure: &Failure) -> String {
        format!("{failure:?}")
    }
}
