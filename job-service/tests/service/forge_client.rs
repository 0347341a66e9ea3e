//! The Forge client against a Forge stand-in over real HTTP: what it finds,
//! and what it makes of a connection that breaks.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use forge_sim::{Fault, ForgeSim, SimConfig, SimModel, Target};
use job_service::dispatch::answer::{AnswerError, read_answer};
use job_service::dispatch::forge::{
    CallFailure, ForgeClient, GenerateAnswer, ProbeFacts, ProbeFailureKind,
};
use job_service::images::ImageStore;
use job_service::job::{AttemptOutcome, Endpoint};
use job_service::outcome::{Verdict, classify_status};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// How long a state may take to come about.
const BOUND: Duration = Duration::from_secs(20);

/// A server, a client of it, and a folder.
pub(crate) struct Bench {
    pub(crate) sim: ForgeSim,
    pub(crate) client: ForgeClient,
    pub(crate) store: ImageStore,
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) async fn new(gated: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = SimConfig {
            gated,
            loras: vec![SimModel::named("ink-lines.safetensors")],
            ..SimConfig::instant(dir.path().join("forge"))
        };
        let sim = ForgeSim::start(config).await.unwrap();
        let client = ForgeClient::new(&sim.url()).unwrap();
        let store = ImageStore::open(&dir.path().join("images")).unwrap();
        Self {
            sim,
            client,
            store,
            dir,
        }
    }

    pub(crate) fn spool(&self) -> std::path::PathBuf {
        self.dir.path().join("answer.json")
    }

    async fn generate(&self, body: Value) -> GenerateAnswer {
        generate(&self.client, body, &self.spool()).await
    }

    async fn probe(&self) -> ProbeFacts {
        self.client.probe().await.unwrap()
    }
}

pub(crate) fn object(body: Value) -> Map<String, Value> {
    match body {
        Value::Object(body) => body,
        other => panic!("{other}"),
    }
}

async fn generate(client: &ForgeClient, body: Value, spool: &Path) -> GenerateAnswer {
    client
        .generate(Endpoint::Txt2img, &object(body), spool, &AtomicU64::new(0))
        .await
}

fn small(token: &str) -> Value {
    json!({"prompt": "a", "steps": 2, "width": 64, "height": 64, "seed": 5, "force_task_id": token})
}

#[tokio::test]
async fn a_probe_finds_what_a_server_is() {
    let bench = Bench::new(false).await;
    let facts = bench.probe().await;
    assert_eq!(facts.process, Some(bench.sim.app_id().to_string()));
    assert!(facts.ui_mode);
    assert_eq!(facts.job_timestamp, "0");
    assert!(
        facts.checkpoint.starts_with("dawn-mini.safetensors"),
        "{facts:?}"
    );
    assert!(facts.options.get("CLIP_stop_at_last_layers").is_some());
}

#[tokio::test]
async fn a_restarted_server_has_another_process() {
    let mut bench = Bench::new(false).await;
    let before = bench.client.app_id().await.unwrap();
    bench.sim.restart().await.unwrap();
    let after = bench.client.app_id().await.unwrap();
    assert!(before.is_some() && after.is_some());
    assert_ne!(before, after);
}

#[tokio::test]
async fn a_probe_says_what_is_wrong() {
    let mut bench = Bench::new(false).await;
    let cases = [
        (
            401,
            r#"{"detail":"Not authenticated"}"#,
            ProbeFailureKind::Unauthenticated,
        ),
        (
            404,
            r#"{"detail":"Not Found"}"#,
            ProbeFailureKind::ApiMissing,
        ),
        (200, "<html>", ProbeFailureKind::NotForge),
        (200, "{}", ProbeFailureKind::NotForge),
        (500, "broken", ProbeFailureKind::Unreachable),
    ];
    for (code, body, expected) in cases {
        let body = body.to_owned();
        bench
            .sim
            .script_on(Target::Options, Fault::Status { code, body });
        let failure = bench.client.probe().await.unwrap_err();
        assert_eq!(failure.kind, expected, "{failure}");
    }
    let body = r#"{"detail":"Not Found"}"#.to_owned();
    let modules = Target::Path("/sdapi/v1/sd-modules".to_owned());
    bench
        .sim
        .script_on(modules, Fault::Status { code: 404, body });
    let failure = bench.client.probe().await.unwrap_err();
    assert_eq!(failure.kind, ProbeFailureKind::NotForge);
    bench.sim.kill().await;
    let failure = bench.client.probe().await.unwrap_err();
    assert_eq!(failure.kind, ProbeFailureKind::Unreachable);
}

#[tokio::test]
async fn the_inventory_lists_everything_a_job_can_need() {
    let bench = Bench::new(false).await;
    let listing = bench.client.list_inventory().await.unwrap();
    let titles: Vec<&str> = listing
        .checkpoints
        .iter()
        .map(|c| c.title.as_str())
        .collect();
    assert!(
        titles.contains(&"sub dir/portrait (v1).safetensors"),
        "{titles:?}"
    );
    assert_eq!(listing.loras[0].name, "ink-lines");
    assert_eq!(listing.modules.len(), 1);
    assert!(listing.samplers.iter().any(|name| name == "Euler a"));
    for scheduler in ["karras", "Karras"] {
        assert!(listing.schedulers.iter().any(|name| name == scheduler));
    }
    assert!(listing.upscalers.iter().any(|name| name == "Latent"));
    assert!(!listing.scripts.is_empty());

    bench.sim.add_checkpoint(SimModel::named("new.safetensors"));
    bench.client.refresh().await.unwrap();
    let listing = bench.client.list_inventory().await.unwrap();
    assert!(
        listing
            .checkpoints
            .iter()
            .any(|c| c.title == "new.safetensors")
    );

    bench.sim.script(Fault::FailListing);
    let failure = bench.client.list_inventory().await.unwrap_err();
    assert!(
        matches!(failure, CallFailure::Status { status: 500, .. }),
        "{failure}"
    );
}

