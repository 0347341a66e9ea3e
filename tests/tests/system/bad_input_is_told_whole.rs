//! Everything that is wrong with a request is told at once, with its place,
//! and nothing of it is kept.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use stablequeue_proto::jobs::v1::{
    self as jobs, ForgePayload, GenerationParams, SubmitJobRequest, forge_payload::Body,
    submit_job_request::Input,
};
use system_tests::{
    Pair, PairOptions,
    pair::{params, txt2img},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The places of all violations of a refusal.
fn places(status: &Status) -> BTreeSet<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_details_bad_request().expect("violations");
    details
        .field_violations
        .into_iter()
        .map(|one| one.field)
        .collect()
}

fn set<const N: usize>(fields: [&str; N]) -> BTreeSet<String> {
    fields.into_iter().map(str::to_owned).collect()
}

async fn refused(pair: &Pair, request: SubmitJobRequest) -> Result<Status> {
    let answer = pair.jobs().await?.submit_job(request).await;
    Ok(answer.expect_err("it was to be refused"))
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_parameters_name_every_fault_in_the_callers_words() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let request = SubmitJobRequest {
        target_server: "no such alias!".to_owned(),
        priority: Some(101),
        max_attempts: Some(0),
        labels: HashMap::from([("k".repeat(64), String::new())]),
        source_info: "x".repeat(1025),
        app_type: 99,
        ..params(GenerationParams {
            prompt: "x".repeat(65_537),
            steps: Some(0),
            width: Some(65),
            height: Some(5000),
            cfg_scale: Some(f64::NAN),
            seed: Some(-2),
            batch_size: Some(17),
            clip_skip: Some(13),
            ..GenerationParams::default()
        })
    };
    let status = refused(&pair, request).await?;
    let wanted = set([
        "target_server",
        "priority",
        "max_attempts",
        "labels",
        "source_info",
        "app_type",
        "params.prompt",
        "params.steps",
        "params.width",
        "params.height",
        "params.cfg_scale",
        "params.seed",
        "params.batch_size",
        "params.clip_skip",
    ]);
    assert_eq!(places(&status), wanted);
    let listed = pair
        .jobs()
        .await?
        .list_jobs(jobs::ListJobsRequest::default())
        .await?;
    assert_eq!(listed.into_inner().jobs, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_fields_of_a_whole_body_are_refused() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let body = r#"{
        "prompt": "x", "force_task_id": "mine", "save_images": true, "send_images": false,
        "steps": 151, "no_such_field": 1,
        "override_settings": {"samples_filename_pattern": "x", "outdir_samples": "y"}
    }"#;
    let payload = |body| SubmitJobRequest {
        input: Some(Input::ForgePayload(ForgePayload {
            endpoint: jobs::Endpoint::Txt2img.into(),
            body,
        })),
        ..SubmitJobRequest::default()
    };
    let status = refused(&pair, payload(Some(Body::Json(body.to_owned())))).await?;
    let at = |field: &str| format!("forge_payload.json.{field}");
    let wanted: BTreeSet<String> = [
        "force_task_id",
        "save_images",
        "send_images",
        "steps",
        "no_such_field",
        "override_settings.samples_filename_pattern",
        "override_settings.outdir_samples",
    ]
    .map(at)
    .into();
    assert_eq!(places(&status), wanted);
    for text in ["", "[]", "{", "null", "{\"prompt\": \"x\"} {}"] {
        let status = refused(&pair, payload(Some(Body::Json(text.to_owned())))).await?;
        assert_eq!(places(&status), set(["forge_payload.json"]), "{text}");
    }
    let status = refused(&pair, payload(None)).await?;
    assert_eq!(places(&status), set(["forge_payload.body"]));
    let status = refused(&pair, SubmitJobRequest::default()).await?;
    assert_eq!(places(&status), set(["input"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_must_be_pictures_and_not_addresses() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let request = params(GenerationParams {
        prompt: "x".to_owned(),
        init_images: vec![b"no picture".to_vec()],
        ..GenerationParams::default()
    });
    let status = refused(&pair, request).await?;
    assert_eq!(places(&status), set(["params.init_images[0]"]));
    let body = r#"{"init_images": ["http://127.0.0.1/secret.png"]}"#;
    let request = SubmitJobRequest {
        input: Some(Input::ForgePayload(ForgePayload {
            endpoint: jobs::Endpoint::Img2img.into(),
            body: Some(Body::Json(body.to_owned())),
        })),
        ..SubmitJobRequest::default()
    };
    let status = refused(&pair, request).await?;
    assert_eq!(places(&status), set(["forge_payload.json.init_images[0]"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_not_there_are_not_found_everywhere() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let mut client = pair.jobs().await?;
    let job_id = || "0197f3a0-0000-7000-8000-000000000000".to_owned();
    let get = jobs::GetJobRequest {
        job_id: job_id(),
        view: 0,
    };
    let wait = jobs::WaitJobRequest {
        job_id: job_id(),
        timeout: None,
    };
    let watch = jobs::WatchJobRequest {
        job_id: job_id(),
        ..Default::default()
    };
    let download = jobs::DownloadImageRequest {
        job_id: job_id(),
        ..Default::default()
    };
    let refusals = [
        client.get_job(get).await.map(|_| ()),
        client.wait_job(wait).await.map(|_| ()),
        client.watch_job(watch).await.map(|_| ()),
        client
            .cancel_job(jobs::CancelJobRequest { job_id: job_id() })
            .await
            .map(|_| ()),
        client
            .list_job_images(jobs::ListJobImagesRequest { job_id: job_id() })
            .await
            .map(|_| ()),
        client.download_image(download).await.map(|_| ()),
    ];
    for refusal in refusals {
        let status = refusal.expect_err("there is no such job");
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        let reason = service_kit::status::reason_of(&status);
        assert_eq!(reason.as_deref(), Some("JOB_NOT_FOUND"));
    }
    // An image that the job does not have.
    let id = pair.submit(txt2img("waits")).await?;
    let download = jobs::DownloadImageRequest {
        job_id: id,
        ..Default::default()
    };
    let status = client
        .download_image(download)
        .await
        .expect_err("no image yet");
    let reason = service_kit::status::reason_of(&status);
    assert_eq!(reason.as_deref(), Some("IMAGE_NOT_FOUND"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_times_have_limits() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let mut client = pair.jobs().await?;
    for job_id in [String::new(), "x".repeat(129)] {
        let get = jobs::GetJobRequest { job_id, view: 0 };
        let status = client.get_job(get).await.expect_err("no id");
        assert_eq!(places(&status), set(["job_id"]));
    }
    let id = pair.submit(txt2img("waits")).await?;
    for (seconds, nanos) in [(601, 0), (-1, 0), (1, -1)] {
        let wait = jobs::WaitJobRequest {
            job_id: id.clone(),
            timeout: Some(prost_types::Duration { seconds, nanos }),
        };
        let status = client.wait_job(wait).await.expect_err("no such time");
        assert_eq!(places(&status), set(["timeout"]));
    }
    let list = jobs::ListJobsRequest {
        page_size: -1,
        page_token: "x".to_owned(),
        view: 9,
        states: vec![0, 77],
        order: 55,
        app_type: 44,
        create_time_from: Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        }),
        ..jobs::ListJobsRequest::default()
    };
    let status = client
        .list_jobs(list)
        .await
        .expect_err("nothing in it is right");
    let wanted = set([
        "page_size",
        "page_token",
        "view",
        "states[0]",
        "states[1]",
        "order",
        "app_type",
        "create_time_from",
    ]);
    assert_eq!(places(&status), wanted);
    Ok(())
}
