//! Works out what a job will do before it samples: prompts, seeds, sizes, sampler, hires pass. Holds the checks
//! that make Forge fail with a 500 (exchanges 03/11 to 03/20, 13/18).

use serde_json::{Map, Value, json};

use crate::{
    config::SimConfig,
    errors::Failure,
    faults::Fault,
    fields::Fields,
    generate::{Job, Used},
    generation::Endpoint,
    infotext::{lora_names, without_comments},
    options::Options,
    samplers::{self, Sampling},
    size,
    state::Memory,
};

const UPSCALERS: &str = include_str!("recorded/upscalers.json");
const LATENT_MODES: &str = include_str!("recorded/latent-upscale-modes.json");

/// Everything decided before the first step.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) used: Used,
    pub(crate) prompt: String,
    pub(crate) negative: String,
    /// As sent, with comments.
    pub(crate) raw_prompt: String,
    pub(crate) raw_negative: String,
    pub(crate) seeds: Vec<i128>,
    pub(crate) subseeds: Vec<i128>,
    pub(crate) sampling: Sampling,
    pub(crate) steps: i64,
    pub(crate) cfg: f64,
    pub(crate) width: i64,
    pub(crate) height: i64,
    pub(crate) n_iter: i64,
    pub(crate) batch_size: i64,
    pub(crate) denoising: Option<f64>,
    pub(crate) hires: Option<Hires>,
    /// Forge's `extra_generation_params`, in order.
    pub(crate) extra: Map<String, Value>,
    /// Stems of the modules in effect.
    pub(crate) modules: Vec<String>,
}

/// The second pass.
#[derive(Clone, Debug)]
pub(crate) struct Hires {
    pub(crate) steps: i64,
    pub(crate) width: i64,
    pub(crate) height: i64,
    /// What goes wrong after the first pass.
    pub(crate) failure: Option<Failure>,
}

impl Plan {
    pub(crate) fn new(
        job: &Job,
        memory: &Memory,
        used: Used,
        config: &SimConfig,
    ) -> Result<Self, Failure> {
        let fields = &job.fields;
        let Some(raw_prompt) = fields.text("prompt") else {
            return Err(Failure::exception("AssertionError", ""));
        };
        let raw_negative = fields.text("negative_prompt").unwrap_or_default();
        let refiner = fields
            .text("refiner_checkpoint")
            .filter(|name| !matches!(*name, "" | "None" | "none"));
        require_checkpoint(memory, refiner)?;
        let (batch_size, n_iter, steps) = counts(&job.fields)?;
        let (width, height) = (fields.int("width"), fields.int("height"));
        let name = fields
            .text("sampler_name")
            .or_else(|| fields.text("sampler_index"))
            .unwrap_or_default();
        let sampling = samplers::resolve(name, fields.text("scheduler"));
        let mut extra = Map::new();
        let mut hires = Hires::plan(job, memory, &mut extra)?;
        size::check(width, height, config)?;
        if let Some(hires) = hires.as_mut().filter(|hires| hires.failure.is_none()) {
            hires.failure = size::too_big(hires.width, hires.height, config);
        }
        let denoising = fields.float("denoising_strength");
        if job.endpoint == Endpoint::Img2img {
            extra.insert("Denoising strength".to_owned(), json!(denoising));
        }
        let comments = memory.options.flag("enable_prompt_comments");
        let cleaned = |text: &str| {
            if comments {
                without_comments(text)
            } else {
                text.to_owned()
            }
        };
        let prompt = cleaned(raw_prompt);
        if !job.faults.has(&Fault::SkipsLoras) {
            extra.extend(lora_hashes(memory, &prompt));
        }
        if let Some(label) = &sampling.schedule {
            extra.insert("Schedule type".to_owned(), Value::from(label.clone()));
        }
        let (seeds, subseeds) = draw_seeds(job, usize::try_from(batch_size * n_iter).unwrap_or(0))?;
        Ok(Self {
            used,
            negative: cleaned(raw_negative),
            raw_prompt: raw_prompt.to_owned(),
            raw_negative: raw_negative.to_owned(),
            prompt,
            seeds,
            subseeds,
            sampling,
            steps,
            cfg: fields.float("cfg_scale").unwrap_or(7.0),
            width,
            height,
            n_iter,
            batch_size,
            denoising,
            hires,
            extra,
            modules: module_stems(&memory.options),
        })
    }

