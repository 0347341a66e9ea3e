//! When keys were last used goes to disk now and then, never on the way of a
//! call.

use std::{sync::Arc, time::Duration};

use super::Keys;
use crate::{error::Error, store::api_keys};

/// Between two writes.
const ROUND: Duration = Duration::from_secs(60);

impl Keys {
    /// Writes the uses that are not on disk, in one transaction.
    ///
    /// # Errors
    /// When the database cannot be written; they are written the next time.
    pub async fn flush_uses(&self) -> Result<(), Error> {
        let uses = self.ring().unkept_uses();
        if uses.is_empty() {
            return Ok(());
        }
        let written = uses.clone();
        self.database
            .write("note_key_uses", move |conn| {
                api_keys::note_uses(conn, &written)
            })
            .await?;
        self.ring().uses_kept(&uses);
        Ok(())
    }
}

/// Writes uses once a minute until the service stops. Those of the last calls
/// are written by whoever ends the service, after these calls.
pub async fn note_uses(keys: Arc<Keys>) {
    loop {
        tokio::select! {
            () = keys.clock.sleep(ROUND) => {}
            () = keys.shutdown.requested() => return,
        }
        if let Err(error) = keys.flush_uses().await {
            tracing::warn!(%error, "the last uses of keys are not written; they will be later");
        }
    }
}
