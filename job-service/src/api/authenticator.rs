//! How the port asks the keys who a caller is.

use service_kit::{
    auth::{Authenticator, Credentials, Verdict},
    status::Failure,
};

use crate::keys::Keys;

#[tonic::async_trait]
impl Authenticator for Keys {
    async fn authenticate(&self, credentials: Option<&Credentials>) -> Result<Verdict, Failure> {
        Ok(self.verdict(credentials))
    }
}
