//! Compares what a server says it did with what was asked: Forge replaces an
//! unknown checkpoint, sampler, scheduler or LoRA silently and answers 200
//! (`forge/forge-api.md` §1). Pure; reading the answer is not done here.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::generation_info::GenerationInfo;
use crate::infotext;
use crate::job::{AttemptOutcome, ImageKind, Verification};
use crate::outcome::{self, Failure};
use crate::request::{GenerationRequest, lora_tags};

/// The schedule types that Forge understands behind a sampler's name.
const SCHEDULE_SUFFIXES: [&str; 8] = [
    "Karras",
    "Exponential",
    "Polyexponential",
    "SGM Uniform",
    "Uniform",
    "Simple",
    "Normal",
    "Automatic",
];

/// The checkpoint that a generation had to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedModel {
    /// What the server calls it.
    pub title: String,
    /// SHA-256 of its file as the registry knows it.
    pub sha256: Option<String>,
}

/// An answer that is what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How sure the checkpoint is.
    pub verification: Verification,
    /// What the server calls the checkpoint.
    pub checkpoint: String,
    /// The short hash that the server reported, lower case.
    pub checkpoint_hash: Option<String>,
    /// Which images of the answer are those that were asked for.
    pub samples: Range<usize>,
}

impl Verified {
    /// What the image at a position of the answer is; `None` for a grid.
    #[must_use]
    pub fn kind_of(&self, position: usize) -> Option<ImageKind> {
        if position < self.samples.start {
            None
        } else if position < self.samples.end {
            Some(ImageKind::Sample)
        } else {
            Some(ImageKind::Extra)
        }
    }
}

/// Checks an answer of `image_count` images. `sent` is the body that went
/// out; `interrupted` says that the server reported this generation as
/// interrupted, which no answer shows by itself.
pub fn verify(
    request: &GenerationRequest,
    sent: &Map<String, Value>,
    expected: &ExpectedModel,
    info: &GenerationInfo,
    image_count: usize,
    interrupted: bool,
) -> Result<Verified, Failure> {
    let verification = model(expected, info)?;
    if interrupted {
        return Err(Failure::new(
            AttemptOutcome::Interrupted,
            "INTERRUPTED",
            "somebody stopped the generation on the server",
        ));
    }
    let samples = samples(request, info, image_count)?;
    sampler(sent, info)?;
    seeds(request, sent, info)?;
    loras(request, sent, info)?;
    Ok(Verified {
        verification,
        checkpoint: expected.title.clone(),
        checkpoint_hash: info.sd_model_hash.as_deref().map(str::to_ascii_lowercase),
        samples,
    })
}

/// Checks images that were fetched as files, by their texts alone. A file is
/// only written for a generation that was not interrupted.
pub fn verify_infotexts(
    request: &GenerationRequest,
    sent: &Map<String, Value>,
    expected: &ExpectedModel,
    infotexts: Vec<String>,
) -> Result<(Verified, GenerationInfo), Failure> {
    let count = infotexts.len();
    let info = GenerationInfo::from_infotexts(infotexts).map_err(|why| broken(&why))?;
    let verified = verify(request, sent, expected, &info, count, false)?;
    Ok((verified, info))
}

/// The checkpoint: by hash where both sides know one, else by name.
fn model(expected: &ExpectedModel, info: &GenerationInfo) -> Result<Verification, Failure> {
    let reported = info
        .sd_model_hash
        .as_deref()
        .filter(|hash| !hash.is_empty())
        .map(str::to_ascii_lowercase);
    let known = expected.sha256.as_deref().map(str::to_ascii_lowercase);
    if let (Some(reported), Some(known)) = (&reported, &known) {
        return match known.starts_with(reported.as_str()) {
            true => Ok(Verification::Hash),
            false => Err(wrong_model(expected, info)),
        };
    }
    // A title carries the short hash once the server knows it.
    if let (Some(reported), Some(titled)) = (&reported, title_hash(&expected.title))
        && reported != &titled.to_ascii_lowercase()
    {
        return Err(wrong_model(expected, info));
    }
    let name = info
        .sd_model_name
        .as_deref()
        .filter(|name| !name.is_empty());
    match name {
        Some(name) if same_name(&expected.title, name) => Ok(Verification::Name),
        Some(_) => Err(wrong_model(expected, info)),
        None => Ok(Verification::Unverified),
    }
}

/// Whether a name that a server reports is that of a title. It reports the
/// stem of the file (exchange 13/09); its listing calls the same file by its
/// path with underscores.
fn same_name(title: &str, name: &str) -> bool {
    let path = without_extension(without_hash(title)).replace('\\', "/");
    let stem = path.rsplit('/').next().unwrap_or_default();
    name == stem || name == path || name == path.replace('/', "_")
}

/// The hash in brackets at the end of a title.
fn title_hash(title: &str) -> Option<&str> {
    let (_, hash) = title.strip_suffix(']')?.rsplit_once(" [")?;
    let is_hash = hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(hash)
}

/// A title without the hash in brackets at its end.
pub(crate) fn without_hash(title: &str) -> &str {
    match title_hash(title) {
        Some(hash) => &title[..title.len() - hash.len() - " []".len()],
        None => title,
    }
}

