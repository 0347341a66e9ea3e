//! Plays the stages and the sampling steps by clock or gate. Sees interrupts and skips between steps, as Forge's
//! sampler callbacks do. The checkpoint is `loading`, pictures and files are `saving`.

use std::sync::Arc;

use image::RgbImage;

use crate::{
    answer,
    errors::Failure,
    faults::Fault,
    gate::{Work, pause},
    generate::{Job, Made},
    paint::{self, Motif},
    picture,
    plan::Plan,
    saving::{Folders, Sheet},
    size,
    stage::Stage,
    state::Engine,
};

/// Live previews appear every this many steps (option `show_progress_every_n_steps`).
const PREVIEW_EVERY_STEPS: i64 = 10;
const PREVIEW_SIDE: u32 = 64;

/// Notes that the job enters a stage, waits where a test holds it there, dies or fails where a fault says so.
/// Running out of memory while loading is the load's to tell.
pub(crate) async fn enter(
    engine: &Engine,
    job: &Job,
    number: u64,
    stage: Stage,
) -> Result<(), Failure> {
    if let Some(running) = &mut engine.memory().running {
        running.stage = stage;
    }
    engine.world.log.entered(engine.app_id, number, stage);
    engine.world.gate.reach(stage).await;
    if job.faults.has(&Fault::DieAt { stage }) {
        engine.die().await;
    }
    match memory_runs_out(job, stage) {
        Some(failure) if stage != Stage::Loading => Err(failure),
        _ => Ok(()),
    }
}

/// Out of memory at this stage, if a fault wants that.
pub(crate) fn memory_runs_out(job: &Job, at: Stage) -> Option<Failure> {
    let side = |name: &str| u64::try_from(job.fields.int(name)).unwrap_or(0);
    let pixels = side("width").saturating_mul(side("height"));
    job.faults.find(|fault| match fault {
        Fault::OutOfMemory { device, stage } if *stage == at => {
            Some(size::out_of_memory(*device, pixels))
        }
        _ => None,
    })
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
        if !next_batch(engine, plan, iteration) {
            made.interrupted = true;
            break;
        }
        let pass = batch(engine, job, number, plan).await?;
        enter(engine, job, number, Stage::Decoding).await?;
        pause(engine.world.config.decode_time).await;
        engine.world.gate.thawed().await;
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

/// Shows that a batch begins; false if an interrupt came before it.
fn next_batch(engine: &Engine, plan: &Plan, iteration: i64) -> bool {
    let mut memory = engine.memory();
    memory.progress.skipped = false;
    if memory.progress.interrupted {
        return false;
    }
    if plan.n_iter > 1 {
        memory.progress.job = format!("Batch {} out of {}", iteration + 1, plan.n_iter);
    }
    true
}

/// One batch: the pass, and the hires pass behind it.
async fn batch(engine: &Arc<Engine>, job: &Job, number: u64, plan: &Plan) -> Result<Pass, Failure> {
    enter(engine, job, number, Stage::Sampling).await?;
    let die_at = job.faults.find(|fault| match fault {
        Fault::KillDuring { step } => i64::try_from(*step).ok(),
        _ => None,
    });
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
            engine.die().await;
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
