//! Puts the selected checkpoint into memory, or fails to and leaves the server poisoned, as Forge does. What is
//! made with it is `sampling`.

use crate::{
    config::SimModel,
    errors::Failure,
    faults::Fault,
    gate::{Work, pause},
    generate::{Job, Used},
    hash_cache,
    models::LoadKey,
    sampling::{enter, memory_runs_out},
    stage::Stage,
    state::{Engine, hold},
};

/// Why the load of a checkpoint fails, if it does.
fn load_failure(engine: &Engine, job: &Job, wanted: &SimModel) -> Option<Failure> {
    if let Some(failure) = memory_runs_out(job, Stage::Loading) {
        return Some(failure);
    }
    let good = hold(&engine.world.disk).checkpoints.iter().any(|found| {
        found.relative_path == wanted.relative_path
            && found.content == wanted.content
            && found.loadable
    });
    let fails = !good || job.faults.has(&Fault::LoadFails);
    fails.then(|| Failure::exception("ValueError", "Failed to recognize model type!"))
}

/// Remembers the hash of a loaded checkpoint, in the process and on disk.
fn keep_hash(engine: &Engine, model: &SimModel) {
    let sha256 = model.believed_sha256();
    let cached = {
        let mut disk = hold(&engine.world.disk);
        let path = model.relative_path.clone();
        disk.hash_cache.insert(path, sha256.clone());
        disk.hash_cache.clone()
    };
    if let Err(error) = hash_cache::write(&engine.world.config, &cached) {
        tracing::warn!(%error, "the hash cache cannot be written");
    }
    let mut memory = engine.memory();
    let path = model.relative_path.clone();
    memory.models.known_hashes.insert(path, sha256.clone());
    memory.options.checkpoint_loaded(&sha256);
}

/// The checkpoint that the options select for the job, and what Forge compares to see whether it is there.
fn wanted(engine: &Engine, job: &Job) -> Result<(SimModel, LoadKey), Failure> {
    let memory = engine.memory();
    let selected = memory
        .models
        .selected(&memory.options.text("sd_model_checkpoint"));
    let Some(selected) = selected else {
        return Err(Failure::exception(
            "FileNotFoundError",
            "No checkpoints found.",
        ));
    };
    let other = memory
        .models
        .checkpoints
        .iter()
        .find(|other| *other != selected);
    let wanted = if job.faults.has(&Fault::WrongModel) {
        other.unwrap_or(selected)
    } else {
        selected
    };
    let key = LoadKey {
        checkpoint: wanted.relative_path.clone(),
        modules: memory.options.modules(),
        storage: memory.options.text("forge_unet_storage_dtype"),
    };
    Ok((wanted.clone(), key))
}

/// Makes sure the selected checkpoint is in memory. A failed load poisons the server (exchange 13/04).
pub(crate) async fn ensure_loaded(
    engine: &Engine,
    job: &Job,
    number: u64,
) -> Result<Used, Failure> {
    enter(engine, job, number, Stage::Loading).await?;
    let (wanted, key) = wanted(engine, job)?;
    let loads = engine.memory().models.slot.key.as_ref() != Some(&key)
        || job.faults.has(&Fault::LoadFails)
        || memory_runs_out(job, Stage::Loading).is_some();
    if loads {
        engine.memory().models.slot.model = None;
        engine
            .world
            .log
            .update(number, |generation| generation.loaded_checkpoint = true);
        engine.world.gate.pass(Work::Load).await;
        pause(engine.world.config.load_time).await;
        engine.world.gate.thawed().await;
        if let Some(failure) = load_failure(engine, job, &wanted) {
            return Err(failure);
        }
        keep_hash(engine, &wanted);
        let mut memory = engine.memory();
        memory.models.slot.model = Some(wanted.clone());
        memory.models.slot.key = Some(key);
    }
    let (mut used, truth) = {
        let memory = engine.memory();
        let Some(model) = &memory.models.slot.model else {
            let message = "'NoneType' object has no attribute 'sd_checkpoint_info'";
            return Err(Failure::exception("AttributeError", message));
        };
        let used = Used {
            title: memory.models.title(model),
            stem: model.stem().to_owned(),
            sha256: model.believed_sha256(),
        };
        (used, model.sha256())
    };
    engine
        .world
        .log
        .runs_with(engine.app_id, number, &used.title, truth, loads);
    if job.faults.has(&Fault::WrongHash) {
        used.sha256 = SimModel::named(used.sha256).sha256();
    }
    Ok(used)
}
