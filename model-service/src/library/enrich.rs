//! Owns the enrichment of models from Civitai as an operation: which models are asked about, in
//! which order, and what stays when it ends early. How a question is put is `civitai.rs`, what is
//! written `store/enrichment.rs`.
//!
//! What it costs: `n` models with SHA-256 take one look-up of ids for every 10,000 of them, one of
//! versions for every 100 that Civitai knows, and at most [`SINGLES_MAX`] single look-ups, so that
//! 5,000 models take at most 59 requests. Models of which only the AutoV2 is known take a request
//! each, at most [`AUTOV2_SINGLES_MAX`] in one operation. What is left over is asked next time.
//!
//! Every answer is on disk before the next question, so that an end at any moment keeps what there
//! is, and the next start asks only for the rest.
//!
//! What becomes of `metadata_status`: COMPLETE when Civitai knows the file or the version it
//! belongs to, INCOMPLETE when it does not, ERROR when its answer could not be had. A model that
//! was COMPLETE stays so whatever is answered later: what is known of it stays known.

mod ends;
mod group;
mod round;
mod singles;

use serde::{Deserialize, Serialize};
use service_kit::operations::{
    LibraryReport, Operation, OperationCaller, OperationKind, OperationResult, Steps, Unfinished,
};
use service_kit::status::Failure;

use super::Library;
use crate::civitai::{Answer, Civitai, IDS_AT_ONCE_MAX, MatchedBy};
use crate::error::ModelError;
use crate::store;
use crate::store::civitai_answers::NewAnswer;
use crate::store::enrichment::{Outcome, Settled, Wanted};
use group::groups;

/// Models that are read at once: as many as one look-up of ids takes.
const ROUND_MODELS_MAX: usize = IDS_AT_ONCE_MAX;
/// Single look-ups of one enrichment, for hashes that the look-ups in bulk leave open.
pub(crate) const SINGLES_MAX: usize = 8;
/// Single look-ups of one enrichment for models of which only the AutoV2 is known.
pub(crate) const AUTOV2_SINGLES_MAX: usize = 100;
/// Times that a look-up in bulk is halved in one enrichment, because it is refused or too long.
const SPLITS_MAX: usize = 16;
/// Questions in a row without an answer, each of them repeated, after which the rest is left.
const NO_ANSWERS_IN_A_ROW_MAX: usize = 3;
/// In what progress is counted.
const MODELS: &str = "models";

/// What to ask Civitai.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrichmentAsked {
    /// Only these models; none: all with a hash that are not complete.
    pub model_ids: Vec<i64>,
    /// Also those that are complete, or whose answer is kept.
    pub refresh: bool,
}

impl Library {
    /// Begins to ask Civitai.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`], and those of operations.
    pub async fn start_enrichment(
        &self,
        asked: EnrichmentAsked,
        caller: OperationCaller,
        request_id: Option<String>,
    ) -> Result<Operation, ModelError> {
        let ids = asked.model_ids.clone();
        let unknown = self.ledger().read("known_models", move |connection| {
            Ok(store::enrichment::first_unknown(connection, &ids)?)
        });
        if let Some(id) = unknown.await? {
            return Err(ModelError::ModelNotFound(id));
        }
        let (kind, target) = (OperationKind::Enrichment, String::new());
        self.begin(kind, target, asked, caller, request_id, Self::enrich)
            .await
    }

    /// The work of enrichment.
    pub(super) async fn enrich(
        self,
        asked: EnrichmentAsked,
        steps: Steps,
    ) -> Result<OperationResult, Unfinished> {
        let civitai = self.civitai().clone();
        let _turn = tokio::select! {
            biased;
            () = steps.cancelled() => return Err(Unfinished::Stopped),
            turn = civitai.turn() => turn,
        };
        self.forget_expired(&steps).await?;
        let wanted = Wanted {
            model_ids: asked.model_ids,
            complete_too: asked.refresh,
        };
        let of = wanted.clone();
        let total = self
            .ledger()
            .read("count_models_to_enrich", move |connection| {
                Ok(store::enrichment::count(connection, &of)?)
            });
        let total = total.await.map_err(Failure::from)?;
        let mut run = Run::new(self, steps, asked.refresh, total);
        run.reach()?;
        let mut after = 0;
        loop {
            let of = wanted.clone();
            let next = run
                .library
                .ledger()
                .read("models_to_enrich", move |connection| {
                    Ok(store::enrichment::candidates(
                        connection,
                        &of,
                        after,
                        ROUND_MODELS_MAX,
                    )?)
                });
            let candidates = next.await.map_err(Failure::from)?;
            let Some(last) = candidates.last() else {
                break;
            };
            after = last.id;
            run.round(groups(candidates)).await?;
        }
        Ok(OperationResult::Library(run.report()))
    }

