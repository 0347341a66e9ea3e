//! Brings a server back to work whose checkpoint failed to load. Forge then
//! fails every job with the checkpoint it had before, until another one is
//! loaded (`forge/forge-api.md` §1, exchanges 13/03 to 13/10). Runs while the
//! failed attempt still holds the server; decides nothing about its job.

use std::{sync::atomic::AtomicU64, time::Duration};

use super::{
    context::Context,
    forge::{CallFailure, GenerateAnswer},
    lessons,
};
use crate::{job::Endpoint, outcome, payload::loading_body, server::Usage, verify::without_hash};

/// Other checkpoints that are tried, one after another.
const TRIES_MAX: usize = 3;
/// How long all of it may take; a large checkpoint on a slow disk takes
/// minutes.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Whether a failure with this code leaves the server unable to work.
#[must_use]
pub fn is_needed(code: &str) -> bool {
    matches!(code, outcome::MODEL_UNREADABLE | outcome::POISONED)
}

/// Makes the server load another checkpoint than the attempt's, with a picture
/// of one step that belongs to no job. A server that stays as it is gets no
/// jobs for a while, which says that it is to be restarted.
pub async fn run(context: &Context) {
    let core = &context.core;
    let healed = tokio::select! {
        healed = core.clock.timeout(TIME_MAX, load_another(context)) => healed,
        () = core.shutdown.requested() => return,
    };
    let server = context.attempt.server.as_str();
    let why = match healed {
        Ok(Ok(Some(title))) => {
            tracing::info!(server.alias = server, %title, "loaded another checkpoint after a failed load");
            return;
        }
        Ok(Ok(None)) => "no other checkpoint could be loaded".to_owned(),
        Ok(Err(error)) => format!("its checkpoints could not be listed: {error}"),
        Err(_) => format!(
            "another checkpoint took longer than {} s",
            TIME_MAX.as_secs()
        ),
    };
    let why =
        format!("a checkpoint failed to load and the server does not recover ({why}); restart it");
    lessons::open_breaker(core, server, &why);
}

async fn load_another(context: &Context) -> Result<Option<String>, CallFailure> {
    let failed = without_hash(&context.expected.title);
    let state = context.core.board.get(&context.attempt.server);
    let cooldowns = state.map(|state| state.cooldowns).unwrap_or_default();
    let now = context.core.clock.now();
    let is_known_bad = |title: &str| cooldowns.against([title].into_iter(), None, now).is_some();
    let listing = context.client.list_inventory().await?;
    let others = listing
        .checkpoints
        .into_iter()
        .map(|checkpoint| checkpoint.title)
        .filter(|title| without_hash(title) != failed && !is_known_bad(title));
    let spool = context.core.images.staging_path("heal");
    let mut loaded = None;
    for (at, title) in others.take(TRIES_MAX).enumerate() {
        let token = format!("{}-heal-{at}", context.attempt.token);
        let mut body = loading_body(&title, &token);
        let shared = context.usage == Usage::Shared;
        body.insert(
            "override_settings_restore_afterwards".to_owned(),
            shared.into(),
        );
        let received = AtomicU64::new(0);
        let answer = context
            .client
            .generate(Endpoint::Txt2img, &body, &spool, &received)
            .await;
        if matches!(answer, GenerateAnswer::Answered { .. }) {
            loaded = Some(title);
            break;
        }
    }
    // What could not be removed is swept at the next start.
    let _ = tokio::fs::remove_file(&spool).await;
    Ok(loaded)
}
