//! A running service with a manual clock, its clients, and short ways to say
//! what tests say often.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::stream;
use model_service::{Config, Running, start};
use service_kit::clock::{Clock, ManualClock, from_text};
use service_kit::server;
use stablequeue_proto::admin::v1::operation_service_client::OperationServiceClient;
use stablequeue_proto::models::v1::availability_service_client::AvailabilityServiceClient;
use stablequeue_proto::models::v1::library_service_client::LibraryServiceClient;
use stablequeue_proto::models::v1::model_service_client::ModelServiceClient;
use stablequeue_proto::models::v1::sync_server_inventory_request::Part;
use stablequeue_proto::models::v1::*;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub(crate) const SHA: &str = "2870ca6e33d3665391b10c77641074755bf3b0283449ef1d52486dc7cfe392c8";
pub(crate) const OTHER: &str = "fc03d15844113d66863f59e8c296ec1cc549be7f6f93c6904c51333e9e2364fc";

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen, with a bound.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it must happen soon")
}

pub(crate) struct Service {
    pub(crate) models: ModelServiceClient<Channel>,
    pub(crate) availability: AvailabilityServiceClient<Channel>,
    pub(crate) library: LibraryServiceClient<Channel>,
    pub(crate) operations: OperationServiceClient<Channel>,
    pub(crate) hand: ManualClock,
    pub(crate) running: Running,
    pub(crate) folder: TempDir,
}

impl Service {
    pub(crate) async fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), |_| {}).await
    }

    pub(crate) async fn in_folder(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::in_folder(folder.path());
        change(&mut config);
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (clock, hand) = Clock::manual(time_of_start());
        let running = start(config, listener, clock).await.unwrap();
        let address = format!("http://{}", running.local_addr());
        let channel = Channel::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self {
            models: ModelServiceClient::new(channel.clone()),
            availability: AvailabilityServiceClient::new(channel.clone()),
            library: LibraryServiceClient::new(channel.clone()),
            operations: OperationServiceClient::new(channel),
            hand,
            running,
            folder,
        }
    }

    /// Stops the service and starts it again on the same folder.
    pub(crate) async fn restarted(self) -> Self {
        Self::in_folder(self.stop().await, |_| {}).await
    }

    /// Stops the service and answers the folder of its database.
    pub(crate) async fn stop(self) -> TempDir {
        let Self {
            models,
            availability,
            library,
            operations,
            hand: _,
            running,
            folder,
        } = self;
        drop((models, availability, library, operations));
        running.stop().await.unwrap();
        folder
    }

    pub(crate) async fn create(&mut self, model: Model) -> Model {
        let created = self
            .models
            .create_model(CreateModelRequest {
                model: Some(model),
                ..Default::default()
            })
            .await;
        created.unwrap().into_inner().model.unwrap()
    }

    /// Changes a model; no fields: those that are set.
    pub(crate) async fn update(&mut self, model: Model, fields: &[&str]) -> Result<Model, Status> {
        let paths: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let request = UpdateModelRequest {
            model: Some(model),
            update_mask: (!paths.is_empty()).then_some(prost_types::FieldMask { paths }),
        };
        let answer = self.models.update_model(request).await?;
        Ok(answer.into_inner().model.unwrap())
    }

    /// A model with everything.
    pub(crate) async fn get(&mut self, model_id: &str) -> Result<Model, Status> {
        self.get_as(ModelView::Full, model_id).await
    }

    /// A model as it is answered when it is created or changed.
    pub(crate) async fn get_basic(&mut self, model_id: &str) -> Model {
        self.get_as(ModelView::Basic, model_id).await.unwrap()
    }

    async fn get_as(&mut self, view: ModelView, model_id: &str) -> Result<Model, Status> {
        let request = GetModelRequest {
            model_id: model_id.to_owned(),
            view: view.into(),
        };
        Ok(self
            .models
            .get_model(request)
            .await?
            .into_inner()
            .model
            .unwrap())
    }

    pub(crate) async fn all_models(&mut self) -> Vec<Model> {
        let view = ModelView::Full.into();
        let request = ListModelsRequest {
            view,
            ..ListModelsRequest::default()
        };
        self.models
            .list_models(request)
            .await
            .unwrap()
            .into_inner()
            .models
    }

    pub(crate) async fn sync(
        &mut self,
        header: InventoryHeader,
        items: Vec<InventoryItem>,
    ) -> Result<SyncServerInventoryResponse, Status> {
        let messages = [Part::Header(header), Part::Items(InventoryItems { items })];
        let messages = messages.map(|part| SyncServerInventoryRequest { part: Some(part) });
        let answer = self
            .availability
            .sync_server_inventory(stream::iter(messages))
            .await;
        Ok(answer?.into_inner())
    }

    /// A full inventory that must be taken.
    pub(crate) async fn full(
        &mut self,
        server: &str,
        generation: &str,
        models: Vec<InventoryModel>,
    ) -> SyncServerInventoryResponse {
        self.sync(header(server, generation), items(models))
            .await
            .unwrap()
    }

    pub(crate) async fn check(
        &mut self,
        references: &[&str],
        servers: &[&str],
    ) -> Vec<ServerAvailability> {
        let request = CheckAvailabilityRequest {
            references: references.iter().map(|text| reference(text)).collect(),
            servers: servers.iter().map(|&server| server.to_owned()).collect(),
            max_age: None,
            assets: Vec::new(),
        };
        self.availability
            .check_availability(request)
            .await
            .unwrap()
            .into_inner()
            .servers
    }

    /// The answer for one reference on one server.
    pub(crate) async fn check_one(&mut self, text: &str, server: &str) -> ReferenceAvailability {
        let mut servers = self.check(&[text], &[server]).await;
        servers.remove(0).references.remove(0)
    }

    pub(crate) async fn resolve(&mut self, text: &str) -> ModelResolution {
        let request = ResolveModelsRequest {
            references: vec![reference(text)],
        };
        let answer = self
            .models
            .resolve_models(request)
            .await
            .unwrap()
            .into_inner();
        answer.resolutions.into_iter().next().unwrap()
    }
}

