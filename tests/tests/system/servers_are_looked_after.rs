//! Servers: registered, changed, taken out of use, removed.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use service_kit::status::reason_of;
use stablequeue_proto::jobs::v1::{
    self as jobs, CreateServerRequest, DeleteServerRequest, HoldReason, ListServersRequest, Server,
    ServerHealth, ServerUsage, UpdateServerRequest,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img, wait};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn server(alias: &str, base_url: &str) -> Server {
    Server {
        alias: alias.to_owned(),
        base_url: base_url.to_owned(),
        ..Server::default()
    }
}

async fn create(pair: &Pair, server: Server) -> Result<Server, Status> {
    let mut client = pair.servers().await.expect("job-service is there");
    let request = CreateServerRequest {
        server: Some(server),
        ..CreateServerRequest::default()
    };
    let answer = client.create_server(request).await?;
    Ok(answer.into_inner().server.unwrap_or_default())
}

async fn update(pair: &Pair, server: Server, mask: &[&str]) -> Result<Server, Status> {
    let mut client = pair.servers().await.expect("job-service is there");
    let request = UpdateServerRequest {
        server: Some(server),
        update_mask: (!mask.is_empty()).then(|| prost_types::FieldMask {
            paths: mask.iter().map(|&path| path.to_owned()).collect(),
        }),
    };
    let answer = client.update_server(request).await?;
    Ok(answer.into_inner().server.unwrap_or_default())
}

async fn delete(pair: &Pair, alias: &str) -> Result<(), Status> {
    let mut client = pair.servers().await.expect("job-service is there");
    let request = DeleteServerRequest {
        alias: alias.to_owned(),
    };
    client.delete_server(request).await.map(|_| ())
}

