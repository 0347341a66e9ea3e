//! From requests about jobs to parsed values, or everything that is wrong with
//! them at once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use prost_types::Timestamp;
use service_kit::{
    clock::from_timestamp,
    page::{PageToken, page_size},
    wait,
};
use stablequeue_proto::jobs::v1 as proto;
use tonic::Status;

use super::{convert, status};
use crate::{
    error::Error,
    job::{AppType, JOB_ID_BYTES_MAX},
    request::Violation,
    request_id::{RequestId, request_id_fault},
    store::jobs::{Cursor, JobFilter, JobOrder},
    viewer::{Viewer, Whose},
};

mod batch;
mod change;
mod policy;
mod retry;
mod submission;

pub(super) use batch::{Batch, parse_batch};
pub(super) use change::{Update, parse_update};
pub(super) use retry::{BatchRetry, Retry, parse_batch_retry, parse_retry};
pub(super) use submission::parse_submission;

/// Bytes that the id of a batch may have.
const BATCH_ID_BYTES_MAX: usize = 128;
/// States that a filter names; there are fewer.
const STATES_MAX: usize = 8;
/// Paths of an update mask; there are fewer fields.
const PATHS_MAX: usize = 32;
/// The priorities there are.
const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;
/// The limits that a job may set on its attempts.
const ATTEMPTS: std::ops::RangeInclusive<i32> = 1..=10;
/// Labels of one job or server.
const LABELS_MAX: usize = 64;
/// Bytes of a label's key.
const LABEL_KEY_BYTES_MAX: usize = 63;
/// Bytes of a label's value.
const LABEL_VALUE_BYTES_MAX: usize = 255;
/// Bytes of `source_info`.
const SOURCE_INFO_BYTES_MAX: usize = 1024;

pub(super) fn invalid(path: &str, description: &str) -> Status {
    status(Error::Invalid(vec![Violation::new(path, description)]))
}

/// A job id that could be one.
pub(super) fn job_id(id: String) -> Result<String, Status> {
    if id.is_empty() || id.len() > JOB_ID_BYTES_MAX {
        let words = format!("must have 1 to {JOB_ID_BYTES_MAX} bytes");
        return Err(invalid("job_id", &words));
    }
    Ok(id)
}

/// Whether a list is longer than any that means something, which is told once:
/// its items are not looked at then.
fn too_many(path: &str, items: usize, most: usize, violations: &mut Vec<Violation>) -> bool {
    if items > most {
        let words = format!("must have at most {most} items");
        violations.push(Violation::new(path, words));
    }
    items > most
}

/// The fields that an update names, at most [`PATHS_MAX`].
pub(super) fn mask_paths(
    mask: prost_types::FieldMask,
    violations: &mut Vec<Violation>,
) -> Vec<String> {
    match too_many("update_mask.paths", mask.paths.len(), PATHS_MAX, violations) {
        true => Vec::new(),
        false => mask.paths,
    }
}

/// The id of a batch to filter by; empty for none.
fn batch_id_of(id: String, violations: &mut Vec<Violation>) -> String {
    if id.len() > BATCH_ID_BYTES_MAX {
        let words = format!("must have at most {BATCH_ID_BYTES_MAX} bytes");
        violations.push(Violation::new("batch_id", words));
        return String::new();
    }
    id
}

pub(super) fn view(value: i32) -> Result<proto::JobView, Status> {
    proto::JobView::try_from(value).map_err(|_| invalid("view", &format!("{value} is not a view")))
}

pub(super) fn wait_time(timeout: Option<prost_types::Duration>) -> Result<Duration, Status> {
    wait::wait_time(timeout.as_ref()).map_err(|fault| invalid("timeout", fault))
}

/// A request id, of the caller with this key; `None` for none.
pub(super) fn request_id(
    path: &str,
    id: String,
    key_id: Option<&str>,
    violations: &mut Vec<Violation>,
) -> Option<RequestId> {
    if id.is_empty() {
        return None;
    }
    if let Some(fault) = request_id_fault(&id) {
        violations.push(Violation::new(path, fault));
    }
    Some(RequestId {
        key_id: key_id.unwrap_or_default().to_owned(),
        id,
    })
}

pub(super) fn app_type_of(value: i32, violations: &mut Vec<Violation>) -> Option<AppType> {
    match proto::AppType::try_from(value) {
        Ok(app_type) => convert::app_type_from_proto(app_type),
        Err(_) => {
            violations.push(Violation::new(
                "app_type",
                format!("{value} is not an app type"),
            ));
            None
        }
    }
}

