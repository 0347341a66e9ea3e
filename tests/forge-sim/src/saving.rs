//! Turns painted pictures into answered and saved files: infotext, stealth text, names, the grid.

use std::{path::PathBuf, sync::Arc};

use image::RgbImage;

use crate::{
    answer,
    config::SimModel,
    errors::Failure,
    faults::Fault,
    filename::{self, Naming, Placement},
    generate::{Job, Made},
    generation::Endpoint,
    paint::{self, Motif},
    picture,
    plan::Plan,
    state::Engine,
};

/// Output folders, read before overrides apply: overriding them has no effect.
pub(crate) struct Folders {
    samples: PathBuf,
    grids: PathBuf,
}

impl Folders {
    pub(crate) fn before_overrides(engine: &Engine, endpoint: Endpoint) -> Self {
        let [samples, grids] = match endpoint {
            Endpoint::Txt2img => ["outdir_txt2img_samples", "outdir_txt2img_grids"],
            Endpoint::Img2img => ["outdir_img2img_samples", "outdir_img2img_grids"],
        };
        let memory = engine.memory();
        Self {
            samples: memory.options.text(samples).into(),
            grids: memory.options.text(grids).into(),
        }
    }
}

/// Turns painted pictures into answered and saved files.
pub(crate) struct Sheet<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) job: &'a Job,
    pub(crate) number: u64,
    pub(crate) plan: &'a Plan,
    pub(crate) folders: &'a Folders,
}