async fn until_health(pair: &Pair, alias: &str, wanted: ServerHealth) -> Result<Server> {
    wait::until(wanted.as_str_name(), || async {
        let server = pair
            .server(alias)
            .await
            .map_err(|error| error.to_string())?;
        let health = server.status.as_ref().map(jobs::ServerStatus::health);
        if health == Some(wanted) {
            Ok(server)
        } else {
            Err(format!("{server:?}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_registered_once_and_shown_with_what_it_is() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let shown = pair.server("gpu").await?;
    assert_eq!(
        (shown.usage(), shown.enabled),
        (ServerUsage::Dedicated, Some(true))
    );
    assert_eq!(shown.base_url, sim.sim.url());
    let status = shown.status.clone().unwrap_or_default();
    assert_eq!(status.process, sim.sim.app_id().to_string());
    assert_eq!((status.checkpoint_count, status.lora_count), (3, 2));
    assert!(status.ui_mode);
    let again = create(&pair, server("gpu", &sim.sim.url())).await;
    assert_eq!(again.expect_err("it is there").code(), Code::AlreadyExists);
    let bad = Server {
        usage: 9,
        labels: HashMap::from([("k".to_owned(), "v".repeat(256))]),
        ..server("no alias", "ftp://nowhere")
    };
    let status = create(&pair, bad)
        .await
        .expect_err("nothing in it is right");
    let details = status.get_details_bad_request().expect("violations");
    let mut places: Vec<_> = details
        .field_violations
        .into_iter()
        .map(|one| one.field)
        .collect();
    places.sort();
    assert_eq!(
        places,
        [
            "server.alias",
            "server.base_url",
            "server.labels.k",
            "server.usage"
        ]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_listed_by_alias_in_pages() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    for alias in ["b", "d", "a", "c", "e"] {
        let disabled = Server {
            enabled: Some(false),
            ..server(alias, "http://127.0.0.1:9")
        };
        create(&pair, disabled).await?;
    }
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListServersRequest {
            page_size: 2,
            page_token: token,
        };
        let page = pair
            .servers()
            .await?
            .list_servers(request)
            .await?
            .into_inner();
        found.extend(page.servers.into_iter().map(|server| server.alias));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, ["a", "b", "c", "d", "e"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_it_names_and_nothing_else() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let created = create(
        &pair,
        Server {
            enabled: Some(false),
            labels: HashMap::from([("room".to_owned(), "attic".to_owned())]),
            ..server("gpu", "http://127.0.0.1:9/")
        },
    )
    .await?;
    assert_eq!(created.base_url, "http://127.0.0.1:9");
    // The mask counts, not what else is set.
    let change = Server {
        usage: ServerUsage::Shared.into(),
        base_url: "http://127.0.0.1:10".to_owned(),
        ..server("gpu", "")
    };
    let changed = update(&pair, change, &["usage"]).await?;
    assert_eq!(
        (changed.usage(), changed.base_url),
        (ServerUsage::Shared, created.base_url)
    );
    assert_eq!(changed.labels, created.labels);
    assert_ne!(changed.etag, created.etag);
    // A field of the mask that is not set is emptied.
    let emptied = update(&pair, server("gpu", ""), &["labels"]).await?;
    assert_eq!(emptied.labels, HashMap::new());
    // Without a mask: what is set.
    let moved = update(&pair, server("gpu", "http://127.0.0.1:11"), &[]).await?;
    assert_eq!(
        (moved.base_url.as_str(), moved.usage()),
        ("http://127.0.0.1:11", ServerUsage::Shared)
    );
    let stale = Server {
        etag: created.etag,
        ..server("gpu", "http://127.0.0.1:12")
    };
    let status = update(&pair, stale, &[])
        .await
        .expect_err("the etag is old");
    assert_eq!(
        (status.code(), reason_of(&status).as_deref()),
        (Code::Aborted, Some("ETAG_MISMATCH"))
    );
    let status = update(&pair, server("gpu", ""), &["alias", "cordoned"]).await;
    assert_eq!(
        status.expect_err("these stay").code(),
        Code::InvalidArgument
    );
    let status = update(&pair, server("none", "http://127.0.0.1:9"), &[]).await;
    assert_eq!(status.expect_err("no such server").code(), Code::NotFound);
    assert_eq!(pair.server("gpu").await?.base_url, "http://127.0.0.1:11");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_use_is_neither_moved_nor_removed() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let running = pair.submit(txt2img("runs")).await?;
    sim.until(|log| log.len() == 1).await?;
    assert_eq!(
        pair.server("gpu")
            .await?
            .status
            .unwrap_or_default()
            .running_job_id,
        running
    );
    let status = delete(&pair, "gpu").await.expect_err("a job runs there");
    assert_eq!(reason_of(&status).as_deref(), Some("SERVER_IN_USE"));
    assert_eq!(status.code(), Code::FailedPrecondition);
    let moved = server("gpu", "http://127.0.0.1:9");
    let status = update(&pair, moved, &["base_url"])
        .await
        .expect_err("its attempt would be looked for elsewhere");
    assert_eq!(reason_of(&status).as_deref(), Some("SERVER_IN_USE"));
    let as_it_is = server("gpu", &sim.sim.url());
    update(&pair, as_it_is, &["base_url"]).await?;
    sim.sim.gate().open();
    pair.completed(&running).await?;
    pair.cordon("gpu").await?;
    let named = jobs::SubmitJobRequest {
        target_server: "gpu".to_owned(),
        ..txt2img("names it")
    };
    let named = pair.submit(named).await?;
    let status = delete(&pair, "gpu").await.expect_err("a job names it");
    assert_eq!(reason_of(&status).as_deref(), Some("SERVER_IN_USE"));
    pair.cancel(&named).await?;
    delete(&pair, "gpu").await?;
    assert_eq!(
        delete(&pair, "gpu").await.expect_err("it is gone").code(),
        Code::NotFound
    );
    let waiting = pair.submit(txt2img("nobody left")).await?;
    pair.held(&waiting, HoldReason::NoServer).await?;
    // The job that ran there keeps its history.
    assert_eq!(pair.job(&running).await?.attempts[0].server, "gpu");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordoned_server_gets_no_further_jobs_until_it_is_uncordoned() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let running = pair.submit(txt2img("runs on")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.cordon("gpu").await?;
    let shown = pair.server("gpu").await?;
    assert_eq!(
        (shown.cordoned, shown.cordon_reason.as_str()),
        (true, "a test")
    );
    let waiting = pair.submit(txt2img("waits")).await?;
    sim.sim.gate().open();
    pair.completed(&running).await?;
    let hold = pair.held(&waiting, HoldReason::ServerCordoned).await?;
    assert!(hold.message.contains("gpu"), "{}", hold.message);
    let probes = sim.asked("/sdapi/v1/options");
    sim.until_asked("/sdapi/v1/options", probes + 2).await?;
    assert_eq!(sim.log().len(), 1);
    pair.uncordon("gpu").await?;
    pair.completed(&waiting).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_server_is_neither_asked_nor_used() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    let disabled = Server {
        enabled: Some(false),
        ..server("gpu", &sim.sim.url())
    };
    create(&pair, disabled).await?;
    let id = pair.submit(txt2img("waits")).await?;
    pair.held(&id, HoldReason::NoServer).await?;
    pair.probe("gpu").await?;
    assert_eq!(sim.sim.requests().len(), 0);
    let enabled = Server {
        enabled: Some(true),
        ..server("gpu", "")
    };
    update(&pair, enabled, &["enabled"]).await?;
    pair.completed(&id).await?;
    let off = Server {
        enabled: Some(false),
        ..server("gpu", "")
    };
    update(&pair, off, &["enabled"]).await?;
    let id = pair.submit(txt2img("waits again")).await?;
    pair.held(&id, HoldReason::NoServer).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_name_a_server_that_comes_later() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (here, later) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("here", &here).await?;
    let request = jobs::SubmitJobRequest {
        target_server: "later".to_owned(),
        ..txt2img("patient")
    };
    let id = pair.submit(request).await?;
    pair.held(&id, HoldReason::TargetUnknown).await?;
    pair.add("later", &later).await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.result.context("no result")?.server, "later");
    assert_eq!(here.log().len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_unhealthy_until_it_answers() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let mut sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.kill().await;
    let shown = until_health(&pair, "gpu", ServerHealth::Unreachable).await?;
    let status = shown.status.unwrap_or_default();
    assert!(
        status.failures >= 3 && !status.message.is_empty(),
        "{status:?}"
    );
    let id = pair.submit(txt2img("waits for it")).await?;
    pair.held(&id, HoldReason::ServerUnavailable).await?;
    assert_eq!(pair.job(&id).await?.attempts, []);
    sim.sim.restart().await?;
    pair.completed(&id).await?;
    let shown = until_health(&pair, "gpu", ServerHealth::Healthy).await?;
    assert_eq!(
        shown.status.unwrap_or_default().process,
        sim.sim.app_id().to_string()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_moves_is_asked_at_its_new_address() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (old, new) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("gpu", &old).await?;
    update(&pair, server("gpu", &new.sim.url()), &["base_url"]).await?;
    let id = pair.submit(txt2img("follows")).await?;
    pair.completed(&id).await?;
    assert_eq!((old.log().len(), new.log().len()), (0, 1));
    let requests = old.sim.requests().len();
    new.until_asked("/sdapi/v1/options", new.asked("/sdapi/v1/options") + 2)
        .await?;
    assert_eq!(old.sim.requests().len(), requests);
    Ok(())
}
