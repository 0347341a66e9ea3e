//! The lists of what a server has. Which of it is which model is
//! model-service's work.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::{
    CONTROL_BYTES_MAX, CallFailure, ForgeClient, LISTING_BYTES_MAX, LISTING_TIMEOUT, Limits,
    REFRESH_TIMEOUT,
};

/// Items that one list of a server may have.
pub const LISTED_ITEMS_MAX: usize = 100_000;

const LISTING: Limits = Limits {
    timeout: LISTING_TIMEOUT,
    bytes: LISTING_BYTES_MAX,
};

/// A checkpoint as `/sdapi/v1/sd-models` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedCheckpoint {
    /// What the server knows it by: its path below the models folder, with
    /// the short hash in brackets once it is known.
    pub title: String,
    /// The path without extension, separators as underscores.
    pub model_name: String,
    /// Its absolute path on the server.
    pub filename: String,
    /// SHA-256 of the file; `None` until it was first loaded.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The first ten digits of it.
    #[serde(default)]
    pub hash: Option<String>,
}

/// A LoRA as `/sdapi/v1/loras` lists it; that list has no hashes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedLora {
    /// The file's stem: what a prompt names it by.
    pub name: String,
    /// What its training called it, or the stem.
    #[serde(default)]
    pub alias: Option<String>,
    /// Its absolute path on the server.
    pub path: String,
}

/// A VAE or text encoder as `/sdapi/v1/sd-modules` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedModule {
    /// Its file name.
    pub model_name: String,
    /// Its absolute path on the server.
    pub filename: String,
}

/// All lists of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Checkpoints.
    pub checkpoints: Vec<ListedCheckpoint>,
    /// LoRAs.
    pub loras: Vec<ListedLora>,
    /// VAEs and text encoders.
    pub modules: Vec<ListedModule>,
    /// Names of upscalers, those of the latent kind included.
    pub upscalers: Vec<String>,
    /// Names of samplers, as they must be written.
    pub samplers: Vec<String>,
    /// Names and labels of schedule types; both are understood.
    pub schedulers: Vec<String>,
    /// Names of scripts, in lower case, of both endpoints, each once.
    pub scripts: Vec<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct ListedScheduler {
    name: String,
    #[serde(default)]
    label: Option<String>,
}

#[derive(Deserialize)]
struct ListedScripts {
    #[serde(default)]
    txt2img: Vec<String>,
    #[serde(default)]
    img2img: Vec<String>,
}

impl ForgeClient {
    /// Asks for every list, one after another so as not to take a busy
    /// server's threads. The LoRA list may be missing (its extension is off).
    pub async fn list_inventory(&self) -> Result<Listing, CallFailure> {
        let mut listing = Listing {
            checkpoints: self.list("/sdapi/v1/sd-models").await?,
            modules: self.list("/sdapi/v1/sd-modules").await?,
            upscalers: names(self.list("/sdapi/v1/upscalers").await?),
            samplers: names(self.list("/sdapi/v1/samplers").await?),
            loras: match self.list("/sdapi/v1/loras").await {
                Err(CallFailure::Status { status: 404, .. }) => Vec::new(),
                other => other?,
            },
            ..Listing::default()
        };
        let latent: Vec<Named> = self.list("/sdapi/v1/latent-upscale-modes").await?;
        listing.upscalers.extend(names(latent));
        for scheduler in self.list::<ListedScheduler>("/sdapi/v1/schedulers").await? {
            let label = scheduler.label.filter(|label| *label != scheduler.name);
            listing.schedulers.push(scheduler.name);
            listing.schedulers.extend(label);
        }
        let scripts: ListedScripts = self.get("/sdapi/v1/scripts", "", LISTING).await?;
        for script in scripts.txt2img.into_iter().chain(scripts.img2img) {
            if !listing.scripts.contains(&script) {
                listing.scripts.push(script);
            }
        }
        Ok(listing)
    }

    /// Makes the server look at its model folders again. Only for an idle
    /// server: this call waits for a running job (exchange 13/17).
    pub async fn refresh(&self) -> Result<(), CallFailure> {
        let limits = Limits {
            timeout: REFRESH_TIMEOUT,
            bytes: CONTROL_BYTES_MAX,
        };
        let _done: IgnoredAny = self
            .post("/sdapi/v1/refresh-checkpoints", &json!({}), limits)
            .await?;
        match self
            .post::<Value>("/sdapi/v1/refresh-loras", &json!({}), limits)
            .await
        {
            Ok(_) | Err(CallFailure::Status { status: 404, .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, CallFailure> {
        let items: Vec<T> = self.get(path, "", LISTING).await?;
        if items.len() > LISTED_ITEMS_MAX {
            return Err(CallFailure::Malformed(format!(
                "{path} has {} items, more than {LISTED_ITEMS_MAX}",
                items.len()
            )));
        }
        Ok(items)
    }
}

fn names(items: Vec<Named>) -> Vec<String> {
    items.into_iter().map(|item| item.name).collect()
}
