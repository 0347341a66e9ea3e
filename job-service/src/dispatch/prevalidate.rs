//! Whether a server has what a request names beside models, asked of its own
//! lists before anything is sent: Forge silently replaces what it does not
//! know (`forge/forge-api.md` §1). Models are model-service's and `choose`'s.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    context::Context,
    forge::{CallFailure, Listing},
};
use crate::{
    job::{AttemptOutcome, Endpoint},
    outcome::{Failure, UNREACHABLE},
    request::{MODULES_OPTION, SAME_MODULES},
};

/// How often at most a server is listed again because a job lacks something
/// there.
pub const LISTED_AGAIN_EVERY: Duration = Duration::from_secs(60);
/// Names that are shown of those that a server has.
const NAMES_SHOWN: usize = 8;
/// What stands for the sampler of the first pass.
const SAME_SAMPLER: &str = "Use same sampler";
/// What stands for the schedule type of the first pass.
const SAME_SCHEDULER: &str = "Use same scheduler";
/// What stands for the VAE and text encoders inside the checkpoint.
const BUILT_IN: &str = "Built-in";
/// The schedule type that Forge falls back on anyway.
const AUTOMATIC: &str = "automatic";

/// Something that a request names and a server does not list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What kind, as a code.
    pub code: &'static str,
    /// The field of the request.
    pub field: &'static str,
    /// What it names.
    pub name: String,
    /// Some of the names that the server has.
    pub has: Vec<String>,
}

/// Looks through a server's lists before the attempt is sent there. When
/// something is missing, the server is listed again first, unless that was
/// done a short time ago. A server whose lists were never read is not refused,
/// and one that does not give them again is not judged by the old ones.
pub async fn check(context: &Context) -> Option<Failure> {
    let (core, alias) = (&context.core, context.attempt.server.as_str());
    let listed = core.board.get(alias)?.listed?;
    let lack = lack(context.job.endpoint, &context.body, &listed.listing)?;
    let now = core.clock.monotonic();
    let just_listed = listed
        .for_a_job
        .is_some_and(|at| now.saturating_sub(at) < LISTED_AGAIN_EVERY);
    if just_listed {
        return Some(failure(alias, &lack));
    }
    // Its folders must have been looked at for the new lists to say what it
    // lacks, unless it cannot do that at all.
    let refreshed = match context.client.refresh().await {
        Ok(()) => Ok(()),
        Err(CallFailure::Status {
            status: 400..=499, ..
        }) => Ok(()),
        Err(error) => Err(error),
    };
    match context.client.list_inventory().await {
        Ok(listing) => {
            let lack = self::lack(context.job.endpoint, &context.body, &listing);
            let at = core.clock.monotonic();
            core.board
                .put_listing(alias, listing, at, refreshed.is_ok());
            lack.map(|lack| match refreshed {
                Ok(()) => failure(alias, &lack),
                Err(error) => unsure(alias, &lack, &error),
            })
        }
        Err(error) => Some(unsure(alias, &lack, &error)),
    }
}

/// The server may have it by now and could not be asked: nothing was sent, and
/// it is tried again.
fn unsure(alias: &str, lack: &Lack, error: &CallFailure) -> Failure {
    let message = format!(
        "{}: {alias} did not list {:?} and could not be listed again: {error}",
        lack.field, lack.name
    );
    Failure::new(AttemptOutcome::Refused, UNREACHABLE, &message)
}

fn failure(alias: &str, lack: &Lack) -> Failure {
    let mut has = lack.has.join(", ");
    if has.is_empty() {
        "nothing of the kind".clone_into(&mut has);
    }
    let message = format!(
        "{}: {alias} does not list {:?}; it has {has}",
        lack.field, lack.name
    );
    Failure::new(AttemptOutcome::ServerLacksFeature, lack.code, &message)
}

/// The first thing that a body names and a listing lacks, compared as Forge
/// does. An empty list says nothing: Forge always has some of each.
#[must_use]
pub fn lack(endpoint: Endpoint, body: &Map<String, Value>, listing: &Listing) -> Option<Lack> {
    let hires = endpoint == Endpoint::Txt2img && body.get("enable_hr") == Some(&Value::Bool(true));
    let second_pass = || {
        lack_of_sampler(body, "hr_sampler_name", SAME_SAMPLER, false, listing)
            .or_else(|| lack_of_scheduler(body, "hr_scheduler", listing))
            .or_else(|| lack_of_upscaler(body, listing))
            .or_else(|| {
                let modules = body.get("hr_additional_modules");
                lack_of_module("hr_additional_modules", modules, listing)
            })
    };
    lack_of_sampler(body, "sampler_name", "", true, listing)
        .or_else(|| lack_of_scheduler(body, "scheduler", listing))
        .or_else(|| {
            let options = body.get("override_settings");
            let modules = options.and_then(|options| options.get(MODULES_OPTION));
            lack_of_module(
                "override_settings.forge_additional_modules",
                modules,
                listing,
            )
        })
        .or_else(|| lack_of_script(body, listing))
        .or_else(|| if hires { second_pass() } else { None })
}

