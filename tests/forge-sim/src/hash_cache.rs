//! The hash cache of the install, `cache/hashes.json` below the data folder: a checkpoint that was loaded once is
//! listed with its hash by the next process too.

use std::{collections::HashMap, fs, io, path::PathBuf};

use crate::config::SimConfig;

fn file(config: &SimConfig) -> PathBuf {
    config.data_dir.join("cache").join("hashes.json")
}

/// Hashes by relative path, of files that have not changed since. A cache that cannot be read is an empty one, as
/// Forge has it.
pub(crate) fn read(config: &SimConfig) -> HashMap<String, String> {
    let text = fs::read(file(config)).unwrap_or_default();
    let mut cached: HashMap<String, String> = serde_json::from_slice(&text).unwrap_or_default();
    cached.retain(|path, sha256| {
        let unchanged = |model: &&crate::SimModel| model.believed_sha256() == *sha256;
        let mut models = config.checkpoints.iter();
        models.any(|model| model.relative_path == *path && unchanged(&model))
    });
    cached
}

/// Writes all of it beside and renames, so that a kill leaves the old or the new one.
pub(crate) fn write(config: &SimConfig, cached: &HashMap<String, String>) -> io::Result<()> {
    let target = file(config);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = target.with_extension("tmp");
    fs::write(&beside, serde_json::to_vec(cached)?)?;
    fs::rename(&beside, &target)
}
