//! What callers are told of how references were matched.

use std::sync::Arc;

use super::*;
use crate::availability::{self, FileOnServer};
use crate::model::ModelKind;

const SHA: &str = "2870ca6e33d3665391b10c77641074755bf3b0283449ef1d52486dc7cfe392c8";

fn model(id: i64, path: &str) -> KnownModel {
    KnownModel {
        id,
        kind: ModelKind::Checkpoint,
        sha256: None,
        autov2: None,
        autov3: None,
        local_path: path.to_owned(),
        filename: crate::names::last_part(path).to_owned(),
        forge_format: String::new(),
        aliases: Vec::new(),
        seen_on: Vec::new(),
        files: Vec::new(),
        hashed_at: None,
    }
}

fn said(text: &str, kind: Option<ModelKind>, models: Vec<KnownModel>) -> String {
    let reference = Reference::parse(text, kind);
    let may_fit = MayFit {
        models: models.into_iter().map(Arc::new).collect(),
        truncated: false,
    };
    let resolution = availability::resolve(&reference, &may_fit);
    explain(&reference, &may_fit, &resolution)
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn one_model_fits_and_the_others_fit_less_well() {
    let listed = KnownModel {
        files: vec![FileOnServer {
            server: "left".into(),
            title: "sub/foo.pt".into(),
            path: String::new(),
            alias: String::new(),
            sha256: None,
        }],
        ..model(1, "")
    };
    let said = said("sub/foo.pt", None, vec![listed, model(2, "/m/sub/foo.pt")]);
    assert_says(
        &said,
        &[
            "Read as a name",
            "It fits model 1 (\"\") by its title on server left.",
            "Model 2 (\"/m/sub/foo.pt\") by the end of its path fits less well.",
        ],
    );
}

#[test]
fn several_that_fit_equally_well_are_named_with_what_tells_them_apart() {
    let several = (1..=6)
        .map(|id| model(id, &format!("/{id}/foo.pt")))
        .collect();
    assert_says(
        &said("FOO", None, several),
        &[
            "Model 1 (\"/1/foo.pt\") by its file name, in another case of letters, model 2",
            "and 2 more fit equally well, and none is guessed. Name one by its path",
        ],
    );
}

#[test]
fn what_only_one_condition_kept_from_fitting_is_told() {
    let lora = || KnownModel {
        kind: ModelKind::Lora,
        ..model(3, "/m/foo.pt")
    };
    assert_says(
        &said("foo", Some(ModelKind::Checkpoint), vec![lora()]),
        &[
            "No model fits. Model 3 (\"/m/foo.pt\") by its file name is a LoRA and a checkpoint was \
             asked for.",
        ],
    );
    let hashed = || KnownModel {
        sha256: Some(SHA.into()),
        autov2: Some(SHA[..10].into()),
        ..model(4, "/m/foo.pt")
    };
    assert_says(
        &said("foo.pt [0123456789]", None, vec![hashed()]),
        &["Model 4 (\"/m/foo.pt\") has that name and the AutoV2 2870ca6e33 and not 0123456789."],
    );
    let other = format!("{}{}", &SHA[..10], "0".repeat(54));
    assert_says(
        &said(&other, None, vec![hashed()]),
        &["Model 4 (\"/m/foo.pt\") has the same AutoV2 and another SHA-256."],
    );
}

#[test]
fn digits_that_are_no_hash_are_told_apart() {
    assert_says(
        &said("0123abcd", None, Vec::new()),
        &["Eight digits are an AutoV1"],
    );
    let said_of = |digits: usize| said(&"a".repeat(digits), None, Vec::new());
    assert_says(&said_of(13), &["13 digits are no hash"]);
    for hash in [10, 12, 64] {
        let said = said_of(hash);
        assert!(
            said.ends_with("No model fits.") && !said.contains("are no hash"),
            "{said}"
        );
    }
}

#[test]
fn equal_full_hashes_count_as_one_model() {
    let twin = |id, path| KnownModel {
        sha256: Some(SHA.into()),
        ..model(id, path)
    };
    let said = said(
        "foo.pt",
        None,
        vec![twin(1, "/a/foo.pt"), twin(2, "/b/foo.pt")],
    );
    assert_says(
        &said,
        &[
            "It fits model 1",
            "Model 2 (\"/b/foo.pt\") has the same SHA-256 and counts as the same model.",
        ],
    );
}

#[test]
fn a_long_path_does_not_make_a_long_explanation() {
    let long = |id| model(id, &format!("/{}é/foo.pt", "x".repeat(4000)));
    let said = said("foo.pt", None, (1..=200).map(long).collect());
    assert!(said.len() < 1200, "{}", said.len());
}
