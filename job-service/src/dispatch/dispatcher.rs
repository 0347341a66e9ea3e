//! Gives pending jobs to free servers. Wakes on events, looks at the queue in
//! its order, page by page. Which job gets which server is decided in `choose`,
//! and written in `give`.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    deadlines,
    give::{Desk, give},
    lessons,
    warmth::Passing,
};
use crate::{
    availability::Unavailable,
    core::Core,
    error::Error,
    store::queue::{self, Page, Place},
};

/// Pending jobs that are looked at together.
const PAGE: i64 = 200;
/// Pages that are looked at while model-service does not answer, for jobs that
/// go without it.
const PAGES_WITHOUT_ANSWERS: usize = 10;
/// Before the next pass when model-service did not answer: the watch on it
/// wakes the dispatcher sooner when it is back.
const MODEL_SERVICE_RETRY: Duration = Duration::from_secs(2);
/// Before the next pass when the database failed.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("model-service does not answer: {0}")]
    ModelService(#[from] Unavailable),
}

/// Gives jobs to servers until the service stops.
pub async fn run(core: Arc<Core>) {
    let stop = core.shutdown.token();
    let mut passing = Passing::default();
    while !stop.is_cancelled() {
        let due = deadlines::pass(&core).await;
        let again = match pass(&core, &mut passing).await {
            Ok(due) => earliest(due, core.pace.sweep),
            Err(PassError::ModelService(error)) => {
                tracing::debug!(%error, "jobs wait for model-service");
                Some(MODEL_SERVICE_RETRY)
            }
            Err(PassError::Store(error)) => {
                tracing::error!(%error, "a pass over the queue failed");
                Some(DATABASE_RETRY)
            }
        };
        let again = earliest(again, until_deadline(due));
        let timer = async {
            match again {
                Some(wait) => core.clock.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = core.hints.dispatcher_woken() => {}
            () = timer => {}
        }
    }
}

/// After how long deadlines are looked at again.
fn until_deadline(looked: Result<Option<Duration>, Error>) -> Option<Duration> {
    looked.unwrap_or_else(|error| {
        tracing::error!(%error, "a look at the deadlines failed");
        Some(DATABASE_RETRY)
    })
}

fn earliest(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// One look at the queue. Answers after how long a job that waits for a time
/// becomes due. All of it happens at one moment: what becomes due while it looks
/// is not due yet to any part of it, and is in the answer.
async fn pass(core: &Arc<Core>, passing: &mut Passing) -> Result<Option<Duration>, PassError> {
    let now = lessons::moment(core);
    lessons::advance(core, now);
    let board = core.board.snapshot();
    let free: HashSet<String> = board
        .values()
        .filter(|state| state.is_free())
        .map(|state| state.server.alias.clone())
        .collect();
    let mut after = None;
    let mut pages = 0;
    let mut desk = Desk {
        board,
        free,
        now,
        passing,
        down: None,
    };
    while !desk.free.is_empty() {
        let page = read_page(core, after).await?;
        if page.last.is_none() {
            break;
        }
        after = page.last;
        give(core, &mut desk, page.jobs).await?;
        pages += 1;
        if !page.is_whole || (desk.down.is_some() && pages >= PAGES_WITHOUT_ANSWERS) {
            break;
        }
    }
    if let Some(error) = desk.down {
        return Err(error.into());
    }
    // A breaker that is open, or a model that cools down.
    let left = |wait: Option<Duration>| {
        let looked_for = core.clock.monotonic().saturating_sub(now.monotonic);
        wait.map(|wait| wait.saturating_sub(looked_for))
    };
    let over = core.board.next_end(now);
    if desk.free.is_empty() {
        // A job that becomes due could go nowhere; a server that becomes free
        // wakes the dispatcher.
        return Ok(left(over));
    }
    let due = core
        .database
        .read("next_due", move |conn| queue::next_due(conn, now.wall))
        .await?;
    let due = due.map(|due| (due - now.wall).to_std().unwrap_or_default());
    Ok(left(earliest(due, over)))
}

async fn read_page(core: &Core, after: Option<Place>) -> Result<Page, Error> {
    let page = core
        .database
        .read("queue_page", move |conn| queue::page(conn, after, PAGE))
        .await?;
    for error in &page.broken {
        tracing::error!(%error, "a pending job cannot be read and is passed over");
    }
    Ok(page)
}
