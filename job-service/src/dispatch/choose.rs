//! Which server a pending job may run on, or why it waits. Pure: the queue,
//! the board and model-service's answers come in, a verdict goes out.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    availability::{Finding, Findings, Reference},
    board::ServerState,
    job::{HoldReason, ModelRole, Requirement, ResolvedModel},
    store::queue::QueuedJob,
    verify::without_hash,
};

/// Titles that are named in the words of a hold.
const CANDIDATES_SHOWN: usize = 8;

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
}

fn fit(job: &QueuedJob, state: &ServerState, findings: &Findings) -> Fit {
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
    } else {
        Fit::Has(models)
    }
}

/// What became of a run of a job so far, by server.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Servers that lack something it needs.
    pub refused_by: HashSet<String>,
    /// How many attempts failed on a server for another reason.
    pub failed_on: HashMap<String, u32>,
}

impl Past {
    fn failures(&self, alias: &str) -> u32 {
        self.failed_on.get(alias).copied().unwrap_or(0)
    }
}

/// What is to be done with `job`, given the servers that are `free`, and what
/// became of this run of it so far: where it failed, another server is tried
/// first.
#[must_use]
pub fn judge(
    job: &QueuedJob,
    board: &BTreeMap<String, ServerState>,
    free: &HashSet<String>,
    past: &Past,
    findings: &Findings,
) -> Verdict {
    let usable: Vec<&ServerState> = board
        .values()
        .filter(|state| state.is_usable())
        .filter(|state| job.target_server.is_empty() || state.server.alias == job.target_server)
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
    let fits: Vec<(&ServerState, Fit)> = open
        .into_iter()
        .map(|state| (state, fit(job, state, findings)))
        .collect();
    let best = fits
        .iter()
        .filter(|(state, _)| free.contains(&state.server.alias))
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
        None => Verdict::Wait(why_not(&fits)),
    }
}

/// Whether the server has the job's checkpoint selected already. Its selection
/// keeps the title that it was made with, which may lack the hash that the
/// title carries since the first load.
fn is_warm(state: &ServerState, models: &[ResolvedModel]) -> bool {
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
