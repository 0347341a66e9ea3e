//! Which server a pending job may run on, or why it waits. Pure: the queue,
//! the board and model-service's answers come in, a verdict goes out.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use service_kit::clock::to_text;

use crate::{
    availability::{Finding, Findings, Reference},
    board::{ServerState, breaker_words},
    breaker::Moment,
    cooldowns::Subject,
    job::{HoldReason, ModelRole, Requirement, ResolvedModel},
    policy::AvailabilityPolicy,
    store::queue::QueuedJob,
    verify::without_hash,
};

use super::own_list;

/// Titles that are named in the words of a hold.
const CANDIDATES_SHOWN: usize = 8;
/// Letters of an earlier failure that are named in the words of a hold.
const FAILURE_CHARS_SHOWN: usize = 200;

/// What is to be done with a pending job now.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Claim it for this server.
    Run {
        /// The server's alias.
        server: String,
        /// Its models as that server knows them, in the order of its needs.
        models: Vec<ResolvedModel>,
    },
    /// It waits, for this reason where it is one of its own.
    Wait(Option<(HoldReason, String)>),
    /// It waits until a server is given such jobs again.
    Cool {
        /// Which, and since what happened there.
        message: String,
        /// The soonest.
        until: DateTime<Utc>,
    },
    /// No server that may take it has its models, and it does not want to
    /// wait for them.
    Fail {
        /// Which models are missing where.
        message: String,
    },
}

/// What holds for every job that is judged now.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    /// What is known of the servers.
    pub board: &'a BTreeMap<String, ServerState>,
    /// Servers that can take a job now.
    pub free: &'a HashSet<String>,
    /// The time.
    pub now: Moment,
    /// How old a listing may be that says what a server does not have.
    pub fresh_for: Duration,
}

/// What a job needs on a server: what it names, and the checkpoint it falls
/// back on when it names none. `None` when the server has no such checkpoint.
#[must_use]
pub fn needs(job: &QueuedJob, state: &ServerState) -> Option<Vec<Requirement>> {
    let mut needs = job.models.clone();
    if !needs.iter().any(|need| need.role == ModelRole::Checkpoint) {
        let reference = match &job.resolved_checkpoint {
            Some(checkpoint) => checkpoint.clone(),
            None => baseline_checkpoint(state)?,
        };
        needs.insert(
            0,
            Requirement {
                role: ModelRole::Checkpoint,
                reference,
            },
        );
    }
    // The checkpoint comes first, whatever order the job was written in.
    needs.sort_by_key(|need| need.role != ModelRole::Checkpoint);
    Some(needs)
}

/// The checkpoint that the server had selected before our first job there.
#[must_use]
pub fn baseline_checkpoint(state: &ServerState) -> Option<String> {
    state
        .server
        .baseline
        .as_ref()?
        .get("sd_model_checkpoint")?
        .as_str()
        .filter(|title| !title.is_empty())
        .map(str::to_owned)
}

/// What one server is for one job.
enum Fit {
    /// It has everything.
    Has(Vec<ResolvedModel>),
    /// It is to be listed again first.
    Unsure,
    /// It has no baseline checkpoint, and the job names none.
    NoBaseline,
    /// References that it does not have.
    Lacks(Vec<String>),
    /// A reference that fits several of its models.
    Ambiguous(String, Vec<String>),
    /// It has everything, and is not given this for a while.
    Cooling(String, DateTime<Utc>),
}

fn fit(job: &QueuedJob, state: &ServerState, findings: &Findings, now: Moment) -> Fit {
    let Some(needs) = needs(job, state) else {
        return Fit::NoBaseline;
    };
    let mut models = Vec::new();
    let mut lacking = Vec::new();
    let mut unsure = false;
    for need in &needs {
        let key = (state.server.alias.clone(), Reference::from(need));
        match findings.get(&key) {
            Some(Finding::Available { title, sha256 }) => models.push(ResolvedModel {
                reference: need.reference.clone(),
                title: title.clone(),
                sha256: sha256.clone(),
            }),
            Some(Finding::Missing) => lacking.push(need.reference.clone()),
            Some(Finding::Ambiguous(candidates)) => {
                return Fit::Ambiguous(need.reference.clone(), candidates.clone());
            }
            Some(Finding::Stale | Finding::Unknown) | None => unsure = true,
        }
    }
    if !lacking.is_empty() {
        Fit::Lacks(lacking)
    } else if unsure {
        Fit::Unsure
    } else if let Some((words, until)) = kept_away(job, state, &models, now) {
        Fit::Cooling(words, until)
    } else {
        Fit::Has(models)
    }
}

