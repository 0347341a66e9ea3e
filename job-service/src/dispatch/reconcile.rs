//! Finds out what became of an attempt whose answer was lost: fetches what the
//! server saved, follows what still runs, and only calls it gone when it is
//! known not to run any more. Never sends anything again.

use std::time::Duration;

use super::{
    clearing,
    context::{Context, Entered},
    follow,
    forge::GlobalProgress,
    harvest::{self, Barren},
    observe::{self, Seen},
    room,
    settle::Ending,
};
use crate::{
    job::{AttemptOutcome, AttemptPhase, Job},
    outcome::Failure,
};

/// The code of an attempt that was given up while nobody could say what became
/// of it.
pub const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";

/// What one look found.
enum Found {
    /// The end.
    End(Ending),
    /// It is gone, for this reason.
    Gone(String),
    /// Not known yet: look again.
    Again,
    /// The service stops, or the attempt is over.
    Stopped,
}

/// Finds out what became of an attempt. `lost` is what it ends as when it is
/// gone. `None` when the service stopped first.
pub async fn run(context: &Context, lost: Failure) -> Option<Ending> {
    let mut search = Search {
        context,
        phase: None,
        nothing_since: None,
        unfetched: None,
        failures: 0,
    };
    loop {
        match search.look().await {
            Found::End(ending) => return Some(ending),
            Found::Gone(why) => {
                tracing::info!(job.id = %context.job.id, attempt.number = context.attempt.number, %why, "the attempt is gone");
                return gone(context, lost, &why).await;
            }
            Found::Stopped => return None,
            Found::Again => context.looked().await,
        }
        let wait = follow::silent_pace(context.core.pace.progress, search.failures);
        tokio::select! {
            () = context.core.clock.sleep(wait) => {}
            () = context.core.shutdown.requested() => return None,
        }
    }
}

async fn gone(context: &Context, lost: Failure, why: &str) -> Option<Ending> {
    if lost.code == room::DISK_FULL {
        // It would only be lost again.
        match room::there_is(context).await {
            Ok(()) | Err(Barren::ToldToEnd) => {}
            Err(_) => return None,
        }
    }
    if context.wish.is_cancelled() {
        return Some(Ending::Cancelled(None));
    }
    let mut failure = Failure::new(lost.outcome, lost.code, &format!("{}; {why}", lost.message));
    failure.http_status = lost.http_status;
    Some(Ending::Failed(failure))
}

/// Whether the server has been silent for as long as the job's own policy
/// waits for it.
#[must_use]
pub fn is_given_up(context: &Context) -> bool {
    let silent = context.traces.silent(context.core.clock.monotonic());
    is_too_long(&context.job, silent)
}

/// Whether a job gives up an attempt whose server is silent for so long.
#[must_use]
pub fn is_too_long(job: &Job, silent: Duration) -> bool {
    let most = job.policy.unknown_retry_after();
    most.is_some_and(|most| silent >= most)
}

/// The end of an attempt that its job gives up.
#[must_use]
pub fn given_up(server: &str, silent: Duration) -> Ending {
    let seconds = silent.as_secs();
    Ending::Failed(Failure::new(
        AttemptOutcome::Abandoned,
        OUTCOME_UNKNOWN,
        &format!("server {server:?} has not answered for {seconds} s; it may still run there"),
    ))
}

struct Search<'a> {
    context: &'a Context,
    phase: Option<AttemptPhase>,
    /// Since when the server has had nothing of it.
    nothing_since: Option<Duration>,
    /// Since when the server answers but does not give its files, and what it
    /// said last instead.
    unfetched: Option<(Duration, String)>,
    /// Looks in a row that were not answered.
    failures: u32,
}

