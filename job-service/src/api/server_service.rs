//! ServerService: each handler parses, asks one use case, converts.

use std::time::Duration;

use service_kit::{
    audit::AuditTarget,
    auth::Caller,
    page::{PageToken, page_size},
    status::Failure,
    wait::{WAIT_DEFAULT, wait_time},
};
use stablequeue_proto::jobs::v1::{self as proto, server_service_server::ServerService};
use tonic::{Request, Response, Status};

use super::{convert::server as convert, status};
use crate::{
    board::ServerState, error::Error, request::Violation, server::alias_fault, servers::Servers,
    store::servers::ServerChange,
};

/// Bytes of the reason for a cordon, also one for draining.
const REASON_BYTES_MAX: usize = 1024;

/// The handlers.
pub(super) struct ServerApi {
    servers: Servers,
}

impl ServerApi {
    pub(super) fn new(servers: Servers) -> Self {
        Self { servers }
    }

    fn shown(&self, state: ServerState) -> proto::Server {
        convert::server(state, self.servers.now())
    }

    async fn cordon(
        &self,
        alias: &str,
        cordon: (bool, String),
    ) -> Result<Option<proto::Server>, Status> {
        let change = ServerChange {
            cordon: Some(cordon),
            ..ServerChange::default()
        };
        let state = self
            .servers
            .update(alias, change, None)
            .await
            .map_err(status)?;
        Ok(Some(self.shown(state)))
    }
}

#[tonic::async_trait]
impl ServerService for ServerApi {
    async fn create_server(
        &self,
        request: Request<proto::CreateServerRequest>,
    ) -> Result<Response<proto::CreateServerResponse>, Status> {
        let caller = Caller::of(request.extensions()).map_err(Failure::into_status)?;
        let key_id = caller.key_id.clone();
        if let Some(server) = &request.get_ref().server {
            note(&request, &server.alias);
        }
        let proto::CreateServerRequest { server, request_id } = request.into_inner();
        let mut violations = Vec::new();
        let id =
            super::parse::request_id("request_id", request_id, key_id.as_deref(), &mut violations);
        let new = convert::new_server(server).map_err(|found| violations.extend(found));
        let Some(new) = new.ok().filter(|_| violations.is_empty()) else {
            return Err(invalid(violations));
        };
        let state = self.servers.create(new, id).await.map_err(status)?;
        Ok(Response::new(proto::CreateServerResponse {
            server: Some(self.shown(state)),
        }))
    }

    async fn get_server(
        &self,
        request: Request<proto::GetServerRequest>,
    ) -> Result<Response<proto::GetServerResponse>, Status> {
        let alias = alias("alias", request.into_inner().alias)?;
        let state = self.servers.get(&alias).map_err(status)?;
        Ok(Response::new(proto::GetServerResponse {
            server: Some(self.shown(state)),
        }))
    }