/// Why a server that has everything is not given this job for a while, and
/// until when.
fn kept_away(
    job: &QueuedJob,
    state: &ServerState,
    models: &[ResolvedModel],
    now: Moment,
) -> Option<(String, DateTime<Utc>)> {
    if let Some(open) = breaker_words(state) {
        return Some(open);
    }
    let titles = models.iter().map(|model| model.title.as_str());
    let cooldown = state.cooldowns.against(titles, job.pixels, now.wall)?;
    let what = match &cooldown.subject {
        Subject::Model(title) => title.clone(),
        Subject::Pixels(pixels) => format!("{pixels} pixels and more"),
    };
    let failure: String = cooldown.message.chars().take(FAILURE_CHARS_SHOWN).collect();
    let words = format!(
        "{} is not given {what} until {} since it failed with that: {failure}",
        state.server.alias,
        to_text(cooldown.until),
    );
    Some((words, cooldown.until))
}

/// What became of a run of a job so far, by server.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Servers that lack something it needs.
    pub refused_by: HashSet<String>,
    /// Servers where an attempt that was given up may still run.
    pub barred: HashSet<String>,
    /// Whether such an attempt, of any run, may still run anywhere.
    pub may_repeat: bool,
    /// How many attempts failed on a server for another reason.
    pub failed_on: HashMap<String, u32>,
}

impl Past {
    fn failures(&self, alias: &str) -> u32 {
        self.failed_on.get(alias).copied().unwrap_or(0)
    }
}

/// What is to be done with `job`, and what became of this run of it so far:
/// where it failed, another server is tried first.
#[must_use]
pub fn judge(job: &QueuedJob, present: Present<'_>, past: &Past, findings: &Findings) -> Verdict {
    let eligible: Vec<&ServerState> = present
        .board
        .values()
        .filter(|state| state.server.enabled)
        .filter(|state| job.target_server.is_empty() || state.server.alias == job.target_server)
        .collect();
    let usable: Vec<&ServerState> = eligible
        .iter()
        .copied()
        .filter(|state| state.is_usable())
        .collect();
    if usable.is_empty() {
        // What holds every job is told from the board itself.
        return Verdict::Wait(None);
    }
    let open: Vec<&ServerState> = usable
        .into_iter()
        .filter(|state| !past.refused_by.contains(&state.server.alias))
        .collect();
    if open.is_empty() {
        return Verdict::Wait(Some((
            HoldReason::ServerLacksFeature,
            "every server that answers has refused it; its attempts say why".to_owned(),
        )));
    }
    let (open, barred): (Vec<&ServerState>, Vec<_>) = open
        .into_iter()
        .partition(|state| !past.barred.contains(&state.server.alias));
    if let (true, Some(first)) = (open.is_empty(), barred.first()) {
        let message = format!(
            "an attempt that was given up may still run on {}; it waits until that server's \
             process has ended, or for another server",
            first.server.alias
        );
        return Verdict::Wait(Some((HoldReason::ServerUnavailable, message)));
    }
    let fits: Vec<(&ServerState, Fit)> = open
        .into_iter()
        .map(|state| (state, fit(job, state, findings, present.now)))
        .collect();
    let best = fits
        .iter()
        .filter(|(state, _)| present.free.contains(&state.server.alias))
        .filter_map(|(state, fit)| match fit {
            Fit::Has(models) => Some((*state, models)),
            _ => None,
        })
        .min_by_key(|(state, models)| {
            (
                past.failures(&state.server.alias),
                !is_warm(state, models),
                state.last_given,
            )
        });
    match best {
        Some((state, models)) => Verdict::Run {
            server: state.server.alias.clone(),
            models: models.clone(),
        },
        None => {
            let may_take = |state: &&&ServerState| {
                let alias = &state.server.alias;
                !past.refused_by.contains(alias)
            };
            let candidates = eligible.iter().filter(may_take).count();
            unplaced(job, present, &fits, candidates)
        }
    }
}

