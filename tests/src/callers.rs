//! Callers of the pair: connections that present a key or token, and keys to
//! present.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use service_kit::auth::{AUTHORIZATION_HEADER, Scope, Token};
use stablequeue_proto::{
    jobs::v1::{
        self as jobs, api_key_service_client::ApiKeyServiceClient,
        job_service_client::JobServiceClient, server_service_client::ServerServiceClient,
    },
    models::v1::{
        availability_service_client::AvailabilityServiceClient,
        model_service_client::ModelServiceClient,
    },
};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::Pair;

/// A connection that presents a key or token, if it has one.
pub type CallerChannel = InterceptedService<Channel, Present>;

/// Puts a key or token on every call.
#[derive(Clone, Debug)]
pub struct Present(Option<Token>);

impl Interceptor for Present {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert(AUTHORIZATION_HEADER, token.authorization());
        }
        Ok(request)
    }
}

/// A connection for whoever has this key.
pub async fn connect(address: SocketAddr, token: Option<&Token>) -> Result<CallerChannel> {
    let channel = Channel::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    Ok(InterceptedService::new(channel, Present(token.cloned())))
}

/// A key of the service, and what proves it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// What proves it.
    pub token: Token,
}

impl Pair {
    /// A client of JobService.
    pub async fn jobs(&self) -> Result<JobServiceClient<CallerChannel>> {
        Ok(JobServiceClient::new(
            connect(self.jobs_addr(), self.key()).await?,
        ))
    }

    /// A client of ServerService.
    pub async fn servers(&self) -> Result<ServerServiceClient<CallerChannel>> {
        Ok(ServerServiceClient::new(
            connect(self.jobs_addr(), self.key()).await?,
        ))
    }

    /// A client of ModelService.
    pub async fn models(&self) -> Result<ModelServiceClient<CallerChannel>> {
        Ok(ModelServiceClient::new(
            connect(self.models_addr(), self.model_token()).await?,
        ))
    }

    /// A client of AvailabilityService.
    pub async fn availability(&self) -> Result<AvailabilityServiceClient<CallerChannel>> {
        let channel = connect(self.models_addr(), self.model_token()).await?;
        Ok(AvailabilityServiceClient::new(channel))
    }

    /// A client of ApiKeyService.
    pub async fn keys(&self) -> Result<ApiKeyServiceClient<CallerChannel>> {
        let channel = connect(self.jobs_addr(), self.key()).await?;
        Ok(ApiKeyServiceClient::new(channel))
    }

    /// Makes a key with these scopes, and otherwise as it is here.
    pub async fn new_key(&self, scopes: &[Scope], like: jobs::ApiKey) -> Result<Key> {
        let api_key = jobs::ApiKey {
            name: "a caller".to_owned(),
            scopes: scopes.iter().map(|it| it.as_str().to_owned()).collect(),
            ..like
        };
        let request = jobs::CreateApiKeyRequest {
            api_key: Some(api_key),
            ..jobs::CreateApiKeyRequest::default()
        };
        let answer = self.keys().await?.create_api_key(request).await?;
        let answer = answer.into_inner();
        let token = answer.proof.context("no proof")?.token;
        Ok(Key {
            id: answer.api_key.context("no key")?.key_id,
            token: Token::parse(&token)?,
        })
    }

    /// A client of JobService for whoever has this key.
    pub async fn jobs_of(&self, key: &Key) -> Result<JobServiceClient<CallerChannel>> {
        let channel = connect(self.jobs_addr(), Some(&key.token)).await?;
        Ok(JobServiceClient::new(channel))
    }
}
