//! A running service with a manual clock, without model-service and without
//! Forge: what is needed to ask about keys and jobs that wait.

use std::{future::Future, time::Duration};

use chrono::{DateTime, Utc};
use job_service::{Config, Running, start};
use service_kit::{
    auth::Token,
    clock::{Clock, ManualClock, from_text},
    server,
};
use stablequeue_proto::jobs::v1::{
    api_key_service_client::ApiKeyServiceClient, job_service_client::JobServiceClient, *,
};
use tempfile::TempDir;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

/// Nobody listens there.
const NO_MODEL_SERVICE: &str = "http://127.0.0.1:9";
/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen, with a bound.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it must happen soon")
}

pub(crate) fn time_of_start() -> DateTime<Utc> {
    from_text("2026-11-22T11:08:30.000Z").unwrap()
}

/// A service and connections to it.
pub(crate) struct Service {
    pub(crate) keys: ApiKeyServiceClient<Channel>,
    pub(crate) jobs: JobServiceClient<Channel>,
    pub(crate) hand: ManualClock,
    pub(crate) clock: Clock,
    pub(crate) running: Running,
    pub(crate) folder: TempDir,
}

impl Service {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::in_folder(folder, "127.0.0.1:0", time_of_start(), change).await
    }

    pub(crate) async fn in_folder(
        folder: TempDir,
        address: &str,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::in_folder(folder.path(), NO_MODEL_SERVICE);
        change(&mut config);
        let listener = server::bind(address.parse().unwrap()).await.unwrap();
        let (clock, hand) = Clock::manual(now);
        let running = start(config, listener, clock.clone()).await.unwrap();
        let address = format!("http://127.0.0.1:{}", running.local_addr().port());
        let channel = Channel::from_shared(address).unwrap();
        let channel = channel.connect().await.unwrap();
        Self {
            keys: ApiKeyServiceClient::new(channel.clone()),
            jobs: JobServiceClient::new(channel),
            hand,
            clock,
            running,
            folder,
        }
    }

    /// Stops it; what is left is the folder.
    pub(crate) async fn stopped(self) -> TempDir {
        let Self {
            keys,
            jobs,
            running,
            folder,
            ..
        } = self;
        drop((keys, jobs));
        running.stop().await.unwrap();
        folder
    }

    /// Stops it and starts it again on the same folder, at the same time.
    pub(crate) async fn restarted(self) -> Self {
        let now = self.clock.now();
        let folder = self.stopped().await;
        Self::in_folder(folder, "127.0.0.1:0", now, |_| {}).await
    }

    /// Makes a key.
    pub(crate) async fn create(
        &mut self,
        by: Option<&Token>,
        key: ApiKey,
    ) -> Result<(ApiKey, ApiKeyProof), Status> {
        let message = CreateApiKeyRequest {
            api_key: Some(key),
            request_id: String::new(),
        };
        let answer = self.keys.create_api_key(with(message, by)).await?;
        let answer = answer.into_inner();
        Ok((answer.api_key.unwrap(), answer.proof.unwrap()))
    }

    /// Makes the first key, which may do everything.
    pub(crate) async fn admin(&mut self) -> Token {
        let (_, proof) = self.create(None, key("admin", &["admin"])).await.unwrap();
        token(&proof)
    }

    /// Makes a key with these scopes by another.
    pub(crate) async fn key(&mut self, by: &Token, scopes: &[&str]) -> (ApiKey, Token) {
        let asked = key("another", scopes);
        let (key, proof) = self.create(Some(by), asked).await.unwrap();
        (key, token(&proof))
    }

    /// Whether a key lets a call through that needs `jobs:read`.
    pub(crate) async fn list(&mut self, by: Option<&Token>) -> Result<(), Status> {
        let request = with(ListJobsRequest::default(), by);
        self.jobs.list_jobs(request).await.map(|_| ())
    }

    pub(crate) async fn get(&mut self, by: &Token, key_id: &str) -> Result<ApiKey, Status> {
        let request = GetApiKeyRequest {
            key_id: key_id.to_owned(),
        };
        let answer = self.keys.get_api_key(with(request, Some(by))).await?;
        Ok(answer.into_inner().api_key.unwrap())
    }

    /// Changes a key; no fields: those that are set.
    pub(crate) async fn update(
        &mut self,
        by: &Token,
        key: ApiKey,
        fields: &[&str],
    ) -> Result<ApiKey, Status> {
        let paths: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let request = UpdateApiKeyRequest {
            api_key: Some(key),
            update_mask: (!paths.is_empty()).then_some(prost_types::FieldMask { paths }),
        };
        let answer = self.keys.update_api_key(with(request, Some(by))).await?;
        Ok(answer.into_inner().api_key.unwrap())
    }

    pub(crate) async fn delete(&mut self, by: &Token, key_id: &str) -> Result<(), Status> {
        let request = DeleteApiKeyRequest {
            key_id: key_id.to_owned(),
        };
        let answer = self.keys.delete_api_key(with(request, Some(by))).await;
        answer.map(|_| ())
    }
}

pub(crate) fn key(name: &str, scopes: &[&str]) -> ApiKey {
    ApiKey {
        name: name.to_owned(),
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        ..ApiKey::default()
    }
}

pub(crate) fn token(proof: &ApiKeyProof) -> Token {
    Token::parse(&proof.token).unwrap()
}

pub(crate) fn with<T>(message: T, by: Option<&Token>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = by {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", token.authorization());
    }
    request
}

/// A request with these headers.
pub(crate) fn with_headers<T>(message: T, headers: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for &(name, value) in headers {
        let value: MetadataValue<Ascii> = value.parse().unwrap();
        request.metadata_mut().append(name, value);
    }
    request
}
