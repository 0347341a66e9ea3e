//! Owns what a model file says that it is, by its metadata and by the names of its tensors. It
//! does not look at file names and folders.

use std::collections::BTreeMap;

/// What a file says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stated {
    /// A full model.
    Checkpoint,
    /// A low-rank adaptation, of any make.
    Lora,
    /// Something else: a VAE, an embedding, a ControlNet.
    Other,
}

/// What only the names of an adaptation's tensors hold.
const LORA_PARTS: [&str; 7] = [
    "lora_",
    ".lora",
    "_lora",
    "lycoris_",
    ".hada_w",
    ".lokr_w",
    ".oft_blocks",
];
/// Where the names of a full model's tensors begin.
const CHECKPOINT_STARTS: [&str; 8] = [
    "model.diffusion_model.",
    "cond_stage_model.",
    "conditioner.embedders.",
    "double_blocks.",
    "single_blocks.",
    "joint_blocks.",
    "transformer_blocks.",
    "single_transformer_blocks.",
];
/// Where the names of tensors of other files begin.
const OTHER_STARTS: [&str; 6] = [
    "control_model.",
    "emb_params",
    "first_stage_model.",
    "decoder.conv_in.",
    "encoder.conv_in.",
    "text_model.",
];

/// What the names of tensors that were seen so far hint at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signs {
    lora: bool,
    checkpoint: bool,
    other: bool,
}

impl Signs {
    /// Looks at one more name.
    pub(super) fn see(&mut self, name: &str) {
        if self.lora {
            // Nothing else counts any more.
            return;
        }
        let starts = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        if LORA_PARTS.iter().any(|part| name.contains(part)) {
            self.lora = true;
        } else if starts(&CHECKPOINT_STARTS) {
            self.checkpoint = true;
        } else if starts(&OTHER_STARTS) {
            self.other = true;
        }
    }

    /// Some adaptations name blocks as full models do, and full models hold a VAE: so this order.
    fn stated(self) -> Option<Stated> {
        if self.lora {
            Some(Stated::Lora)
        } else if self.checkpoint {
            Some(Stated::Checkpoint)
        } else {
            self.other.then_some(Stated::Other)
        }
    }
}

/// What the metadata says, else what the names of the tensors hint at.
pub(super) fn stated(metadata: &BTreeMap<String, String>, signs: Signs) -> Option<Stated> {
    let architecture = metadata.get("modelspec.architecture");
    let architecture = architecture.map(|text| text.trim().to_ascii_lowercase());
    let said = architecture.filter(|text| !matches!(text.as_str(), "" | "none"));
    match said.as_deref().map(|text| text.rsplit_once('/')) {
        Some(Some((_, "lora"))) => return Some(Stated::Lora),
        Some(Some(_)) => return Some(Stated::Other),
        _ => {}
    }
    // Trainers of whole models write the architecture too, and no network.
    if let Some(network) = metadata.get("ss_network_module") {
        return Some(match network.contains("control_net") {
            true => Stated::Other,
            false => Stated::Lora,
        });
    }
    let by_names = signs.stated();
    match said {
        Some(_) => by_names.or(Some(Stated::Checkpoint)),
        None => by_names,
    }
}
