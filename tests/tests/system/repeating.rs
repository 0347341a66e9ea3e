//! A call that is repeated with its request id has its effect once.

use std::collections::BTreeSet;

use anyhow::Result;
use service_kit::status::reason_of;
use stablequeue_proto::jobs::v1::{
    self as jobs, AppType, CreateServerRequest, Endpoint, ForgePayload, GenerationParams,
    ListJobsRequest, Server, SubmitJobRequest, forge_payload::Body, submit_job_request::Input,
};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn with_id(id: &str, request: SubmitJobRequest) -> SubmitJobRequest {
    SubmitJobRequest {
        request_id: id.to_owned(),
        ..request
    }
}

async fn refused(pair: &Pair, request: SubmitJobRequest) -> Result<Status> {
    let answer = pair.jobs().await?.submit_job(request).await;
    Ok(answer.expect_err("it was to be refused"))
}

async fn count(pair: &Pair) -> Result<usize> {
    let request = ListJobsRequest::default();
    let listed = pair.jobs().await?.list_jobs(request).await?;
    Ok(listed.into_inner().jobs.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_sent_many_times_at_once_is_one_job() -> Result<()> {
    const TIMES: usize = 20;
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let sent = (0..TIMES).map(|_| pair.submit(with_id("once", txt2img("once"))));
    let ids = futures_util::future::try_join_all(sent).await?;
    let ids: BTreeSet<String> = ids.into_iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    for id in &ids {
        pair.completed(id).await?;
    }
    assert_eq!((count(&pair).await?, sim.log().len()), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_answers_the_job_as_it_is_now_even_after_a_restart() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let id = pair.submit(with_id("a", txt2img("kept"))).await?;
    let seed = pair.job(&id).await?.seed;
    pair.cancel(&id).await?;
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    let request = with_id("a", txt2img("kept"));
    let again = pair.jobs().await?.submit_job(request).await?.into_inner();
    assert!(!again.resume_token.is_empty());
    let again = again.job.unwrap_or_default();
    assert_eq!((&again.job_id, again.seed), (&id, seed));
    assert_eq!(again.state(), jobs::JobState::Cancelled);
    // Another id, and none, are other calls.
    pair.submit(with_id("b", txt2img("kept"))).await?;
    pair.submit(txt2img("kept")).await?;
    pair.submit(txt2img("kept")).await?;
    assert_eq!(count(&pair).await?, 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_otherwise_but_means_the_same_is_the_same() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let small = |seed| GenerationParams {
        prompt: "same".to_owned(),
        steps: Some(2),
        seed,
        ..GenerationParams::default()
    };
    let id = pair.submit(with_id("typed", params(small(None)))).await?;
    let spelt_out = SubmitJobRequest {
        priority: Some(0),
        max_attempts: Some(3),
        app_type: AppType::Api.into(),
        ..params(small(Some(-1)))
    };
    assert_eq!(pair.submit(with_id("typed", spelt_out)).await?, id);
    let json = |text: &str| SubmitJobRequest {
        input: Some(Input::ForgePayload(ForgePayload {
            endpoint: Endpoint::Txt2img.into(),
            body: Some(Body::Json(text.to_owned())),
        })),
        ..SubmitJobRequest::default()
    };
    // The same values as a whole body are the same request too.
    let body = r#"{"prompt": "same", "steps": 2}"#;
    assert_eq!(pair.submit(with_id("typed", json(body))).await?, id);
    let body = r#"{"steps": 2.0, "prompt": "same", "subseed": -1, "styles": null}"#;
    assert_eq!(pair.submit(with_id("typed", json(body))).await?, id);
    assert_eq!(count(&pair).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_with_other_content_is_refused() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    pair.submit(with_id("mine", txt2img("first"))).await?;
    let others = [
        txt2img("second"),
        SubmitJobRequest {
            priority: Some(1),
            ..txt2img("first")
        },
        params(GenerationParams {
            prompt: "first".to_owned(),
            steps: Some(2),
            width: Some(64),
            height: Some(64),
            seed: Some(0),
            ..GenerationParams::default()
        }),
    ];
    for other in others {
        let status = refused(&pair, with_id("mine", other)).await?;
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(reason_of(&status).as_deref(), Some("REQUEST_ID_REUSED"));
    }
    for wrong in ["x".repeat(129), "new\nline".to_owned(), "é".to_owned()] {
        let status = refused(&pair, with_id(&wrong, txt2img("first"))).await?;
        let details = status.get_details_bad_request().expect("violations");
        assert_eq!(details.field_violations[0].field, "request_id");
    }
    assert_eq!(count(&pair).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_registered_once() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let request = |alias: &str, id: &str| CreateServerRequest {
        server: Some(Server {
            alias: alias.to_owned(),
            base_url: "http://127.0.0.1:9".to_owned(),
            ..Server::default()
        }),
        request_id: id.to_owned(),
    };
    let create = |request| async {
        let mut client = pair.servers().await.expect("job-service is there");
        let answer = client.create_server(request).await?;
        Ok::<_, Status>(answer.into_inner().server.unwrap_or_default())
    };
    let sent = (0..8).map(|_| create(request("gpu", "once")));
    for server in futures_util::future::try_join_all(sent).await? {
        assert_eq!((server.alias.as_str(), server.etag.as_str()), ("gpu", "1"));
    }
    pair.cordon("gpu").await?;
    assert!(create(request("gpu", "once")).await?.cordoned);
    let status = create(request("other", "once")).await.expect_err("reused");
    assert_eq!(reason_of(&status).as_deref(), Some("REQUEST_ID_REUSED"));
    let status = create(request("gpu", "twice")).await.expect_err("exists");
    assert_eq!(reason_of(&status).as_deref(), Some("SERVER_ALREADY_EXISTS"));
    // The same id of another call is another id.
    pair.submit(with_id("once", txt2img("unrelated"))).await?;
    Ok(())
}
