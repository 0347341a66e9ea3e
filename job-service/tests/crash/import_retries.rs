//! Jobs of a list of the earlier application that are retried: also behind many
//! that cannot be.

use std::fs;

use serde_json::{Value, json};
use stablequeue_proto::jobs::v1::{
    BatchRetryJobsRequest, BatchRetryJobsResponse, JobState, job_service_client::JobServiceClient,
};
use tonic::transport::Channel;

use crate::{
    program::{Program, command},
    world::{Client, World},
};

/// Jobs of one call.
const AT_ONCE: usize = 1_000;
/// A checkpoint of the stand-in, as the earlier application named it.
const CHECKPOINT: &str = "dawn-mini.safetensors";

fn entry(id: &str, ended: &str, params: &Value) -> Value {
    json!({"mobilesd_job_id": id, "status": "failed", "creation_timestamp": ended,
        "completion_timestamp": ended, "generation_params": params})
}

async fn retried(
    jobs: &mut JobServiceClient<Channel>,
    page_token: String,
) -> BatchRetryJobsResponse {
    let request = BatchRetryJobsRequest {
        states: vec![JobState::Failed.into()],
        page_token,
        ..BatchRetryJobsRequest::default()
    };
    jobs.batch_retry_jobs(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_retried_hides_nothing_and_the_rest_generates_what_was_asked_for() {
    let world = World::new().await;
    let unreadable = json!({"prompt": "a fox", "steps": "banana"});
    let mut list: Vec<Value> = (0..=AT_ONCE)
        .map(|at| {
            entry(
                &format!("bad-{at}"),
                "2025-05-13T10:00:00.000Z",
                &unreadable,
            )
        })
        .collect();
    let wanted = json!({"positive_prompt": "an old fox", "checkpoint_name": CHECKPOINT,
        "steps": "3", "width": "64", "height": "64"});
    list.push(entry("wanted", "2025-05-14T10:00:00.000Z", &wanted));
    fs::create_dir_all(world.data_dir()).unwrap();
    let file = world.data_dir().join("job_queue.json");
    fs::write(&file, Value::from(list).to_string()).unwrap();
    let flag = format!("--import-json={}", file.display());
    let imported = command(&["migrate", &flag], &world.data_dir()).output();
    assert!(imported.unwrap().status.success());

    let program: Program = world.start(&[]);
    let mut client = Client::of(&program).await;
    let address = format!("http://{}", program.serves().await);
    let mut jobs = JobServiceClient::connect(address).await.unwrap();
    let first = retried(&mut jobs, String::new()).await;
    assert_eq!(first.results.len(), AT_ONCE);
    let refused = |answer: &BatchRetryJobsResponse| {
        let failures = answer.results.iter().flat_map(|result| &result.failure);
        failures.filter(|it| it.reason == "JOB_UNREADABLE").count()
    };
    assert_eq!(refused(&first), AT_ONCE);
    assert!(first.more);
    let rest = retried(&mut jobs, first.next_page_token).await;
    assert_eq!((rest.results.len(), refused(&rest)), (2, 1));
    assert_eq!((rest.more, rest.next_page_token.as_str()), (false, ""));
    let again = &rest.results[1];
    assert_eq!((again.job_id.as_str(), again.run), ("wanted", 2));
    client.completed("wanted").await;
    let sent = world.generations();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].request["prompt"], "an old fox");
    let used = sent[0].checkpoint.as_deref().unwrap_or_default();
    assert!(used.starts_with(CHECKPOINT), "{used}");
}
