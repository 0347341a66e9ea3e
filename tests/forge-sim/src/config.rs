//! What a simulated Forge server is made of: its models, its speed, where its files lie.
//! Owns no behaviour; the rest of the crate reads it.

use std::{path::PathBuf, time::Duration};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{auth::Users, door::Flap, rules::Rule, stage::Device};

/// Pictures with more pixels than this fail to allocate, as on a small machine.
const DEFAULT_MAX_PIXELS: u64 = 4096 * 4096;

/// Settings of one simulated server. `Default` gives a quick demo server with three checkpoints.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Folder with `outputs/` and `config.json`; paths in `/file=` are relative to it.
    pub data_dir: PathBuf,
    /// Checkpoints on disk when the server starts.
    pub checkpoints: Vec<SimModel>,
    /// LoRA files on disk when the server starts.
    pub loras: Vec<SimModel>,
    /// VAE and text encoder files on disk when the server starts.
    pub modules: Vec<SimModel>,
    /// Value of option `sd_model_checkpoint` when no config file says otherwise; `None` takes the first checkpoint.
    pub loaded: Option<String>,
    /// Time of one sampling step.
    pub step_time: Duration,
    /// Time to load a checkpoint.
    pub load_time: Duration,
    /// Time of the VAE decode after the last step of a batch.
    pub decode_time: Duration,
    /// True: every sampling step and every load waits for a permit from [`crate::Gate`].
    pub gated: bool,
    /// First value of `/app_id`; each restart adds one. `None` draws a random number per start.
    pub seed_app_id: Option<u64>,
    /// True: checkpoint hashes are in the cache already, so listings show them before the first load.
    pub hashes_cached: bool,
    /// True: looking at the disk also finds the `.safetensors` files that somebody else put into
    /// `models/Stable-diffusion` of the data folder.
    pub shared_folder: bool,
    /// Content of the saved `config.json` of the install (keys that restore works for).
    pub saved_options: Map<String, Value>,
    /// Every generation event is appended here as one JSON line, flushed at once.
    pub log_file: Option<PathBuf>,
    /// What happens is appended here as one JSON line per event ([`crate::Event`]), written at once.
    pub event_file: Option<PathBuf>,
    /// A picture with more pixels than this fails with an allocation error.
    pub max_pixels: u64,
    /// Decides how that error is worded.
    pub device: Device,
    /// Faults scripted from the start.
    pub rules: Vec<Rule>,
    /// Connections and requests in which the server comes and goes from the start.
    pub flap: Option<Flap>,
    /// Who may use `/sdapi` (`--api-auth`); empty asks nobody.
    pub api_auth: Users,
    /// Who may use the UI's own routes and fetch files (`--gradio-auth`); empty asks nobody.
    pub gradio_auth: Users,
    /// False: API only (`--nowebui`), without task tracking, app id and files.
    pub ui: bool,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("forge-data"),
            checkpoints: vec![
                SimModel::named("dawn-mini.safetensors"),
                SimModel::named("landscape-v2.safetensors"),
                SimModel::named("sub dir/portrait (v1).safetensors"),
            ],
            loras: vec![
                SimModel::named("ink-lines.safetensors"),
                SimModel::named("styles/pastel.safetensors"),
            ],
            modules: vec![SimModel::named("demo-vae.safetensors")],
            loaded: None,
            step_time: Duration::from_millis(40),
            load_time: Duration::from_millis(200),
            decode_time: Duration::from_millis(20),
            gated: false,
            seed_app_id: None,
            hashes_cached: false,
            shared_folder: false,
            saved_options: Map::new(),
            log_file: None,
            event_file: None,
            max_pixels: DEFAULT_MAX_PIXELS,
            device: Device::default(),
            rules: Vec::new(),
            flap: None,
            api_auth: Users::default(),
            gradio_auth: Users::default(),
            ui: true,
        }
    }
}

