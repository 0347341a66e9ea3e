//! An attempt end to end against a Forge stand-in: the body that is built,
//! the answer that comes, what verification says of it, and the saved files
//! that stand in for a lost answer.

use forge_sim::Fault;
use job_service::dispatch::answer::{Answer, read_answer};
use job_service::dispatch::forge::{Fetched, GenerateAnswer};
use job_service::images::StagedImage;
use job_service::job::{AttemptOutcome, Endpoint, Verification};
use job_service::outcome::Failure;
use job_service::payload::{
    AttemptIdentity, ModelTitles, ServerProfile, Usage, baseline_from_options, build,
    saved_file_paths,
};
use job_service::request::GenerationRequest;
use job_service::verify::{ExpectedModel, Verified, verify, verify_infotexts};
use serde_json::{Map, Value, json};
use std::sync::atomic::AtomicU64;

use crate::forge_client::{Bench, object};

const CHECKPOINT: &str = "landscape-v2.safetensors";
const SEED: i64 = 1234;

/// One attempt of one request at a server.
struct Attempt<'b> {
    bench: &'b Bench,
    profile: ServerProfile,
    request: GenerationRequest,
    identity: AttemptIdentity,
    sent: Map<String, Value>,
}

async fn profile(bench: &Bench, usage: Usage) -> ServerProfile {
    let facts = bench.client.probe().await.unwrap();
    ServerProfile {
        usage,
        baseline: baseline_from_options(&facts.options),
        ui_mode: facts.ui_mode,
    }
}

impl<'b> Attempt<'b> {
    fn new(bench: &'b Bench, profile: &ServerProfile, number: i32, body: Value) -> Self {
        let mut request = GenerationRequest {
            endpoint: Endpoint::Txt2img,
            body: object(body),
        };
        assert_eq!(request.check(&str::to_owned), []);
        request.normalise();
        let identity = AttemptIdentity {
            job_id: "01981f7e-8a6b-7c3d-9e2f-0123456789ab".to_owned(),
            number,
            token: format!("token-of-attempt-{number}"),
        };
        let titles = ModelTitles::new();
        let sent = build(&request, CHECKPOINT, &titles, SEED, 9, profile, &identity).unwrap();
        Self {
            bench,
            profile: profile.clone(),
            request,
            identity,
            sent,
        }
    }

    async fn send(&self) -> GenerateAnswer {
        let spool = self.bench.spool();
        let client = &self.bench.client;
        client
            .generate(
                self.request.endpoint,
                &self.sent,
                &spool,
                &AtomicU64::new(0),
            )
            .await
    }

    async fn run(&self) -> Answer {
        let answer = self.send().await;
        assert!(
            matches!(answer, GenerateAnswer::Answered { .. }),
            "{answer:?}"
        );
        read_answer(&self.bench.spool(), &self.bench.store).unwrap()
    }

    fn expected(&self) -> ExpectedModel {
        ExpectedModel {
            title: CHECKPOINT.to_owned(),
            sha256: Some(forge_sim::SimModel::named(CHECKPOINT).sha256()),
        }
    }

    fn verify(&self, answer: &Answer) -> Result<Verified, Failure> {
        let count = answer.images.len();
        verify(
            &self.request,
            &self.sent,
            &self.expected(),
            &answer.info,
            count,
            false,
        )
    }

    /// The saved files of the attempt; all of them must be there.
    async fn fetch(&self) -> Vec<StagedImage> {
        let mut fetched = Vec::new();
        for path in saved_file_paths(&self.request, SEED, &self.profile, &self.identity) {
            let sink = self.bench.store.staging_path("fetched");
            let found = self.bench.client.file(&path, &sink).await.unwrap();
            assert!(matches!(found, Fetched::Found { .. }), "{path}");
            fetched.push(self.bench.store.stage_file(&sink).unwrap());
        }
        fetched
    }
}

fn small(extra: Value) -> Value {
    let mut body = object(json!({"prompt": "a cat", "steps": 2, "width": 64, "height": 64}));
    body.extend(object(extra));
    Value::Object(body)
}

#[tokio::test]
async fn an_answer_is_verified_and_kept() {
    let bench = Bench::new(false).await;
    let shared = profile(&bench, Usage::Shared).await;
    let body =
        small(json!({"cfg_scale": 0, "prompt": "a cat <lora:ink-lines:0.8>", "batch_size": 2}));
    let attempt = Attempt::new(&bench, &shared, 1, body);
    let mut answer = attempt.run().await;
    let verified = attempt.verify(&answer).unwrap();
    assert_eq!(verified.verification, Verification::Hash);
    assert_eq!(verified.samples, 0..2);
    assert_eq!(answer.info.seeds, [SEED, SEED + 1]);
    let infotext = answer.images[0].infotext.clone().unwrap();
    assert!(
        infotext.starts_with("a cat <lora:ink-lines:0.8>"),
        "{infotext}"
    );
    let stored = bench.store.put(&answer.images.remove(0)).unwrap();
    assert!(
        bench
            .store
            .path(&stored.sha256, stored.media_type)
            .is_file()
    );
    let generation = &bench.sim.log()[0];
    assert_eq!(generation.cfg.to_bits(), 0.0_f64.to_bits());
    assert_eq!(generation.task_id, attempt.identity.token);
    assert!(generation.files.is_empty(), "{:?}", generation.files);
}

