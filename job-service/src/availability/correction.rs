//! What is known beside model-service's newest word: what it said last, for
//! jobs that go on while it is away, and that a server turned out not to have
//! what it was said to have.

use std::sync::PoisonError;

use stablequeue_proto::models::v1 as proto;

use super::{Availability, CALL_TIMEOUT, Finding, Findings, Heard, Reference, Unavailable, add};

impl Availability {
    /// What model-service said last of these references on this server,
    /// however long ago, with when that was.
    #[must_use]
    pub fn last_known(&self, server: &str, references: &[Reference]) -> Heard {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        references
            .iter()
            .filter_map(|reference| {
                let key = (server.to_owned(), reference.clone());
                let heard = last.get(&key)?.clone();
                Some((key, heard))
            })
            .collect()
    }

    /// Tells model-service that a server does not have what a reference stands
    /// for, until its next inventory says otherwise. Whether model-service
    /// thought that it has.
    pub async fn not_there(
        &self,
        server: &str,
        reference: &Reference,
    ) -> Result<bool, Unavailable> {
        let known = self.model_id(server, reference).await;
        self.remember_missing(server, reference);
        let Some(model_id) = known? else {
            return Ok(false);
        };
        let mut request = tonic::Request::new(proto::DeleteModelAvailabilityRequest {
            server: server.to_owned(),
            model_id,
        });
        request.set_timeout(CALL_TIMEOUT);
        let mut client = self.client.clone();
        let call = client.delete_model_availability(request);
        let told = tokio::time::timeout(CALL_TIMEOUT, call)
            .await
            .map_err(|_| Unavailable(format!("no answer within {CALL_TIMEOUT:?}")))?;
        self.forget();
        match told {
            Ok(_) => Ok(true),
            // Somebody else said so in the meantime.
            Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
            Err(status) => Err(status.into()),
        }
    }

    fn remember_missing(&self, server: &str, reference: &Reference) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = ((server.to_owned(), reference.clone()), Finding::Missing);
        add(
            &mut last,
            &Findings::from([missing]),
            self.clock.monotonic(),
        );
    }

    /// The model that a reference stands for on a server.
    async fn model_id(
        &self,
        server: &str,
        reference: &Reference,
    ) -> Result<Option<String>, Unavailable> {
        let answer = self
            .ask(std::slice::from_ref(reference), &[server.to_owned()])
            .await?;
        let found = answer.servers.into_iter().flat_map(|one| one.references);
        let mut ids = found.map(|one| one.model_id).filter(|id| !id.is_empty());
        Ok(ids.next())
    }
}
