//! A server that is drained gets no more jobs, and whoever asked is told when
//! the last one is done; a server with jobs is not deleted.

use anyhow::Result;
use stablequeue_proto::jobs::v1::{
    DeleteServerRequest, DrainServerRequest, DrainServerResponse, HoldReason, JobState, Server,
    SubmitJobRequest, UpdateServerRequest,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};
use tonic::Code;

fn drain(seconds: i64, nanos: i32) -> DrainServerRequest {
    DrainServerRequest {
        alias: "gpu".to_owned(),
        reason: "new fans".to_owned(),
        timeout: Some(prost_types::Duration { seconds, nanos }),
    }
}

async fn drained(pair: &Pair, request: DrainServerRequest) -> Result<DrainServerResponse> {
    let answer = pair.servers().await?.drain_server(request).await?;
    Ok(answer.into_inner())
}

fn on_gpu(prompt: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        target_server: "gpu".to_owned(),
        ..txt2img(prompt)
    }
}

/// A pair whose only server runs a job that waits for its gate.
async fn with_a_running_job() -> Result<(Pair, Sim, String)> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("under way")).await?;
    sim.until(|log| log.len() == 1).await?;
    Ok((pair, sim, id))
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_waits_for_the_last_job_and_lets_no_other_begin() -> Result<()> {
    let (pair, sim, running) = with_a_running_job().await?;
    let waits = pair.submit(on_gpu("waits")).await?;
    let open = async {
        pair.held(&waits, HoldReason::ServerCordoned).await?;
        assert_eq!(pair.job(&running).await?.state(), JobState::Processing);
        sim.sim.gate().open();
        anyhow::Ok(())
    };
    let (answer, opened) = tokio::join!(drained(&pair, drain(60, 0)), open);
    opened?;
    let answer = answer?;
    assert!(answer.drained);
    let server = answer.server.unwrap_or_default();
    assert_eq!(
        (server.cordoned, &*server.cordon_reason),
        (true, "new fans")
    );
    assert_eq!(server.status.unwrap_or_default().running_job_id, "");
    assert_eq!(pair.job(&running).await?.state(), JobState::Completed);
    assert_eq!(sim.log().len(), 1);
    let again = drained(&pair, drain(0, 0)).await?;
    assert!(again.drained, "a repetition finds nothing left to do");
    pair.uncordon("gpu").await?;
    pair.completed(&waits).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_whose_time_is_up_says_so_and_goes_on() -> Result<()> {
    let (pair, sim, running) = with_a_running_job().await?;
    let answer = drained(&pair, drain(0, 50_000_000)).await?;
    assert!(!answer.drained);
    let server = answer.server.unwrap_or_default();
    assert!(server.cordoned);
    assert_eq!(server.status.unwrap_or_default().running_job_id, running);
    sim.sim.gate().open();
    pair.completed(&running).await?;
    assert!(drained(&pair, drain(60, 0)).await?.drained);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_drain_is_told() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let mut servers = pair.servers().await?;
    for (request, code, field) in [
        (drain(601, 0), Code::InvalidArgument, "timeout"),
        (drain(-1, 0), Code::InvalidArgument, "timeout"),
        (
            DrainServerRequest {
                reason: "x".repeat(1025),
                ..drain(1, 0)
            },
            Code::InvalidArgument,
            "reason",
        ),
        (
            DrainServerRequest {
                alias: "a b".to_owned(),
                ..drain(1, 0)
            },
            Code::InvalidArgument,
            "alias",
        ),
        (drain(1, 0), Code::NotFound, "gpu"),
    ] {
        let status = servers.drain_server(request).await.unwrap_err();
        let told = format!("{} {:?}", status.message(), status.details());
        let details = String::from_utf8_lossy(status.details()).into_owned();
        assert_eq!(status.code(), code, "{told}");
        let named = status.message().contains(field) || details.contains(field);
        assert!(named, "{field}: {told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_jobs_is_not_deleted_and_the_remedy_is_told() -> Result<()> {
    let (pair, sim, running) = with_a_running_job().await?;
    let delete = || DeleteServerRequest {
        alias: "gpu".to_owned(),
    };
    let mut servers = pair.servers().await?;
    let refused = servers.delete_server(delete()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("DrainServer"), "{refused}");
    sim.sim.gate().open();
    pair.completed(&running).await?;
    pair.cordon("gpu").await?;
    let waits = pair.submit(on_gpu("waits")).await?;
    let refused = servers.delete_server(delete()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("cancel them"), "{refused}");
    pair.cancel(&waits).await?;
    servers.delete_server(delete()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_interrupts_are_allowed_is_kept() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    assert_eq!(pair.server("gpu").await?.interrupts_allowed, Some(false));
    for (allowed, mask) in [
        (true, None),
        (false, Some("interrupts_allowed")),
        (true, None),
        (false, None),
    ] {
        let change = UpdateServerRequest {
            server: Some(Server {
                alias: "gpu".to_owned(),
                interrupts_allowed: Some(allowed),
                ..Server::default()
            }),
            update_mask: mask.map(|path| prost_types::FieldMask {
                paths: vec![path.to_owned()],
            }),
        };
        pair.servers().await?.update_server(change).await?;
        assert_eq!(pair.server("gpu").await?.interrupts_allowed, Some(allowed));
    }
    Ok(())
}
