//! What became of each item of a batch, as it is answered.

use service_kit::status::INVALID_FIELDS;
use stablequeue_proto::jobs::v1::{self as proto, batch_submit_result::Outcome};

use crate::{
    jobs::{RetriedJob, TakenJob},
    request::Violation,
};

/// Violations that are told of one item, so that an answer about many stays
/// within what clients take.
const ITEM_VIOLATIONS_MAX: usize = 5;
/// Bytes of a path or description that are told.
const TEXT_BYTES_MAX: usize = 300;

/// A job that was taken for an item.
pub(super) fn taken(item: usize, job: TakenJob) -> proto::BatchSubmitResult {
    let TakenJob { id, seed } = job;
    result(item, Outcome::Taken(proto::BatchTaken { job_id: id, seed }))
}

/// What became of the retry of a job.
pub(super) fn retried(job: RetriedJob) -> proto::BatchRetryResult {
    let RetriedJob { id, outcome } = job;
    let (run, failure) = match outcome {
        Ok(run) => (run, None),
        Err(refusal) => {
            let failure = proto::BatchFailure {
                reason: refusal.reason,
                message: cut(refusal.message),
                violations: Vec::new(),
            };
            (0, Some(failure))
        }
    };
    proto::BatchRetryResult {
        job_id: id,
        run,
        failure,
    }
}

/// An item of which no job was taken.
pub(super) fn refused(item: usize, found: Vec<Violation>) -> proto::BatchSubmitResult {
    let message = match found.len() {
        1 => "1 field is wrong".to_owned(),
        count => format!("{count} fields are wrong"),
    };
    let violations = found
        .into_iter()
        .take(ITEM_VIOLATIONS_MAX)
        .map(|violation| proto::BatchViolation {
            field: cut(violation.path),
            description: cut(violation.description),
        })
        .collect();
    let failure = proto::BatchFailure {
        reason: INVALID_FIELDS.to_owned(),
        message,
        violations,
    };
    result(item, Outcome::Failure(failure))
}

fn result(item: usize, outcome: Outcome) -> proto::BatchSubmitResult {
    proto::BatchSubmitResult {
        item: i32::try_from(item).unwrap_or(i32::MAX),
        outcome: Some(outcome),
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