    async fn list_servers(
        &self,
        request: Request<proto::ListServersRequest>,
    ) -> Result<Response<proto::ListServersResponse>, Status> {
        let proto::ListServersRequest {
            page_size: size,
            page_token,
        } = request.into_inner();
        let mut violations = Vec::new();
        let size = page_size(size).unwrap_or_else(|error| {
            violations.push(Violation::new("page_size", error.to_string()));
            1
        });
        let after: String = match page_token.as_str() {
            "" => String::new(),
            token => PageToken::decode(token, b"servers").unwrap_or_else(|error| {
                violations.push(Violation::new("page_token", error.to_string()));
                String::new()
            }),
        };
        if !violations.is_empty() {
            return Err(invalid(violations));
        }
        let mut states = self.servers.list(&after, size + 1);
        let more = states.len() > size;
        states.truncate(size);
        let next = states
            .last()
            .filter(|_| more)
            .map(|last| PageToken::encode(b"servers", &last.server.alias));
        Ok(Response::new(proto::ListServersResponse {
            servers: states.into_iter().map(|state| self.shown(state)).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn update_server(
        &self,
        request: Request<proto::UpdateServerRequest>,
    ) -> Result<Response<proto::UpdateServerResponse>, Status> {
        if let Some(server) = &request.get_ref().server {
            note(&request, &server.alias);
        }
        let proto::UpdateServerRequest {
            server,
            update_mask,
        } = request.into_inner();
        let server =
            server.ok_or_else(|| invalid(vec![Violation::new("server", "is required")]))?;
        let alias = alias("server.alias", server.alias.clone())?;
        let (change, revision) = convert::change(server, update_mask).map_err(invalid)?;
        let state = self
            .servers
            .update(&alias, change, revision)
            .await
            .map_err(status)?;
        Ok(Response::new(proto::UpdateServerResponse {
            server: Some(self.shown(state)),
        }))
    }

    async fn delete_server(
        &self,
        request: Request<proto::DeleteServerRequest>,
    ) -> Result<Response<proto::DeleteServerResponse>, Status> {
        note(&request, &request.get_ref().alias);
        let alias = alias("alias", request.into_inner().alias)?;
        self.servers.delete(&alias).await.map_err(status)?;
        Ok(Response::new(proto::DeleteServerResponse {}))
    }

    async fn probe_server(
        &self,
        request: Request<proto::ProbeServerRequest>,
    ) -> Result<Response<proto::ProbeServerResponse>, Status> {
        note(&request, &request.get_ref().alias);
        let alias = alias("alias", request.into_inner().alias)?;
        let state = self.servers.probe(&alias).await.map_err(status)?;
        Ok(Response::new(proto::ProbeServerResponse {
            server: Some(self.shown(state)),
        }))
    }

    async fn refresh_inventory(
        &self,
        request: Request<proto::RefreshInventoryRequest>,
    ) -> Result<Response<proto::RefreshInventoryResponse>, Status> {
        note(&request, &request.get_ref().alias);
        let alias = alias("alias", request.into_inner().alias)?;
        let state = self.servers.refresh_inventory(&alias).await;
        Ok(Response::new(proto::RefreshInventoryResponse {
            server: Some(self.shown(state.map_err(status)?)),
        }))
    }

    async fn cordon_server(
        &self,
        request: Request<proto::CordonServerRequest>,
    ) -> Result<Response<proto::CordonServerResponse>, Status> {
        note(&request, &request.get_ref().alias);
        let proto::CordonServerRequest {
            alias: name,
            reason,
        } = request.into_inner();
        let alias = alias("alias", name)?;
        if reason.len() > REASON_BYTES_MAX {
            let words = format!("must have at most {REASON_BYTES_MAX} bytes");
            return Err(invalid(vec![Violation::new("reason", words)]));
        }
        Ok(Response::new(proto::CordonServerResponse {
            server: self.cordon(&alias, (true, reason)).await?,
        }))
    }

    async fn drain_server(
        &self,
        request: Request<proto::DrainServerRequest>,
    ) -> Result<Response<proto::DrainServerResponse>, Status> {
        note(&request, &request.get_ref().alias);
        let proto::DrainServerRequest {
            alias,
            reason,
            timeout,
        } = request.into_inner();
        let mut violations = Vec::new();
        if let Some(fault) = alias_fault(&alias) {
            violations.push(Violation::new("alias", fault));
        }
        if reason.len() > REASON_BYTES_MAX {
            let words = format!("must have at most {REASON_BYTES_MAX} bytes");
            violations.push(Violation::new("reason", words));
        }
        let wait = drain_wait(timeout, &mut violations);
        if !violations.is_empty() {
            return Err(invalid(violations));
        }
        let (state, drained) = self
            .servers
            .drain(&alias, reason, wait)
            .await
            .map_err(status)?;
        Ok(Response::new(proto::DrainServerResponse {
            server: Some(self.shown(state)),
            drained,
        }))
    }

    async fn uncordon_server(
        &self,
        request: Request<proto::UncordonServerRequest>,
    ) -> Result<Response<proto::UncordonServerResponse>, Status> {
        note(&request, &request.get_ref().alias);
        let alias = alias("alias", request.into_inner().alias)?;
        let state = self.servers.uncordon(&alias).await.map_err(status)?;
        Ok(Response::new(proto::UncordonServerResponse {
            server: Some(self.shown(state)),
        }))
    }
}

/// How long to wait for a server to be drained.
fn drain_wait(timeout: Option<prost_types::Duration>, violations: &mut Vec<Violation>) -> Duration {
    wait_time(timeout.as_ref()).unwrap_or_else(|fault| {
        violations.push(Violation::new("timeout", fault));
        WAIT_DEFAULT
    })
}

fn invalid(violations: Vec<Violation>) -> Status {
    status(Error::Invalid(violations))
}

/// Tells the audit which server a call is about.
fn note<T>(request: &Request<T>, alias: &str) {
    if alias_fault(alias).is_none() {
        AuditTarget::note(request.extensions(), alias);
    }
}

/// An alias that could be one.
fn alias(path: &str, alias: String) -> Result<String, Status> {
    match alias_fault(&alias) {
        Some(fault) => Err(invalid(vec![Violation::new(path, fault)])),
        None => Ok(alias),
    }
}
