//! Whether the queue has room: asked in the transaction that would fill it.

use crate::{
    core::{Core, ServiceLimits},
    error::{Error, key_subject},
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

/// A key whose jobs are bounded.
#[derive(Clone, Debug)]
pub(super) struct KeyQuota {
    /// The key.
    pub(super) key_id: String,
    /// How many of its jobs may wait.
    pub(super) queued_jobs: u64,
}

impl KeyQuota {
    /// What jobs of this key may have waiting; `None` where only all together
    /// are bounded.
    pub(super) fn of(core: &Core, key_id: Option<&str>) -> Option<Self> {
        let key_id = key_id?;
        let own = core.keys.limits_of(key_id).queued_jobs_max;
        let most = own.or(core.limits.queued_jobs_per_key)?;
        Some(Self {
            key_id: key_id.to_owned(),
            queued_jobs: most.into(),
        })
    }
}

/// Whether so many jobs and bytes more may wait, of the key that they would
/// belong to and of all together.
pub(super) fn admit(
    conn: &mut Connection,
    limits: &ServiceLimits,
    quota: Option<&KeyQuota>,
    jobs: usize,
    bytes: i64,
) -> Result<(), Error> {
    let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
    if let Some(quota) = quota {
        admit_of_key(conn, quota, jobs)?;
    }
    let now = queue::totals(conn)?;
    within(
        limits,
        QueueTotals {
            jobs: now.jobs.saturating_add(jobs),
            request_bytes: now.request_bytes.saturating_add(bytes),
        },
    )
}

/// Whether so many jobs more of one key may wait.
fn admit_of_key(conn: &mut Connection, quota: &KeyQuota, jobs: i64) -> Result<(), Error> {
    let jobs = queue::jobs_of_key(conn, &quota.key_id)?.saturating_add(jobs);
    // Never below zero.
    if jobs.unsigned_abs() > quota.queued_jobs {
        return Err(Error::QueueFull {
            subject: key_subject(&quota.key_id),
            what: format!("{jobs} jobs of this key would wait"),
            limit: quota.queued_jobs,
        });
    }
    Ok(())
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
            subject: "queued_jobs".to_owned(),
            what: format!("{jobs} jobs would wait"),
            limit: most_jobs,
        });
    }
    if request_bytes.unsigned_abs() > limits.queued_bytes {
        return Err(Error::QueueFull {
            subject: "queued_bytes".to_owned(),
            what: format!("the requests of waiting jobs would have {request_bytes} bytes"),
            limit: limits.queued_bytes,
        });
    }
    Ok(())
}