    /// Steps that one pass really samples: img2img does only its share.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "step counts are small"
    )]
    pub(crate) fn sampled_steps(&self, endpoint: Endpoint) -> i64 {
        match (endpoint, self.denoising) {
            (Endpoint::Img2img, Some(strength)) => {
                (strength.min(0.999) * self.steps as f64) as i64 + 1
            }
            _ => self.steps,
        }
    }

    /// Size of the finished pictures, floored to what the latent can hold.
    pub(crate) fn picture_size(&self) -> (u32, u32) {
        let (width, height) = self
            .hires
            .as_ref()
            .map_or((self.width, self.height), |hires| {
                (hires.width, hires.height)
            });
        (floor8(width), floor8(height))
    }
}

/// Pictures per batch, batches, steps.
fn counts(fields: &Fields) -> Result<(i64, i64, i64), Failure> {
    let [batch_size, n_iter, steps] =
        ["batch_size", "n_iter", "steps"].map(|name| fields.int(name));
    if batch_size < 1 || n_iter < 1 {
        return Err(Failure::exception("IndexError", "list index out of range"));
    }
    if steps < 1 {
        return Err(Failure::exception(
            "ZeroDivisionError",
            "integer division or modulo by zero",
        ));
    }
    Ok((batch_size, n_iter, steps))
}

fn floor8(side: i64) -> u32 {
    u32::try_from(side / 8 * 8).unwrap_or(8).max(8)
}

fn require_checkpoint(memory: &Memory, name: Option<&str>) -> Result<(), Failure> {
    match name {
        Some(name) if memory.models.closest(name).is_none() => Err(Failure::exception(
            "Exception",
            format!("Could not find checkpoint with name {name}"),
        )),
        _ => Ok(()),
    }
}

/// All seeds of a job; a variation strength keeps the seed and counts the subseed alone.
fn draw_seeds(job: &Job, count: usize) -> Result<(Vec<i128>, Vec<i128>), Failure> {
    let drawn = |name: &str| match job.fields.get(name) {
        Value::Number(number) if number.as_i64() != Some(-1) => {
            let whole = number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from));
            whole.ok_or_else(|| Failure::exception("RuntimeError", "Overflow when unpacking long"))
        }
        _ => Ok(i128::from(rand::random::<u32>())),
    };
    let (seed, subseed) = (drawn("seed")?, drawn("subseed")?);
    let varied = job
        .fields
        .float("subseed_strength")
        .is_some_and(|strength| strength != 0.0);
    let counted = |first: i128| (first..).take(count).collect::<Vec<_>>();
    Ok((
        if varied {
            vec![seed; count]
        } else {
            counted(seed)
        },
        counted(subseed),
    ))
}

/// `Lora hashes` of the LoRAs that exist; the others are ignored silently (exchange 02/09).
fn lora_hashes(memory: &Memory, prompt: &str) -> Option<(String, Value)> {
    let known = lora_names(prompt)
        .into_iter()
        .filter_map(|name| Some((name, memory.models.lora(name)?)));
    let hashes: Vec<String> = known
        .map(|(name, lora)| format!("{name}: {}", &lora.sha256()[..12]))
        .collect();
    (!hashes.is_empty()).then(|| ("Lora hashes".to_owned(), Value::from(hashes.join(", "))))
}

fn module_stems(options: &Options) -> Vec<String> {
    let names = options.modules();
    let stems = names.iter().map(|path| {
        let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
        file.rsplit_once('.')
            .map_or(file, |(stem, _)| stem)
            .to_owned()
    });
    stems.collect()
}

