//! Inventories for the parts that measure what depends on them, and a
//! model-service that takes them over. It measures nothing.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use model_service::Config;
use service_kit::{clock::Clock, server};
use stablequeue_proto::models::v1::{
    self as models, InventoryHeader, InventoryItem, InventoryItems, InventoryModel, ModelType,
    SyncServerInventoryRequest, SyncServerInventoryResponse,
    availability_service_client::AvailabilityServiceClient, inventory_item::Kind,
    sync_server_inventory_request::Part,
};
use tonic::transport::Channel;

/// Items in one message.
const ITEMS_PER_MESSAGE: usize = 5_000;
/// Folders that models lie in.
const FOLDERS: usize = 50;

/// A service on a database in `folder`.
pub(crate) async fn start(folder: &Path) -> Result<model_service::Running> {
    let config = Config::in_folder(folder);
    let listener = server::bind("127.0.0.1:0".parse()?).await?;
    Ok(model_service::start(config, listener, Clock::system()).await?)
}

/// A client of a service, on a connection of its own.
pub(crate) async fn client(address: SocketAddr) -> Result<AvailabilityServiceClient<Channel>> {
    let channel = Channel::from_shared(format!("http://{address}"))?;
    Ok(AvailabilityServiceClient::new(channel.connect().await?))
}

/// The path of a model beneath the folder of its kind: names are long, as they
/// are.
pub(crate) fn name(number: usize) -> String {
    format!(
        "folder {}/some model of somebody v{number}.safetensors",
        number % FOLDERS
    )
}

/// The SHA-256 of a model, which need not be one of anything.
pub(crate) fn sha256(number: usize) -> String {
    format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).repeat(4)
}

/// A model as Forge lists it; every third one is a LoRA.
pub(crate) fn model(number: usize, hashed: bool) -> InventoryModel {
    let name = name(number);
    if number.is_multiple_of(3) {
        let stem = name.trim_end_matches(".safetensors");
        return InventoryModel {
            r#type: ModelType::Lora.into(),
            title: stem.rsplit('/').next().unwrap_or(stem).to_owned(),
            path: format!("/srv/models/Lora/{name}"),
            ..InventoryModel::default()
        };
    }
    let sha256 = if hashed {
        sha256(number)
    } else {
        String::new()
    };
    let title = match sha256.get(..10) {
        Some(short) => format!("{name} [{short}]"),
        None => name.clone(),
    };
    InventoryModel {
        r#type: ModelType::Checkpoint.into(),
        title,
        path: format!("/srv/models/Stable-diffusion/{name}"),
        sha256,
        alias: name.trim_end_matches(".safetensors").replace('/', "_"),
    }
}

/// Sends a full inventory.
pub(crate) async fn sync(
    client: &mut AvailabilityServiceClient<Channel>,
    server: &str,
    generation: &str,
    listed: Vec<InventoryModel>,
) -> Result<SyncServerInventoryResponse> {
    let header = InventoryHeader {
        server: server.to_owned(),
        generation: generation.to_owned(),
        mode: models::InventoryMode::Full.into(),
        item_count: Some(i32::try_from(listed.len())?),
        ..InventoryHeader::default()
    };
    let mut parts = vec![Part::Header(header)];
    let item = |model: &InventoryModel| InventoryItem {
        kind: Some(Kind::Model(model.clone())),
        removed: false,
    };
    let messages = listed
        .chunks(ITEMS_PER_MESSAGE)
        .map(|chunk| InventoryItems {
            items: chunk.iter().map(item).collect(),
        });
    parts.extend(messages.map(Part::Items));
    let messages = parts
        .into_iter()
        .map(|part| SyncServerInventoryRequest { part: Some(part) });
    let messages: Vec<_> = messages.collect();
    let answer = client
        .sync_server_inventory(tokio_stream::iter(messages))
        .await
        .with_context(|| format!("the inventory of {server}"))?;
    Ok(answer.into_inner())
}
