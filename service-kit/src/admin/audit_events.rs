//! Reads ListAuditEvents' requests and writes its answers.

use diesel::SqliteConnection;
use stablequeue_proto::admin::v1::{self as wire, ListAuditEventsRequest, ListAuditEventsResponse};

use super::{Admin, AdminError};
use crate::audit::{self, AuditFilter, NotedCall};
use crate::clock::{from_text, from_timestamp, to_text, to_timestamp};
use crate::page::{self, PageToken};
use crate::status::{Failure, Violations};

/// A page that was asked for.
pub(super) struct Wanted {
    filter: AuditFilter,
    size: usize,
    /// What the page token is made for.
    made_for: Vec<u8>,
}

/// The page, or every fault of the request.
pub(super) fn wanted(request: &ListAuditEventsRequest) -> Result<Wanted, Failure> {
    let mut violations = Violations::new();
    let size = page::page_size(request.page_size).unwrap_or_else(|error| {
        violations.add("page_size", error.to_string());
        0
    });
    let mut time = |path: &str, given: &Option<prost_types::Timestamp>| {
        let time = given.as_ref().map(from_timestamp)?;
        if time.is_none() {
            violations.add(path, "is not a time");
        }
        time.map(to_text)
    };
    let from = time("start_time", &request.start_time);
    let until = time("end_time", &request.end_time);
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let mut filter = AuditFilter {
        key_id: text(&request.key_id),
        method: text(&request.method),
        from,
        until,
        before_id: None,
    };
    // As text: what selects the events, and nothing else.
    let made_for = format!("ListAuditEvents {filter:?}").into_bytes();
    if !request.page_token.is_empty() {
        filter.before_id = PageToken::decode(&request.page_token, &made_for)
            .map_err(|error| violations.add("page_token", error.to_string()))
            .ok();
    }
    violations.finish()?;
    Ok(Wanted {
        filter,
        size,
        made_for,
    })
}

impl Admin {
    pub(super) async fn audit_events(
        &self,
        wanted: Wanted,
    ) -> Result<ListAuditEventsResponse, AdminError> {
        let Wanted {
            filter,
            size,
            made_for,
        } = wanted;
        let read =
            move |connection: &mut SqliteConnection| audit::page(connection, &filter, size + 1);
        let mut calls = self.0.database.read("list_audit_events", read).await?;
        let more = calls.len() > size;
        calls.truncate(size);
        let last = calls.last().filter(|_| more);
        let next_page_token =
            last.map_or_else(String::new, |last| PageToken::encode(&made_for, &last.id));
        Ok(ListAuditEventsResponse {
            audit_events: calls.into_iter().map(event).collect(),
            next_page_token,
        })
    }
}

fn event(call: NotedCall) -> wire::AuditEvent {
    wire::AuditEvent {
        create_time: from_text(&call.created_at).map(to_timestamp),
        key_id: call.key_id.unwrap_or_default(),
        caller: call.caller,
        peer: call.peer,
        method: call.method,
        target: call.target,
        code: call.code,
        request_id: call.request_id,
    }
}
