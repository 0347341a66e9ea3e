//! Stops what an attempt does on its server, and only that, and keeps other
//! jobs from the server until nothing that was done for the attempt can hit
//! them. Why an attempt is to end is not its business.

use std::{sync::Arc, time::Duration};

use super::{
    context::Context,
    forge::{ForgeClient, GlobalProgress},
    observe::{self, Seen},
};
use crate::{core::Core, job::Attempt, server::Usage};

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

/// Whether what an attempt does may be interrupted: where the server is ours
/// alone and says by id what is at work, or where its owner allows it.
/// Elsewhere the interrupt could hit a job of somebody else.
fn may_interrupt(core: &Core, server: &str, ui_mode: bool, usage: Usage) -> bool {
    let told_apart = ui_mode && usage == Usage::Dedicated;
    let state = core.board.get(server);
    told_apart || state.is_some_and(|state| state.server.interrupts_allowed)
}

/// Interrupts what runs on the server, where that may be. The caller has just
/// seen that it is this attempt.
pub async fn interrupt(context: &Context) {
    let server = context.attempt.server.as_str();
    if !may_interrupt(&context.core, server, context.ui_mode, context.usage) {
        return;
    }
    context.traces.interrupts();
    if !send_interrupt(&context.client, server).await {
        context.traces.interrupt_unanswered();
    }
}

/// Whether it was answered.
async fn send_interrupt(client: &ForgeClient, server: &str) -> bool {
    let sent = client.interrupt().await;
    if let Err(error) = &sent {
        tracing::warn!(server.alias = %server, %error, "an interrupt was not answered");
    }
    sent.is_ok()
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

/// What an attempt that is over may have left on its server.
struct Remains {
    core: Arc<Core>,
    server: String,
    token: String,
    client: ForgeClient,
    ui_mode: bool,
    usage: Usage,
    /// When the job began that is taken for it, in the server's words; what
    /// began at another time is somebody else's. Without ids only.
    job_timestamp: Option<String>,
    /// Its work may still run.
    left_behind: bool,
    /// An interrupt may still come through.
    unanswered: bool,
}

/// After an attempt: when something of it may be left on the server, no job
/// goes there until it is gone. The caller still holds the server.
pub fn begin(context: Context) {
    let traces = &context.traces;
    if !traces.was_interrupted() && !traces.is_left_behind() {
        return;
    }
    close(Remains {
        job_timestamp: traces.job_timestamp(),
        left_behind: traces.is_left_behind(),
        unanswered: traces.is_unanswered(),
        core: context.core,
        server: context.attempt.server,
        token: context.attempt.token,
        client: context.client,
        ui_mode: context.ui_mode,
        usage: context.usage,
    });
}

/// The same after an attempt that was given up although this process has never
/// heard of its server, or cannot read its row. The caller still holds the
/// server.
pub fn begin_unseen(core: &Arc<Core>, attempt: &Attempt) {
    let state = core.board.get(&attempt.server);
    let (Some(state), Some(client)) = (state, core.clients.get(&attempt.server)) else {
        // It was taken away.
        return;
    };
    close(Remains {
        core: Arc::clone(core),
        server: attempt.server.clone(),
        token: attempt.token.clone(),
        client,
        // Only there does a process have a name.
        ui_mode: attempt.server_process.is_some(),
        usage: state.server.usage,
        job_timestamp: None,
        left_behind: true,
        unanswered: false,
    });
}

fn close(remains: Remains) {
    let core = Arc::clone(&remains.core);
    core.board.set_clearing(&remains.server, true);
    let closed = Closed {
        core: Arc::clone(&core),
        server: remains.server.clone(),
    };
    core.shutdown.spawn("clearing", async move {
        let _closed = closed;
        run(remains).await;
    });
}

/// Waits until the server's control routes answer and nothing of the attempt
/// is at work. A server that is taken away, or that is elsewhere now, is left
/// alone; one that is silent is asked at a calm pace.
async fn run(mut remains: Remains) {
    let core = Arc::clone(&remains.core);
    let needed = if remains.unanswered || remains.left_behind {
        LOOKS_UNSURE
    } else {
        1
    };
    let address = address(&remains);
    // Without ids the second one could meet what somebody else began since.
    let mut may_stop = remains.ui_mode || remains.job_timestamp.is_some();
    let (mut calm, mut wait) = (0, LOOK_FIRST);
    while calm < needed && address.is_some() && self::address(&remains) == address {
        match observe::ask(&remains.client, remains.ui_mode, &remains.token).await {
            Ok((seen, global)) if is_ours(&mut remains, seen, &global) => {
                calm = 0;
                if seen.active && remains.left_behind && may_stop {
                    may_stop = remains.ui_mode;
                    stop(&remains).await;
                }
            }
            Ok(_) => {
                calm += 1;
                wait = LOOK_FIRST;
            }
            Err(error) => {
                calm = 0;
                tracing::debug!(server.alias = %remains.server, %error, "the server gets no job until it answers");
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

/// Interrupts what is left, where that may be.
async fn stop(remains: &Remains) {
    let Remains {
        core,
        server,
        client,
        ..
    } = remains;
    if may_interrupt(core, server, remains.ui_mode, remains.usage) {
        // Whether it was answered shows in the next looks.
        send_interrupt(client, server).await;
    }
}

/// Whether what was seen is the work of the attempt. Without ids it is what
/// began when the attempt did, as long as its end was not seen; where nobody
/// saw it begin, what is found at work first is taken for it.
fn is_ours(remains: &mut Remains, seen: Seen, global: &GlobalProgress) -> bool {
    if remains.ui_mode || !seen.alive {
        return seen.alive;
    }
    let now = &global.job_timestamp;
    remains.left_behind && remains.job_timestamp.get_or_insert_with(|| now.clone()) == now
}

/// Where the server is now; `None` when it was taken away.
fn address(remains: &Remains) -> Option<String> {
    let state = remains.core.board.get(&remains.server);
    state.map(|state| state.server.base_url)
}
