//! What a server says of one attempt: whether it is there, in which phase, and
//! whether the process is still the one it was sent to. Follows nothing and
//! stops nothing.

use std::time::Duration;

use super::{
    context::Context,
    forge::{CallFailure, ForgeClient, GlobalProgress, TaskState},
    traces::{Traces, Whose},
};
use crate::{hints::Progress, job::AttemptPhase, store::attempts};

/// How long the last look before the request may take.
const LAST_LOOK_MAX: Duration = Duration::from_secs(1);

/// What a server says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its phase.
    pub phase: Option<AttemptPhase>,
    /// Whether it is there at all: queued or at work.
    pub alive: bool,
    /// Whether it is the one at work.
    pub active: bool,
    /// Whether the server knows it and has ended it. An id that it does not
    /// know never reads so.
    pub over: bool,
}

/// Asks the server about the attempt, and notes whether it answered.
pub async fn observe(context: &Context) -> Result<(Seen, GlobalProgress), CallFailure> {
    let token = context.attempt.token.as_str();
    let mut found = ask(&context.client, context.ui_mode, token).await;
    if let (false, Ok((seen, global))) = (context.ui_mode, &mut found) {
        *seen = without_ids(&context.traces, *seen, &global.job_timestamp);
    }
    let now = context.core.clock.monotonic();
    match &found {
        Ok((seen, _)) => {
            context.traces.heard();
            context.traces.seen(seen.phase, now);
            if seen.alive {
                note_process(context).await;
            }
        }
        Err(_) => {
            context.traces.silent(now);
        }
    }
    found
}

/// Asks a server about the task with this id; without ids about whatever runs
/// there.
pub async fn ask(
    client: &ForgeClient,
    ui_mode: bool,
    token: &str,
) -> Result<(Seen, GlobalProgress), CallFailure> {
    let global = client.progress().await?;
    if !ui_mode {
        // One job of ours at a time: what runs there may be it.
        let alive = !global.is_idle();
        let seen = Seen {
            phase: alive.then(|| phase_at_work(&global)),
            alive,
            active: alive,
            over: false,
        };
        return Ok((seen, global));
    }
    let task = client.task(token).await?;
    Ok((seen_by_id(&task, &global), global))
}

fn seen_by_id(task: &TaskState, global: &GlobalProgress) -> Seen {
    if task.active && !global.is_idle() {
        return Seen {
            phase: Some(phase_at_work(global)),
            alive: true,
            active: true,
            over: false,
        };
    }
    // Queued while nothing at all runs is a leak, not a place in the queue
    // (exchange 03/22b).
    let queued = task.queued && !global.is_idle();
    Seen {
        phase: queued.then_some(AttemptPhase::Queued),
        alive: queued,
        active: false,
        over: task.completed && !task.active && !task.queued,
    }
}

fn phase_at_work(global: &GlobalProgress) -> AttemptPhase {
    if global.is_loading() {
        AttemptPhase::Loading
    } else {
        AttemptPhase::Generating
    }
}

/// What was seen of an attempt on a server without ids, as far as it shows whose
/// work it does.
fn without_ids(traces: &Traces, seen: Seen, job_timestamp: &str) -> Seen {
    if !seen.alive {
        return seen;
    }
    match traces.whose(job_timestamp) {
        Whose::Ours => seen,
        Whose::Before => Seen {
            phase: Some(AttemptPhase::Queued),
            active: false,
            ..seen
        },
        Whose::Unclear => Seen {
            active: false,
            ..seen
        },
        Whose::Another => Seen {
            phase: None,
            alive: false,
            active: false,
            over: true,
        },
    }
}

/// The last look before the request goes out: which process gets it, or, where
/// the server gives no ids, what it works at. One that does not answer in time
/// is not waited for.
pub async fn before_sending(context: &Context) {
    let look = async {
        if context.ui_mode {
            return write_process(context).await;
        }
        let found = context.client.progress().await;
        if let Ok(global) = &found {
            let traces = &context.traces;
            traces.sent_after(&global.job_timestamp, global.is_idle());
        }
        found.is_ok()
    };
    if context.core.clock.timeout(LAST_LOOK_MAX, look).await != Ok(true) {
        tracing::debug!(job.id = %context.job.id, "nothing was seen of the server before the request went out");
    }
}

/// Writes down which process has the attempt, once it is known there: the
/// server may have restarted since the last look before the request.
async fn note_process(context: &Context) {
    if context.traces.is_first_sight() && !write_process(context).await {
        context.traces.not_sighted();
    }
}

/// Writes down which process the server is, where it has a name and another one
/// is on file: that is the one of the last probe. As well as can be: the attempt
/// matters more. Whether the right one is on file now.
async fn write_process(context: &Context) -> bool {
    if context.attempt.server_process.is_none() {
        return true;
    }
    let Ok(Some(process)) = context.client.app_id().await else {
        return false;
    };
    if Some(&process) == context.attempt.server_process.as_ref() {
        return true;
    }
    let fence = context.attempt.fence();
    let written = context
        .core
        .database
        .write("note_process", move |conn| {
            attempts::note_process(conn, &fence, &process)
        })
        .await;
    if let Err(error) = &written {
        tracing::warn!(job.id = %context.job.id, %error, "the process of an attempt could not be written");
    }
    written.is_ok()
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

#[cfg(test)]
#[path = "observe/tests.rs"]
mod tests;
