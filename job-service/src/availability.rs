//! What model-service says: which server has the models of a job. Asks it,
//! keeps answers for a short time, forgets them when it tells of a change, and
//! passes it the inventories that monitors take. Decides nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use service_kit::clock::{Clock, to_timestamp};
use stablequeue_proto::models::v1 as proto;
use tokio::sync::watch;

use crate::{
    board::Board,
    hints::Hints,
    job::{ModelRole, Requirement},
    model_channel::ModelChannel,
};

mod correction;
mod watching;

/// How long a call may take before model-service counts as not answering.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an inventory may take to be taken over.
const PUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an answer is used again when nothing tells of a change.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// How many answers are kept.
const KEPT_MAX: usize = 65_536;
/// References in one question, as model-service takes them.
const REFERENCES_MAX: usize = 256;
/// Servers in one question, as model-service takes them.
const SERVERS_MAX: usize = 256;
/// Answers to one question, references times servers, as model-service gives
/// them.
const ANSWERS_MAX: usize = 10_000;
/// Inventory items in one message.
const ITEMS_PER_MESSAGE: usize = 1_000;

/// A reference as model-service is asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Whether it is a LoRA; a checkpoint otherwise.
    pub is_lora: bool,
    /// How the job names it.
    pub text: String,
}

impl From<&Requirement> for Reference {
    fn from(requirement: &Requirement) -> Self {
        Self {
            is_lora: requirement.role == ModelRole::Lora,
            text: requirement.reference.clone(),
        }
    }
}

/// What model-service says of one reference on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The server has it.
    Available {
        /// The title by which the server knows it.
        title: String,
        /// Its full hash, when known.
        sha256: Option<String>,
    },
    /// It was seen there, but too long ago.
    Stale,
    /// The server does not have it.
    Missing,
    /// Nothing is known of that server.
    Unknown,
    /// It fits several models there.
    Ambiguous(Vec<String>),
}

/// Findings by server and reference.
pub type Findings = HashMap<(String, Reference), Finding>;

/// The same with when they were heard, in the time of the process.
pub type Heard = HashMap<(String, Reference), (Finding, Duration)>;

/// model-service did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

impl From<tonic::Status> for Unavailable {
    fn from(status: tonic::Status) -> Self {
        Self(format!("{} ({})", status.message(), status.code()))
    }
}

type Client = proto::availability_service_client::AvailabilityServiceClient<ModelChannel>;

/// The client.
pub struct Availability {
    client: Client,
    clock: Clock,
    board: Arc<Board>,
    hints: Arc<Hints>,
    kept: Mutex<Heard>,
    /// The newest answers, however old.
    last: Mutex<Heard>,
    /// Grows whenever what was kept is forgotten, so that an answer that was
    /// under way meanwhile is not kept.
    forgotten: AtomicU64,
    connections: watch::Sender<u64>,
}

impl Availability {
    /// A client on this connection.
    #[must_use]
    pub fn new(channel: ModelChannel, clock: Clock, board: Arc<Board>, hints: Arc<Hints>) -> Self {
        Self {
            client: Client::new(channel),
            clock,
            board,
            hints,
            kept: Mutex::default(),
            last: Mutex::default(),
            forgotten: AtomicU64::new(0),
            connections: watch::Sender::new(0),
        }
    }

    /// Counts the connections of the watch; a new one means that model-service
    /// may be another process than before.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// What model-service says of these references on these servers.
    pub async fn check(
        &self,
        references: &[Reference],
        servers: &[String],
    ) -> Result<Findings, Unavailable> {
        // Before anything is taken that a change may overtake.
        let before = self.forgotten.load(Ordering::Acquire);
        let (mut findings, unknown) = self.take_kept(references, servers);
        let mut answers = Findings::new();
        for servers in servers.chunks(SERVERS_MAX) {
            for chunk in unknown.chunks(references_at_once(servers.len())) {
                let answer = self.ask_all(chunk, servers).await.inspect_err(|error| {
                    self.board
                        .model_service_failed(error.to_string(), self.clock.now());
                })?;
                answers.extend(answer);
            }
        }
        if !unknown.is_empty() {
            self.board.model_service_answered();
            self.keep(&answers, before);
        }
        findings.extend(answers);
        Ok(findings)
    }

    fn take_kept(
        &self,
        references: &[Reference],
        servers: &[String],
    ) -> (Findings, Vec<Reference>) {
        let now = self.clock.monotonic();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut findings = Findings::new();
        let mut unknown = Vec::new();
        for reference in references {
            let known: Option<Vec<_>> = servers
                .iter()
                .map(|server| {
                    let key = (server.clone(), reference.clone());
                    kept.get(&key)
                        .filter(|(_, at)| now.saturating_sub(*at) < KEPT_FOR)
                        .map(|(finding, _)| (key, finding.clone()))
                })
                .collect();
            match known {
                Some(known) => findings.extend(known),
                None => unknown.push(reference.clone()),
            }
        }
        (findings, unknown)
    }

