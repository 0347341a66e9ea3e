//! Brings a server back to work whose checkpoint failed to load. Forge then
//! fails every job with the checkpoint it had before, until another one is
//! loaded (`forge/forge-api.md` §1, exchanges 13/03 to 13/10). Runs while the
//! failed attempt still holds the server; decides nothing about its job.

use std::{sync::atomic::AtomicU64, time::Duration};

use super::{
    context::Context,
    forge::{CallFailure, GenerateAnswer},
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
/// of one step that belongs to no job.
pub async fn run(context: &Context) {
    let core = &context.core;
    let healed = tokio::select! {
        healed = core.clock.timeout(TIME_MAX, load_another(context)) => healed,
        () = core.shutdown.requested() => return,
    };
    let server = context.attempt.server.as_str();
    match healed {
        Ok(Ok(Some(title))) => {
            tracing::info!(server.alias = server, %title, "loaded another checkpoint after a failed load");
        }
        Ok(Ok(None)) => {
            tracing::warn!(
                server.alias = server,
                "no other checkpoint could be loaded after a failed load; restart it"
            );
        }
        Ok(Err(error)) => {
            tracing::warn!(server.alias = server, %error, "its checkpoints could not be listed");
        }
        Err(_) => {
            tracing::warn!(
                server.alias = server,
                "loading another checkpoint took too long"
            );
        }
    }
}

async fn load_another(context: &Context) -> Result<Option<String>, CallFailure> {
    let failed = without_hash(&context.expected.title);
    let listing = context.client.list_inventory().await?;
    let others = listing
        .checkpoints
        .into_iter()
        .map(|checkpoint| checkpoint.title)
        .filter(|title| without_hash(title) != failed);
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
