//! Tells model-service which models completed jobs used, and when. Beside the
//! jobs, never in their way: uses of one model are told as one, what cannot be
//! told now is told in a later round, and what finds no room is counted and
//! forgotten, as is what waits when the service stops.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use prometheus_client::metrics::counter::Counter;
use service_kit::clock::to_timestamp;
use stablequeue_proto::models::v1::{self as proto, model_service_client::ModelServiceClient};
use tokio::sync::Notify;
use tonic::{Code, Status};

use crate::{
    availability::{Reference, to_proto},
    core::Core,
    job::{Attempt, Job, ModelRole},
    model_channel::ModelChannel,
};

/// Models whose use waits to be told.
const WAITING_MAX: usize = 4_096;
/// Uses in one call, as model-service takes them.
const USES_PER_CALL: usize = 256;
/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two rounds while it is told.
const ROUND: Duration = Duration::from_secs(1);
/// Before a round that could not be told is told again.
const RETRY: Duration = Duration::from_secs(5);

/// The uses that wait to be told.
pub struct ModelUses {
    client: ModelServiceClient<ModelChannel>,
    waiting: Mutex<Waiting>,
    woken: Notify,
    dropped: Counter,
}

/// The newest use of each model.
#[derive(Debug, Default)]
struct Waiting(HashMap<Reference, DateTime<Utc>>);

impl ModelUses {
    /// Tells over this connection and counts there what is forgotten.
    #[must_use]
    pub fn new(channel: ModelChannel, dropped: Counter) -> Self {
        Self {
            client: ModelServiceClient::new(channel),
            waiting: Mutex::default(),
            woken: Notify::new(),
            dropped,
        }
    }

    /// Notes what a completed attempt used.
    pub fn note(&self, job: &Job, attempt: &Attempt, used_at: DateTime<Utc>) {
        let used = used(job, attempt).into_iter();
        self.add(used.map(|reference| (reference, used_at)));
        self.woken.notify_one();
    }

    fn add(&self, uses: impl IntoIterator<Item = (Reference, DateTime<Utc>)>) {
        let forgotten = self.lock().add(uses);
        if forgotten > 0 {
            self.dropped.inc_by(forgotten);
        }
    }

    /// Tells everything that waits.
    async fn tell_all(&self) -> Result<(), Status> {
        loop {
            let some = self.lock().take(USES_PER_CALL);
            if some.is_empty() {
                return Ok(());
            }
            match self.tell(&some).await {
                Ok(()) => {}
                Err(status) if status.code() == Code::InvalidArgument => {
                    // Told again, it would hold up all others.
                    tracing::warn!(%status, "model-service does not take which models were used");
                    self.dropped.inc_by(some.len() as u64);
                }
                Err(status) => {
                    self.add(some);
                    return Err(status);
                }
            }
        }
    }

    async fn tell(&self, uses: &[(Reference, DateTime<Utc>)]) -> Result<(), Status> {
        let uses = uses.iter().map(|(reference, used_at)| proto::ModelUse {
            model: Some(proto::model_use::Model::Reference(to_proto(reference))),
            use_time: Some(to_timestamp(*used_at)),
        });
        let mut request = tonic::Request::new(proto::TouchModelsRequest {
            uses: uses.collect(),
        });
        request.set_timeout(CALL_TIMEOUT);
        let mut client = self.client.clone();
        // What no model is known for, or several, is no fault of ours.
        tokio::time::timeout(CALL_TIMEOUT, client.touch_models(request))
            .await
            .map_err(|_| Status::deadline_exceeded(format!("no answer within {CALL_TIMEOUT:?}")))?
            .map(|_| ())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Takes uses in as far as there is room, and answers for how many there
    /// was none.
    fn add(&mut self, uses: impl IntoIterator<Item = (Reference, DateTime<Utc>)>) -> u64 {
        let mut forgotten = 0;
        for (reference, used_at) in uses {
            if let Some(known) = self.0.get_mut(&reference) {
                *known = used_at.max(*known);
            } else if self.0.len() < WAITING_MAX {
                self.0.insert(reference, used_at);
            } else {
                forgotten += 1;
            }
        }
        forgotten
    }

    /// Takes some out.
    fn take(&mut self, most: usize) -> Vec<(Reference, DateTime<Utc>)> {
        let some: Vec<Reference> = self.0.keys().take(most).cloned().collect();
        some.into_iter()
            .filter_map(|reference| self.0.remove_entry(&reference))
            .collect()
    }
}

/// The models of a completed attempt, as exactly as they can be named.
fn used(job: &Job, attempt: &Attempt) -> Vec<Reference> {
    let needs = job
        .models
        .iter()
        .filter(|need| need.role != ModelRole::Checkpoint);
    // The attempt keeps them in the order of the needs, the checkpoint first.
    let are_loras = std::iter::once(false).chain(needs.map(|need| need.role == ModelRole::Lora));
    let used = attempt.models.iter().zip(are_loras);
    used.filter_map(|(model, is_lora)| {
        let names = [
            model.sha256.as_ref(),
            Some(&model.title),
            Some(&model.reference),
        ];
        let text = names.into_iter().flatten().find(|name| !name.is_empty())?;
        Some(Reference {
            is_lora,
            text: text.clone(),
        })
    })
    .collect()
}

/// Tells what is noted, until the service stops.
pub async fn run(core: Arc<Core>) {
    loop {
        tokio::select! {
            () = core.model_uses.woken.notified() => {}
            () = core.shutdown.requested() => return,
        }
        loop {
            let told = tokio::select! {
                told = core.model_uses.tell_all() => told,
                () = core.shutdown.requested() => return,
            };
            if let Err(status) = &told {
                tracing::debug!(%status, "model-service could not be told which models were used");
            }
            let pause = if told.is_ok() { ROUND } else { RETRY };
            tokio::select! {
                () = core.clock.sleep(pause) => {}
                () = core.shutdown.requested() => return,
            }
            if told.is_ok() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;

    fn reference(number: usize) -> Reference {
        Reference {
            is_lora: false,
            text: number.to_string(),
        }
    }

    #[test]
    fn uses_of_one_model_are_one_with_the_newest_time() {
        let (now, mut waiting) = (Clock::system().now(), Waiting::default());
        let earlier = now - Duration::from_secs(1);
        for at in [earlier, now, earlier] {
            assert_eq!(waiting.add([(reference(1), at)]), 0);
        }
        assert_eq!(waiting.take(10), [(reference(1), now)]);
        assert_eq!(waiting.take(10), []);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_what_is_there_stays() {
        let (now, mut waiting) = (Clock::system().now(), Waiting::default());
        let all = (0..WAITING_MAX + 3).map(|number| (reference(number), now));
        assert_eq!(waiting.add(all), 3);
        assert_eq!(waiting.add([(reference(0), now)]), 0, "it is known");
        let some = waiting.take(USES_PER_CALL);
        assert_eq!(some.len(), USES_PER_CALL);
        assert_eq!(waiting.add(some), 0, "what could not be told comes back");
        assert_eq!(waiting.0.len(), WAITING_MAX);
    }
}
