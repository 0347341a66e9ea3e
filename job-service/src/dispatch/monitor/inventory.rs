//! What a server lists, in model-service's words. Pure.

use sha2::{Digest, Sha256};
use stablequeue_proto::models::v1 as models;

use crate::dispatch::forge::Listing;

/// A listing in model-service's words.
pub(super) fn items_of(listing: &Listing) -> Vec<models::InventoryItem> {
    use models::{AssetKind, InventoryModel, ModelType, ServerAsset, inventory_item::Kind};
    let item = |kind| models::InventoryItem {
        kind: Some(kind),
        removed: false,
    };
    let asset = |kind: AssetKind, name: &String| {
        item(Kind::Asset(ServerAsset {
            kind: kind.into(),
            name: name.clone(),
        }))
    };
    let checkpoints = listing.checkpoints.iter().map(|checkpoint| {
        item(Kind::Model(InventoryModel {
            r#type: ModelType::Checkpoint.into(),
            title: checkpoint.title.clone(),
            path: checkpoint.filename.clone(),
            sha256: checkpoint.sha256.clone().unwrap_or_default(),
            alias: checkpoint.model_name.clone(),
        }))
    });
    let loras = listing.loras.iter().map(|lora| {
        item(Kind::Model(InventoryModel {
            r#type: ModelType::Lora.into(),
            title: lora.name.clone(),
            path: lora.path.clone(),
            sha256: String::new(),
            alias: lora.alias.clone().unwrap_or_default(),
        }))
    });
    let modules = listing
        .modules
        .iter()
        .map(|module| asset(AssetKind::Module, &module.model_name));
    let named = [
        (AssetKind::Upscaler, &listing.upscalers),
        (AssetKind::Sampler, &listing.samplers),
        (AssetKind::Scheduler, &listing.schedulers),
        (AssetKind::Script, &listing.scripts),
    ];
    let named = named
        .into_iter()
        .flat_map(|(kind, names)| names.iter().map(move |name| asset(kind, name)));
    checkpoints
        .chain(loras)
        .chain(modules)
        .chain(named)
        .collect()
}

/// Names a listing by its content, so that the same one has the same name.
pub(super) fn generation_of(items: &[models::InventoryItem]) -> String {
    let mut digest = Sha256::new();
    for item in items {
        // The Debug text names every field; only equality matters here.
        digest.update(format!("{item:?}\n"));
    }
    hex::encode(digest.finalize())
}
