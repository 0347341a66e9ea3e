//! Owns the check before a call reaches its method: who calls, and may they.
//! It runs inside the span, the figures and the deadline of the call, and after
//! the gate has let it through; calls that the gate refuses are not checked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::Request;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;

use super::access::Checked;
use super::failures::Failures;
use super::{Access, Authenticator, Caller, Credentials, FailureLimits, Verdict, unauthenticated};
use crate::clock::Clock;
use crate::layers::{CALLER_FIELD, Methods};
use crate::status::Failure;

/// The check before every call of one port.
#[derive(Debug)]
pub(crate) struct Guard {
    methods: HashMap<String, Checked>,
    failures: Failures,
    /// Whether only this machine can reach the port.
    loopback: bool,
}

impl Guard {
    pub(crate) fn new(
        access: Access,
        methods: &Methods,
        limits: FailureLimits,
        loopback: bool,
        clock: Clock,
    ) -> Self {
        Self {
            methods: access.by_path(methods),
            failures: Failures::new(limits, clock),
            loopback,
        }
    }

    /// Finds out who calls, checks the method's scope, takes the credentials
    /// out of the request and puts the [`Caller`] in.
    pub(crate) async fn admit(
        &self,
        authenticator: Option<&Arc<dyn Authenticator>>,
        request: &mut Request<Body>,
    ) -> Result<(), Failure> {
        let peer = peer_of(request);
        let credentials = Credentials::take(request.headers_mut());
        let caller = match authenticator {
            None if self.loopback => Caller::anonymous(),
            None => return Err(unauthenticated()),
            Some(authenticator) => {
                self.identify(&**authenticator, peer, credentials.as_ref())
                    .await?
            }
        };
        if let Some(id) = &caller.key_id {
            tracing::Span::current().record(CALLER_FIELD, id.as_str());
        }
        // A method that nobody described is not served; the routes say so.
        let method = self.methods.get(request.uri().path());
        let permitted = method.map_or(Ok(()), |method| caller.require(method.scope));
        // The audit names who was denied, too.
        request.extensions_mut().insert(caller);
        permitted
    }

    /// Whether the calls of a method, by its request path, come into the audit.
    pub(crate) fn is_noted(&self, path: &str) -> bool {
        self.methods.get(path).is_some_and(|method| method.noted)
    }

    /// As [`Guard::admit`], for reflection: any known caller may use it.
    pub(crate) async fn admit_to_reflection(
        &self,
        authenticator: Option<&Arc<dyn Authenticator>>,
        request: &mut Request<Body>,
    ) -> Result<(), Failure> {
        let peer = peer_of(request);
        let credentials = Credentials::take(request.headers_mut());
        if self.loopback {
            return Ok(());
        }
        let authenticator = authenticator.ok_or_else(unauthenticated)?;
        self.identify(&**authenticator, peer, credentials.as_ref())
            .await?;
        Ok(())
    }

    async fn identify(
        &self,
        authenticator: &dyn Authenticator,
        peer: IpAddr,
        credentials: Option<&Credentials>,
    ) -> Result<Caller, Failure> {
        let prefix = credentials.map(Credentials::prefix);
        self.failures.check(peer, prefix)?;
        match authenticator.authenticate(credentials).await? {
            Verdict::Known(caller) => {
                if let Some(prefix) = prefix {
                    self.failures.succeeded(peer, prefix);
                }
                Ok(caller)
            }
            Verdict::Off if self.loopback => Ok(Caller::anonymous()),
            Verdict::Off | Verdict::Unknown => {
                self.failures.failed(peer, prefix);
                tracing::info!(%peer, "a call was not authenticated");
                Err(unauthenticated())
            }
        }
    }
}

fn peer_of(request: &Request<Body>) -> IpAddr {
    let connection = request.extensions().get::<TcpConnectInfo>();
    connection
        .and_then(TcpConnectInfo::remote_addr)
        .map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip())
}