    fn keep(&self, answers: &Findings, before: u64) {
        let now = self.clock.monotonic();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut last, answers, now);
        drop(last);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.forgotten.load(Ordering::Acquire) == before {
            add(&mut kept, answers, now);
        }
    }

    /// Forgets every answer.
    pub fn forget(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        kept.clear();
    }

    /// Asks for all of them. A reference that model-service cannot even read
    /// must not keep the others from their answers: the question is halved
    /// until that one is alone, and no server has it. It is halved as well when
    /// its answer would be too much at once. At most two questions for each
    /// reference.
    async fn ask_all(
        &self,
        references: &[Reference],
        servers: &[String],
    ) -> Result<Findings, Unavailable> {
        let mut findings = Findings::new();
        let mut parts = vec![references];
        while let Some(part) = parts.pop() {
            match (self.ask(part, servers).await, part) {
                (Ok(answer), _) => findings.extend(found_in(answer, part)?),
                (Err(status), [one]) if status.code() == tonic::Code::InvalidArgument => {
                    tracing::warn!(reference = %one.text, %status, "model-service cannot read a reference; it counts as missing");
                    let missing =
                        |server: &String| ((server.clone(), one.clone()), Finding::Missing);
                    findings.extend(servers.iter().map(missing));
                }
                (Err(status), [_, _, ..]) if asks_too_much(&status) => {
                    let (first, rest) = part.split_at(part.len() / 2);
                    parts.extend([rest, first]);
                }
                (Err(status), _) => return Err(status.into()),
            }
        }
        Ok(findings)
    }

    /// One question to model-service.
    async fn ask(
        &self,
        references: &[Reference],
        servers: &[String],
    ) -> Result<proto::CheckAvailabilityResponse, tonic::Status> {
        let mut request = tonic::Request::new(proto::CheckAvailabilityRequest {
            references: references.iter().map(to_proto).collect(),
            servers: servers.to_vec(),
            max_age: None,
            assets: Vec::new(),
        });
        request.set_timeout(CALL_TIMEOUT);
        let mut client = self.client.clone();
        let call = client.check_availability(request);
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(tonic::Status::deadline_exceeded(format!(
                "no answer within {CALL_TIMEOUT:?}"
            ))),
        }
    }

    /// Passes on the full inventory of a server, which was asked for it at
    /// `listed_at`. How many of its models model-service does not believe to be
    /// gone before it gets another one that was listed later.
    pub async fn push_inventory(
        &self,
        server: &str,
        generation: &str,
        items: Vec<proto::InventoryItem>,
        listed_at: DateTime<Utc>,
    ) -> Result<i32, Unavailable> {
        use proto::sync_server_inventory_request::Part;
        let header = proto::InventoryHeader {
            server: server.to_owned(),
            generation: generation.to_owned(),
            mode: proto::InventoryMode::Full.into(),
            base_generation: String::new(),
            item_count: Some(i32::try_from(items.len()).unwrap_or(i32::MAX)),
            list_time: Some(to_timestamp(listed_at)),
        };
        let mut parts = vec![proto::SyncServerInventoryRequest {
            part: Some(Part::Header(header)),
        }];
        for chunk in items.chunks(ITEMS_PER_MESSAGE) {
            parts.push(proto::SyncServerInventoryRequest {
                part: Some(Part::Items(proto::InventoryItems {
                    items: chunk.to_vec(),
                })),
            });
        }
        let mut client = self.client.clone();
        let call = client.sync_server_inventory(tokio_stream::iter(parts));
        let answer = tokio::time::timeout(PUSH_TIMEOUT, call)
            .await
            .map_err(|_| Unavailable(format!("no answer within {PUSH_TIMEOUT:?}")))??;
        self.forget();
        Ok(answer.into_inner().doubted_count)
    }
}

/// How many references one question about so many servers may have.
fn references_at_once(servers: usize) -> usize {
    (ANSWERS_MAX / servers.max(1)).clamp(1, REFERENCES_MAX)
}

/// Whether fewer references may be answered where several were not: one of them
/// cannot be read, or the answer would be too large.
fn asks_too_much(status: &tonic::Status) -> bool {
    use tonic::Code::{InvalidArgument, OutOfRange, ResourceExhausted};
    matches!(
        status.code(),
        // tonic says OutOfRange of an answer that is longer than it reads.
        InvalidArgument | ResourceExhausted | OutOfRange
    )
}

/// Adds answers to those that are kept, which begin anew when there are too
/// many; never more than [`KEPT_MAX`].
fn add(heard: &mut Heard, answers: &Findings, now: Duration) {
    if heard.len().saturating_add(answers.len()) > KEPT_MAX {
        heard.clear();
    }
    for (key, finding) in answers.iter().take(KEPT_MAX) {
        heard.insert(key.clone(), (finding.clone(), now));
    }
}

/// What an answer says of the references that were asked for.
fn found_in(
    answer: proto::CheckAvailabilityResponse,
    references: &[Reference],
) -> Result<Findings, Unavailable> {
    let mut findings = Findings::new();
    for server in answer.servers {
        if server.references.len() != references.len() {
            return Err(Unavailable(
                "answered another number of references than asked; its version does not fit"
                    .to_owned(),
            ));
        }
        for (reference, found) in references.iter().zip(server.references) {
            findings.insert(
                (server.server.clone(), reference.clone()),
                from_proto(found),
            );
        }
    }
    Ok(findings)
}

/// A reference as it is sent.
pub(crate) fn to_proto(reference: &Reference) -> proto::ModelReference {
    let kind = if reference.is_lora {
        proto::ModelType::Lora
    } else {
        proto::ModelType::Checkpoint
    };
    proto::ModelReference {
        reference: reference.text.clone(),
        r#type: kind.into(),
    }
}

fn from_proto(found: proto::ReferenceAvailability) -> Finding {
    use proto::AvailabilityState as State;
    match found.state() {
        State::Available => Finding::Available {
            title: found.title,
            sha256: Some(found.sha256).filter(|hash| !hash.is_empty()),
        },
        State::Stale => Finding::Stale,
        State::Missing => Finding::Missing,
        State::Ambiguous => Finding::Ambiguous(found.candidates),
        State::Unknown | State::Unspecified => Finding::Unknown,
    }
}

#[cfg(test)]
#[path = "availability/tests.rs"]
mod tests;
