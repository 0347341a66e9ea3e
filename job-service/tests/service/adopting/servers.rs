//! The earlier application's list of servers.

use std::fs;

use service_kit::auth::Token;
use stablequeue_proto::jobs::v1::{server_service_client::ServerServiceClient, *};

use super::{SAMPLES, adopted, copy, time_of_samples};
use crate::harness::{Service, with};

/// One without jobs that name servers.
const SAMPLE: &str = SAMPLES[3].0;
/// The three shapes of logins; nobody listens at these addresses.
const SHAPES: &str = r#"[
    {"alias": "open", "apiUrl": "http://127.0.0.1:9/", "auth": null, "modelRootPath": "/m"},
    {"alias": "inside", "apiUrl": "http://127.0.0.1:9",
     "auth": {"username": "u", "password": "hunter2"}},
    {"alias": "beside", "apiUrl": "http://127.0.0.1:9", "username": "u", "password": "hunter2"},
    {"alias": "open", "apiUrl": "http://127.0.0.1:9"},
    {"alias": "", "apiUrl": "no address"}
]"#;

async fn servers(service: &Service, by: &Token) -> Vec<Server> {
    let address = format!("http://127.0.0.1:{}", service.running.local_addr().port());
    let mut client = ServerServiceClient::connect(address).await.unwrap();
    let request = with(ListServersRequest::default(), Some(by));
    let answer = client.list_servers(request).await.unwrap();
    answer.into_inner().servers
}

async fn start(servers: Option<&str>, settings: Option<&str>) -> (Service, Token) {
    let folder = copy(SAMPLE);
    for (name, text) in [("servers.json", servers), ("app-settings.json", settings)] {
        let path = folder.path().join(name);
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }
    adopted(folder, time_of_samples()).await
}

#[tokio::test]
async fn servers_of_every_shape_are_taken_over_once_with_their_logins_sealed() {
    let (service, admin) = start(Some(SHAPES), None).await;
    let found = servers(&service, &admin).await;
    let facts: Vec<_> = found
        .iter()
        .map(|server| (&*server.alias, server.has_api_login, server.cordoned))
        .collect();
    assert_eq!(
        facts,
        [
            ("beside", true, false),
            ("inside", true, false),
            ("open", false, false)
        ]
    );
    // A server that is deleted does not come back.
    let address = format!("http://127.0.0.1:{}", service.running.local_addr().port());
    let mut client = ServerServiceClient::connect(address).await.unwrap();
    for server in found {
        let request = DeleteServerRequest {
            alias: server.alias,
        };
        let request = with(request, Some(&admin));
        client.delete_server(request).await.unwrap();
    }
    let service = service.restarted().await;
    assert_eq!(servers(&service, &admin).await, []);
    let folder = service.stopped().await;
    let database = fs::read(folder.path().join(job_service::config::DATABASE_FILE)).unwrap();
    assert!(!database.windows(7).any(|bytes| bytes == b"hunter2"));
    // What the earlier application wrote is its own.
    let kept = fs::read_to_string(folder.path().join("servers.json")).unwrap();
    assert_eq!(kept, SHAPES);
}

#[tokio::test]
async fn where_the_earlier_application_was_paused_its_servers_are_cordoned() {
    let settings = r#"{"queueProcessingEnabled": false, "lastUpdated": "x"}"#;
    let (service, admin) = start(Some(SHAPES), Some(settings)).await;
    let found = servers(&service, &admin).await;
    assert_eq!(found.len(), 3);
    for server in found {
        assert!(server.cordoned, "{server:?}");
        assert!(server.cordon_reason.contains("paused"), "{server:?}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_read_stop_no_start_and_are_read_once_they_can() {
    for broken in ["", "{", "{\"alias\": \"x\"}", "7"] {
        let (service, admin) = start(Some(broken), Some("[")).await;
        assert_eq!(servers(&service, &admin).await, [], "{broken}");
        fs::write(service.folder.path().join("servers.json"), SHAPES).unwrap();
        let service = service.restarted().await;
        assert_eq!(servers(&service, &admin).await.len(), 3, "{broken}");
    }
    let (service, admin) = start(None, None).await;
    assert_eq!(servers(&service, &admin).await, []);
}

#[tokio::test]
async fn a_folder_that_was_never_the_earlier_applications_takes_over_no_servers() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("servers.json"), SHAPES).unwrap();
    let (service, admin) = adopted(folder, time_of_samples()).await;
    assert_eq!(servers(&service, &admin).await, []);
}
