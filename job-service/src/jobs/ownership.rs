//! Which job a caller means: one that it may not see is not there, and one
//! that it sees may still not be its to change. Asked in the transaction of
//! what it wants.

use crate::{
    error::Error,
    job::Job,
    store::{Connection, jobs},
    viewer::Viewer,
};

/// The job with this id, for a caller who looks.
pub(super) fn seen(conn: &mut Connection, viewer: &Viewer, id: &str) -> Result<Job, Error> {
    jobs::get_of(conn, id, viewer.sees_only())
}

/// The job with this id, for a caller who changes it.
pub(super) fn changed(conn: &mut Connection, viewer: &Viewer, id: &str) -> Result<Job, Error> {
    let job = seen(conn, viewer, id)?;
    if viewer.may_change(job.key_id.as_deref()) {
        Ok(job)
    } else {
        Err(Error::NotOwner(job.id))
    }
}
