use serde_json::json;

use super::*;
use crate::job::Endpoint;

const SHA256: &str = "e3a7fe4d8c7bc147ba2ebb5fadf71a0684d90c9f45c77148f83c3eec8350cb01";

fn object(body: Value) -> Map<String, Value> {
    match body {
        Value::Object(body) => body,
        _ => panic!("no object"),
    }
}

fn expected(title: &str, sha256: Option<&str>) -> ExpectedModel {
    ExpectedModel {
        title: title.to_owned(),
        sha256: sha256.map(str::to_owned),
    }
}

/// What a server says of a plain generation with seed 9.
fn info() -> GenerationInfo {
    GenerationInfo {
        seeds: vec![9],
        infotexts: vec![
            "a\nSteps: 1, Sampler: Euler, Schedule type: Automatic, Seed: 9, \
             Model hash: e3a7fe4d8c, Model: mini, Lora hashes: \"tiny-a: 8ff3648af2cc\""
                .to_owned(),
        ],
        sd_model_name: Some("mini".to_owned()),
        sd_model_hash: Some("e3a7fe4d8c".to_owned()),
        sampler_name: Some("Euler".to_owned()),
        ..GenerationInfo::default()
    }
}

fn run(
    sent: Value,
    expected: &ExpectedModel,
    info: &GenerationInfo,
    images: usize,
) -> Result<Verified, Failure> {
    let sent = object(sent);
    let request = GenerationRequest {
        endpoint: Endpoint::Txt2img,
        body: sent.clone(),
    };
    verify(&request, &sent, expected, info, images, false)
}

fn verification(
    expected: &ExpectedModel,
    info: &GenerationInfo,
) -> Result<Verification, &'static str> {
    run(json!({"seed": 9}), expected, info, 1)
        .map(|verified| verified.verification)
        .map_err(|failure| failure.code)
}

#[test]
fn an_equal_hash_is_the_surest() {
    assert_eq!(
        verification(&expected("mini.safetensors", Some(SHA256)), &info()),
        Ok(Verification::Hash)
    );
    let upper = SHA256.to_uppercase();
    assert_eq!(
        verification(&expected("other.ckpt", Some(&upper)), &info()),
        Ok(Verification::Hash)
    );
}

#[test]
fn another_hash_is_the_wrong_model_whatever_its_name() {
    let expected = expected("mini.safetensors", Some(&"0".repeat(64)));
    assert_eq!(verification(&expected, &info()), Err("WRONG_MODEL"));
}

#[test]
fn without_a_hash_to_compare_the_name_decides() {
    for title in [
        "mini.safetensors",
        "sub dir/mini.ckpt",
        "sub\\mini.gguf [e3a7fe4d8c]",
        "mini",
    ] {
        assert_eq!(
            verification(&expected(title, None), &info()),
            Ok(Verification::Name),
            "{title}"
        );
    }
    for title in [
        "mini2.safetensors",
        "mini/other.safetensors",
        "mini.safetensors [0000000000]",
    ] {
        assert_eq!(
            verification(&expected(title, None), &info()),
            Err("WRONG_MODEL"),
            "{title}"
        );
    }
    let mut unhashed = info();
    unhashed.sd_model_hash = None;
    let known = expected("mini.safetensors", Some(SHA256));
    assert_eq!(verification(&known, &unhashed), Ok(Verification::Name));
}

#[test]
fn names_are_those_of_a_real_server() {
    // Exchange 13/09: the stem, without its folder.
    let mut said = info();
    said.sd_model_name = Some("sd15 mini (v2)".to_owned());
    said.sd_model_hash = None;
    let title = expected("sub dir/sd15 mini (v2).safetensors", None);
    assert_eq!(verification(&title, &said), Ok(Verification::Name));
    // Its listing calls it so.
    said.sd_model_name = Some("sub dir_sd15 mini (v2)".to_owned());
    assert_eq!(verification(&title, &said), Ok(Verification::Name));
}

#[test]
fn a_server_that_says_nothing_is_unverified() {
    let mut silent = info();
    silent.sd_model_hash = None;
    silent.sd_model_name = None;
    let known = expected("mini.safetensors", Some(SHA256));
    assert_eq!(verification(&known, &silent), Ok(Verification::Unverified));
}

fn outcome(
    sent: Value,
    info: &GenerationInfo,
    images: usize,
) -> Result<(), (AttemptOutcome, &'static str)> {
    run(sent, &expected("mini", None), info, images)
        .map(|_| ())
        .map_err(|failure| (failure.outcome, failure.code))
}

