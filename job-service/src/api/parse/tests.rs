use proto::JobState::Failed;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::{jobs::RetryChoice, viewer::Reach};

/// What is told of the fields of a request that is refused.
fn told<T>(parsed: Result<T, Status>) -> Vec<(String, String)> {
    let refused = parsed.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let fields = refused.get_details_bad_request().unwrap().field_violations;
    let told = fields.into_iter().map(|it| (it.field, it.description));
    told.collect()
}

fn retry(request: proto::BatchRetryJobsRequest) -> Result<BatchRetry, Status> {
    parse_batch_retry(request, None)
}

#[test]
fn a_retry_of_many_names_jobs_or_a_filter() {
    let empty = proto::BatchRetryJobsRequest::default();
    let told = told(retry(empty.clone()));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "job_ids");
    assert!(told[0].1.contains("states: [FAILED]"), "{told:?}");
    for enough in [
        proto::BatchRetryJobsRequest {
            states: vec![Failed.into()],
            ..empty.clone()
        },
        proto::BatchRetryJobsRequest {
            error_code: "FORGE_ERROR".to_owned(),
            ..empty.clone()
        },
        proto::BatchRetryJobsRequest {
            job_ids: vec!["1".to_owned()],
            ..empty
        },
    ] {
        retry(enough).unwrap();
    }
}

#[test]
fn a_page_of_retries_goes_on_in_the_filters_that_it_came_from() {
    let all = proto::BatchRetryJobsRequest {
        states: vec![Failed.into()],
        ..proto::BatchRetryJobsRequest::default()
    };
    let place = serde_json::json!({"at": "2026", "id": "1", "until": "2027"});
    let made_for = retry(all.clone()).unwrap().made_for;
    let page_token = PageToken::encode(&made_for, &place);
    let next = proto::BatchRetryJobsRequest { page_token, ..all };
    let RetryChoice::Filter(filter) = retry(next.clone()).unwrap().choice else {
        panic!("it names no jobs");
    };
    assert_eq!(serde_json::json!(filter.after), place);
    let other = proto::BatchRetryJobsRequest {
        error_code: "FORGE_ERROR".to_owned(),
        ..next
    };
    assert_eq!(told(retry(other))[0].0, "page_token");
}

#[test]
fn a_list_that_is_too_long_is_told_once_and_not_looked_at() {
    let states = vec![i32::MAX; STATES_MAX + 1];
    let batch_id = "b".repeat(BATCH_ID_BYTES_MAX + 1);
    let update_mask = Some(prost_types::FieldMask {
        paths: vec!["nothing".to_owned(); PATHS_MAX + 1],
    });
    let of_retry = told(retry(proto::BatchRetryJobsRequest {
        states: states.clone(),
        batch_id: batch_id.clone(),
        ..proto::BatchRetryJobsRequest::default()
    }));
    let list = proto::ListJobsRequest {
        states,
        batch_id,
        ..proto::ListJobsRequest::default()
    };
    let viewer = Viewer::new(None, Reach::ChangesAll);
    let of_list = told(parse_list(list, &viewer));
    for told in [of_retry, of_list] {
        let fields: Vec<&str> = told.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["states", "batch_id"], "{told:?}");
        assert!(told[0].1.contains("at most 8 items"), "{told:?}");
    }
    let update = proto::UpdateJobRequest {
        job_id: "1".to_owned(),
        update_mask,
        ..proto::UpdateJobRequest::default()
    };
    let told = told(parse_update(update));
    let words = "must have at most 32 items".to_owned();
    assert_eq!(told, [("update_mask.paths".to_owned(), words)]);
}
