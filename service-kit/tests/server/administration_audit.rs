//! What AdminService shows of the audit.

use std::collections::BTreeMap;

use service_kit::clock::{from_text, to_timestamp};
use stablequeue_proto::admin::v1::*;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::administration::{Administered, administered};
use crate::administration_upkeep::write;
use crate::harness::soon;

/// Events at the seconds 0 to 8, of two keys and two methods.
async fn noted(all: &Administered) {
    for second in 0..9 {
        let (key, method) = (second % 2, second % 3 % 2);
        let row = format!(
            "INSERT INTO audit_events (created_at, key_id, caller, peer, method, target, code, \
             request_id) VALUES ('2026-11-22T11:08:0{second}.000Z', 'key-{key}', 'me', \
             '127.0.0.1', 'a.B/C{method}', 't{second}', 'OK', 'r')"
        );
        write(all, row).await;
    }
}

async fn events(all: &mut Administered, request: ListAuditEventsRequest) -> (String, String) {
    let page = soon(all.client.list_audit_events(request)).await;
    let page = page.unwrap().into_inner();
    let targets = page.audit_events.iter().map(|event| &event.target[1..]);
    (targets.collect(), page.next_page_token)
}

#[tokio::test]
async fn the_audit_is_listed_newest_first_by_key_method_and_time() {
    let mut all = administered().await;
    noted(&all).await;
    let at = |second: &str| {
        let time = format!("2026-11-22T11:08:{second}Z");
        from_text(&time).map(to_timestamp)
    };
    let any = ListAuditEventsRequest::default;
    let key_id = "key-1".to_owned();
    let method = "a.B/C1".to_owned();
    let wanted = BTreeMap::from([
        ("876543210", any()),
        (
            "7531",
            ListAuditEventsRequest {
                key_id: key_id.clone(),
                ..any()
            },
        ),
        (
            "741",
            ListAuditEventsRequest {
                method: method.clone(),
                ..any()
            },
        ),
        (
            "71",
            ListAuditEventsRequest {
                key_id,
                method,
                ..any()
            },
        ),
        (
            "43",
            ListAuditEventsRequest {
                start_time: at("03.000"),
                end_time: at("05.000"),
                ..any()
            },
        ),
        (
            "",
            ListAuditEventsRequest {
                key_id: "nobody".to_owned(),
                ..any()
            },
        ),
    ]);
    for (targets, request) in wanted {
        let (found, token) = events(&mut all, request.clone()).await;
        assert_eq!(
            (found.as_str(), token.as_str()),
            (targets, ""),
            "{request:?}"
        );
    }
    let page = soon(all.client.list_audit_events(any())).await;
    let newest = &page.unwrap().into_inner().audit_events[0];
    assert_eq!(newest.create_time, at("08.000"));
    assert_eq!(
        (&*newest.key_id, &*newest.method, &*newest.code),
        ("key-0", "a.B/C0", "OK")
    );
}

#[tokio::test]
async fn a_page_of_the_audit_is_followed_by_the_next_and_new_events_do_not_move_it() {
    let mut all = administered().await;
    noted(&all).await;
    let request = ListAuditEventsRequest {
        page_size: 4,
        ..ListAuditEventsRequest::default()
    };
    let (first, token) = events(&mut all, request.clone()).await;
    assert_eq!(first, "8765");
    noted(&all).await;
    let next = ListAuditEventsRequest {
        page_token: token.clone(),
        ..request
    };
    let (second, token) = events(&mut all, next.clone()).await;
    assert_eq!(second, "4321");
    let (third, end) = events(
        &mut all,
        ListAuditEventsRequest {
            page_token: token.clone(),
            ..next.clone()
        },
    )
    .await;
    assert_eq!((third.as_str(), end.as_str()), ("0", ""));
    let other = ListAuditEventsRequest {
        page_size: -1,
        page_token: token,
        key_id: "key-1".to_owned(),
        start_time: Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        }),
        ..ListAuditEventsRequest::default()
    };
    let refused = soon(all.client.list_audit_events(other)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    let mut fields: Vec<&str> = violations.iter().map(|each| &*each.field).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["page_size", "page_token", "start_time"]);
}
