//! The picture beside a model's file: whole, by its content, from beneath a root and nowhere else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use model_service::config::RootConfig;
use stablequeue_proto::admin::v1::operation_service_client::OperationServiceClient;
use stablequeue_proto::admin::v1::{OperationState, WaitOperationRequest};
use stablequeue_proto::models::v1::get_model_preview_response::Part;
use stablequeue_proto::models::v1::library_service_client::LibraryServiceClient;
use stablequeue_proto::models::v1::*;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{Service, checkpoint, reason, soon};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Bytes of one message.
const CHUNK_BYTES: usize = 786_432;

/// A service with one root that holds one model.
struct Shown {
    service: Service,
    root: TempDir,
}

impl Shown {
    async fn new(preview: &[u8]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("fox.ckpt"), "pickle").unwrap();
        fs::write(root.path().join("fox.preview.png"), preview).unwrap();
        let config = RootConfig {
            name: "main".into(),
            path: root.path().to_owned(),
            kind: None,
        };
        let data = tempfile::tempdir().unwrap();
        let service = Service::in_folder(data, |it| it.library.roots.push(config)).await;
        let shown = Self { service, root };
        shown.scan().await;
        shown
    }

    async fn scan(&self) {
        let address = format!("http://{}", self.service.running.local_addr());
        let channel = Channel::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut library = LibraryServiceClient::new(channel.clone());
        let started = library
            .start_scan(StartScanRequest::default())
            .await
            .unwrap();
        let wait = WaitOperationRequest {
            operation_id: started.into_inner().operation.unwrap().operation_id,
            timeout: None,
        };
        let mut operations = OperationServiceClient::new(channel);
        let ended = soon(operations.wait_operation(wait)).await.unwrap();
        let ended = ended.into_inner().operation.unwrap();
        assert_eq!(ended.state(), OperationState::Succeeded, "{ended:?}");
    }

    fn picture(&self) -> PathBuf {
        self.root.path().join("fox.preview.png")
    }

    async fn model(&mut self) -> Model {
        self.service.all_models().await.remove(0)
    }

    async fn preview(
        &mut self,
        model_id: &str,
    ) -> Result<(PreviewHeader, Vec<usize>, Vec<u8>), Status> {
        let request = GetModelPreviewRequest {
            model_id: model_id.to_owned(),
        };
        let mut stream = self
            .service
            .models
            .get_model_preview(request)
            .await?
            .into_inner();
        let Some(Part::Header(header)) = stream.message().await?.unwrap().part else {
            panic!("no header");
        };
        let (mut sizes, mut bytes) = (Vec::new(), Vec::new());
        while let Some(message) = stream.message().await? {
            let Some(Part::Data(data)) = message.part else {
                panic!("a second header");
            };
            sizes.push(data.len());
            bytes.extend_from_slice(&data);
        }
        Ok((header, sizes, bytes))
    }

    async fn refusal(&mut self) -> Status {
        let model_id = self.model().await.model_id;
        self.preview(&model_id).await.unwrap_err()
    }
}

#[tokio::test]
async fn a_picture_comes_whole_behind_what_it_is() {
    let picture: Vec<u8> = [PNG, &vec![7; CHUNK_BYTES + 100][..]].concat();
    let mut shown = Shown::new(&picture).await;
    let model = shown.model().await;
    assert!(model.has_preview && !model.missing);
    let (header, sizes, bytes) = shown.preview(&model.model_id).await.unwrap();
    assert_eq!(header.content_type, "image/png");
    assert_eq!(header.size_bytes, i64::try_from(picture.len()).unwrap());
    assert!(header.modify_time.is_some());
    assert_eq!(sizes, [CHUNK_BYTES, picture.len() - CHUNK_BYTES]);
    assert_eq!(bytes, picture);
}

#[tokio::test]
async fn without_a_picture_it_is_told_what_to_do() {
    let mut shown = Shown::new(PNG).await;
    let other = shown.service.create(checkpoint("other.pt")).await;
    assert!(!other.has_preview);
    let status = shown.preview(&other.model_id).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "PREVIEW_NOT_FOUND")
    );
    assert!(status.message().contains("put one there"), "{status:?}");
    let status = shown.preview("999").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_ne!(reason(&status), "PREVIEW_NOT_FOUND");
    fs::remove_file(shown.picture()).unwrap();
    let status = shown.refusal().await;
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "PREVIEW_NOT_FOUND")
    );
    assert!(status.message().contains("scan again"), "{status:?}");
}

#[tokio::test]
async fn what_is_no_picture_or_too_large_is_not_sent() {
    let mut shown = Shown::new(b"<html>not a picture").await;
    let status = shown.refusal().await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "PREVIEW_NOT_A_PICTURE");
    let file = fs::File::create(shown.picture()).unwrap();
    file.set_len(32 * 1024 * 1024 + 1).unwrap();
    let status = shown.refusal().await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "PREVIEW_TOO_LARGE");
}

#[tokio::test]
async fn a_picture_outside_the_root_is_never_opened() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.png");
    fs::write(&secret, PNG).unwrap();
    let mut shown = Shown::new(PNG).await;
    fs::remove_file(shown.picture()).unwrap();
    symlink(&secret, shown.picture()).unwrap();
    let status = shown.refusal().await;
    assert_eq!(reason(&status), "PREVIEW_NOT_FOUND");
    // Nor is what a row of the database names, whoever wrote it.
    let Shown { service, root } = shown;
    let data = service.stop().await;
    let up = "../".repeat(16);
    let told = format!("{up}{}", secret.display());
    execute(
        &data,
        &format!("UPDATE library_files SET preview_path = CAST('{told}' AS BLOB)"),
    );
    let config = RootConfig {
        name: "main".into(),
        path: root.path().to_owned(),
        kind: None,
    };
    let service = Service::in_folder(data, |it| it.library.roots.push(config)).await;
    let mut shown = Shown { service, root };
    assert_eq!(reason(&shown.refusal().await), "PREVIEW_NOT_FOUND");
}

/// Runs a statement on the database of a stopped service.
fn execute(data: &TempDir, sql: &str) {
    let path = data.path().join("mobilesd_models.sqlite");
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute(sql).unwrap();
}

#[tokio::test]
async fn a_model_whose_files_are_gone_is_missing_and_has_no_picture() {
    let mut shown = Shown::new(PNG).await;
    shown.service.create(checkpoint("never had a file")).await;
    let missing = |missing| ListModelsRequest {
        missing: Some(missing),
        ..ListModelsRequest::default()
    };
    let listed = shown
        .service
        .models
        .list_models(missing(true))
        .await
        .unwrap();
    assert!(listed.into_inner().models.is_empty());
    fs::remove_file(shown.root.path().join("fox.ckpt")).unwrap();
    fs::write(shown.root.path().join("other.ckpt"), "another pickle").unwrap();
    shown.scan().await;
    let listed = shown
        .service
        .models
        .list_models(missing(true))
        .await
        .unwrap()
        .into_inner();
    let [fox] = &listed.models[..] else {
        panic!("{listed:?}");
    };
    assert!(fox.filename == "fox.ckpt" && fox.missing && !fox.has_preview);
    let listed = shown
        .service
        .models
        .list_models(missing(false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.models.len(), 2);
    let status = shown.refusal().await;
    assert_eq!(reason(&status), "PREVIEW_NOT_FOUND");
    let full = shown.service.get(&fox.model_id).await.unwrap();
    assert!(full.files[0].missing_time.is_some());
}
