//! Models that jobs wait for and no server has: asks model-service to download
//! them, beside the dispatcher and never in its way, and knows what it said.
//! Which jobs may have that, and which models nobody has, is the dispatcher's to
//! say; what is downloaded is model-service's to decide.
//!
//! Nothing here is kept over a restart: what still waits is noted again, and
//! model-service begins no download twice.

mod heard;
mod wanted;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stablequeue_proto::models::v1::{self as proto, library_service_client::LibraryServiceClient};
use tokio::sync::Notify;
use tonic::{Code, Status};

use crate::{
    availability::{Reference, to_proto},
    core::Core,
    model_channel::ModelChannel,
    policy::{DownloadPolicy, JobPolicy},
};
use heard::Heard;
use wanted::Wanted;

/// References in one call, as model-service takes them.
const REFERENCES_PER_CALL: usize = 16;
/// How long a call may take: model-service waits for Civitai at most 20 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(45);

/// What is asked for.
pub struct Downloads {
    client: LibraryServiceClient<ModelChannel>,
    /// What holds for jobs that do not say.
    default: DownloadPolicy,
    wanted: Mutex<Wanted>,
    woken: Notify,
}

impl Downloads {
    /// Asks over this connection, looks at downloads under way this often, and
    /// does for jobs that do not say as `default` does.
    #[must_use]
    pub fn new(channel: ModelChannel, default: DownloadPolicy, look: Duration) -> Self {
        Self {
            client: LibraryServiceClient::new(channel),
            default,
            wanted: Mutex::new(Wanted::new(look)),
            woken: Notify::new(),
        }
    }

    /// Whether models may be downloaded for a job with this policy.
    #[must_use]
    pub fn may(&self, policy: &JobPolicy) -> bool {
        policy.download_missing.unwrap_or(self.default) == DownloadPolicy::Allow
    }

    /// Notes that a job waits for models which none of these servers has, and
    /// answers what is known of their downloads, in words that go behind those
    /// of what is missing where; `None` while nothing is known.
    #[must_use]
    pub fn note(&self, missing: &[Reference], servers: &[String], now: Duration) -> Option<String> {
        let mut known = Vec::with_capacity(missing.len());
        let mut is_new = false;
        let mut wanted = self.lock();
        for reference in missing {
            let noted = wanted.note(reference, servers, now);
            is_new |= noted.is_new;
            known.push((reference.text.as_str(), noted.heard));
        }
        drop(wanted);
        if is_new {
            self.woken.notify_one();
        }
        heard::words(&known)
    }

    /// What model-service says of each of at most [`REFERENCES_PER_CALL`]
    /// references, in their order.
    async fn ask(&self, references: &[Reference]) -> Vec<Heard> {
        match self.call(references).await {
            Ok(models) if models.len() == references.len() => {
                models.into_iter().map(Heard::of).collect()
            }
            Ok(_) => {
                let status = Status::internal("it answered for another number of models");
                vec![Heard::refused(&status); references.len()]
            }
            Err(status) if status.code() == Code::InvalidArgument && references.len() > 1 => {
                // One that model-service cannot read keeps no other from its
                // answer.
                let mut heard = Vec::with_capacity(references.len());
                for one in references {
                    heard.push(self.ask_for_one(one).await);
                }
                heard
            }
            Err(status) => vec![Heard::refused(&status); references.len()],
        }
    }

    async fn ask_for_one(&self, reference: &Reference) -> Heard {
        match self.call(std::slice::from_ref(reference)).await {
            Ok(mut models) => match models.pop() {
                Some(model) => Heard::of(model),
                None => Heard::refused(&Status::internal("it answered nothing")),
            },
            Err(status) => Heard::refused(&status),
        }
    }

    async fn call(&self, references: &[Reference]) -> Result<Vec<proto::MissingModel>, Status> {
        let mut request = tonic::Request::new(proto::DownloadMissingRequest {
            references: references.iter().map(to_proto).collect(),
        });
        request.set_timeout(CALL_TIMEOUT);
        let mut client = self.client.clone();
        let answer = tokio::time::timeout(CALL_TIMEOUT, client.download_missing(request)).await;
        let answer = answer
            .map_err(|_| Status::deadline_exceeded(format!("no answer within {CALL_TIMEOUT:?}")))?;
        Ok(answer?.into_inner().models)
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for what jobs wait for, until the service stops.
pub async fn run(core: Arc<Core>) {
    let downloads = &core.downloads;
    let mut connections = core.availability.connections();
    loop {
        let (due, next) = downloads.lock().due(core.clock.monotonic());
        if !due.is_empty() {
            let heard = tokio::select! {
                heard = downloads.ask(&due) => heard,
                () = core.shutdown.requested() => return,
            };
            take_in(&core, due, heard);
            continue;
        }
        let timer = async {
            match next {
                Some(at) => core.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = downloads.woken.notified() => {}
            Ok(()) = connections.changed() => {
                // It may be another process, which allows more or less.
                downloads.lock().ask_anew(core.clock.monotonic());
            }
            () = timer => {}
            () = core.shutdown.requested() => return,
        }
    }
}

/// Keeps what was heard; the jobs' holds say it, and servers are listed again
/// that lack what has arrived.
fn take_in(core: &Core, asked: Vec<Reference>, heard: Vec<Heard>) {
    let now = core.clock.monotonic();
    let (mut changed, mut to_list) = (false, BTreeSet::new());
    let mut wanted = core.downloads.lock();
    for (reference, heard) in asked.into_iter().zip(heard) {
        let arrived = heard.has_arrived();
        let Some(entry) = wanted.hear(&reference, heard, now) else {
            continue;
        };
        changed |= entry.changed;
        if arrived {
            to_list.extend(entry.servers);
        }
    }
    drop(wanted);
    for alias in to_list {
        // Their folders too, where they are idle.
        core.monitors.list_and_push(&alias);
    }
    if changed {
        core.hints.wake_dispatcher();
    }
}
