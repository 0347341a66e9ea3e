//! Reads the requests of AdminService, and says every fault of one at once.

use chrono::TimeDelta;
use stablequeue_proto::admin::v1::{CreateBackupRequest, ListBackupsRequest, PruneBackupsRequest};

use crate::clock::from_proto_duration;
use crate::migrate::Prune;
use crate::page::{self, PageToken};
use crate::status::{Failure, Violations};

/// What a page token of ListBackups is made for; there is no filter.
pub(super) const ALL_BACKUPS: &[u8] = b"ListBackups";
/// Most backups that a request may let stay.
const KEEP_MAX: usize = 1_000_000;
/// Longest id that a caller gives a call, in characters.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The caller's own id of the call; `None` without one.
pub(super) fn backup_id(request: &CreateBackupRequest) -> Result<Option<String>, Failure> {
    let id = &request.request_id;
    let printable = id.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let mut violations = Violations::new();
    if !printable || id.len() > REQUEST_ID_CHARS_MAX {
        let fault = format!("must have at most {REQUEST_ID_CHARS_MAX} printable ASCII characters");
        violations.add("request_id", fault);
    }
    violations.finish()?;
    Ok((!id.is_empty()).then(|| id.clone()))
}

/// What is to be removed.
pub(super) fn prune(request: &PruneBackupsRequest) -> Result<Prune, Failure> {
    let mut violations = Violations::new();
    let keep = usize::try_from(request.keep)
        .ok()
        .filter(|keep| *keep <= KEEP_MAX);
    if keep.is_none() {
        violations.add("keep", format!("must be from 0 to {KEEP_MAX}"));
    }
    let keep = keep.filter(|keep| *keep > 0);
    if request.keep == 0 && !request.pre_adoption {
        violations.add("keep", "must be at least 1 unless pre_adoption is set");
    }
    let older_than = request.older_than.as_ref().map(from_proto_duration);
    let older_than = older_than.map(|age| age.and_then(|age| TimeDelta::from_std(age).ok()));
    if older_than == Some(None) {
        violations.add("older_than", "must be a positive duration");
    }
    if older_than.is_some() && keep.is_none() {
        violations.add("older_than", "narrows keep, which is not set");
    }
    violations.finish()?;
    Ok(Prune {
        keep,
        older_than: older_than.flatten(),
        pre_adoption: request.pre_adoption,
    })
}

/// The size of the page, and the backup after which it begins.
pub(super) fn backups_page(
    request: &ListBackupsRequest,
) -> Result<(usize, Option<String>), Failure> {
    let mut violations = Violations::new();
    let size = page::page_size(request.page_size).unwrap_or_else(|error| {
        violations.add("page_size", error.to_string());
        0
    });
    let after = match request.page_token.as_str() {
        "" => None,
        token => PageToken::decode(token, ALL_BACKUPS)
            .map_err(|error| violations.add("page_token", error.to_string()))
            .ok(),
    };
    violations.finish()?;
    Ok((size, after))
}