/// Labels within their limits; what is wrong with them goes to `violations`.
pub(super) fn labels(
    path: &str,
    labels: HashMap<String, String>,
    violations: &mut Vec<Violation>,
) -> BTreeMap<String, String> {
    if labels.len() > LABELS_MAX {
        violations.push(Violation::new(
            path,
            format!("must have at most {LABELS_MAX} entries"),
        ));
        return BTreeMap::new();
    }
    for (key, value) in &labels {
        let plain = |letter: char| !letter.is_control() && letter != '"' && letter != '\\';
        if key.is_empty() || key.len() > LABEL_KEY_BYTES_MAX || !key.chars().all(plain) {
            violations.push(Violation::new(
                path,
                format!(
                    "a key must have 1 to {LABEL_KEY_BYTES_MAX} bytes without quotes, \
                     backslashes and control characters"
                ),
            ));
        }
        if value.len() > LABEL_VALUE_BYTES_MAX {
            violations.push(Violation::new(
                format!("{path}.{key}"),
                format!("must have at most {LABEL_VALUE_BYTES_MAX} bytes"),
            ));
        }
    }
    labels.into_iter().collect()
}

/// What a list asks for.
pub(super) struct List {
    pub(super) filter: JobFilter,
    pub(super) cursor: Option<Cursor>,
    pub(super) size: usize,
    pub(super) view: proto::JobView,
    pub(super) fingerprint: Vec<u8>,
}

/// A list as far as this caller sees it. A token goes on in the list that it
/// came from: of the same caller, by the same filters.
pub(super) fn parse_list(request: proto::ListJobsRequest, viewer: &Viewer) -> Result<List, Status> {
    let proto::ListJobsRequest {
        page_size: size,
        page_token,
        view: view_value,
        states,
        target_server,
        app_type,
        labels: given_labels,
        create_time_from,
        create_time_to,
        order,
        batch_id,
        key_id,
    } = request;
    let mut violations = Vec::new();
    let size = page_size(size).unwrap_or_else(|error| {
        violations.push(Violation::new("page_size", error.to_string()));
        1
    });
    let view = proto::JobView::try_from(view_value).unwrap_or_else(|_| {
        violations.push(Violation::new(
            "view",
            format!("{view_value} is not a view"),
        ));
        proto::JobView::Basic
    });
    let mut parsed_states = Vec::new();
    let states = match too_many("states", states.len(), STATES_MAX, &mut violations) {
        true => Vec::new(),
        false => states,
    };
    for (at, value) in states.into_iter().enumerate() {
        let state = proto::JobState::try_from(value).ok();
        match state.and_then(convert::state_from_proto) {
            Some(state) => parsed_states.push(state),
            None => violations.push(Violation::new(
                format!("states[{at}]"),
                format!("{value} is not a state"),
            )),
        }
    }
    parsed_states.sort_unstable();
    parsed_states.dedup();
    let filter = JobFilter {
        states: parsed_states,
        target_server,
        batch_id: batch_id_of(batch_id, &mut violations),
        whose: viewer.narrow(match key_id.as_str() {
            "" => Whose::Everybody,
            _ => Whose::Key(key_id),
        }),
        app_type: app_type_of(app_type, &mut violations),
        labels: labels("labels", given_labels, &mut violations),
        created_from: time("create_time_from", create_time_from, &mut violations),
        created_to: time("create_time_to", create_time_to, &mut violations),
        order: order_of(order, &mut violations),
    };
    // The Debug text names every filter; only equality matters here.
    let fingerprint = format!("{filter:?}").into_bytes();
    let cursor = match page_token.as_str() {
        "" => None,
        token => match PageToken::decode(token, &fingerprint) {
            Ok(cursor) => Some(cursor),
            Err(error) => {
                violations.push(Violation::new("page_token", error.to_string()));
                None
            }
        },
    };
    if !violations.is_empty() {
        return Err(status(Error::Invalid(violations)));
    }
    Ok(List {
        filter,
        cursor,
        size,
        view,
        fingerprint,
    })
}

pub(super) fn time(
    path: &str,
    time: Option<Timestamp>,
    violations: &mut Vec<Violation>,
) -> Option<chrono::DateTime<chrono::Utc>> {
    let time = time?;
    let parsed = from_timestamp(&time);
    if parsed.is_none() {
        violations.push(Violation::new(path, "is not a time"));
    }
    parsed
}

pub(super) fn order_of(value: i32, violations: &mut Vec<Violation>) -> JobOrder {
    let order = |by_update, ascending| JobOrder {
        by_update,
        ascending,
    };
    match proto::JobOrder::try_from(value) {
        Ok(proto::JobOrder::Unspecified | proto::JobOrder::CreateTimeDesc) => order(false, false),
        Ok(proto::JobOrder::CreateTimeAsc) => order(false, true),
        Ok(proto::JobOrder::UpdateTimeDesc) => order(true, false),
        Ok(proto::JobOrder::UpdateTimeAsc) => order(true, true),
        Err(_) => {
            violations.push(Violation::new("order", format!("{value} is not an order")));
            JobOrder::default()
        }
    }
}

#[cfg(test)]
#[path = "parse/tests.rs"]
mod tests;
