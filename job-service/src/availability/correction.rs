//! What is known beside model-service's newest word: what it said last, for
//! jobs that go on while it is away, and that a server turned out not to have
//! what it was said to have.

use std::sync::PoisonError;

use stablequeue_proto::models::v1 as proto;

use super::{Availability, CALL_TIMEOUT, Finding, Findings, Reference, Unavailable, to_proto};

impl Availability {
    /// What model-service said last of these references on this server,
    /// however long ago.
    #[must_use]
    pub fn last_known(&self, server: &str, references: &[Reference]) -> Findings {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        references
            .iter()
            .filter_map(|reference| {
                let key = (server.to_owned(), reference.clone());
                let finding = last.get(&key)?.clone();
                Some((key, finding))
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
        last.insert((server.to_owned(), reference.clone()), Finding::Missing);
    }

    /// The model that a reference stands for on a server.
    async fn model_id(
        &self,
        server: &str,
        reference: &Reference,
    ) -> Result<Option<String>, Unavailable> {
        let mut request = tonic::Request::new(proto::CheckAvailabilityRequest {
            references: vec![to_proto(reference)],
            servers: vec![server.to_owned()],
            max_age: None,
        });
        request.set_timeout(CALL_TIMEOUT);
        let mut client = self.client.clone();
        let call = client.check_availability(request);
        let answer = tokio::time::timeout(CALL_TIMEOUT, call)
            .await
            .map_err(|_| Unavailable(format!("no answer within {CALL_TIMEOUT:?}")))??
            .into_inner();
        let found = answer.servers.into_iter().flat_map(|one| one.references);
        let mut ids = found.map(|one| one.model_id).filter(|id| !id.is_empty());
        Ok(ids.next())
    }
}
