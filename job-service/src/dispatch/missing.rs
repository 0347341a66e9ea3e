//! Which of the models of a waiting job nobody has, so that model-service may
//! download them, and what its hold says of that. Reads no queue and asks
//! nobody: what model-service is asked, `downloads` does.

use std::{collections::BTreeMap, time::Duration};

use super::{
    choose::{self, Past},
    give::Desk,
    own_list,
    questions::Answers,
};
use crate::{
    availability::{Finding, Findings, Reference},
    board::ServerState,
    core::Core,
    store::queue::QueuedJob,
};

/// Servers that are named in the words of a hold.
const SERVERS_SHOWN: usize = 8;

/// Who lacks what of the models of a job.
#[derive(Debug, PartialEq, Eq)]
enum Lacking {
    /// None of the servers that may take it has these.
    Nobody {
        references: Vec<Reference>,
        servers: Vec<String>,
    },
    /// As far as they tell; these do not, and may have them.
    Away(Vec<String>),
    /// Each model is somewhere, or that is not known for certain yet.
    Unsure,
}

/// The words of a hold with what becomes of the models that are missing.
pub(super) fn with_downloads(
    core: &Core,
    desk: &Desk<'_>,
    job: &QueuedJob,
    past: &Past,
    answers: &Answers<'_>,
    message: String,
) -> String {
    if !core.downloads.may(&job.policy) {
        return message;
    }
    let Some(findings) = answers.of(job) else {
        return message;
    };
    let now = desk.now.monotonic;
    let fresh_since = now.saturating_sub(desk.fresh_for(core));
    let told = match lacking(job, &desk.board, past, &findings, fresh_since) {
        Lacking::Unsure => None,
        Lacking::Away(servers) => {
            let shown: Vec<&str> = servers
                .iter()
                .take(SERVERS_SHOWN)
                .map(String::as_str)
                .collect();
            Some(format!(
                "it is not downloaded while nobody knows whether {} has it",
                shown.join(" or ")
            ))
        }
        Lacking::Nobody {
            references,
            servers,
        } => core.downloads.note(&references, &servers, now),
    };
    match told {
        Some(told) => format!("{message}; {told}"),
        None => message,
    }
}

/// As fresh listings and model-service's findings say.
fn lacking(
    job: &QueuedJob,
    board: &BTreeMap<String, ServerState>,
    past: &Past,
    findings: &Findings,
    fresh_since: Duration,
) -> Lacking {
    let may_take = board.values().filter(|state| {
        let alias = &state.server.alias;
        let is_meant = job.target_server.is_empty() || *alias == job.target_server;
        state.server.enabled && is_meant && !past.refused_by.contains(alias)
    });
    let (mut servers, mut away) = (Vec::new(), Vec::new());
    let mut nobody_has: Option<Vec<Reference>> = None;
    for state in may_take {
        let alias = state.server.alias.clone();
        if !state.is_usable() {
            away.push(alias);
            continue;
        }
        let lacks = lacks(job, state, findings, fresh_since);
        match &mut nobody_has {
            None => nobody_has = Some(lacks),
            Some(nobody_has) => nobody_has.retain(|reference| lacks.contains(reference)),
        }
        servers.push(alias);
    }
    let references = nobody_has.unwrap_or_default();
    match (references.is_empty(), away.is_empty()) {
        (true, _) => Lacking::Unsure,
        (false, false) => Lacking::Away(away),
        (false, true) => Lacking::Nobody {
            references,
            servers,
        },
    }
}

/// What a server does not have, by model-service's word and by its own list;
/// nothing while that list is old.
fn lacks(
    job: &QueuedJob,
    state: &ServerState,
    findings: &Findings,
    fresh_since: Duration,
) -> Vec<Reference> {
    let listed = state.listed.as_ref();
    let Some(listed) = listed.filter(|listed| listed.at >= fresh_since) else {
        return Vec::new();
    };
    let mut references: Vec<Reference> = Vec::new();
    for need in choose::needs(job, state).unwrap_or_default() {
        let key = (state.server.alias.clone(), Reference::from(&need));
        let is_missing = findings.get(&key) == Some(&Finding::Missing)
            // A listing that has it may be on its way to model-service.
            && own_list::find(&listed.listing, &key.1) == Finding::Missing;
        if is_missing && !references.contains(&key.1) {
            references.push(key.1);
        }
    }
    references
}

#[cfg(test)]
#[path = "missing/tests.rs"]
mod tests;
