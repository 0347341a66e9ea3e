//! How Forge turns sampler and scheduler names into the ones it uses; what it does not know it replaces silently
//! (`sd_samplers.get_sampler_and_scheduler`; exchanges 03/02, 03/03, 13/22, 13/23).

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) const SAMPLERS: &str = include_str!("recorded/samplers.json");
pub(crate) const SCHEDULERS: &str = include_str!("recorded/schedulers.json");

#[derive(Debug, Deserialize)]
struct Sampler {
    name: String,
    options: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Scheduler {
    name: String,
    label: String,
    aliases: Option<Vec<String>>,
}

/// The names in effect for one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sampling {
    pub(crate) sampler: String,
    /// Label of the schedule really used; `None` when the sampler runs its plain sigmas ("Automatic").
    pub(crate) schedule: Option<String>,
    pub(crate) uses_ensd: bool,
}

fn samplers() -> &'static [Sampler] {
    static LIST: OnceLock<Vec<Sampler>> = OnceLock::new();
    LIST.get_or_init(|| serde_json::from_str(SAMPLERS).expect("the recorded samplers are JSON"))
}

fn schedulers() -> &'static [Scheduler] {
    static LIST: OnceLock<Vec<Scheduler>> = OnceLock::new();
    LIST.get_or_init(|| serde_json::from_str(SCHEDULERS).expect("the recorded schedulers are JSON"))
}

fn scheduler_named(name: &str) -> Option<&'static Scheduler> {
    schedulers()
        .iter()
        .find(|scheduler| scheduler.name == name || scheduler.label == name)
}

/// True if a sampler of exactly this name exists.
pub(crate) fn is_sampler(name: &str) -> bool {
    samplers().iter().any(|sampler| sampler.name == name)
}

/// Resolves the names of a request. The name may carry a schedule as suffix ("DPM++ 2M Karras").
pub(crate) fn resolve(sampler_name: &str, scheduler_name: Option<&str>) -> Sampling {
    let mut name = sampler_name;
    let mut scheduler = scheduler_name
        .and_then(scheduler_named)
        .unwrap_or(&schedulers()[0]);
    for candidate in schedulers() {
        let aliases = candidate.aliases.iter().flatten();
        let mut names = [&candidate.label, &candidate.name]
            .into_iter()
            .chain(aliases);
        if let Some(base) =
            names.find_map(|suffix| name.strip_suffix(suffix.as_str())?.strip_suffix(' '))
        {
            name = base;
            scheduler = candidate;
        }
    }
    let sampler = samplers()
        .iter()
        .find(|sampler| sampler.name == name)
        .unwrap_or(&samplers()[0]);
    let own = sampler.options.get("scheduler").and_then(Value::as_str);
    let schedule = if scheduler.name == "automatic" {
        own.and_then(scheduler_named)
    } else {
        Some(scheduler)
    };
    Sampling {
        sampler: sampler.name.clone(),
        schedule: schedule.map(|schedule| schedule.label.clone()),
        uses_ensd: sampler
            .options
            .get("uses_ensd")
            .and_then(Value::as_bool)
            .unwrap_or(false),
    }
}