#[test]
fn a_replaced_sampler_or_schedule_is_a_missing_feature() {
    let sampler = |name: &str| outcome(json!({"seed": 9, "sampler_name": name}), &info(), 1);
    let replaced = Err((AttemptOutcome::ServerLacksFeature, "FORGE_SAMPLER_REPLACED"));
    assert_eq!(sampler("Euler"), Ok(()));
    assert_eq!(sampler("Euler Karras"), Ok(()));
    assert_eq!(sampler("Euler a"), replaced);
    assert_eq!(sampler("euler"), replaced);
    let scheduler = |name: &str| outcome(json!({"seed": 9, "scheduler": name}), &info(), 1);
    assert_eq!(scheduler("automatic"), Ok(()));
    let replaced = Err((
        AttemptOutcome::ServerLacksFeature,
        "FORGE_SCHEDULER_REPLACED",
    ));
    assert_eq!(scheduler("No Such Scheduler"), replaced);
}

#[test]
fn missing_images_and_other_seeds_are_a_broken_answer() {
    let broken = Err((AttemptOutcome::BrokenAnswer, "BROKEN_ANSWER"));
    assert_eq!(outcome(json!({"seed": 9}), &info(), 0), broken);
    assert_eq!(outcome(json!({"seed": 8}), &info(), 1), broken);
    let mut two = info();
    two.seeds = vec![9, 10];
    assert_eq!(
        outcome(json!({"seed": 9, "batch_size": 2}), &two, 2),
        Ok(())
    );
    assert_eq!(
        outcome(json!({"seed": 9, "batch_size": 2}), &two, 1),
        broken
    );
    let varied = json!({"seed": 9, "batch_size": 2, "subseed_strength": 0.3});
    assert_eq!(outcome(varied.clone(), &two, 2), broken);
    two.seeds = vec![9, 9];
    assert_eq!(outcome(varied, &two, 2), Ok(()));
}

#[test]
fn an_interrupted_generation_is_no_success_even_when_whole() {
    let sent = object(json!({"seed": 9}));
    let request = GenerationRequest {
        endpoint: Endpoint::Txt2img,
        body: sent.clone(),
    };
    let failure = verify(&request, &sent, &expected("mini", None), &info(), 1, true).unwrap_err();
    assert_eq!(failure.outcome, AttemptOutcome::Interrupted);
}

#[test]
fn a_lora_that_was_not_applied_is_the_wrong_model() {
    let prompt = |prompt: &str| outcome(json!({"seed": 9, "prompt": prompt}), &info(), 1);
    assert_eq!(prompt("a <lora:tiny-a:0.8>"), Ok(()));
    let missing = Err((AttemptOutcome::WrongModel, "LORA_NOT_APPLIED"));
    assert_eq!(prompt("a <lora:tiny-a:0.8> <lora:gone:1>"), missing);
    assert_eq!(prompt("a <lora:gone:0>"), Ok(()));
    let mut unhashed = info();
    unhashed.sd_model_hash = None;
    assert_eq!(
        outcome(json!({"seed": 9, "prompt": "<lora:gone:1>"}), &unhashed, 1),
        Ok(())
    );
}

#[test]
fn grids_come_before_and_extras_behind_the_samples() {
    let mut said = info();
    said.index_of_first_image = 1;
    said.seeds = vec![9, 10];
    said.infotexts = vec![said.infotexts[0].clone(); 3];
    let verified = run(
        json!({"seed": 9, "n_iter": 2}),
        &expected("mini", None),
        &said,
        4,
    )
    .unwrap();
    let kinds: Vec<Option<ImageKind>> = (0..4).map(|at| verified.kind_of(at)).collect();
    let sample = Some(ImageKind::Sample);
    assert_eq!(kinds, [None, sample, sample, Some(ImageKind::Extra)]);
}

#[test]
fn fetched_files_are_verified_by_their_texts() {
    let sent = object(json!({"seed": 555, "batch_size": 2, "sampler_name": "Euler"}));
    let request = GenerationRequest {
        endpoint: Endpoint::Txt2img,
        body: sent.clone(),
    };
    let text = |seed: i64, hash: &str| {
        format!(
            "recover me\nSteps: 40, Sampler: Euler, Schedule type: Automatic, Seed: {seed}, \
             Model hash: {hash}, Model: mini"
        )
    };
    let known = expected("mini.safetensors", Some(SHA256));
    let check = |texts: [String; 2]| verify_infotexts(&request, &sent, &known, texts.to_vec());
    let (verified, info) = check([text(555, "e3a7fe4d8c"), text(556, "e3a7fe4d8c")]).unwrap();
    assert_eq!(verified.verification, Verification::Hash);
    assert_eq!(verified.checkpoint_hash.as_deref(), Some("e3a7fe4d8c"));
    assert_eq!(info.seed_of(1), Some(556));
    let stale = check([text(555, "e3a7fe4d8c"), text(555, "e3a7fe4d8c")]).unwrap_err();
    assert_eq!(stale.outcome, AttemptOutcome::BrokenAnswer);
    let mixed = check([text(555, "e3a7fe4d8c"), text(556, "0000000000")]).unwrap_err();
    assert_eq!(mixed.outcome, AttemptOutcome::BrokenAnswer);
    let wrong = check([text(555, "0000000000"), text(556, "0000000000")]).unwrap_err();
    assert_eq!(wrong.outcome, AttemptOutcome::WrongModel);
}