impl Hires {
    fn plan(
        job: &Job,
        memory: &Memory,
        extra: &mut Map<String, Value>,
    ) -> Result<Option<Self>, Failure> {
        let fields = &job.fields;
        if !fields.flag("enable_hr") {
            return Ok(None);
        }
        let checkpoint = fields
            .text("hr_checkpoint_name")
            .filter(|name| !name.is_empty());
        require_checkpoint(
            memory,
            checkpoint.filter(|name| *name != "Use same checkpoint"),
        )?;
        if let Some(upscaler) = fields.text("hr_upscaler").filter(|name| !is_upscaler(name)) {
            return Err(Failure::exception(
                "Exception",
                format!("could not find upscaler named {upscaler}"),
            ));
        }
        let steps = match fields.int("hr_second_pass_steps") {
            0 => fields.int("steps"),
            steps => steps,
        };
        let (width, height) = hires_size(job);
        hires_extra(job, extra);
        Ok(Some(Self {
            steps,
            width,
            height,
            failure: second_pass_failure(job),
        }))
    }
}

fn second_pass_failure(job: &Job) -> Option<Failure> {
    if job.fields.get("hr_additional_modules").is_null() {
        return Some(Failure::exception(
            "TypeError",
            "argument of type 'NoneType' is not iterable",
        ));
    }
    if job.fields.get("denoising_strength").is_null() {
        let message = "'>' not supported between instances of 'NoneType' and 'int'";
        return Some(Failure::exception("TypeError", message));
    }
    let sampler = job
        .fields
        .text("hr_sampler_name")
        .filter(|name| *name != "Use same sampler")?;
    (!samplers::is_sampler(sampler))
        .then(|| Failure::exception("AssertionError", format!("bad sampler name: {sampler}")))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "picture sides are small numbers"
)]
fn hires_size(job: &Job) -> (i64, i64) {
    let fields = &job.fields;
    let (width, height) = (fields.int("width"), fields.int("height"));
    match (fields.int("hr_resize_x"), fields.int("hr_resize_y")) {
        (0, 0) => {
            let scale = fields.float("hr_scale").unwrap_or(2.0);
            (
                (width as f64 * scale) as i64,
                (height as f64 * scale) as i64,
            )
        }
        (x, 0) => (x, x * height / width.max(1)),
        (0, y) => (y * width / height.max(1), y),
        (x, y) => (x, y),
    }
}

fn hires_extra(job: &Job, extra: &mut Map<String, Value>) {
    let fields = &job.fields;
    let mut put = |key: &str, value: Value| {
        extra.insert(key.to_owned(), value);
    };
    let other = |name: &str, same: &str| match fields.text(name) {
        Some(text) if !text.is_empty() && Some(text) != fields.text(same) => Value::from(text),
        _ => Value::Null,
    };
    put(
        "Denoising strength",
        fields.get("denoising_strength").clone(),
    );
    for (index, module) in fields
        .get("hr_additional_modules")
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        put(&format!("Hires Module {}", index + 1), module.clone());
    }
    put("Hires prompt", other("hr_prompt", "prompt"));
    put(
        "Hires negative prompt",
        other("hr_negative_prompt", "negative_prompt"),
    );
    put("Hires CFG Scale", fields.get("hr_cfg").clone());
    put("Hires Distilled CFG Scale", Value::Null);
    put("Hires schedule type", other("hr_scheduler", "scheduler"));
    match (fields.int("hr_resize_x"), fields.int("hr_resize_y")) {
        (0, 0) => put("Hires upscale", fields.get("hr_scale").clone()),
        (x, y) => put("Hires resize", Value::from(format!("{x}x{y}"))),
    }
    if fields.int("hr_second_pass_steps") != 0 {
        put("Hires steps", fields.get("hr_second_pass_steps").clone());
    }
    if let Some(upscaler) = fields.text("hr_upscaler") {
        put("Hires upscaler", Value::from(upscaler));
    }
}

fn is_upscaler(name: &str) -> bool {
    let lists = [UPSCALERS, LATENT_MODES]
        .map(|text| serde_json::from_str::<Value>(text).unwrap_or_default());
    lists
        .iter()
        .flat_map(|list| list.as_array().into_iter().flatten())
        .any(|item| item["name"] == name)
}