#[tokio::test]
async fn the_saved_files_stand_in_for_a_lost_answer() {
    let bench = Bench::new(false).await;
    let dedicated = profile(&bench, Usage::Dedicated).await;
    let shapes = [
        json!({}),
        json!({"batch_size": 2, "n_iter": 2}),
        json!({"batch_size": 2, "subseed_strength": 0.3}),
    ];
    for (number, shape) in (1..).zip(shapes) {
        let attempt = Attempt::new(&bench, &dedicated, number, small(shape));
        bench.sim.script(Fault::CutBeforeAnswer);
        let lost = attempt.send().await;
        assert!(matches!(lost, GenerateAnswer::Lost { .. }), "{lost:?}");
        let fetched = attempt.fetch().await;
        assert_eq!(fetched.len(), attempt.request.expected_images());
        let infotexts = fetched
            .iter()
            .map(|image| image.infotext.clone().unwrap())
            .collect();
        let (verified, _) = verify_infotexts(
            &attempt.request,
            &attempt.sent,
            &attempt.expected(),
            infotexts,
        )
        .unwrap();
        assert_eq!(verified.verification, Verification::Hash);
    }
}

#[tokio::test]
async fn a_fetched_file_is_the_image_of_the_answer() {
    let bench = Bench::new(false).await;
    let dedicated = profile(&bench, Usage::Dedicated).await;
    let attempt = Attempt::new(&bench, &dedicated, 1, small(json!({})));
    let answer = attempt.run().await;
    attempt.verify(&answer).unwrap();
    let fetched = attempt.fetch().await;
    assert_eq!(fetched[0].sha256, answer.images[0].sha256);
}

#[tokio::test]
async fn a_file_that_was_not_saved_is_missing() {
    let bench = Bench::new(false).await;
    let sink = bench.store.staging_path("fetched");
    let found = bench
        .client
        .file("outputs/txt2img-images/stablequeue/no.png", &sink)
        .await;
    assert_eq!(found.unwrap(), Fetched::Missing);
}

#[tokio::test]
async fn a_swapped_checkpoint_is_never_verified() {
    let bench = Bench::new(false).await;
    let shared = profile(&bench, Usage::Shared).await;
    let attempt = Attempt::new(&bench, &shared, 1, small(json!({})));
    bench.sim.script(Fault::WrongModel);
    let failure = attempt.verify(&attempt.run().await).unwrap_err();
    assert_eq!(failure.outcome, AttemptOutcome::WrongModel);
}

#[tokio::test]
async fn an_override_of_one_job_never_changes_the_next() {
    for usage in [Usage::Dedicated, Usage::Shared] {
        let bench = Bench::new(false).await;
        let profile = profile(&bench, usage).await;
        let settings = json!({
            "CLIP_stop_at_last_layers": 2,
            "eta_noise_seed_delta": 31337,
            "forge_additional_modules": ["demo-vae.safetensors"],
        });
        let first = small(json!({"override_settings": settings}));
        Attempt::new(&bench, &profile, 1, first).run().await;
        Attempt::new(&bench, &profile, 2, small(json!({})))
            .run()
            .await;
        let log = bench.sim.log();
        assert_eq!(log[0].options["CLIP_stop_at_last_layers"], json!(2));
        for option in [
            "CLIP_stop_at_last_layers",
            "eta_noise_seed_delta",
            "forge_additional_modules",
        ] {
            assert!(
                log[0].options.contains_key(option),
                "{option}: {:?}",
                log[0].options
            );
            assert!(
                !log[1].options.contains_key(option),
                "{option}: {:?}",
                log[1].options
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_sampler_is_never_a_success() {
    let bench = Bench::new(false).await;
    let shared = profile(&bench, Usage::Shared).await;
    let attempt = Attempt::new(
        &bench,
        &shared,
        1,
        small(json!({"sampler_name": "No Such Sampler"})),
    );
    let failure = attempt.verify(&attempt.run().await).unwrap_err();
    assert_eq!(failure.outcome, AttemptOutcome::ServerLacksFeature);
}

#[tokio::test]
async fn an_unknown_lora_is_never_a_success() {
    let bench = Bench::new(false).await;
    let shared = profile(&bench, Usage::Shared).await;
    let attempt = Attempt::new(
        &bench,
        &shared,
        1,
        small(json!({"prompt": "<lora:gone:1>"})),
    );
    let failure = attempt.verify(&attempt.run().await).unwrap_err();
    assert_eq!(failure.code, "LORA_NOT_APPLIED");
}
