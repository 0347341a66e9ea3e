//! Follows an attempt on its server while its answer is awaited: phase,
//! progress, whether the process is still the one, and the wish to end it. One
//! call at a time; judges no answer.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    clearing,
    context::{Context, Entered},
    forge::GlobalProgress,
    observe::{self, Seen},
    reconcile,
};
use crate::{job::AttemptPhase, request::REQUEST_PIXELS_MAX};

/// Looks in a row that must fail before the outcome counts as unknown.
const FAILURES_MAX: u32 = 5;
/// Every so many looks the process is asked for its name.
const PROCESS_EVERY: u32 = 10;
/// After failed looks the next comes later: the wait is doubled so many times
/// at most, so that calls do not pile up on a server that does not answer.
const SILENT_DOUBLINGS_MAX: u32 = 4;

/// How long a server may take to write a megapixel of its images into the
/// answer, which begins to come only after that: it reports no work meanwhile.
const ANSWER_PER_MEGAPIXEL: Duration = Duration::from_secs(2);
/// Pixels.
const MEGAPIXEL: f64 = 1_000_000.0;

/// What a look found.
#[derive(Debug)]
pub enum Signal {
    /// Nothing that ends the waiting.
    GoOn,
    /// The generation is not there any more, for this reason.
    Gone(String),
    /// The service stops.
    Stopped,
}

/// Follows one attempt.
pub struct Follower<'a> {
    context: &'a Context,
    phase: AttemptPhase,
    next_look: Duration,
    looks: u32,
    failures: u32,
    /// Bytes of the answer that have come, and how many had come at the last
    /// look.
    received: &'a AtomicU64,
    received_before: u64,
    /// Since when the server has had nothing of the attempt.
    nothing_since: Option<Duration>,
    /// How long that may last before the answer counts as lost.
    answer_grace: Duration,
}

impl<'a> Follower<'a> {
    /// Follows from the sending of the request on.
    #[must_use]
    pub fn new(context: &'a Context, received: &'a AtomicU64) -> Self {
        Self {
            context,
            phase: AttemptPhase::Sending,
            next_look: context.core.clock.monotonic() + context.core.pace.progress,
            looks: 0,
            failures: 0,
            received,
            received_before: 0,
            nothing_since: None,
            answer_grace: answer_grace(
                context.core.pace.answer_grace,
                context.request.pixels_of_all_images(),
            ),
        }
    }

    /// Waits until the next look is due: at once when the wish to end it
    /// comes.
    pub async fn due(&self) {
        let clock = &self.context.core.clock;
        if self.context.wish.is_cancelled() {
            clock.sleep_until(self.next_look).await;
            return;
        }
        tokio::select! {
            () = clock.sleep_until(self.next_look) => {}
            () = self.context.wish.cancelled() => {}
        }
    }

    /// One look at the server.
    pub async fn look(&mut self) -> Signal {
        self.looks += 1;
        let signal = match observe::observe(self.context).await {
            Ok((seen, global)) => {
                self.failures = 0;
                self.answered(seen, &global).await
            }
            Err(error) => {
                self.failures += 1;
                tracing::debug!(server.alias = %self.context.attempt.server, %error, "the server does not say how far it is");
                self.silent().await
            }
        };
        let wait = silent_pace(self.context.core.pace.progress, self.failures);
        self.next_look = self.context.core.clock.monotonic() + wait;
        signal
    }

    async fn answered(&mut self, seen: Seen, global: &GlobalProgress) -> Signal {
        let process_due =
            self.looks.is_multiple_of(PROCESS_EVERY) || self.phase == AttemptPhase::OutcomeUnknown;
        if process_due && let Some(why) = observe::other_process(self.context).await {
            return Signal::Gone(why);
        }
        self.note(seen, global).await
    }

    /// The answer may still come, so the attempt waits here unless somebody
    /// wants it to end.
    async fn silent(&mut self) -> Signal {
        if self.failures < FAILURES_MAX {
            return Signal::GoOn;
        }
        if self.context.wish.is_cancelled() || reconcile::is_given_up(self.context) {
            return Signal::Gone("the server does not answer".to_owned());
        }
        self.enter(AttemptPhase::OutcomeUnknown).await
    }

    async fn note(&mut self, seen: Seen, global: &GlobalProgress) -> Signal {
        let now = self.context.core.clock.monotonic();
        let received = self.received.load(Ordering::Relaxed);
        if received > self.received_before {
            // The answer is on its way, however long it takes.
            self.received_before = received;
            self.nothing_since = None;
            return self.enter(AttemptPhase::Fetching).await;
        }
        if !seen.alive {
            let since = *self.nothing_since.get_or_insert(now);
            if now.saturating_sub(since) >= self.answer_grace {
                return Signal::Gone("the server has nothing of it and sent no answer".to_owned());
            }
            return Signal::GoOn;
        }
        self.nothing_since = None;
        // Behind other work it waits for its turn: what is active then is not
        // this attempt.
        if self.context.wish.is_cancelled() && seen.active {
            clearing::interrupt(self.context).await;
        }
        let Some(phase) = seen.phase else {
            return Signal::GoOn;
        };
        let signal = self.enter(phase).await;
        observe::publish(self.context, phase, global);
        signal
    }

    async fn enter(&mut self, phase: AttemptPhase) -> Signal {
        if phase == self.phase {
            return Signal::GoOn;
        }
        match self.context.enter(phase).await {
            Entered::Yes => {
                self.phase = phase;
                Signal::GoOn
            }
            Entered::No => Signal::Stopped,
        }
    }
}

/// How long an answer with so many pixels may take to begin.
fn answer_grace(grace: Duration, pixels: u64) -> Duration {
    // A limit on the pixels of a request keeps this in range.
    #[expect(clippy::cast_precision_loss, reason = "a length of time")]
    let megapixels = pixels.min(REQUEST_PIXELS_MAX) as f64 / MEGAPIXEL;
    grace + ANSWER_PER_MEGAPIXEL.mul_f64(megapixels)
}

/// How long to wait before the next look after so many failed ones.
#[must_use]
pub fn silent_pace(pace: Duration, failures: u32) -> Duration {
    pace.saturating_mul(1 << failures.min(SILENT_DOUBLINGS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_many_pixels_may_take_longer_to_begin() {
        let grace = Duration::from_secs(30);
        assert_eq!(answer_grace(grace, 0), grace);
        assert_eq!(answer_grace(grace, 1_000_000), Duration::from_secs(32));
        // 128 images of 1024 x 1024.
        let most = answer_grace(grace, REQUEST_PIXELS_MAX);
        assert!(most > Duration::from_secs(290), "{most:?}");
        assert_eq!(answer_grace(grace, u64::MAX), most);
    }
}