#[tokio::test]
async fn a_refused_connection_is_told_apart_from_a_lost_answer() {
    let mut bench = Bench::new(false).await;
    bench.sim.script(Fault::CutBeforeAnswer);
    let answer = bench.generate(small("cut")).await;
    assert!(matches!(answer, GenerateAnswer::Lost { .. }), "{answer:?}");
    bench.sim.script(Fault::CutMidBody);
    let answer = bench.generate(small("half")).await;
    assert!(matches!(answer, GenerateAnswer::Lost { .. }), "{answer:?}");
    assert_eq!(bench.sim.log().len(), 2);
    bench.sim.kill().await;
    let answer = bench.generate(small("refused")).await;
    assert!(
        matches!(answer, GenerateAnswer::NotSent { .. }),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let client = ForgeClient::new("http://no-such-host.invalid:1").unwrap();
    let answer = generate(&client, small("x"), &dir.path().join("spool")).await;
    assert!(
        matches!(answer, GenerateAnswer::NotSent { .. }),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_not_sent_anything_over_tls() {
    let bench = Bench::new(false).await;
    let url = bench.sim.url().replace("http://", "https://");
    // A machine without root certificates cannot speak TLS at all.
    let Ok(client) = ForgeClient::new(&url) else {
        return;
    };
    let answer = generate(&client, small("x"), &bench.spool()).await;
    assert!(
        matches!(answer, GenerateAnswer::NotSent { .. }),
        "{answer:?}"
    );
    assert!(bench.sim.log().is_empty());
}

#[tokio::test]
async fn a_connection_closed_before_an_answer_is_sent_once_only() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = ForgeClient::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let spool = dir.path().join("spool");
    let sent = generate(&client, small("x"), &spool);
    let closed = async {
        let (connection, _) = listener.accept().await.unwrap();
        drop(connection);
        // A second try would come in here and wait for its answer.
        tokio::select! {
            again = listener.accept() => panic!("tried again: {again:?}"),
            () = std::future::pending() => {}
        }
    };
    tokio::select! {
        answer = sent => assert!(matches!(answer, GenerateAnswer::Lost { .. }), "{answer:?}"),
        () = closed => {}
    }
}

#[tokio::test]
async fn an_error_keeps_its_status_and_text() {
    let bench = Bench::new(false).await;
    let answer = bench
        .generate(json!({"prompt": "a", "script_name": "nope"}))
        .await;
    let GenerateAnswer::Refused { status, body } = answer else {
        panic!("{answer:?}");
    };
    let Verdict::Failed(failure) = classify_status(status, &body) else {
        panic!("unknown");
    };
    assert_eq!(failure.outcome, AttemptOutcome::ServerLacksFeature);
    assert_eq!(failure.http_status, 422);
    assert!(failure.message.contains("nope"), "{}", failure.message);
}

#[tokio::test]
async fn garbage_in_an_answer_is_a_broken_answer() {
    let bench = Bench::new(false).await;
    for fault in [Fault::Garbage, Fault::BrokenImage] {
        bench.sim.script(fault.clone());
        let answer = bench.generate(small("x")).await;
        assert!(
            matches!(answer, GenerateAnswer::Answered { .. }),
            "{answer:?}"
        );
        let read = read_answer(&bench.spool(), &bench.store);
        assert!(
            matches!(read, Err(AnswerError::Broken(_))),
            "{fault:?}: {read:?}"
        );
    }
}

#[tokio::test]
async fn a_running_task_is_followed_and_stopped() {
    let bench = Bench::new(true).await;
    let follow = async {
        bench.sim.gate().load(10);
        bench.sim.gate().step(1);
        bench
            .sim
            .wait_for(|log| log.iter().any(|one| one.steps_done == 1), BOUND)
            .await
            .unwrap();
        let task = bench.client.task("follow-me").await.unwrap();
        assert!(task.active && !task.queued && !task.completed, "{task:?}");
        let progress = bench.client.progress().await.unwrap();
        assert!(
            !progress.is_idle() && !progress.is_loading(),
            "{progress:?}"
        );
        assert!(bench.client.task("another").await.unwrap().is_unknown());
        bench.client.interrupt().await.unwrap();
        bench.sim.gate().open();
        progress.job_timestamp
    };
    let body = json!({"prompt": "a", "steps": 20, "width": 64, "height": 64, "force_task_id": "follow-me"});
    let (answer, timestamp) = tokio::join!(bench.generate(body), follow);
    assert!(
        matches!(answer, GenerateAnswer::Answered { .. }),
        "{answer:?}"
    );
    let read = read_answer(&bench.spool(), &bench.store).unwrap();
    assert_eq!(read.info.job_timestamp.as_deref(), Some(timestamp.as_str()));
    let progress = bench.client.progress().await.unwrap();
    assert!(progress.interrupted && progress.is_idle(), "{progress:?}");
    assert!(bench.client.task("follow-me").await.unwrap().completed);
}

#[tokio::test]
async fn a_frozen_server_does_not_hold_a_control_call() {
    let bench = Bench::new(false).await;
    bench.sim.freeze();
    let failure = bench.client.progress().await.unwrap_err();
    assert!(matches!(failure, CallFailure::TimedOut(_)), "{failure}");
    bench.sim.thaw();
    bench.client.progress().await.unwrap();
}