pub(crate) fn time_of_start() -> DateTime<Utc> {
    from_text("2026-11-22T11:08:00.000Z").unwrap()
}

pub(crate) fn header(server: &str, generation: &str) -> InventoryHeader {
    InventoryHeader {
        server: server.to_owned(),
        generation: generation.to_owned(),
        mode: InventoryMode::Full.into(),
        base_generation: String::new(),
        item_count: None,
        list_time: None,
    }
}

pub(crate) fn delta(server: &str, base: &str, generation: &str) -> InventoryHeader {
    InventoryHeader {
        mode: InventoryMode::Delta.into(),
        base_generation: base.to_owned(),
        ..header(server, generation)
    }
}

pub(crate) fn items(models: Vec<InventoryModel>) -> Vec<InventoryItem> {
    let item = |model| InventoryItem {
        kind: Some(inventory_item::Kind::Model(model)),
        removed: false,
    };
    models.into_iter().map(item).collect()
}

/// A checkpoint as Forge lists it: with its hash in the title once it is known.
pub(crate) fn listed(name: &str, sha256: &str) -> InventoryModel {
    let hash = sha256
        .get(..10)
        .map(|digits| format!(" [{digits}]"))
        .unwrap_or_default();
    InventoryModel {
        r#type: ModelType::Checkpoint.into(),
        title: format!("{name}{hash}"),
        path: format!("/srv/models/{name}"),
        sha256: sha256.to_owned(),
        alias: String::new(),
    }
}

pub(crate) fn model(path: &str, sha256: &str) -> Model {
    Model {
        name: "A model".to_owned(),
        r#type: ModelType::Checkpoint.into(),
        local_path: path.to_owned(),
        hash_sha256: sha256.to_owned(),
        ..Model::default()
    }
}

/// A checkpoint of that name and file name.
pub(crate) fn checkpoint(name: &str) -> Model {
    Model {
        name: name.to_owned(),
        r#type: ModelType::Checkpoint.into(),
        filename: name.to_owned(),
        ..Model::default()
    }
}

/// A LoRA of that name and file name.
pub(crate) fn lora(name: &str) -> Model {
    Model {
        r#type: ModelType::Lora.into(),
        ..checkpoint(name)
    }
}

/// A checkpoint as a server lists it.
pub(crate) fn file(title: &str, path: &str, sha256: &str) -> InventoryModel {
    InventoryModel {
        r#type: ModelType::Checkpoint.into(),
        title: title.to_owned(),
        path: path.to_owned(),
        sha256: sha256.to_owned(),
        alias: String::new(),
    }
}

pub(crate) fn reference(text: &str) -> ModelReference {
    ModelReference {
        reference: text.to_owned(),
        r#type: ModelType::Unspecified.into(),
    }
}

/// The fields that a request was refused for.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELDS")
    );
    let request = status.get_details_bad_request().unwrap();
    request
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

pub(crate) fn reason(status: &Status) -> String {
    service_kit::status::reason_of(status).unwrap_or_default()
}