impl Sheet<'_> {
    /// Paints, encodes and, if wanted, saves one picture; gives the painting back for the grid.
    pub(crate) async fn finish(
        &self,
        index: usize,
        in_batch: i64,
        motif: Motif,
        saves: bool,
        made: &mut Made,
    ) -> Result<RgbImage, Failure> {
        let text = answer::infotext(self.engine, self.job, self.plan, index);
        let painted = tokio::task::spawn_blocking(move || paint::paint(&motif))
            .await
            .map_err(io_failure)?;
        let bytes = self.encode(painted.clone(), text.clone(), saves).await?;
        let stored = match saves {
            true => self.on_disk(index, &bytes, &painted).await?,
            false => None,
        };
        if let Some(stored) = stored {
            let single = self.plan.seeds.len() == 1;
            let number = (!single).then(|| u64::try_from(index + 1).unwrap_or(0));
            let batch_number =
                (self.plan.batch_size > 1).then(|| u64::try_from(in_batch + 1).unwrap_or(0));
            self.save(
                self.samples(),
                self.naming(index, number, batch_number),
                &stored,
            )
            .await?;
        }
        made.images.push(bytes);
        made.infotexts.push(text);
        Ok(painted)
    }

    /// The bytes of a saved sample: those of the answer, unless a fault wants others or none.
    async fn on_disk(
        &self,
        index: usize,
        bytes: &[u8],
        painted: &RgbImage,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let faults = &self.job.faults;
        if faults.has(&Fault::FileMissing) {
            return Ok(None);
        }
        let mut told = self.plan.clone();
        if faults.has(&Fault::FileOfOtherPrompt) {
            told.prompt = format!("not {}", told.prompt);
        }
        if faults.has(&Fault::FileOfOtherModel) {
            told.used.stem = format!("other-{}", told.used.stem);
            told.used.sha256 = SimModel::named(told.used.stem.clone()).sha256();
        }
        let mut stored = bytes.to_vec();
        if (&told.prompt, &told.used.stem) != (&self.plan.prompt, &self.plan.used.stem) {
            let text = answer::infotext(self.engine, self.job, &told, index);
            stored = self.encode(painted.clone(), text, true).await?;
        }
        if faults.has(&Fault::FileTruncated) {
            stored.truncate(stored.len() / 2);
        }
        Ok(Some(stored))
    }

    /// With save_images and the grid options on, a grid comes first (exchange 05/03).
    pub(crate) async fn add_grid(
        &self,
        pictures: Vec<RgbImage>,
        made: &mut Made,
    ) -> Result<(), Failure> {
        let (returns, saves, even_single) = {
            let memory = self.engine.memory();
            let flag = |name: &str| memory.options.flag(name);
            (
                flag("return_grid"),
                flag("grid_save"),
                !flag("grid_only_if_multiple"),
            )
        };
        let wanted = self.job.fields.flag("save_images") && (returns || saves);
        if !wanted || pictures.is_empty() || (pictures.len() < 2 && !even_single) {
            return Ok(());
        }
        let columns = usize::try_from(self.plan.batch_size).unwrap_or(1);
        let text = answer::infotext(self.engine, self.job, self.plan, 0);
        let bytes = self
            .encode(paint::grid(&pictures, columns), text.clone(), saves)
            .await?;
        if saves {
            self.save(self.grids(), self.naming(0, None, None), &bytes)
                .await?;
        }
        if returns {
            made.images.insert(0, bytes);
            made.infotexts.insert(0, text);
            made.index_of_first_image = 1;
        }
        Ok(())
    }

    /// Saving puts the stealth text into the picture object, so the answer has it too.
    async fn encode(
        &self,
        picture: RgbImage,
        text: String,
        saves: bool,
    ) -> Result<Vec<u8>, Failure> {
        let (shows_text, alpha) = {
            let memory = self.engine.memory();
            (
                memory.options.flag("enable_pnginfo"),
                memory.options.text("stealth_pnginfo_option") == "Alpha",
            )
        };
        let encoded = tokio::task::spawn_blocking(move || {
            picture::encode(
                &picture,
                Some(text.as_str()).filter(|_| shows_text),
                saves && alpha,
            )
        });
        encoded.await.map_err(io_failure)?.map_err(io_failure)
    }

    async fn save(
        &self,
        placement: Placement,
        naming: Naming,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let root = &self.engine.world.config.data_dir;
        let path = filename::place(root, &placement, &naming).map_err(io_failure)?;
        filename::write(&path, bytes).await.map_err(io_failure)?;
        let shown = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let engine = self.engine;
        engine.world.log.saved(engine.app_id, self.number, shown);
        Ok(())
    }

    fn samples(&self) -> Placement {
        let memory = self.engine.memory();
        let to_dirs = memory.options.flag("save_to_dirs");
        let pattern = memory.options.text("samples_filename_pattern");
        let usual = if to_dirs {
            "[seed]"
        } else {
            "[seed]-[prompt_spaces]"
        };
        Placement {
            folder: self.folders.samples.clone(),
            file_pattern: if pattern.is_empty() {
                usual.to_owned()
            } else {
                pattern
            },
            directory_pattern: to_dirs.then(|| memory.options.text("directories_filename_pattern")),
            add_number: memory.options.flag("save_images_add_number"),
            base: "",
        }
    }

    fn grids(&self) -> Placement {
        let memory = self.engine.memory();
        let to_dirs = memory.options.flag("grid_save_to_dirs");
        Placement {
            folder: self.folders.grids.clone(),
            file_pattern: String::new(),
            directory_pattern: to_dirs.then(|| memory.options.text("directories_filename_pattern")),
            add_number: true,
            base: "grid",
        }
    }

    fn naming(
        &self,
        index: usize,
        generation_number: Option<u64>,
        batch_number: Option<u64>,
    ) -> Naming {
        let plan = self.plan;
        Naming {
            seed: plan.seeds[index],
            steps: plan.steps,
            cfg: plan.cfg,
            width: plan.width,
            height: plan.height,
            sampler: plan.sampling.sampler.clone(),
            scheduler: plan
                .sampling
                .schedule
                .clone()
                .unwrap_or_else(|| "Automatic".to_owned()),
            model_name: plan.used.stem.clone(),
            model_hash: plan.used.sha256[..10].to_owned(),
            prompt: plan.prompt.clone(),
            job_timestamp: self.engine.memory().progress.timestamp(),
            generation_number,
            batch_number,
        }
    }
}

fn io_failure(error: impl std::fmt::Display) -> Failure {
    Failure::exception("OSError", error.to_string())
}
