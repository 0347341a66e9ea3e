//! Owns the connection of a command to a running service, with its token on
//! every call.

use service_kit::auth::{AUTHORIZATION_HEADER, Token};
use service_kit::health::reachable;
use stablequeue_proto::admin::v1::operation_service_client::OperationServiceClient;
use stablequeue_proto::models::v1::library_service_client::LibraryServiceClient;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::ClientError;
use crate::config::ClientArgs;

type TokenChannel = InterceptedService<Channel, Present>;

/// Puts the token on every call.
#[derive(Clone)]
pub(super) struct Present(Option<Token>);

impl Interceptor for Present {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert(AUTHORIZATION_HEADER, token.authorization());
        }
        Ok(request)
    }
}

/// What is asked of the service.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) library: LibraryServiceClient<TokenChannel>,
    pub(super) operations: OperationServiceClient<TokenChannel>,
}

impl Clients {
    /// Connects; a connection that breaks later is made again with the next call.
    pub(super) async fn connect(args: &ClientArgs) -> Result<Self, ClientError> {
        let token = args.token().map_err(ClientError::Usage)?;
        let address = reachable(args.address).to_string();
        let unreachable = |source| ClientError::Unreachable {
            address: address.clone(),
            source,
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(unreachable)?;
        let channel = endpoint.connect().await.map_err(unreachable)?;
        let channel = InterceptedService::new(channel, Present(token));
        Ok(Self {
            library: LibraryServiceClient::new(channel.clone()),
            operations: OperationServiceClient::new(channel),
        })
    }
}
