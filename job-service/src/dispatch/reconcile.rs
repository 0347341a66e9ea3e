//! Finds out what became of an attempt whose answer was lost: fetches what the
//! server saved, follows what still runs, and only calls it gone when it is
//! known not to run any more. Never sends anything again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    context::{Context, Entered},
    follow::{self, Seen},
    forge::GlobalProgress,
    harvest::{self, Barren},
    settle::Ending,
};
use crate::{
    job::{AttemptOutcome, AttemptPhase},
    outcome::Failure,
};

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
pub async fn run(context: &Context, wish: &CancellationToken, lost: Failure) -> Option<Ending> {
    let mut search = Search {
        context,
        wish,
        phase: None,
        nothing_since: None,
        silent_since: None,
    };
    loop {
        match search.look().await {
            Found::End(ending) => return Some(ending),
            Found::Gone(why) => {
                tracing::info!(job.id = %context.job.id, attempt.number = context.attempt.number, %why, "the attempt is gone");
                return Some(gone(wish, lost, &why));
            }
            Found::Stopped => return None,
            Found::Again => {}
        }
        tokio::select! {
            () = context.core.clock.sleep(context.core.pace.progress) => {}
            () = context.core.shutdown.requested() => return None,
        }
    }
}

fn gone(wish: &CancellationToken, lost: Failure, why: &str) -> Ending {
    if wish.is_cancelled() {
        return Ending::Cancelled(None);
    }
    let mut failure = Failure::new(lost.outcome, lost.code, &format!("{}; {why}", lost.message));
    failure.http_status = lost.http_status;
    Ending::Failed(failure)
}

struct Search<'a> {
    context: &'a Context,
    wish: &'a CancellationToken,
    phase: Option<AttemptPhase>,
    /// Since when the server has been idle and has had nothing of it.
    nothing_since: Option<Duration>,
    /// Since when the server has not answered.
    silent_since: Option<Duration>,
}

impl Search<'_> {
    /// The steps in their order: files, process, work, nothing.
    async fn look(&mut self) -> Found {
        match harvest::fetch(self.context).await {
            Ok(Some(harvest)) if self.wish.is_cancelled() => {
                return Found::End(Ending::Cancelled(Some(harvest)));
            }
            Ok(Some(harvest)) => return Found::End(Ending::Completed(harvest)),
            Ok(None) => {}
            Err(Barren::Unreachable(_)) => return self.unknown().await,
            Err(Barren::Stopped) => return Found::Stopped,
            // A file that is not whole will not become so; one that shows the
            // wrong model is what the attempt came to.
            Err(Barren::Failure(failure)) if failure.outcome == AttemptOutcome::BrokenAnswer => {}
            Err(Barren::Failure(failure)) => return Found::End(Ending::Failed(failure)),
        }
        if let Some(why) = follow::other_process(self.context).await {
            return Found::Gone(why);
        }
        match follow::observe(self.context).await {
            Err(_) => self.unknown().await,
            Ok((seen, global)) => self.weigh(seen, &global).await,
        }
    }

    /// What the server says of it now.
    async fn weigh(&mut self, seen: Seen, global: &GlobalProgress) -> Found {
        self.silent_since = None;
        if self.restarted(global) {
            return Found::Gone("the server was restarted: it has had no job since".to_owned());
        }
        if seen.alive {
            self.nothing_since = None;
            return self.at_work(&seen, global).await;
        }
        let ui_idle = self.context.ui_mode;
        let now = self.context.core.clock.monotonic();
        if !ui_idle && !global.is_idle() {
            return Found::Again;
        }
        let since = *self.nothing_since.get_or_insert(now);
        if now.saturating_sub(since) >= self.context.core.pace.unknown_grace {
            return Found::Gone("the server has nothing of it".to_owned());
        }
        Found::Again
    }

    /// It still runs: follow it, and stop it where nothing can come of it.
    async fn at_work(&mut self, seen: &Seen, global: &GlobalProgress) -> Found {
        if let Some(phase) = seen.phase {
            if self.enter(phase).await == Entered::No {
                return Found::Stopped;
            }
            follow::publish(self.context, phase, global);
        }
        let pointless = self.wish.is_cancelled() || self.context.files.is_empty();
        if seen.active
            && pointless
            && follow::may_interrupt(self.context)
            && let Err(error) = self.context.client.interrupt().await
        {
            tracing::warn!(server.alias = %self.context.attempt.server, %error, "an interrupt was not answered");
        }
        Found::Again
    }

    /// In API-only mode a process has no name, but a new one has had no job.
    fn restarted(&self, global: &GlobalProgress) -> bool {
        !self.context.ui_mode && global.job_timestamp == "0"
    }

    /// Nobody knows: wait for the server. A job that nobody wants any more
    /// does not wait for ever, since nothing is repeated by its end.
    async fn unknown(&mut self) -> Found {
        self.nothing_since = None;
        let now = self.context.core.clock.monotonic();
        let since = *self.silent_since.get_or_insert(now);
        let grace = self.context.core.pace.unknown_grace;
        if self.wish.is_cancelled() && now.saturating_sub(since) >= grace {
            return Found::Gone("the server does not answer".to_owned());
        }
        match self.enter(AttemptPhase::OutcomeUnknown).await {
            Entered::Yes => Found::Again,
            Entered::No => Found::Stopped,
        }
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
