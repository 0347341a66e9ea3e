//! What a server does not list is never sent there: Forge would replace it
//! without a word.

use anyhow::Result;
use forge_sim::{Fault, Rule, SimModel, Target, Times};
use serde_json::{Value, json};
use stablequeue_proto::jobs::v1::{
    self as jobs, AttemptOutcome, ForgePayload, JobState, SubmitJobRequest, forge_payload::Body,
    submit_job_request::Input,
};
use system_tests::{Pair, PairOptions, Sim};

fn payload(fields: &Value) -> SubmitJobRequest {
    let mut body = json!({"prompt": "a mill", "steps": 1, "width": 64, "height": 64});
    for (name, value) in fields.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    SubmitJobRequest {
        input: Some(Input::ForgePayload(ForgePayload {
            endpoint: jobs::Endpoint::Txt2img.into(),
            body: Some(Body::Json(body.to_string())),
        })),
        ..SubmitJobRequest::default()
    }
}

fn with_modules(modules: &[&str]) -> SubmitJobRequest {
    payload(&json!({"override_settings": {"forge_additional_modules": modules}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_that_lacks_what_is_named() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let hires = |field: &str, value: Value| {
        let mut body = json!({"enable_hr": true, "denoising_strength": 0.5, "hr_scale": 2.0,
                              "hr_upscaler": "Latent"});
        body[field] = value;
        body
    };
    for (fields, code, named) in [
        (
            json!({"sampler_name": "euler a"}),
            "LACKS_SAMPLER",
            "euler a",
        ),
        (json!({"scheduler": "KARRAS"}), "LACKS_SCHEDULER", "KARRAS"),
        (json!({"script_name": "nope"}), "LACKS_SCRIPT", "nope"),
        (
            json!({"alwayson_scripts": {"nope": {"args": []}}}),
            "LACKS_SCRIPT",
            "nope",
        ),
        (
            json!({"override_settings": {"forge_additional_modules": ["no-vae.safetensors"]}}),
            "LACKS_MODULE",
            "no-vae",
        ),
        (
            hires("hr_upscaler", json!("latent")),
            "LACKS_UPSCALER",
            "latent",
        ),
        (
            hires("hr_sampler_name", json!("nope")),
            "LACKS_SAMPLER",
            "hr_sampler_name",
        ),
        (
            hires("hr_scheduler", json!("nope")),
            "LACKS_SCHEDULER",
            "hr_scheduler",
        ),
    ] {
        let id = pair.submit(payload(&fields)).await?;
        let job = pair.ended(&id).await?;
        assert_eq!(job.state(), JobState::Failed, "{fields}");
        let error = job.error.clone().unwrap_or_default();
        assert_eq!(error.code, code, "{fields}: {}", error.message);
        assert!(error.message.contains(named), "{}", error.message);
        assert!(error.message.contains("gpu"), "{}", error.message);
        assert_eq!(job.attempts.len(), 1);
        let attempt = &job.attempts[0];
        assert_eq!(attempt.outcome(), AttemptOutcome::ServerLacksFeature);
        assert_eq!(attempt.send_time, None, "nothing was sent");
    }
    assert_eq!(sim.asked("/sdapi/v1/txt2img"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lacks_it_is_passed_over_for_one_that_has_it() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let a = Sim::instant().await?;
    let b =
        Sim::with(|config| config.modules.push(SimModel::named("rare-vae.safetensors"))).await?;
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    for _ in 0..3 {
        let id = pair.submit(with_modules(&["rare-vae.safetensors"])).await?;
        let job = pair.completed(&id).await?;
        assert_eq!(job.result.unwrap_or_default().server, "b");
    }
    assert_eq!(a.asked("/sdapi/v1/txt2img"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_listed_again_once_before_something_counts_as_missing() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.add_module(SimModel::named("new-vae.safetensors"));
    let id = pair.submit(with_modules(&["new-vae.safetensors"])).await?;
    pair.completed(&id).await?;
    let listed = sim.asked("/sdapi/v1/sd-modules");
    let id = pair.submit(with_modules(&["none.safetensors"])).await?;
    assert_eq!(pair.ended(&id).await?.state(), JobState::Failed);
    assert_eq!(
        sim.asked("/sdapi/v1/sd-modules"),
        listed,
        "it was listed a short time ago"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_listed_again_is_not_judged_by_its_old_list() -> Result<()> {
    let listing = Target::Path("/sdapi/v1/sd-modules".to_owned());
    let refresh = Target::Path("/sdapi/v1/refresh-checkpoints".to_owned());
    for target in [listing, refresh] {
        let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
        let sim = Sim::instant().await?;
        pair.add("gpu", &sim).await?;
        let broken = Fault::Status {
            code: 500,
            body: "busy".to_owned(),
        };
        // A monitor may list it meanwhile: that must not use the fault up.
        sim.sim.script_rule(Rule {
            target: Some(target.clone()),
            times: Times::Always,
            ..Rule::once(broken)
        });
        let id = pair.submit(with_modules(&["new-vae.safetensors"])).await?;
        pair.job_when(&id, "it is tried again", |job| {
            job.state() == JobState::Pending && !job.attempts.is_empty()
        })
        .await?;
        sim.sim.add_module(SimModel::named("new-vae.safetensors"));
        sim.sim.clear_faults();
        pair.probe("gpu").await?;
        let job = pair.completed(&id).await?;
        let first = &job.attempts[0];
        assert_eq!(first.outcome(), AttemptOutcome::Refused, "{target:?}");
        assert!(!first.spent && first.send_time.is_none());
        assert!(first.message.contains("could not be listed again"));
    }
    Ok(())
}
