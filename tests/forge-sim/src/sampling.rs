//! Loads the checkpoint and plays the sampling steps by clock or gate. Sees interrupts and skips between steps,
//! as Forge's sampler callbacks do. Pictures and files are `saving`.

use std::sync::Arc;

use image::RgbImage;

use crate::{
    answer,
    errors::Failure,
    faults::Fault,
    gate::{Work, pause},
    generate::{Job, Made, Used},
    models::LoadKey,
    paint::{self, Motif},
    picture,
    plan::Plan,
    saving::{Folders, Sheet},
    state::{Engine, hold},
};

/// Live previews appear every this many steps (option `show_progress_every_n_steps`).
const PREVIEW_EVERY_STEPS: i64 = 10;
const PREVIEW_SIDE: u32 = 64;

/// Makes sure the selected checkpoint is in memory. A failed load poisons the server (exchange 13/04).
pub(crate) async fn ensure_loaded(
    engine: &Engine,
    job: &Job,
    number: u64,
) -> Result<Used, Failure> {
    let (wanted, key) = {
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
        let wanted = if job.fault == Some(Fault::WrongModel) {
            other.unwrap_or(selected)
        } else {
            selected
        };
        let key = LoadKey {
            checkpoint: wanted.relative_path.clone(),
            modules: memory.options.modules(),
            storage: memory.options.text("forge_unet_storage_dtype"),
        };
        (wanted.clone(), key)
    };
    let loads = engine.memory().models.slot.key.as_ref() != Some(&key);
    if loads {
        engine.memory().models.slot.model = None;
        engine
            .world
            .log
            .update(number, |generation| generation.loaded_checkpoint = true);
        engine.world.gate.pass(Work::Load).await;
        pause(engine.world.config.load_time).await;
        let on_disk = hold(&engine.world.disk).checkpoints.contains(&wanted);
        if !on_disk || !wanted.loadable {
            return Err(Failure::exception(
                "ValueError",
                "Failed to recognize model type!",
            ));
        }
        let sha256 = wanted.sha256();
        hold(&engine.world.disk)
            .hash_cache
            .insert(wanted.relative_path.clone(), sha256.clone());
        let mut memory = engine.memory();
        memory
            .models
            .known_hashes
            .insert(wanted.relative_path.clone(), sha256.clone());
        memory.options.checkpoint_loaded(&sha256);
        memory.models.slot.model = Some(wanted.clone());
        memory.models.slot.key = Some(key);
    }
    let used = {
        let memory = engine.memory();
        let Some(model) = &memory.models.slot.model else {
            let message = "'NoneType' object has no attribute 'sd_checkpoint_info'";
            return Err(Failure::exception("AttributeError", message));
        };
        Used {
            title: memory.models.title(model),
            stem: model.stem().to_owned(),
            sha256: model.sha256(),
        }
    };
    engine.world.log.update(number, |generation| {
        generation.checkpoint = Some(used.title.clone())
    });
    Ok(used)
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    Full,
    /// Interrupted or skipped with this share of the steps missing.
    Cut(f32),
}

/// Runs all batches of the job.
pub(crate) async fn run(
    engine: &Arc<Engine>,
    job: &Job,
    number: u64,
    plan: &Plan,
    init: Option<RgbImage>,
    folders: Folders,
) -> Result<Made, Failure> {
    let passes = if plan.hires.is_some() { 2 } else { 1 };
    engine.memory().progress.job_count = plan.n_iter * passes;
    let mut made = Made::default();
    let mut pictures = Vec::new();
    for iteration in 0..plan.n_iter {
        {
            let mut memory = engine.memory();
            memory.progress.skipped = false;
            if memory.progress.interrupted {
                made.interrupted = true;
                break;
            }
            if plan.n_iter > 1 {
                memory.progress.job = format!("Batch {} out of {}", iteration + 1, plan.n_iter);
            }
        }
        let pass = batch(engine, job, number, plan).await?;
        pause(engine.world.config.decode_time).await;
        let (cut, saves) = {
            let mut memory = engine.memory();
            memory.progress.next_job();
            let stopped = memory.progress.interrupted || memory.progress.skipped;
            made.interrupted |= memory.progress.interrupted && pass != Pass::Full;
            let incomplete = memory.options.flag("save_incomplete_images");
            let wanted = job.fields.flag("save_images") && memory.options.flag("samples_save");
            (pass, wanted && (!stopped || incomplete))
        };
        let noise = if let Pass::Cut(missing) = cut {
            missing
        } else {
            0.0
        };
        for in_batch in 0..plan.batch_size {
            let index = usize::try_from(iteration * plan.batch_size + in_batch).unwrap_or(0);
            let sheet = Sheet {
                engine,
                job,
                number,
                plan,
                folders: &folders,
            };
            pictures.push(
                sheet
                    .finish(
                        index,
                        in_batch,
                        motif(plan, index, noise, init.clone()),
                        saves,
                        &mut made,
                    )
                    .await?,
            );
        }
    }
    let sheet = Sheet {
        engine,
        job,
        number,
        plan,
        folders: &folders,
    };
    sheet.add_grid(pictures, &mut made).await?;
    if made.infotexts.is_empty() {
        made.infotexts.push(answer::infotext(engine, job, plan, 0));
    }
    Ok(made)
}