impl SimConfig {
    /// A server that never waits: zero step, load and decode times. For tests.
    pub fn instant(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            step_time: Duration::ZERO,
            load_time: Duration::ZERO,
            decode_time: Duration::ZERO,
            ..Self::default()
        }
    }
}

impl SimConfig {
    /// The checkpoints that somebody else put into the folder; none where it is not shared or
    /// cannot be read.
    pub(crate) fn found_in_folder(&self) -> Vec<SimModel> {
        let folder = self.data_dir.join("models/Stable-diffusion");
        let entries = match self.shared_folder {
            true => std::fs::read_dir(folder).into_iter().flatten().flatten(),
            false => return Vec::new(),
        };
        let read = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let is_model = !name.starts_with('.') && name.ends_with(".safetensors");
            let content = is_model
                .then(|| std::fs::read(entry.path()).ok())
                .flatten()?;
            Some(SimModel::with_content(name, content))
        };
        entries.filter_map(read).collect()
    }
}

/// A model file of the simulated server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimModel {
    /// Path below the folder of its kind, with `/`, such as `sub dir/x.safetensors`.
    pub relative_path: String,
    /// The bytes of the file; its hashes are computed from them.
    pub content: Vec<u8>,
    /// False: loading it fails with "Failed to recognize model type!" and poisons the server as Forge does.
    pub loadable: bool,
    /// The `ss_output_name` of a LoRA, which becomes its alias.
    pub output_name: Option<String>,
    /// A wrong SHA-256 in the server's hash cache, 64 lower-case hex digits: what it lists and writes instead.
    pub listed_sha256: Option<String>,
}

impl SimModel {
    /// A model whose content follows from its path: the same path has the same hash everywhere.
    pub fn named(relative_path: impl Into<String>) -> Self {
        let relative_path = relative_path.into();
        let content = format!("forge-sim model {relative_path}").into_bytes();
        Self::with_content(relative_path, content)
    }

    /// A model with given bytes.
    pub fn with_content(relative_path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            relative_path: relative_path.into(),
            content: content.into(),
            loadable: true,
            output_name: None,
            listed_sha256: None,
        }
    }

    /// A file that is no model: selecting it fails the job and poisons the server.
    pub fn broken(relative_path: impl Into<String>) -> Self {
        Self {
            loadable: false,
            ..Self::named(relative_path)
        }
    }

    /// SHA-256 of the whole file, 64 lower-case hex digits.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.content))
    }

    /// What the server takes for the SHA-256 of the file.
    pub(crate) fn believed_sha256(&self) -> String {
        self.listed_sha256.clone().unwrap_or_else(|| self.sha256())
    }

    /// First ten hex digits of [`SimModel::sha256`], the "Model hash" of infotexts.
    pub fn short_hash(&self) -> String {
        self.sha256()[..10].to_owned()
    }

    /// First eight hex digits of the SHA-256 over 64 KiB at offset 1 MiB (the old "AutoV1" hash).
    pub fn old_hash(&self) -> String {
        const OFFSET_BYTES: usize = 0x10_0000;
        const LENGTH_BYTES: usize = 0x1_0000;
        let start = OFFSET_BYTES.min(self.content.len());
        let end = (OFFSET_BYTES + LENGTH_BYTES).min(self.content.len());
        hex::encode(Sha256::digest(&self.content[start..end]))[..8].to_owned()
    }

    /// File name without folder and extension.
    pub fn stem(&self) -> &str {
        let file = self.file_name();
        file.rsplit_once('.').map_or(file, |(stem, _)| stem)
    }

    /// File name with extension.
    pub fn file_name(&self) -> &str {
        self.relative_path
            .rsplit('/')
            .next()
            .unwrap_or(&self.relative_path)
    }

    /// Forge's `model_name`: the relative path without extension, separators turned to `_`.
    pub fn model_name(&self) -> String {
        let base = self
            .relative_path
            .rsplit_once('.')
            .map_or(self.relative_path.as_str(), |(base, _)| base);
        base.replace(['/', '\\'], "_")
    }
}