/// The text of a field that names something.
fn named<'a>(body: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    let name = body.get(field)?.as_str()?;
    (!name.is_empty()).then_some(name)
}

fn missing<'a>(
    code: &'static str,
    field: &'static str,
    name: &str,
    has: impl IntoIterator<Item = &'a String>,
) -> Option<Lack> {
    Some(Lack {
        code,
        field,
        name: name.to_owned(),
        has: has.into_iter().take(NAMES_SHOWN).cloned().collect(),
    })
}

/// A sampler's name is exact; that of the first pass may carry a schedule type
/// at its end.
fn lack_of_sampler(
    body: &Map<String, Value>,
    field: &'static str,
    same: &str,
    takes_suffix: bool,
    listing: &Listing,
) -> Option<Lack> {
    let name = named(body, field)?;
    let knows = |name: &str| listing.samplers.iter().any(|known| known == name);
    let suffixed = || {
        listing.schedulers.iter().any(|scheduler| {
            let rest = name.strip_suffix(scheduler.as_str());
            let sampler = rest.and_then(|rest| rest.strip_suffix(' '));
            sampler.is_some_and(knows)
        })
    };
    if listing.samplers.is_empty() || name == same || knows(name) || (takes_suffix && suffixed()) {
        return None;
    }
    missing("LACKS_SAMPLER", field, name, &listing.samplers)
}

/// A schedule type is named by its name or its label, exactly.
fn lack_of_scheduler(
    body: &Map<String, Value>,
    field: &'static str,
    listing: &Listing,
) -> Option<Lack> {
    let name = named(body, field)?;
    let stands_for_none = name == SAME_SCHEDULER || name.eq_ignore_ascii_case(AUTOMATIC);
    let known = listing.schedulers.iter().any(|known| known == name);
    if listing.schedulers.is_empty() || stands_for_none || known {
        return None;
    }
    missing("LACKS_SCHEDULER", field, name, &listing.schedulers)
}

fn lack_of_upscaler(body: &Map<String, Value>, listing: &Listing) -> Option<Lack> {
    let name = named(body, "hr_upscaler")?;
    if listing.upscalers.is_empty() || listing.upscalers.iter().any(|known| known == name) {
        return None;
    }
    missing("LACKS_UPSCALER", "hr_upscaler", name, &listing.upscalers)
}

/// A VAE or text encoder is matched by the last part of its path.
fn lack_of_module(field: &'static str, modules: Option<&Value>, listing: &Listing) -> Option<Lack> {
    let names = modules?.as_array()?.iter().filter_map(Value::as_str);
    let file = |path: &str| {
        path.rsplit(['/', '\\'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let known = |name: &str| {
        let name = file(name);
        let mut listed = listing.modules.iter();
        listed.any(|module| module.model_name == name || file(&module.filename) == name)
    };
    let stands_for_none = |name: &str| name.is_empty() || [SAME_MODULES, BUILT_IN].contains(&name);
    let name = names
        .into_iter()
        .find(|name| !stands_for_none(name) && !known(name))?;
    let has: Vec<String> = (listing.modules.iter())
        .map(|module| module.model_name.clone())
        .collect();
    missing("LACKS_MODULE", field, name, &has)
}

/// Scripts are compared in lower case.
fn lack_of_script(body: &Map<String, Value>, listing: &Listing) -> Option<Lack> {
    let always_on = body.get("alwayson_scripts").and_then(Value::as_object);
    let always_on = always_on.into_iter().flat_map(|scripts| scripts.keys());
    let script = named(body, "script_name").map(|name| ("script_name", name));
    let all = script
        .into_iter()
        .chain(always_on.map(|name| ("alwayson_scripts", name.as_str())));
    if listing.scripts.is_empty() {
        return None;
    }
    let known = |name: &str| {
        let name = name.to_lowercase();
        listing.scripts.contains(&name)
    };
    let (field, name) = all.into_iter().find(|(_, name)| !known(name))?;
    missing("LACKS_SCRIPT", field, name, &listing.scripts)
}

#[cfg(test)]
#[path = "prevalidate/tests.rs"]
mod tests;