/// What becomes of a job that no free server can take, of `candidates` that
/// may take it at all.
fn unplaced(
    job: &QueuedJob,
    present: Present<'_>,
    fits: &[(&ServerState, Fit)],
    candidates: usize,
) -> Verdict {
    let is_had = fits.iter().any(|(_, fit)| matches!(fit, Fit::Has(_)));
    let cooling = || {
        fits.iter().filter_map(|(_, fit)| match fit {
            Fit::Cooling(words, until) => Some((words.as_str(), *until)),
            _ => None,
        })
    };
    if let (false, Some(until)) = (is_had, cooling().map(|(_, until)| until).min()) {
        let words: Vec<&str> = cooling().map(|(words, _)| words).collect();
        return Verdict::Cool {
            message: words.join("; "),
            until,
        };
    }
    let is_fresh = |state: &ServerState| {
        let listed = state.listed.as_ref();
        listed.is_some_and(|listed| {
            present.now.monotonic.saturating_sub(listed.at) <= present.fresh_for
        })
    };
    // A listing that has it may be on its way to model-service.
    let lacks = |state: &ServerState| {
        let listed = state.listed.as_ref();
        let needs = needs(job, state).unwrap_or_default();
        listed.is_some_and(|listed| {
            let mut found =
                (needs.iter()).map(|need| own_list::find(&listed.listing, &Reference::from(need)));
            found.any(|finding| finding == Finding::Missing)
        })
    };
    let nobody_has_it = fits.len() == candidates
        && fits
            .iter()
            .all(|(state, fit)| matches!(fit, Fit::Lacks(_)) && is_fresh(state) && lacks(state));
    let hold = why_not(fits);
    match hold {
        Some((_, message))
            if nobody_has_it && job.policy.availability == AvailabilityPolicy::FailFast =>
        {
            Verdict::Fail { message }
        }
        hold => Verdict::Wait(hold),
    }
}

/// Whether the server has the job's checkpoint selected already. Its selection
/// keeps the title that it was made with, which may lack the hash that the
/// title carries since the first load.
#[must_use]
pub fn is_warm(state: &ServerState, models: &[ResolvedModel]) -> bool {
    models.first().is_some_and(|checkpoint| {
        without_hash(&checkpoint.title) == without_hash(&state.status.checkpoint)
    })
}

fn why_not(fits: &[(&ServerState, Fit)]) -> Option<(HoldReason, String)> {
    let names = |wanted: fn(&Fit) -> bool| -> Vec<&str> {
        fits.iter()
            .filter(|(_, fit)| wanted(fit))
            .map(|(state, _)| state.server.alias.as_str())
            .collect()
    };
    let having = names(|fit| matches!(fit, Fit::Has(_)));
    if !having.is_empty() {
        let message = format!("waits for {}, which has its models", having.join(" or "));
        return Some((HoldReason::ServerBusy, message));
    }
    let unsure = names(|fit| matches!(fit, Fit::Unsure));
    if !unsure.is_empty() {
        let message = format!("waits for a fresh inventory of {}", unsure.join(", "));
        return Some((HoldReason::ModelMissing, message));
    }
    let ambiguous = fits.iter().find_map(|(state, fit)| match fit {
        Fit::Ambiguous(reference, candidates) => Some((state, reference, candidates)),
        _ => None,
    });
    if let Some((state, reference, candidates)) = ambiguous {
        let shown: Vec<&str> = candidates
            .iter()
            .take(CANDIDATES_SHOWN)
            .map(String::as_str)
            .collect();
        let message = format!(
            "{reference:?} fits several models on {}: {}; name one by its sha256 or path",
            state.server.alias,
            shown.join(", ")
        );
        return Some((HoldReason::ModelAmbiguous, message));
    }
    let lacks: Vec<String> = fits
        .iter()
        .filter_map(|(state, fit)| match fit {
            Fit::Lacks(references) => Some(format!(
                "{} lacks {}",
                state.server.alias,
                references.join(", ")
            )),
            Fit::NoBaseline => Some(format!(
                "{} has no checkpoint selected and the job names none",
                state.server.alias
            )),
            _ => None,
        })
        .collect();
    Some((HoldReason::ModelMissing, lacks.join("; ")))
}

#[cfg(test)]
#[path = "choose/tests.rs"]
mod tests;
