//! Whether the queue has room: asked in the transaction that would fill it.

use crate::{
    core::ServiceLimits,
    error::Error,
    request::InputImage,
    store::{
        Connection,
        queue::{self, QueueTotals},
    },
};

/// Bytes of a request with its pictures, as they are kept.
pub(super) fn request_bytes(request_json: &str, pictures: &[InputImage]) -> i64 {
    let pictures: usize = pictures.iter().map(|picture| picture.bytes.len()).sum();
    i64::try_from(request_json.len() + pictures).unwrap_or(i64::MAX)
}

/// Whether so many jobs and bytes more may wait.
pub(super) fn admit(
    conn: &mut Connection,
    limits: &ServiceLimits,
    jobs: usize,
    bytes: i64,
) -> Result<(), Error> {
    let now = queue::totals(conn)?;
    let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
    within(
        limits,
        QueueTotals {
            jobs: now.jobs.saturating_add(jobs),
            request_bytes: now.request_bytes.saturating_add(bytes),
        },
    )
}

/// Whether what a change has made larger may wait so; one that makes it
/// smaller may always.
pub(super) fn check_growth(
    conn: &mut Connection,
    limits: &ServiceLimits,
    before: QueueTotals,
) -> Result<(), Error> {
    let after = queue::totals(conn)?;
    if after.request_bytes > before.request_bytes {
        within(limits, QueueTotals { jobs: 0, ..after })?;
    }
    Ok(())
}

fn within(limits: &ServiceLimits, totals: QueueTotals) -> Result<(), Error> {
    let most_jobs = u64::try_from(limits.queued_jobs).unwrap_or(u64::MAX);
    let QueueTotals {
        jobs,
        request_bytes,
    } = totals;
    // Neither is ever below zero.
    if jobs.unsigned_abs() > most_jobs {
        return Err(Error::QueueFull {
            subject: "queued_jobs",
            what: format!("{jobs} jobs would wait"),
            limit: most_jobs,
        });
    }
    if request_bytes.unsigned_abs() > limits.queued_bytes {
        return Err(Error::QueueFull {
            subject: "queued_bytes",
            what: format!("the requests of waiting jobs would have {request_bytes} bytes"),
            limit: limits.queued_bytes,
        });
    }
    Ok(())
}
