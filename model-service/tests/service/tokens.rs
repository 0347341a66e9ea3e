//! With tokens, only who presents one may call, and only what it allows.

use std::sync::Arc;

use model_service::tokens::{self, Tokens};
use service_kit::auth::{Scope, Token, UNAUTHENTICATED_TEXT};
use service_kit::status::reason_of;
use stablequeue_proto::models::v1::*;
use tonic::{Code, Request, Status};

use crate::harness::Service;

/// A service that knows one token.
async fn service(scopes: &[Scope], servers: Option<&[&str]>) -> (Service, Token) {
    let servers = servers.map(|all| all.iter().map(|&name| name.to_owned()).collect());
    let (token, entry) = tokens::create("tests", scopes, servers).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    std::fs::write(&file, entry).unwrap();
    let tokens = Arc::new(Tokens::read(&file).unwrap());
    let service = Service::in_folder(folder, |config| config.tokens = Some(tokens)).await;
    (service, token)
}

fn with<T>(message: T, token: Option<&Token>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", token.authorization());
    }
    request
}

async fn list(service: &mut Service, token: Option<&Token>) -> Result<(), Status> {
    let request = with(ListModelsRequest::default(), token);
    service.models.list_models(request).await.map(|_| ())
}

async fn set(service: &mut Service, server: &str, token: &Token) -> Status {
    let message = SetModelAvailabilityRequest {
        server: server.to_owned(),
        model_id: "1".to_owned(),
        title: String::new(),
    };
    let call = service
        .availability
        .set_model_availability(with(message, Some(token)));
    call.await.expect_err("there is no model 1")
}

#[tokio::test]
async fn a_call_needs_a_known_token() {
    let (mut service, token) = service(&[Scope::ModelsRead], None).await;
    list(&mut service, Some(&token)).await.unwrap();
    let (stranger, _) = tokens::create("stranger", &[Scope::Admin], None).unwrap();
    for presented in [None, Some(&stranger)] {
        let status = list(&mut service, presented).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(status.message(), UNAUTHENTICATED_TEXT);
    }
}

#[tokio::test]
async fn a_token_without_the_scope_is_told_which_is_missing() {
    let (mut service, token) = service(&[Scope::ModelsRead], None).await;
    let status = set(&mut service, "gpu", &token).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("models:write"), "{status:?}");
}

#[tokio::test]
async fn a_token_bound_to_servers_reports_only_those() {
    let scopes = [Scope::ModelsRead, Scope::ModelsWrite];
    let (mut service, token) = service(&scopes, Some(&["mine"])).await;
    let status = set(&mut service, "other", &token).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(reason_of(&status).as_deref(), Some("SERVER_NOT_ALLOWED"));
    let status = set(&mut service, "mine", &token).await;
    assert_eq!(status.code(), Code::NotFound, "the model is asked for next");
    let message = SyncServerInventoryRequest {
        part: Some(sync_server_inventory_request::Part::Header(
            InventoryHeader {
                server: "other".to_owned(),
                generation: "1".to_owned(),
                ..InventoryHeader::default()
            },
        )),
    };
    let request = with(futures_util::stream::iter([message]), Some(&token));
    let refused = service.availability.sync_server_inventory(request).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
}
