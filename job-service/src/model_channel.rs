//! The connection to model-service, with our token on every call. What is
//! asked there is its users' business.

use std::time::Duration;

use service_kit::auth::{AUTHORIZATION_HEADER, Token};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Error},
};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two signs of life on a quiet connection.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
/// How long such a sign may stay without an answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection; clones share it.
pub type ModelChannel = InterceptedService<Channel, Present>;

/// Puts our token on every call.
#[derive(Clone)]
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

/// A connection that is made when it is first used, and again whenever it
/// broke; presents the token if there is one.
///
/// # Errors
/// When the URL is not one.
pub fn channel(url: &str, token: Option<Token>) -> Result<ModelChannel, Error> {
    let channel = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .connect_lazy();
    Ok(InterceptedService::new(channel, Present(token)))
}
