//! What is known of the models that jobs need, each by its own policy: what
//! model-service says, what it said last, or what the server lists itself.
//! What follows is judged in `choose`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{choose, own_list};
use crate::{
    availability::{Availability, Finding, Findings, Reference, Unavailable},
    board::ServerState,
    policy::AvailabilityPolicy,
    store::queue::QueuedJob,
};

/// What is known for the jobs of one page.
pub struct Answers<'a> {
    /// What model-service says; `None` when it does not answer.
    findings: Option<Findings>,
    availability: &'a Availability,
    board: &'a BTreeMap<String, ServerState>,
}

impl<'a> Answers<'a> {
    /// Asks model-service for everything that these jobs need, in one go. With
    /// `down` it did not answer before in this pass and is not asked again.
    pub async fn ask(
        availability: &'a Availability,
        board: &'a BTreeMap<String, ServerState>,
        jobs: &[QueuedJob],
        down: &mut Option<Unavailable>,
    ) -> Self {
        let references = references(board, jobs);
        let usable = board.values().filter(|state| state.is_usable());
        let servers: Vec<String> = usable.map(|state| state.server.alias.clone()).collect();
        let findings = if references.is_empty() || servers.is_empty() {
            Some(Findings::new())
        } else if down.is_some() {
            None
        } else {
            match availability.check(&references, &servers).await {
                Ok(findings) => Some(findings),
                Err(error) => {
                    *down = Some(error);
                    None
                }
            }
        };
        Self {
            findings,
            availability,
            board,
        }
    }

    /// What is known for one job; `None` while it has to wait for
    /// model-service.
    #[must_use]
    pub fn of(&self, job: &QueuedJob) -> Option<Cow<'_, Findings>> {
        match (job.policy.availability, &self.findings) {
            (AvailabilityPolicy::Skip, _) => Some(Cow::Owned(self.own(job, own_list::as_given))),
            (_, Some(findings)) => Some(Cow::Borrowed(findings)),
            (AvailabilityPolicy::Prefer, None) => Some(Cow::Owned(self.last_or_own(job))),
            (AvailabilityPolicy::Require | AvailabilityPolicy::FailFast, None) => None,
        }
    }

    fn last_or_own(&self, job: &QueuedJob) -> Findings {
        let mut findings = self.own(job, |listing, reference| match listing {
            Some(listing) => own_list::find(listing, reference),
            None => Finding::Unknown,
        });
        for state in self.usable() {
            let references = needs(job, state);
            let last = (self.availability).last_known(&state.server.alias, &references);
            let holding = last.into_iter().filter_map(|(key, (finding, at))| {
                still_holds(&finding, at, &key.1, state).then_some((key, finding))
            });
            findings.extend(holding);
        }
        findings
    }

    fn own(
        &self,
        job: &QueuedJob,
        find: impl Fn(Option<&super::forge::Listing>, &Reference) -> Finding,
    ) -> Findings {
        let mut findings = Findings::new();
        for state in self.usable() {
            let listed = state.listed.as_ref();
            let listing = listed.map(|listed| listed.listing.as_ref());
            for reference in needs(job, state) {
                let finding = find(listing, &reference);
                findings.insert((state.server.alias.clone(), reference), finding);
            }
        }
        findings
    }

    fn usable(&self) -> impl Iterator<Item = &ServerState> {
        self.board.values().filter(|state| state.is_usable())
    }
}

/// Whether what model-service said then still holds. Beside a newer listing of
/// the server only what is listed by the very title that was found: what was
/// missing may be there by now.
fn still_holds(
    finding: &Finding,
    heard_at: Duration,
    reference: &Reference,
    state: &ServerState,
) -> bool {
    if matches!(finding, Finding::Stale | Finding::Unknown) {
        return false;
    }
    let newer = state.listed.as_ref().filter(|listed| listed.at > heard_at);
    match (newer, finding) {
        (None, _) => true,
        (Some(listed), Finding::Available { title, .. }) => {
            let found = Reference {
                is_lora: reference.is_lora,
                text: title.clone(),
            };
            let listed = own_list::find(&listed.listing, &found);
            matches!(listed, Finding::Available { .. })
        }
        (Some(_), _) => false,
    }
}

fn needs(job: &QueuedJob, state: &ServerState) -> Vec<Reference> {
    let needs = choose::needs(job, state).unwrap_or_default();
    needs.iter().map(Reference::from).collect()
}

/// Everything that model-service is to be asked for, each once.
fn references(board: &BTreeMap<String, ServerState>, jobs: &[QueuedJob]) -> Vec<Reference> {
    let usable: Vec<&ServerState> = board.values().filter(|state| state.is_usable()).collect();
    let asks = |job: &&QueuedJob| job.policy.availability != AvailabilityPolicy::Skip;
    let mut references = BTreeSet::new();
    for job in jobs.iter().filter(asks) {
        for state in &usable {
            let needs = needs(job, state).into_iter();
            references.extend(needs.map(|reference| (reference.is_lora, reference.text)));
        }
    }
    references
        .into_iter()
        .map(|(is_lora, text)| Reference { is_lora, text })
        .collect()
}

#[cfg(test)]
#[path = "questions/tests.rs"]
mod tests;