impl Search<'_> {
    /// The steps in their order: files, process, work, nothing. What the
    /// server says is asked before its files are looked for, so that a file
    /// which was not there then will not come any more once it has ended.
    async fn look(&mut self) -> Found {
        let observed = observe::observe(self.context).await;
        let files = match observed {
            Ok(_) => harvest::fetch(self.context).await,
            // It may give its files all the same.
            Err(_) => harvest::fetch_soon(self.context).await,
        };
        let unfetched = self.unfetched.take();
        match files {
            Ok(Some(harvest)) if self.context.wish.is_cancelled() => {
                return Found::End(Ending::Cancelled(Some(harvest)));
            }
            Ok(Some(harvest)) => return Found::End(Ending::Completed(harvest)),
            Ok(None) => {}
            Err(Barren::Unreachable(error)) if observed.is_ok() => {
                let now = self.context.core.clock.monotonic();
                let since = unfetched.map_or(now, |(since, _)| since);
                self.unfetched = Some((since, error.to_string()));
            }
            Err(Barren::Unreachable(_)) => return self.unknown().await,
            Err(Barren::Stopped) => return Found::Stopped,
            Err(Barren::ToldToEnd) => return Found::End(Ending::Cancelled(None)),
            // A file that is not whole will not become so; one that shows the
            // wrong model is what the attempt came to.
            Err(Barren::Failure(failure)) if failure.outcome == AttemptOutcome::BrokenAnswer => {}
            Err(Barren::Failure(failure)) => return Found::End(Ending::Failed(failure)),
        }
        let Ok((seen, global)) = observed else {
            return self.unknown().await;
        };
        let found = match observe::other_process(self.context).await {
            Some(why) => Found::Gone(why),
            None => self.weigh(seen, &global).await,
        };
        match found {
            Found::Gone(why) => self.gone_unless_unfetched(why).await,
            found => found,
        }
    }

    /// It does not run any more. Where the server does not give its files for
    /// a reason of its own, what was made may be there: it is asked again for
    /// a while, unless nobody wants the job any more.
    async fn gone_unless_unfetched(&mut self, why: String) -> Found {
        let Some((since, error)) = &self.unfetched else {
            return Found::Gone(why);
        };
        let core = &self.context.core;
        let failing = core.clock.monotonic().saturating_sub(*since);
        if self.context.wish.is_cancelled() || failing >= core.pace.fetch_most {
            return Found::Gone(format!("{why}, and it did not give its files: {error}"));
        }
        self.failures = self.failures.saturating_add(1);
        match self.enter(AttemptPhase::OutcomeUnknown).await {
            Entered::Yes => Found::Again,
            Entered::No => Found::Stopped,
        }
    }

    /// What the server says of it now.
    async fn weigh(&mut self, seen: Seen, global: &GlobalProgress) -> Found {
        self.failures = 0;
        if self.restarted(global) {
            return Found::Gone("the server was restarted: it has had no job since".to_owned());
        }
        if seen.alive {
            self.nothing_since = None;
            return self.at_work(seen, global).await;
        }
        if seen.over {
            return Found::Gone("the server has ended it and left nothing".to_owned());
        }
        let now = self.context.core.clock.monotonic();
        let since = *self.nothing_since.get_or_insert(now);
        // While other work runs there, it may be on its way behind that.
        let graced = now.saturating_sub(since) >= self.context.core.pace.unknown_grace;
        if graced && global.is_idle() {
            return Found::Gone("the server has nothing of it".to_owned());
        }
        Found::Again
    }

    /// It still runs: follow it, and stop it where nothing can come of it.
    async fn at_work(&mut self, seen: Seen, global: &GlobalProgress) -> Found {
        if let Some(phase) = seen.phase {
            if self.enter(phase).await == Entered::No {
                return Found::Stopped;
            }
            observe::publish(self.context, phase, global);
        }
        // Without its files nothing can come of it. An id that the server
        // gives is needed for that: on its owner's wish alone, a job that is
        // wanted is not stopped.
        let pointless = self.context.files.is_empty() && self.context.ui_mode;
        if seen.active && (self.context.wish.is_cancelled() || pointless) {
            clearing::interrupt(self.context).await;
        }
        Found::Again
    }

    /// In API-only mode a process has no name, but a new one has had no job.
    fn restarted(&self, global: &GlobalProgress) -> bool {
        !self.context.ui_mode && global.job_timestamp == "0"
    }

    /// Nobody knows: wait for the server. A job that nobody wants any more
    /// does not wait for ever, since nothing is repeated by its end; one whose
    /// own policy says so is tried elsewhere.
    async fn unknown(&mut self) -> Found {
        self.failures = self.failures.saturating_add(1);
        self.nothing_since = None;
        // Before it may end here: the row says then that it may still run.
        if self.enter(AttemptPhase::OutcomeUnknown).await == Entered::No {
            return Found::Stopped;
        }
        let now = self.context.core.clock.monotonic();
        let silent = self.context.traces.silent(now);
        if self.context.wish.is_cancelled() && silent >= self.context.core.pace.unknown_grace {
            self.context.traces.leaves_behind();
            return Found::Gone("the server does not answer".to_owned());
        }
        if is_too_long(&self.context.job, silent) {
            self.context.traces.leaves_behind();
            return Found::End(given_up(&self.context.attempt.server, silent));
        }
        Found::Again
    }

    async fn enter(&mut self, phase: AttemptPhase) -> Entered {
        if self.phase == Some(phase) {
            return Entered::Yes;
        }
        let entered = self.context.enter(phase).await;
        if entered == Entered::Yes {
            self.phase = Some(phase);
        }
        entered
    }
}