/// One batch: the pass, and the hires pass behind it.
async fn batch(engine: &Arc<Engine>, job: &Job, number: u64, plan: &Plan) -> Result<Pass, Failure> {
    let die_at = match job.fault {
        Some(Fault::KillDuring { step }) => i64::try_from(step).ok(),
        _ => None,
    };
    let first = steps(
        engine,
        number,
        plan,
        plan.sampled_steps(job.endpoint),
        die_at,
    )
    .await;
    let Some(hires) = &plan.hires else {
        return Ok(first);
    };
    if let Some(failure) = &hires.failure {
        return Err(failure.clone());
    }
    engine.memory().progress.next_job();
    if first != Pass::Full {
        return Ok(first);
    }
    Ok(steps(engine, number, plan, hires.steps, None).await)
}

async fn steps(
    engine: &Arc<Engine>,
    number: u64,
    plan: &Plan,
    count: i64,
    die_at: Option<i64>,
) -> Pass {
    {
        let mut memory = engine.memory();
        memory.progress.sampling_steps = count;
        memory.progress.sampling_step = 0;
    }
    for step in 1..=count {
        if one_step(engine).await.is_break() {
            return Pass::Cut(missing(step - 1, count));
        }
        if die_at == Some(step) {
            engine.dead.cancel();
            std::future::pending::<()>().await;
        }
        engine.memory().progress.sampling_step = step;
        engine
            .world
            .log
            .update(number, |generation| generation.steps_done += 1);
        if step % PREVIEW_EVERY_STEPS == 0 {
            show_preview(engine, plan, missing(step, count));
        }
    }
    if stopped(engine) {
        Pass::Cut(0.0)
    } else {
        Pass::Full
    }
}

#[expect(clippy::cast_precision_loss, reason = "step counts are small")]
fn missing(done: i64, of: i64) -> f32 {
    1.0 - done as f32 / of.max(1) as f32
}

/// Waits for permit and time of one step; breaks if an interrupt or skip came.
async fn one_step(engine: &Engine) -> std::ops::ControlFlow<()> {
    let mut signal = std::pin::pin!(engine.stop_signal.notified());
    // Registered before the flags are read, so that no signal is lost in between.
    signal.as_mut().enable();
    if stopped(engine) {
        return std::ops::ControlFlow::Break(());
    }
    tokio::select! {
        () = engine.world.gate.pass(Work::Step) => {}
        () = signal => return std::ops::ControlFlow::Break(()),
    }
    pause(engine.world.config.step_time).await;
    if stopped(engine) {
        std::ops::ControlFlow::Break(())
    } else {
        std::ops::ControlFlow::Continue(())
    }
}

fn stopped(engine: &Engine) -> bool {
    let memory = engine.memory();
    memory.progress.interrupted || memory.progress.skipped
}

fn motif(plan: &Plan, index: usize, noise: f32, init: Option<RgbImage>) -> Motif {
    let (width, height) = plan.picture_size();
    #[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
    let strength = plan.denoising.unwrap_or(1.0) as f32;
    Motif {
        prompt: plan.prompt.clone(),
        // Images of one seed differ by their subseed.
        seed: plan.seeds[index]
            + if plan.seeds.first() == plan.seeds.get(1) {
                plan.subseeds[index]
            } else {
                0
            },
        model_hash: plan.used.sha256.clone(),
        width,
        height,
        noise,
        init: init.map(|init| (init, strength)),
    }
}

fn show_preview(engine: &Engine, plan: &Plan, noise: f32) {
    let small = Motif {
        width: PREVIEW_SIDE,
        height: PREVIEW_SIDE,
        ..motif(plan, 0, noise, None)
    };
    match picture::encode(&paint::paint(&small), None, false) {
        Ok(bytes) => {
            let mut memory = engine.memory();
            memory.progress.preview = Some(picture::to_base64(&bytes));
            memory.progress.preview_id += 1;
        }
        Err(error) => tracing::error!(%error, "a preview cannot be encoded"),
    }
}
