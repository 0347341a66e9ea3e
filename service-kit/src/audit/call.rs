//! Owns what is known of one call while it is under way, until it is noted.

use http::{HeaderMap, Request};
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};

use super::{Audit, AuditTarget, Event};
use crate::auth::{Caller, REASON_TOO_MANY_FAILURES};
use crate::clock::to_text;
use crate::layers::{Method, RequestId};
use crate::status::{Failure, code_name};

/// The caller of a call that nobody was recognised for.
const UNKNOWN_CALLER: &str = "unknown";
/// The peer of a call that came over no network.
const LOCAL_PEER: &str = "local";

/// A call that may come into the audit.
#[derive(Debug)]
pub(crate) struct AuditedCall {
    audit: Audit,
    caller: Option<Caller>,
    peer: String,
    method: Method,
    target: AuditTarget,
    request_id: Option<RequestId>,
}

impl AuditedCall {
    /// What is known of a request after its caller was looked for.
    pub(crate) fn new(audit: &Audit, method: Method, request: &Request<Body>) -> Self {
        let extensions = request.extensions();
        let connection = extensions.get::<TcpConnectInfo>();
        let peer = connection.and_then(TcpConnectInfo::remote_addr);
        Self {
            audit: audit.clone(),
            caller: extensions.get().cloned(),
            peer: peer.map_or(LOCAL_PEER.to_owned(), |peer| {
                peer.ip().to_canonical().to_string()
            }),
            method,
            target: AuditTarget::default(),
            request_id: extensions.get().cloned(),
        }
    }

    /// The place for what the call is about, to be put where the handler finds
    /// it.
    pub(crate) fn target(&self) -> AuditTarget {
        self.target.clone()
    }

    /// Notes a call that never reached its handler, if it was denied.
    pub(crate) fn refused(self, failure: &Failure) {
        if is_denied(failure.code()) || failure.reason() == REASON_TOO_MANY_FAILURES {
            let event = self.event(failure.code());
            self.audit.denied(event);
        }
    }

    /// Notes an ordinary call, if its handler denied it.
    pub(crate) fn answered(self, headers: &HeaderMap) {
        let code = code_in(headers);
        if is_denied(code) {
            let event = self.event(code);
            self.audit.denied(event);
        }
    }

    /// Notes an administrative call, which is on disk afterwards.
    pub(crate) async fn done(self, headers: &HeaderMap) {
        let event = self.event(code_in(headers));
        self.audit.done(event).await;
    }

    fn event(&self, code: Code) -> Event {
        let caller = self.caller.as_ref();
        Event {
            created_at: to_text(self.audit.0.clock.now()),
            key_id: caller.and_then(|caller| caller.key_id.clone()),
            caller: caller.map_or(UNKNOWN_CALLER.to_owned(), |caller| caller.name.clone()),
            peer: self.peer.clone(),
            method: self.method.full_name(),
            target: self.target.text(),
            code: code_name(code),
            request_id: self
                .request_id
                .as_ref()
                .map_or_else(String::new, RequestId::to_string),
        }
    }
}

fn is_denied(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied)
}

/// The code in an answer's headers; an answer without one begins with a
/// message, which is how unary calls succeed.
fn code_in(headers: &HeaderMap) -> Code {
    Status::from_header_map(headers).map_or(Code::Ok, |status| status.code())
}
