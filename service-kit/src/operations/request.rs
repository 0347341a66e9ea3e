//! Reads the requests of OperationService, and says every fault of one at once.

use std::collections::BTreeSet;
use std::time::Duration;

use stablequeue_proto::admin::v1::ListOperationsRequest;
use uuid::Uuid;

use super::convert::{kind_from_wire, kind_names, state_from_wire, state_names};
use super::store::{Cursor, OperationFilter};
use crate::page::{self, PageToken};
use crate::status::{Failure, Violations};
use crate::wait::wait_time;

/// The length of a UUID as ids are written.
const ID_BYTES: usize = 36;

/// A page that was asked for.
pub(super) struct Wanted {
    pub(super) filter: OperationFilter,
    pub(super) behind: Option<Cursor>,
    pub(super) size: usize,
    /// What the page token is made for.
    pub(super) made_for: Vec<u8>,
}

/// The id of an operation, which is safe to be repeated in logs.
pub(super) fn operation_id(id: &str) -> Result<String, Failure> {
    let mut violations = Violations::new();
    let id = read_id(id, &mut violations);
    violations.finish()?;
    Ok(id)
}

fn read_id(id: &str, violations: &mut Violations) -> String {
    let is_uuid = id.len() == ID_BYTES && Uuid::try_parse(id).is_ok();
    if !is_uuid {
        let fault = "must be the id of an operation, a UUID; list them with ListOperations";
        violations.add("operation_id", fault);
    }
    id.to_ascii_lowercase()
}

/// The id of an operation, and how long to wait for its end.
pub(super) fn wait(
    id: &str,
    timeout: Option<&prost_types::Duration>,
) -> Result<(String, Duration), Failure> {
    let mut violations = Violations::new();
    let id = read_id(id, &mut violations);
    let limit = wait_time(timeout).unwrap_or_else(|fault| {
        violations.add("timeout", fault);
        Duration::ZERO
    });
    violations.finish()?;
    Ok((id, limit))
}

/// The page, or every fault of the request.
pub(super) fn page(request: &ListOperationsRequest) -> Result<Wanted, Failure> {
    let mut violations = Violations::new();
    let size = page::page_size(request.page_size).unwrap_or_else(|error| {
        violations.add("page_size", error.to_string());
        0
    });
    let states = known(&request.states, state_from_wire).unwrap_or_else(|(at, number)| {
        let fault = format!("{number} is not a state; use {}", state_names());
        violations.add(&format!("states[{at}]"), fault);
        BTreeSet::new()
    });
    let kinds = known(&request.kinds, kind_from_wire).unwrap_or_else(|(at, number)| {
        let fault = format!("{number} is not a kind; use {}", kind_names());
        violations.add(&format!("kinds[{at}]"), fault);
        BTreeSet::new()
    });
    let kinds = (!kinds.is_empty()).then_some(kinds);
    let filter = OperationFilter { states, kinds };
    // As text: what selects the operations, and nothing else.
    let made_for = format!("ListOperations {filter:?}").into_bytes();
    let behind = match request.page_token.as_str() {
        "" => None,
        token => PageToken::decode(token, &made_for)
            .map_err(|error| violations.add("page_token", error.to_string()))
            .ok(),
    };
    violations.finish()?;
    Ok(Wanted {
        filter,
        behind,
        size,
        made_for,
    })
}

/// What the numbers stand for, or the first that stands for nothing and its place.
fn known<T: Ord>(
    numbers: &[i32],
    read: impl Fn(i32) -> Option<T>,
) -> Result<BTreeSet<T>, (usize, i32)> {
    let numbered = numbers.iter().enumerate();
    numbered
        .map(|(at, number)| read(*number).ok_or((at, *number)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_in_its_usual_form() {
        let id = "0193530E-0000-7000-8000-000000000000";
        assert_eq!(operation_id(id).unwrap(), id.to_ascii_lowercase());
        let braced = format!("{{{id}}}");
        for wrong in ["", "7", &id.replace('-', ""), &braced] {
            let failure = operation_id(wrong).unwrap_err();
            assert_eq!(failure.fields()[0].field, "operation_id", "{wrong}");
            assert!(failure.message().contains("ListOperations"), "{failure}");
        }
    }

    #[test]
    fn every_fault_of_a_list_is_named_with_what_would_do() {
        let request = ListOperationsRequest {
            page_size: -1,
            page_token: "x".to_owned(),
            states: vec![1, 0],
            kinds: vec![99],
        };
        let Err(failure) = page(&request) else {
            panic!("it has faults");
        };
        let fields: Vec<_> = failure.fields().iter().map(|fault| &*fault.field).collect();
        assert_eq!(fields, ["page_size", "states[1]", "kinds[0]", "page_token"]);
        let kinds = &failure.fields()[2].description;
        assert!(kinds.contains("OPERATION_KIND_OPTIMIZE"), "{kinds}");
    }

    #[test]
    fn the_order_of_filters_makes_no_other_page() {
        let request = |states| ListOperationsRequest {
            states,
            ..ListOperationsRequest::default()
        };
        let made_for = |states| page(&request(states)).unwrap().made_for;
        assert_eq!(made_for(vec![1, 2]), made_for(vec![2, 1, 2]));
        assert_ne!(made_for(vec![1]), made_for(vec![2]));
    }
}
