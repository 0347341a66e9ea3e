//! What use cases and loops share: the database, the images, the board, the
//! wake-ups and the limits of one running service.

use std::{sync::Arc, time::Duration};

use service_kit::{clock::Clock, database::Database, shutdown::Shutdown};

use crate::{
    availability::Availability,
    board::Board,
    dispatch::{clients::Clients, monitor::Monitors},
    downloads::Downloads,
    hints::Hints,
    images::ImageStore,
    keys::Keys,
    metrics::Metrics,
    model_uses::ModelUses,
    policy::Backoff,
    vault::Vault,
    watches::Watches,
};

/// How patient the loops are. Every value has a default that suits one
/// machine.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Between two probes of a server.
    pub probe: Duration,
    /// Between two inventories of a server.
    pub inventory: Duration,
    /// Before a listing that shrank is taken a second time.
    pub second_look: Duration,
    /// Before a server is listed again since model-service does not believe
    /// that so many of its models are gone; it believes a listing that was
    /// taken five seconds later.
    pub doubted_look: Duration,
    /// Between two looks at the progress of an attempt.
    pub progress: Duration,
    /// Between two passes of the dispatcher when nothing happens; `None`
    /// turns that sweep off.
    pub sweep: Option<Duration>,
    /// How long a task that a server does not know may still be on its way,
    /// while the server is idle.
    pub unknown_grace: Duration,
    /// How long a server may have nothing of an attempt while its answer is
    /// still awaited, before the answer counts as lost.
    pub answer_grace: Duration,
    /// How long a server that answers may fail to give the files of an attempt
    /// that has ended there, before they count as lost.
    pub fetch_most: Duration,
    /// Before the first retry; doubles with each, with full jitter.
    pub retry_first: Duration,
    /// The longest wait before a retry.
    pub retry_most: Duration,
    /// How long a server gets no jobs after several failed there in a row;
    /// doubles with each further failure.
    pub breaker_first: Duration,
    /// The longest such time.
    pub breaker_most: Duration,
    /// How long a server is not given a model or a size that it failed with;
    /// doubles with each further failure.
    pub cooldown_first: Duration,
    /// The longest such time.
    pub cooldown_most: Duration,
    /// How long events are kept.
    pub event_retention: Duration,
    /// How long a call can be repeated by its request id.
    pub request_id_retention: Duration,
    /// How long start-up waits for the jobs that were under way.
    pub recovery: Duration,
    /// Before a write that found no room on the disk is tried again.
    pub room: Duration,
    /// Between two looks at a download that jobs wait for.
    pub download: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(5),
            inventory: Duration::from_secs(60),
            second_look: Duration::from_secs(2),
            doubted_look: Duration::from_secs(6),
            progress: Duration::from_millis(500),
            sweep: Some(Duration::from_secs(30)),
            unknown_grace: Duration::from_secs(10),
            answer_grace: Duration::from_secs(30),
            fetch_most: Duration::from_secs(600),
            retry_first: Duration::from_secs(1),
            retry_most: Duration::from_secs(60),
            breaker_first: Duration::from_secs(15),
            breaker_most: Duration::from_secs(600),
            cooldown_first: Duration::from_secs(60),
            cooldown_most: Duration::from_secs(3600),
            event_retention: Duration::from_secs(7 * 24 * 3600),
            request_id_retention: Duration::from_secs(24 * 3600),
            recovery: Duration::from_secs(5),
            room: Duration::from_secs(5),
            download: Duration::from_secs(10),
        }
    }
}

impl Pace {
    /// How long retries wait where a job's policy does not say.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff {
            first: self.retry_first,
            most: self.retry_most,
        }
    }
}

/// How much the service takes on.
#[derive(Clone, Debug)]
pub struct ServiceLimits {
    /// Jobs that may be pending.
    pub queued_jobs: usize,
    /// Bytes that the requests of pending jobs may have, pictures included.
    pub queued_bytes: u64,
    /// Jobs of one key that may be pending, where the key does not say; `None`
    /// for as many as of all together.
    pub queued_jobs_per_key: Option<u32>,
    /// Calls of WatchJob and WaitJob that may be open.
    pub watches: usize,
    /// Those of one key, where the key does not say.
    pub watches_per_key: u32,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            queued_jobs: 100_000,
            queued_bytes: 4 * 1024 * 1024 * 1024,
            queued_jobs_per_key: None,
            watches: 1_000,
            watches_per_key: 100,
        }
    }
}

/// What use cases and loops share.
pub struct Core {
    /// The jobs database.
    pub database: Database,
    /// Names this database among its own backups, for resume tokens.
    pub epoch: String,
    /// Time.
    pub clock: Clock,
    /// The files of images.
    pub images: ImageStore,
    /// What is known of servers now.
    pub board: Arc<Board>,
    /// Wake-ups.
    pub hints: Arc<Hints>,
    /// What model-service says.
    pub availability: Arc<Availability>,
    /// What model-service is to download for jobs.
    pub downloads: Downloads,
    /// What model-service is told of the models that jobs used.
    pub model_uses: ModelUses,
    /// API keys.
    pub keys: Arc<Keys>,
    /// What encrypts the logins of servers.
    pub vault: Arc<Vault>,
    /// The HTTP clients of servers.
    pub clients: Clients,
    /// What looks after servers.
    pub monitors: Arc<Monitors>,
    /// Figures.
    pub metrics: Metrics,
    /// The end of the service.
    pub shutdown: Shutdown,
    /// How patient the loops are.
    pub pace: Pace,
    /// How much is taken on.
    pub limits: ServiceLimits,
    /// The watches that are open.
    pub watches: Arc<Watches>,
}