    async fn forget_expired(&self, steps: &Steps) -> Result<(), Unfinished> {
        loop {
            steps.go_on()?;
            let forget = self
                .ledger()
                .note("forget_civitai_answers", |connection, now| {
                    Ok(store::civitai_answers::forget_expired(connection, now)?)
                });
            if !forget.await.map_err(Failure::from)? {
                return Ok(());
            }
        }
    }
}

/// One enrichment under way.
struct Run {
    library: Library,
    civitai: Civitai,
    steps: Steps,
    refresh: bool,
    report: LibraryReport,
    done: u64,
    total: u64,
    /// Models that were not asked about because the look-ups of this enrichment are used up.
    left: u64,
    /// Models that were not asked about because Civitai is never to be asked.
    offline: u64,
    singles_left: usize,
    autov2_left: usize,
    splits_left: usize,
    no_answers_in_a_row: usize,
}

impl Run {
    fn new(library: Library, steps: Steps, refresh: bool, total: u64) -> Self {
        let mut report = LibraryReport::default();
        report.count("models", total);
        for name in [
            "matched_by_file",
            "matched_by_version",
            "not_found",
            "no_answer",
        ] {
            report.count(name, 0);
        }
        for name in ["from_kept_answers", "fields_filled", "not_asked"] {
            report.count(name, 0);
        }
        Self {
            civitai: library.civitai().clone(),
            library,
            steps,
            refresh,
            report,
            done: 0,
            total,
            left: 0,
            offline: 0,
            singles_left: SINGLES_MAX,
            autov2_left: AUTOV2_SINGLES_MAX,
            splits_left: SPLITS_MAX,
            no_answers_in_a_row: 0,
        }
    }

    /// Puts a question, unless the work is to stop; then the question is dropped.
    async fn ask<T>(
        &self,
        question: impl Future<Output = Answer<T>>,
    ) -> Result<Answer<T>, Unfinished> {
        self.steps.go_on()?;
        tokio::select! {
            biased;
            () = self.steps.cancelled() => Err(Unfinished::Stopped),
            answer = question => Ok(answer),
        }
    }

    /// Writes what came of some models; it is on disk when this returns.
    async fn settle(
        &mut self,
        settled: Vec<Settled>,
        answers: Vec<NewAnswer>,
    ) -> Result<(), Unfinished> {
        for Settled { model_ids, outcome } in &settled {
            let name = match outcome {
                Outcome::Found { matched_by, .. } => match matched_by {
                    MatchedBy::File => "matched_by_file",
                    MatchedBy::Version => "matched_by_version",
                },
                Outcome::NotFound => "not_found",
                Outcome::NoAnswer(_) => "no_answer",
            };
            self.report.count(name, model_ids.len() as u64);
            self.done += model_ids.len() as u64;
        }
        let write = self
            .library
            .ledger()
            // Civitai says nothing by which a model is found.
            .note("settle_enrichment", move |connection, now| {
                Ok(store::enrichment::settle(
                    connection, &settled, &answers, now,
                )?)
            });
        let filled = write.await.map_err(Failure::from)?;
        self.report.count("fields_filled", filled);
        self.reach()
    }

    fn reach(&self) -> Result<(), Unfinished> {
        // Models may come while the work goes on.
        let total = self.total.max(self.done);
        match self.steps.reach(self.done, total, MODELS).is_break() {
            true => Err(Unfinished::Stopped),
            false => Ok(()),
        }
    }

    /// What came of it, with what was left out.
    fn report(mut self) -> LibraryReport {
        self.report.count("not_asked", self.left + self.offline);
        if self.offline > 0 {
            let words = format!(
                "{} models have no kept answer, and Civitai is not asked because the service \
                 runs with --offline",
                self.offline
            );
            self.report.problem("", "CIVITAI_OFFLINE", &words);
        }
        if self.left > 0 {
            let words = format!(
                "{} models would each take a request of their own, more than one enrichment \
                 makes; start another one to go on with them",
                self.left
            );
            self.report.problem("", "CIVITAI_NOT_ASKED", &words);
        }
        self.report
    }
}
