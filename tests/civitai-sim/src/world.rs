//! What all requests share: versions, rules, what arrived. It does not answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::catalog::Catalog;
use crate::downloads::Storage;
use crate::recorded::Requests;
use crate::rules::Rules;

/// Longest body that Civitai's framework takes, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, Default)]
pub(crate) struct World {
    catalog: Mutex<Catalog>,
    pub(crate) rules: Rules,
    pub(crate) requests: Requests,
    pub(crate) storage: Storage,
}

impl World {
    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
