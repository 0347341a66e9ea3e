//! Stops what an attempt does on its server, and only that, and keeps other
//! jobs from the server until nothing that was done for the attempt can hit
//! them. Why an attempt is to end is not its business.

use std::{sync::Arc, time::Duration};

use super::{context::Context, observe};
use crate::{core::Core, server::Usage};

/// Before the second look at a server that is to become calm; doubled with
/// each further one.
const LOOK_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two of these looks.
const LOOK_MOST: Duration = Duration::from_secs(5);
/// Looks in a row that must find it calm when an interrupt was not answered or
/// nobody knew what ran: the first shows that its control routes answer again,
/// and what waited before them has had its turn; the second shows what came of
/// it.
const LOOKS_UNSURE: u32 = 2;

/// Whether this attempt may be interrupted: where the server is ours alone and
/// says by id what is at work, or where its owner allows it. Elsewhere the
/// interrupt could hit a job of somebody else.
#[must_use]
pub fn may_interrupt(context: &Context) -> bool {
    let told_apart = context.ui_mode && context.usage == Usage::Dedicated;
    let state = context.core.board.get(&context.attempt.server);
    told_apart || state.is_some_and(|state| state.server.interrupts_allowed)
}

/// Interrupts what runs on the server, where that may be. The caller has just
/// seen that it is this attempt.
pub async fn interrupt(context: &Context) {
    if !may_interrupt(context) {
        return;
    }
    context.traces.interrupts();
    if let Err(error) = context.client.interrupt().await {
        context.traces.interrupt_unanswered();
        tracing::warn!(server.alias = %context.attempt.server, %error, "an interrupt was not answered");
    }
}

/// Keeps a server from getting jobs; until it is dropped.
struct Closed {
    core: Arc<Core>,
    server: String,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.core.board.set_clearing(&self.server, false);
        self.core.hints.wake_dispatcher();
    }
}

/// After an attempt: when something of it may be left on the server, no job
/// goes there until it is gone. The caller still holds the server.
pub fn begin(context: Context) {
    let traces = &context.traces;
    if !traces.was_interrupted() && !traces.is_left_behind() {
        return;
    }
    let core = Arc::clone(&context.core);
    let server = context.attempt.server.clone();
    core.board.set_clearing(&server, true);
    let closed = Closed {
        core: Arc::clone(&core),
        server,
    };
    core.shutdown.spawn("clearing", async move {
        let _closed = closed;
        run(&context).await;
    });
}

/// Waits until the server's control routes answer and nothing of the attempt
/// is at work. A server that is taken away, or that is elsewhere now, is left
/// alone; one that is silent is asked at a calm pace.
async fn run(context: &Context) {
    let core = &context.core;
    let needed = if context.traces.is_unanswered() || context.traces.is_left_behind() {
        LOOKS_UNSURE
    } else {
        1
    };
    let address = address(context);
    let (mut calm, mut wait) = (0, LOOK_FIRST);
    while calm < needed && address.is_some() && self::address(context) == address {
        match observe::observe(context).await {
            Ok((seen, _)) if is_ours(context, seen) => {
                calm = 0;
                if seen.active && context.traces.is_left_behind() {
                    interrupt(context).await;
                }
            }
            Ok(_) => {
                calm += 1;
                wait = LOOK_FIRST;
            }
            Err(error) => {
                calm = 0;
                tracing::debug!(server.alias = %context.attempt.server, %error, "the server gets no job until it answers");
            }
        }
        if calm >= needed {
            return;
        }
        tokio::select! {
            () = core.clock.sleep(wait) => {}
            () = core.shutdown.requested() => return,
        }
        wait = (wait * 2).min(LOOK_MOST);
    }
}

/// Whether what was seen is the work of the attempt. Without ids everything
/// is, as long as its end was not seen; afterwards nothing is.
fn is_ours(context: &Context, seen: observe::Seen) -> bool {
    if context.ui_mode || context.traces.is_left_behind() {
        seen.alive
    } else {
        false
    }
}

/// Where the server is now; `None` when it was taken away.
fn address(context: &Context) -> Option<String> {
    let state = context.core.board.get(&context.attempt.server);
    state.map(|state| state.server.base_url)
}
