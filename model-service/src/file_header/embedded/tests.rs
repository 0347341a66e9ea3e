//! What the metadata in files means: the samples, and what is odd.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::file_header::Stated;
use crate::file_header::tests::with_metadata;

/// A header with the metadata of a sample.
fn sample(name: &str) -> Header {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = shared
        .join("civitai/samples/safetensors-metadata")
        .join(name);
    let metadata = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    with_metadata(&metadata, "a")
}

/// What is said, as words.
fn said_of(header: &Header, guess: bool) -> Vec<(&'static str, String)> {
    let word = |finding: &Finding| match finding.value() {
        Value::Text(text) => text.clone(),
        Value::Words(words) => format!("{:?} {words:?}", finding.source()),
        other => panic!("{other:?}"),
    };
    let found = findings(header, guess);
    found
        .iter()
        .map(|finding| (finding.field().column(), word(finding)))
        .collect()
}

fn expected(said: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    said.iter()
        .map(|(field, text)| (*field, (*text).to_owned()))
        .collect()
}

#[test]
fn every_sample_says_what_it_says_and_no_more() {
    type Said = &'static [(&'static str, &'static str)];
    let samples: [(&str, Option<Stated>, Said); 8] = [
        ("checkpoint.merge-recipe.json", None, &[]),
        (
            "checkpoint.modelspec-sdxl.json",
            Some(Stated::Checkpoint),
            &[
                ("name", "Harbour Light XL"),
                ("activation_text", "hrbrstyle"),
                ("notes", "clip skip 2"),
                ("sd_version", "SDXL"),
            ],
        ),
        ("checkpoint.plain.json", None, &[]),
        (
            "lora.kohya-dataset-config.json",
            Some(Stated::Lora),
            &[("sd_version", "SD1")],
        ),
        (
            "lora.kohya-flux.json",
            Some(Stated::Lora),
            &[("name", "paper_theatre"), ("sd_version", "Flux")],
        ),
        (
            "lora.kohya-sdxl.json",
            Some(Stated::Lora),
            &[("name", "harbour_v1"), ("sd_version", "SDXL")],
        ),
        (
            "lora.no-metadata-option.json",
            Some(Stated::Lora),
            &[("sd_version", "SDXL")],
        ),
        (
            "lora.odd-values.json",
            Some(Stated::Lora),
            &[("sd_version", "SDXL")],
        ),
    ];
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::fs::read_dir(shared.join("civitai/samples/safetensors-metadata")).unwrap();
    assert_eq!(folder.count(), samples.len());
    for (name, stated, said) in samples {
        let header = sample(name);
        assert_eq!(header.stated, stated, "{name}");
        assert_eq!(said_of(&header, false), expected(said), "{name}");
    }
}

#[test]
fn words_are_only_guessed_when_asked_and_are_marked_as_guesses() {
    let guessed = |header: &Header| {
        let said = said_of(header, true);
        let words = said
            .into_iter()
            .find(|(field, _)| *field == "civitai_trained_words");
        words.map(|(_, words)| words)
    };
    let sdxl = guessed(&sample("lora.kohya-sdxl.json")).unwrap();
    assert_eq!(sdxl, r#"FileName ["hrbrstyle harbour", "hrbrstyle"]"#);
    let configured = guessed(&sample("lora.kohya-dataset-config.json")).unwrap();
    assert_eq!(configured, r#"FileName ["copper kettle", "kettle"]"#);
    assert_eq!(
        guessed(&sample("lora.odd-values.json")),
        None,
        "cut JSON says nothing"
    );
    assert_eq!(guessed(&sample("lora.kohya-flux.json")), None);
    let numbered = with_metadata(
        &json!({"ss_tag_frequency": r#"{"3_kettle (2)": {}, "img": {}}"#}),
        "a",
    );
    assert_eq!(guessed(&numbered).unwrap(), r#"FileName ["kettle"]"#);
}

#[test]
fn the_family_of_an_adaptation_is_decided_in_the_order_of_forge() {
    let family = |metadata: serde_json::Value| {
        let header = with_metadata(&metadata, "lora_unet_a");
        let said = said_of(&header, false);
        said.into_iter()
            .find(|(field, _)| *field == "sd_version")
            .map(|(_, family)| family)
    };
    for (metadata, word) in [
        (
            json!({"modelspec.implementation": "https://github.com/black-forest-labs/flux",
            "ss_base_model_version": "sdxl_base_v1-0"}),
            Some("Flux"),
        ),
        (
            json!({"modelspec.architecture": "flux-1-dev/lora", "ss_v2": "True"}),
            Some("Flux"),
        ),
        (
            json!({"ss_base_model_version": "sdxl_base_v1-0", "ss_v2": "True"}),
            Some("SDXL"),
        ),
        (
            json!({"ss_v2": "True", "modelspec.architecture": "stable-diffusion-v1/lora"}),
            Some("SD2"),
        ),
        (
            json!({"modelspec.architecture": "stable-diffusion-v1/lora"}),
            Some("SD1"),
        ),
        (
            json!({"ss_base_model_version": "sd_v1", "ss_v2": "False"}),
            Some("SD1"),
        ),
        (json!({"ss_base_model_version": "5-large"}), Some("SD3")),
        (json!({"modelspec.architecture": "SD-XL"}), Some("SDXL")),
        (
            json!({"modelspec.architecture": "lumina-2/lora"}),
            Some("lumina-2"),
        ),
        (json!({"ss_base_model_version": "anima"}), Some("anima")),
        (
            json!({"ss_base_model_version": "None", "ss_v2": "False"}),
            None,
        ),
        (json!({}), None),
    ] {
        assert_eq!(family(metadata.clone()).as_deref(), word, "{metadata}");
    }
}
