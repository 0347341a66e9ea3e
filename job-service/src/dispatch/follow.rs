//! Follows an attempt on its server while its answer is awaited: phase,
//! progress, whether the process is still the one, and the caller's wish to
//! cancel. Judges no answer.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    context::{Context, Entered},
    forge::{GlobalProgress, TaskState},
};
use crate::{hints::Progress, job::AttemptPhase, server::Usage};

/// Looks in a row that must fail before the outcome counts as unknown.
const FAILURES_MAX: u32 = 10;
/// Every so many looks the process is asked for its name.
const PROCESS_EVERY: u32 = 10;
/// How long after an interrupt the server is asked whether it is calm.
const CALM_LOOKS_MAX: u32 = 40;
/// Between two of these looks.
const CALM_EVERY: Duration = Duration::from_millis(250);

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

/// What a server says of an attempt.
pub struct Seen {
    /// Its phase.
    pub phase: Option<AttemptPhase>,
    /// Whether it is there at all: queued or at work.
    pub alive: bool,
    /// Whether it is the one at work.
    pub active: bool,
}

/// Follows one attempt.
pub struct Follower<'a> {
    context: &'a Context,
    wish: CancellationToken,
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
    /// Whether an interrupt went out whose answer did not come.
    interrupt_unsure: bool,
    interrupted: bool,
}

impl<'a> Follower<'a> {
    /// Follows from the sending of the request on.
    #[must_use]
    pub fn new(context: &'a Context, wish: CancellationToken, received: &'a AtomicU64) -> Self {
        let now = context.core.clock.monotonic();
        Self {
            context,
            wish,
            phase: AttemptPhase::Sending,
            next_look: now + context.core.pace.progress,
            looks: 0,
            failures: 0,
            received,
            received_before: 0,
            nothing_since: None,
            interrupt_unsure: false,
            interrupted: false,
        }
    }

    /// Waits until the next look is due: at once when the wish to cancel
    /// comes.
    pub async fn due(&self) {
        let clock = &self.context.core.clock;
        if self.wish.is_cancelled() {
            clock.sleep_until(self.next_look).await;
            return;
        }
        tokio::select! {
            () = clock.sleep_until(self.next_look) => {}
            () = self.wish.cancelled() => {}
        }
    }

    /// One look at the server.
    pub async fn look(&mut self) -> Signal {
        self.next_look = self.context.core.clock.monotonic() + self.context.core.pace.progress;
        self.looks += 1;
        match observe(self.context).await {
            Ok((seen, global)) => {
                self.failures = 0;
                if (self.looks.is_multiple_of(PROCESS_EVERY)
                    || self.phase == AttemptPhase::OutcomeUnknown)
                    && let Some(why) = other_process(self.context).await
                {
                    return Signal::Gone(why);
                }
                self.note(seen, &global).await
            }
            Err(error) => {
                self.failures += 1;
                tracing::debug!(server.alias = %self.context.attempt.server, %error, "the server does not say how far it is");
                if self.failures >= FAILURES_MAX && self.wish.is_cancelled() {
                    return Signal::Gone("the server does not answer".to_owned());
                }
                if self.failures >= FAILURES_MAX {
                    return self.enter(AttemptPhase::OutcomeUnknown).await;
                }
                Signal::GoOn
            }
        }
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
            if now.saturating_sub(since) >= self.context.core.pace.answer_grace {
                return Signal::Gone("the server has nothing of it and sent no answer".to_owned());
            }
            return Signal::GoOn;
        }
        self.nothing_since = None;
        if self.wish.is_cancelled() && seen.active {
            self.interrupt().await;
        }
        let Some(phase) = seen.phase else {
            return Signal::GoOn;
        };
        let signal = self.enter(phase).await;
        publish(self.context, phase, global);
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

    async fn interrupt(&mut self) {
        if !may_interrupt(self.context) {
            return;
        }
        self.interrupted = true;
        let answered = self.context.client.interrupt().await;
        self.interrupt_unsure = answered.is_err();
        if let Err(error) = answered {
            tracing::warn!(server.alias = %self.context.attempt.server, %error, "an interrupt was not answered");
        }
    }

    /// After an interrupt: waits until the server's control routes answer and
    /// it has nothing of ours at work, so that its next job is not hit.
    pub async fn calm(&mut self) {
        if !self.interrupted {
            return;
        }
        let mut unsure = self.interrupt_unsure;
        for _ in 0..CALM_LOOKS_MAX {
            match observe(self.context).await {
                Ok((seen, _)) if !seen.active && !unsure => return,
                // It answers again: one more look must agree.
                Ok(_) => unsure = false,
                Err(_) => unsure = true,
            }
            self.context.core.clock.sleep(CALM_EVERY).await;
        }
        tracing::warn!(server.alias = %self.context.attempt.server, "the server did not calm down after an interrupt");
    }
}

/// Whether this attempt may be interrupted: only where the server is ours
/// alone and says by id what is at work. Elsewhere the interrupt could hit a
/// job of somebody else.
#[must_use]
pub fn may_interrupt(context: &Context) -> bool {
    context.ui_mode && context.usage == Usage::Dedicated
}

/// Asks the server about the attempt.
pub async fn observe(
    context: &Context,
) -> Result<(Seen, GlobalProgress), super::forge::CallFailure> {
    let global = context.client.progress().await?;
    if !context.ui_mode {
        // One job of ours at a time: what runs there is taken for it.
        let alive = !global.is_idle();
        let seen = Seen {
            phase: alive.then(|| phase_at_work(&global)),
            alive,
            active: alive,
        };
        return Ok((seen, global));
    }
    let task = context.client.task(&context.attempt.token).await?;
    Ok((seen_by_id(&task, &global), global))
}

fn seen_by_id(task: &TaskState, global: &GlobalProgress) -> Seen {
    if task.active && !global.is_idle() {
        return Seen {
            phase: Some(phase_at_work(global)),
            alive: true,
            active: true,
        };
    }
    // Queued while nothing at all runs is a leak, not a place in the queue
    // (exchange 03/22b).
    let queued = task.queued && !global.is_idle();
    Seen {
        phase: queued.then_some(AttemptPhase::Queued),
        alive: queued,
        active: false,
    }
}

fn phase_at_work(global: &GlobalProgress) -> AttemptPhase {
    if global.is_loading() {
        AttemptPhase::Loading
    } else {
        AttemptPhase::Generating
    }
}

/// Why the process is another one than the attempt was sent to, if it is.
///
/// The name on file is the one of the last probe, so a server that restarted
/// just before the request went out is known by having the task.
pub async fn other_process(context: &Context) -> Option<String> {
    let sent_to = context.attempt.server_process.as_ref()?;
    let process = match context.client.app_id().await {
        Ok(Some(process)) if process != *sent_to => process,
        _ => return None,
    };
    match context.client.task(&context.attempt.token).await {
        Ok(task) if task.is_unknown() => Some(format!(
            "the server was restarted: it is process {process}, the request went to {sent_to}"
        )),
        _ => None,
    }
}

/// Tells watchers how far the attempt is.
pub fn publish(context: &Context, phase: AttemptPhase, global: &GlobalProgress) {
    let small = |value: i64| i32::try_from(value).unwrap_or(0);
    context.core.hints.progressed(Progress {
        job_id: context.job.id.clone(),
        attempt: context.attempt.number,
        phase,
        fraction: global.progress.clamp(0.0, 1.0),
        step: small(global.sampling_step),
        steps: small(global.sampling_steps),
        remaining_s: (global.eta_seconds > 0.0).then_some(global.eta_seconds),
    });
}