fn without_extension(name: &str) -> &str {
    for extension in [".safetensors", ".ckpt", ".gguf", ".pt", ".sft"] {
        let Some(at) = name.len().checked_sub(extension.len()) else {
            continue;
        };
        if name
            .get(at..)
            .is_some_and(|end| end.eq_ignore_ascii_case(extension))
        {
            return &name[..at];
        }
    }
    name
}

fn wrong_model(expected: &ExpectedModel, info: &GenerationInfo) -> Failure {
    let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    Failure::new(
        AttemptOutcome::WrongModel,
        outcome::WRONG_MODEL,
        &format!(
            "the server used {} (hash {}) instead of {} (sha256 {})",
            said(&info.sd_model_name),
            said(&info.sd_model_hash),
            expected.title,
            said(&expected.sha256),
        ),
    )
}

/// Where the images that were asked for are.
fn samples(
    request: &GenerationRequest,
    info: &GenerationInfo,
    image_count: usize,
) -> Result<Range<usize>, Failure> {
    let first = info.index_of_first_image;
    let wanted = request.expected_images();
    let there = image_count.saturating_sub(first);
    if there < wanted {
        return Err(broken(&format!(
            "{wanted} images were asked for and {there} came"
        )));
    }
    Ok(first..first + wanted)
}

fn sampler(sent: &Map<String, Value>, info: &GenerationInfo) -> Result<(), Failure> {
    let asked = |field: &str| {
        sent.get(field)
            .and_then(Value::as_str)
            .filter(|n| !n.is_empty())
    };
    if let (Some(asked), Some(used)) = (asked("sampler_name"), info.sampler_name.as_deref())
        && !same_sampler(asked, used)
    {
        return Err(lacks(
            "FORGE_SAMPLER_REPLACED",
            &format!("the server used the sampler {used} instead of {asked}"),
        ));
    }
    // An unknown schedule type becomes Automatic (exchange 03/03).
    let used = info
        .infotexts
        .get(info.index_of_first_image)
        .and_then(|text| infotext::parse(text))
        .and_then(|parameters| parameters.schedule_type);
    match (asked("scheduler"), used.as_deref()) {
        (Some(asked), Some("Automatic")) if !asked.eq_ignore_ascii_case("automatic") => Err(lacks(
            "FORGE_SCHEDULER_REPLACED",
            &format!("the server used the schedule type Automatic instead of {asked}"),
        )),
        _ => Ok(()),
    }
}

/// Whether a sampler is the one asked for, where the name that was asked for
/// may carry a schedule type at its end.
fn same_sampler(asked: &str, used: &str) -> bool {
    let suffix = |rest: &str| {
        SCHEDULE_SUFFIXES
            .iter()
            .any(|known| rest.strip_prefix(' ') == Some(known))
    };
    asked == used || asked.strip_prefix(used).is_some_and(suffix)
}

fn seeds(
    request: &GenerationRequest,
    sent: &Map<String, Value>,
    info: &GenerationInfo,
) -> Result<(), Failure> {
    let script = sent.get("script_name").and_then(Value::as_str);
    // Scripts such as X/Y/Z plot draw or step seeds themselves.
    if script.is_some_and(|name| !name.is_empty()) {
        return Ok(());
    }
    let Some(first) = sent.get("seed").and_then(Value::as_i64) else {
        return Ok(());
    };
    let step = i64::from(!request.varies_by_subseed());
    for (at, seed) in (0_i64..).zip(&info.seeds) {
        let wanted = first + at * step;
        if *seed != wanted {
            return Err(broken(&format!(
                "image {at} was made with seed {seed} instead of {wanted}"
            )));
        }
    }
    Ok(())
}

/// LoRAs of the prompt; Forge leaves out those that it does not know
/// (exchange 02/09). Negative prompts load none, and with a prompt of its own
/// for the second pass the list is that pass's. A server that hashes nothing
/// names none.
fn loras(
    request: &GenerationRequest,
    sent: &Map<String, Value>,
    info: &GenerationInfo,
) -> Result<(), Failure> {
    let text = |field: &str| sent.get(field).and_then(Value::as_str).unwrap_or_default();
    let switched_off = sent.get("disable_extra_networks") == Some(&Value::Bool(true));
    let own_prompt = request.hires() && !text("hr_prompt").is_empty();
    let hashes = info
        .sd_model_hash
        .as_deref()
        .is_some_and(|hash| !hash.is_empty());
    if switched_off || own_prompt || !hashes {
        return Ok(());
    }
    let named = info
        .infotexts
        .get(info.index_of_first_image)
        .and_then(|text| infotext::parse(text))
        .unwrap_or_default()
        .lora_hashes;
    for tag in lora_tags(text("prompt")).filter(|tag| !tag.is_off()) {
        let name: String = tag
            .name
            .chars()
            .filter(|c| !matches!(c, ':' | ','))
            .collect();
        if !named.iter().any(|(used, _)| *used == name) {
            let why = format!("the server did not apply the LoRA {name}");
            return Err(Failure {
                model: Some(tag.name.to_owned()),
                ..Failure::new(AttemptOutcome::WrongModel, outcome::LORA_NOT_APPLIED, &why)
            });
        }
    }
    Ok(())
}

fn broken(why: &str) -> Failure {
    Failure::new(AttemptOutcome::BrokenAnswer, "BROKEN_ANSWER", why)
}

fn lacks(code: &'static str, why: &str) -> Failure {
    Failure::new(AttemptOutcome::ServerLacksFeature, code, why)
}

#[cfg(test)]
#[path = "verify/tests.rs"]
mod tests;
