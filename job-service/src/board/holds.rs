//! Why a job waits, as far as the board tells: for somebody to decide, for
//! servers, for model-service. What the dispatcher found of one job is kept
//! with the job.

use std::sync::PoisonError;

use chrono::{DateTime, Utc};
use service_kit::clock::to_text;

use super::{Board, ServerState};
use crate::{
    breaker::BreakerState,
    job::{Hold, HoldReason, Job, JobState},
    policy::AvailabilityPolicy,
    server::Health,
};

impl Board {
    /// Why this job waits: for somebody to decide, then what holds every job,
    /// then what the dispatcher found of this one. `None` when it is next, or not pending.
    #[must_use]
    pub fn hold_of(&self, job: &Job) -> Option<Hold> {
        if job.state != JobState::Pending {
            return None;
        }
        let decides = |hold: &&Hold| hold.reason.waits_for_a_decision();
        if let Some(hold) = job.hold.as_ref().filter(decides) {
            // No server changes that.
            return Some(hold.clone());
        }
        self.hold_by_servers(&job.target_server)
            .or_else(|| self.hold_by_model_service(job.policy.availability))
            .or_else(|| job.hold.clone())
            .or_else(|| self.hold_by_busy(&job.target_server))
    }

    fn hold_by_servers(&self, target: &str) -> Option<Hold> {
        let servers = self.read();
        let eligible: Vec<&ServerState> = servers
            .values()
            .filter(|state| target.is_empty() || state.server.alias == target)
            .collect();
        if eligible.is_empty() && !target.is_empty() {
            return Some(hold(
                HoldReason::TargetUnknown,
                format!("no server has the alias {target:?}; register it, or cancel the job"),
            ));
        }
        if !eligible.iter().any(|state| state.server.enabled) {
            return Some(hold(
                HoldReason::NoServer,
                "no server is registered and enabled; register one with CreateServer".to_owned(),
            ));
        }
        let ready = |state: &&&ServerState| {
            state.server.enabled
                && state.status.health == Health::Healthy
                && state.server.baseline.is_some()
        };
        let healthy: Vec<_> = eligible.iter().filter(ready).collect();
        if healthy.is_empty() {
            let faults: Vec<String> = eligible
                .iter()
                .filter(|state| state.server.enabled)
                .map(|state| format!("{}: {}", state.server.alias, state.status.message))
                .collect();
            return Some(hold(HoldReason::ServerUnavailable, faults.join("; ")));
        }
        if healthy.iter().all(|state| state.server.cordoned) {
            let names: Vec<&str> = healthy
                .iter()
                .map(|state| state.server.alias.as_str())
                .collect();
            return Some(hold(
                HoldReason::ServerCordoned,
                format!(
                    "cordoned: {}; UncordonServer gives it jobs again",
                    names.join(", ")
                ),
            ));
        }
        let ready = healthy.iter().filter(|state| !state.server.cordoned);
        hold_by_breakers(&ready.map(|state| **state).collect::<Vec<_>>())
    }

    fn hold_by_model_service(&self, policy: AvailabilityPolicy) -> Option<Hold> {
        if matches!(
            policy,
            AvailabilityPolicy::Prefer | AvailabilityPolicy::Skip
        ) {
            // They go without it.
            return None;
        }
        let down = self
            .model_service_down
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        down.as_ref().map(|(why, since)| Hold {
            reason: HoldReason::ModelServiceUnavailable,
            message: format!("model-service does not answer: {why}"),
            since: Some(*since),
            until: None,
        })
    }

    fn hold_by_busy(&self, target: &str) -> Option<Hold> {
        let servers = self.read();
        let usable: Vec<&ServerState> = servers
            .values()
            .filter(|state| target.is_empty() || state.server.alias == target)
            .filter(|state| state.is_usable())
            .collect();
        if usable.is_empty() || usable.iter().any(|state| state.is_free()) {
            return None;
        }
        let message = if usable.iter().all(|state| state.running_job.is_some()) {
            "every server that may take it runs another job".to_owned()
        } else {
            let words: Vec<String> = usable.into_iter().map(why_not_free).collect();
            words.join("; ")
        };
        Some(hold(HoldReason::ServerBusy, message))
    }
}

/// Why a server takes no job now.
fn why_not_free(state: &ServerState) -> String {
    let alias = &state.server.alias;
    if state.running_job.is_some() {
        return format!("{alias} runs another job");
    }
    if state.clearing {
        return format!("{alias} is being cleared after an attempt that was stopped or given up");
    }
    breaker_words(state).map_or_else(|| format!("{alias} takes no job now"), |(words, _)| words)
}

/// Several jobs failed in a row on every one of these.
fn hold_by_breakers(ready: &[&ServerState]) -> Option<Hold> {
    let mut until: Option<DateTime<Utc>> = None;
    let mut words = Vec::new();
    for state in ready {
        let (words_of_it, retry_at) = breaker_words(state)?;
        until = Some(until.map_or(retry_at, |until| until.min(retry_at)));
        words.push(words_of_it);
    }
    Some(Hold {
        until: Some(until?),
        ..hold(HoldReason::CoolingDown, words.join("; "))
    })
}

/// Why a server gets no jobs whose breaker is open, and until when; `None`
/// when it gets some.
pub(crate) fn breaker_words(state: &ServerState) -> Option<(String, DateTime<Utc>)> {
    let BreakerState::Open { retry_at, .. } = state.breaker.state() else {
        return None;
    };
    let words = format!(
        "{} gets no jobs until {} since attempts failed there in a row, the last one with: {}; \
         UncordonServer ends that",
        state.server.alias,
        to_text(retry_at),
        state.breaker.why(),
    );
    Some((words, retry_at))
}

fn hold(reason: HoldReason, message: String) -> Hold {
    Hold {
        reason,
        message,
        since: None,
        until: None,
    }
}
