//! Where model-service asks for a token, job-service works with its own and
//! says so without one.

use std::sync::Arc;

use anyhow::Result;
use model_service::tokens::{self, Tokens};
use service_kit::auth::Scope;
use stablequeue_proto::jobs::v1::{self as jobs, HoldReason};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

const SCOPES: [Scope; 2] = [Scope::ModelsRead, Scope::ModelsWrite];

fn options(presented: bool) -> Result<PairOptions> {
    let (token, entry) = tokens::create("job-service", &SCOPES, None)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tokens.json");
    std::fs::write(&file, entry)?;
    let known = Tokens::read(&file).map_err(|faults| anyhow::anyhow!(faults.join("; ")))?;
    Ok(PairOptions {
        model_tokens: Some(Arc::new(known)),
        model_token: presented.then_some(token),
        ..PairOptions::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_with_the_token_of_job_service() -> Result<()> {
    let pair = Pair::start(options(true)?).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("with a token")).await?;
    pair.completed(&id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_token_jobs_wait_and_say_why() -> Result<()> {
    let pair = Pair::start(options(false)?).await?;
    let sim = Sim::instant().await?;
    let server = jobs::Server {
        alias: "gpu".to_owned(),
        base_url: sim.sim.url(),
        ..jobs::Server::default()
    };
    let mut servers = pair.servers().await?;
    servers
        .create_server(jobs::CreateServerRequest {
            server: Some(server),
            ..jobs::CreateServerRequest::default()
        })
        .await?;
    let id = pair.submit(txt2img("without")).await?;
    let hold = pair.held(&id, HoldReason::ModelServiceUnavailable).await?;
    assert!(hold.message.contains("valid credentials"), "{hold:?}");
    assert_eq!(sim.log().len(), 0);
    Ok(())
}
