//! Owns which kind of model a file is taken for. Pure.

use crate::file_header::Stated;
use crate::model::ModelKind;

/// From this size on a file that says nothing of itself is taken for a full
/// model. The largest LoRAs are smaller, the smallest full models larger.
const CHECKPOINT_BYTES_MIN: i64 = 1024 * 1024 * 1024;

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KindFound {
    /// Somebody says so: the file itself, whoever configured the root, or a sidecar.
    Said(ModelKind),
    /// Nobody says; taken from its format and size.
    Taken(ModelKind),
    /// Neither a checkpoint nor a LoRA, such as a VAE or an embedding: no model
    /// of the registry.
    Other,
}

impl From<Stated> for KindFound {
    fn from(stated: Stated) -> Self {
        match stated {
            Stated::Checkpoint => Self::Said(ModelKind::Checkpoint),
            Stated::Lora => Self::Said(ModelKind::Lora),
            Stated::Other => Self::Other,
        }
    }
}

/// What a file is: what its header says; else what its root is for; else what
/// its sidecar says; else a checkpoint when it is a `.ckpt`, a `.gguf` or has at
/// least 1 GiB, and a LoRA otherwise.
pub(super) fn kind(
    stated: Option<Stated>,
    of_root: Option<ModelKind>,
    beside: Option<Stated>,
    name: &[u8],
    size_bytes: i64,
) -> KindFound {
    let said = stated.map(KindFound::from);
    let said = said.or(of_root.map(KindFound::Said));
    said.or(beside.map(KindFound::from)).unwrap_or_else(|| {
        let full = is_full_format(name) || size_bytes >= CHECKPOINT_BYTES_MIN;
        KindFound::Taken(match full {
            true => ModelKind::Checkpoint,
            false => ModelKind::Lora,
        })
    })
}

/// Whether a file has a format in which nobody keeps LoRAs.
fn is_full_format(name: &[u8]) -> bool {
    [&b".ckpt"[..], b".gguf"].iter().any(|ending| {
        let tail = name.len().checked_sub(ending.len());
        tail.is_some_and(|tail| name[tail..].eq_ignore_ascii_case(ending))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_knows_best_says_the_kind() {
        let (lora, full) = (ModelKind::Lora, ModelKind::Checkpoint);
        let beside = Some(Stated::Lora);
        for (stated, of_root, beside, found) in [
            (
                Some(Stated::Checkpoint),
                Some(lora),
                beside,
                KindFound::Said(full),
            ),
            (Some(Stated::Other), Some(lora), beside, KindFound::Other),
            (None, Some(full), beside, KindFound::Said(full)),
            (None, None, beside, KindFound::Said(lora)),
            (None, None, Some(Stated::Other), KindFound::Other),
            (None, None, None, KindFound::Taken(full)),
        ] {
            assert_eq!(kind(stated, of_root, beside, b"a.ckpt", 1), found);
        }
    }

    #[test]
    fn what_nobody_says_is_taken_from_format_and_size() {
        let taken = |name: &str, size_bytes| kind(None, None, None, name.as_bytes(), size_bytes);
        let (lora, full) = (ModelKind::Lora, ModelKind::Checkpoint);
        assert_eq!(taken("a.CKPT", 1), KindFound::Taken(full));
        assert_eq!(taken("a.gguf", 1), KindFound::Taken(full));
        assert_eq!(taken("a.pt", 1 << 30), KindFound::Taken(full));
        assert_eq!(taken("a.pt", (1 << 30) - 1), KindFound::Taken(lora));
    }
}
