//! Each sidecar of the samples, and what it says.

use super::*;

/// A sample, and what it says of a file whose hash is not known.
fn sample(name: &str) -> (Sidecar, Vec<Finding>) {
    let sidecar = read(&samples("sidecars")[name]).unwrap();
    let found = findings(&sidecar);
    (sidecar, found)
}

const WORDS: [&str; 4] = [
    "hrbrstyle",
    "hrbrstyle, night, rain",
    "(lantern glow:1.2), <lora:harbour_v1:0.8> wet cobblestones,",
    "ハーバー",
];

#[test]
fn every_sample_is_of_its_kind_and_claims_its_file() {
    let harbour = [sha256_of_file(9_310_301)];
    let own = [
        Sha256::parse("9902c8a43772592e292d109b1fafe6db7926a4f860ce3221414a6cf0216ddf8b").unwrap(),
    ];
    let expected: [(&str, Kind, &[Sha256]); 14] = [
        ("checkpoint.a1111.json", Kind::UserMetadata, &[]),
        ("checkpoint.forge.json", Kind::UserMetadata, &[]),
        (
            "checkpoint.hash-pending.metadata.json",
            Kind::LoraManager,
            &[],
        ),
        ("lora.browser-plus.json", Kind::UserMetadata, &harbour),
        ("lora.civitai-helper.json", Kind::UserMetadata, &[]),
        ("lora.civitai.info", Kind::CivitaiVersion, &harbour),
        ("lora.cm-info.json", Kind::StabilityMatrix, &harbour),
        ("lora.json", Kind::UserMetadata, &[]),
        ("lora.metadata.json", Kind::LoraManager, &harbour),
        ("lora.not-found.metadata.json", Kind::LoraManager, &own),
        (
            "lora.parent-missing.civitai.info",
            Kind::CivitaiVersion,
            &harbour,
        ),
        ("not-on-civitai.browser-plus.json", Kind::UserMetadata, &own),
        ("not-on-civitai.empty.civitai.info", Kind::NothingFound, &[]),
        (
            "not-on-civitai.skeleton.civitai.info",
            Kind::NothingFound,
            &own,
        ),
    ];
    let names: Vec<String> = samples("sidecars").into_keys().collect();
    assert_eq!(names, expected.map(|(name, _, _)| name));
    for (name, kind, claimed) in expected {
        let (sidecar, _) = sample(name);
        assert_eq!(sidecar.kind, kind, "{name}");
        // An answer of Civitai claims the training data too.
        let told: Vec<Sha256> = sidecar.claimed().take(1).cloned().collect();
        assert_eq!(told, claimed, "{name}");
    }
}

#[test]
fn what_was_typed_into_a1111_or_forge_is_found() {
    let (_, lora) = sample("lora.json");
    assert_eq!(value(&lora, Field::Description), text("Oil-paint harbours"));
    assert_eq!(value(&lora, Field::SdVersion), text("SDXL"));
    assert_eq!(
        value(&lora, Field::ActivationText),
        text("hrbrstyle, ハーバー")
    );
    assert_eq!(
        value(&lora, Field::PreferredWeight),
        Some(Value::Number(0.8))
    );
    assert_eq!(value(&lora, Field::NegativeText), text("blurry"));
    assert_eq!(value(&lora, Field::Notes), text("use 28 steps"));
    assert_eq!(lora.len(), 6);
    let (_, checkpoint) = sample("checkpoint.forge.json");
    assert_eq!(value(&checkpoint, Field::SdVersion), text("SDXL"));
    assert_eq!(
        value(&checkpoint, Field::Description),
        text("Harbour Light XL")
    );
    assert_eq!(checkpoint.len(), 2);
    let (_, checkpoint) = sample("checkpoint.a1111.json");
    assert_eq!(checkpoint.len(), 1);
}

#[test]
fn what_civitai_helper_and_browser_plus_write_there_is_found() {
    let (_, helper) = sample("lora.civitai-helper.json");
    assert_eq!(value(&helper, Field::Notes), text("<p>v1.0</p>"));
    assert_eq!(value(&helper, Field::SdVersion), None, "Unknown is nothing");
    assert_eq!(
        value(&helper, Field::PreferredWeight),
        None,
        "0 is the default"
    );
    assert_eq!(helper.len(), 3);
    let (_, browser) = sample("lora.browser-plus.json");
    assert_eq!(value(&browser, Field::CivitaiVersionId), text("9110201"));
    assert_eq!(value(&browser, Field::CivitaiModelId), text("9110101"));
    assert_eq!(value(&browser, Field::SdVersion), None, "Other is nothing");
    let (_, nothing) = sample("not-on-civitai.browser-plus.json");
    assert_eq!(nothing, []);
}

#[test]
fn an_answer_of_civitai_is_found() {
    let (sidecar, found) = sample("lora.civitai.info");
    assert_eq!(value(&found, Field::CivitaiModelId), text("9110101"));
    assert_eq!(value(&found, Field::CivitaiVersionId), text("9110201"));
    assert_eq!(
        value(&found, Field::CivitaiModelName),
        text("Harbour Style")
    );
    assert_eq!(value(&found, Field::BaseModel), text("Illustrious"));
    assert_eq!(value(&found, Field::CivitaiModelType), text("LORA"));
    assert_eq!(
        value(&found, Field::CivitaiVersionName),
        text("v1.0 Illustrious")
    );
    assert_eq!(value(&found, Field::CivitaiVersionDescription), None);
    assert_eq!(
        value(&found, Field::CivitaiVersionDate),
        text("2026-03-02T09:20:12.040Z")
    );
    assert_eq!(value(&found, Field::TrainedWords), words(&WORDS));
    assert_eq!(
        value(&found, Field::CivitaiFileSizeKib),
        Some(Value::Integer(223_106))
    );
    assert_eq!(value(&found, Field::CivitaiNsfw), Some(Value::Flag(false)));
    assert_eq!(value(&found, Field::CivitaiDownloadUrl), None);
    let description = text("<p>Oil-paint harbours. <strong>Weight 0.6–0.9</strong></p>");
    assert_eq!(value(&found, Field::Description), description);
    assert!(
        found
            .iter()
            .all(|finding| finding.source() == Source::Sidecar)
    );
    assert_eq!(weigh(&[sidecar], None).stated, Some(Stated::Lora));
    let (_, found) = sample("lora.parent-missing.civitai.info");
    assert_eq!(value(&found, Field::Description), None);
    assert_eq!(
        value(&found, Field::CivitaiModelName),
        text("Harbour Style")
    );
}

#[test]
fn what_civitai_did_not_know_says_nothing() {
    for name in [
        "not-on-civitai.skeleton.civitai.info",
        "not-on-civitai.empty.civitai.info",
    ] {
        assert_eq!(sample(name).1, [], "{name}");
    }
}

#[test]
fn what_lora_manager_writes_is_found_and_its_paths_are_not_followed() {
    let (_, found) = sample("lora.metadata.json");
    assert_eq!(value(&found, Field::Name), text("Harbour Style"));
    assert_eq!(value(&found, Field::BaseModel), text("Illustrious"));
    assert_eq!(value(&found, Field::CivitaiVersionId), text("9110201"));
    assert_eq!(value(&found, Field::TrainedWords), words(&WORDS));
    let Some(Value::Text(url)) = value(&found, Field::PreviewUrl) else {
        panic!("{found:?}");
    };
    assert!(url.starts_with("https://"), "{url}");
    let (_, found) = sample("lora.not-found.metadata.json");
    assert_eq!(
        value(&found, Field::TrainedWords),
        words(&["copper kettle"])
    );
    assert_eq!(value(&found, Field::BaseModel), text("SDXL 1.0"));
    assert_eq!(found.len(), 3, "{found:?}");
    let (_, found) = sample("checkpoint.hash-pending.metadata.json");
    assert_eq!(found.len(), 1, "{found:?}");
    let tips = sidecar(&json!({"file_name": "a", "model_name": "A",
        "usage_tips": "{\"strength\":0.7,\"clip_skip\":2}"}));
    assert_eq!(
        value(&findings(&tips), Field::PreferredWeight),
        Some(Value::Number(0.7))
    );
}

#[test]
fn what_stability_matrix_writes_is_found() {
    let (_, found) = sample("lora.cm-info.json");
    assert_eq!(value(&found, Field::Name), text("Harbour Style"));
    assert_eq!(
        value(&found, Field::Description),
        text("<p>Oil-paint harbours.</p>")
    );
    assert_eq!(value(&found, Field::CivitaiModelId), text("9110101"));
    assert_eq!(value(&found, Field::CivitaiVersionId), text("9110201"));
    assert_eq!(
        value(&found, Field::CivitaiVersionName),
        text("v1.0 Illustrious")
    );
    assert_eq!(value(&found, Field::TrainedWords), words(&WORDS));
    let elsewhere = sidecar(&json!({"ModelId": 3, "ModelName": "A", "Source": 1}));
    assert_eq!(value(&findings(&elsewhere), Field::CivitaiModelId), None);
}

#[test]
fn answers_of_every_shape_and_age_are_read() {
    let mut read_ones = 0;
    for folder in ["versions", "models", "recorded"] {
        for (name, bytes) in samples(folder) {
            let sidecar = read(&bytes).unwrap();
            let civitai = [Kind::CivitaiVersion, Kind::CivitaiModel];
            assert!(civitai.contains(&sidecar.kind), "{name}: {sidecar:?}");
            for part in &sidecar.parts {
                for field in [
                    Field::CivitaiVersionId,
                    Field::CivitaiModelId,
                    Field::BaseModel,
                ] {
                    assert!(value(&part.findings, field).is_some(), "{name} {field:?}");
                }
            }
            read_ones += 1;
        }
    }
    assert!(read_ones >= 20, "{read_ones}");
}
