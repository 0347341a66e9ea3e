//! Sidecars as programs write them, odd ones, hostile ones, and any bytes at all.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::file_header::Stated;
use crate::findings::Value;

mod fuzz;
mod samples;

/// The SHA-256 of the text, which the samples take for that of the file with this id.
fn sha256_of_file(id: u64) -> Sha256 {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("civitai-sample:{id}"));
    Sha256::parse(&hex::encode(digest)).unwrap()
}

fn sidecar(content: &serde_json::Value) -> Sidecar {
    read(content.to_string().as_bytes()).unwrap()
}

/// What it says of a file whose hash is not known.
fn findings(sidecar: &Sidecar) -> Vec<Finding> {
    weigh(std::slice::from_ref(sidecar), None).findings
}

/// The first value of a field.
fn value(findings: &[Finding], field: Field) -> Option<Value> {
    let finding = findings.iter().find(|finding| finding.field() == field);
    finding.map(|finding| finding.value().clone())
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.to_owned()))
}

fn words(words: &[&str]) -> Option<Value> {
    Some(Value::Words(
        words.iter().map(|word| (*word).to_owned()).collect(),
    ))
}

#[test]
fn ids_and_numbers_are_read_in_every_spelling() {
    for (spelling, read) in [
        (json!(333444), Some("333444")),
        (json!("333444"), Some("333444")),
        (json!("333444.0"), Some("333444")),
        (json!(333444.0), Some("333444")),
        (json!(" 7 "), Some("7")),
        (json!(0), None),
        (json!(-1), None),
        (json!(1.5), None),
        (json!(""), None),
        (json!(null), None),
        (json!("Model not found"), None),
        (json!("1".repeat(19)), None),
        (json!([1]), None),
    ] {
        assert_eq!(lenient::id(Some(&spelling)).as_deref(), read, "{spelling}");
    }
    for (spelling, read) in [
        (json!(0.8), Some(0.8)),
        (json!("0.8"), Some(0.8)),
        (json!(1), Some(1.0)),
        (json!("NaN"), None),
        (json!("much"), None),
        (json!(true), None),
    ] {
        assert_eq!(lenient::number(Some(&spelling)), read, "{spelling}");
    }
    assert_eq!(
        lenient::words(Some(&json!("a, b,,c"))).unwrap(),
        ["a", "b", "c"]
    );
    assert_eq!(
        lenient::words(Some(&json!(["a, b", null, 3]))).unwrap(),
        ["a, b", "3"]
    );
    assert_eq!(lenient::words(Some(&json!(3))), None);
    assert_eq!(lenient::flag(Some(&json!("False"))), Some(false));
    assert_eq!(lenient::flag(Some(&json!(""))), None);
}

#[test]
fn values_of_wrong_types_are_left_out_and_the_others_kept() {
    let odd = sidecar(&json!({
        "description": ["a"], "activation text": 7, "preferred weight": {"a": 1},
        "negative text": null, "notes": "kept", "sd version": false, "sha256": 3,
    }));
    let found = findings(&odd);
    assert_eq!(odd.kind, Kind::UserMetadata);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(value(&found, Field::ActivationText), text("7"));
    assert_eq!(value(&found, Field::Notes), text("kept"));
    let odd = sidecar(&json!({
        "id": "9.0", "modelId": 8, "name": {}, "model": "m", "files": {"a": 1}, "images": [3, {}],
        "trainedWords": "a, b", "baseModel": 1.5,
    }));
    let found = findings(&odd);
    assert_eq!(odd.kind, Kind::CivitaiVersion);
    assert_eq!(value(&found, Field::CivitaiVersionId), text("9"));
    assert_eq!(value(&found, Field::TrainedWords), words(&["a", "b"]));
}

#[test]
fn what_is_no_sidecar_is_told_why() {
    for (bytes, word) in [
        (&b""[..], "sidecar_not_json"),
        (b"{\"a\":", "sidecar_not_json"),
        (b"{} x", "sidecar_not_json"),
        (b"{\"a\":NaN}", "sidecar_not_json"),
        (b"[]", "sidecar_not_an_object"),
        (b"3", "sidecar_not_an_object"),
        (b"{\"a\":\"\xff\"}", "sidecar_not_utf8"),
        (b"<!DOCTYPE html>", "sidecar_not_json"),
    ] {
        assert_eq!(read(bytes).unwrap_err().word(), word, "{bytes:?}");
    }
    let said = read(b"{\n\"a\": x}").unwrap_err();
    assert_eq!(said.to_string(), "it is not JSON at line 2, column 6");
    let marked = [&b"\xef\xbb\xbf"[..], br#"{"notes": "n"}"#].concat();
    assert_eq!(read(&marked).unwrap().kind, Kind::UserMetadata);
}

#[test]
fn a_sidecar_is_read_to_its_limits_and_not_beyond() {
    let nested = |depth: usize| format!("{{\"notes\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
    for depth in [DEPTH_MAX, 1_000_000] {
        assert_eq!(
            read(nested(depth).as_bytes()),
            Err(SidecarFault::NestedTooDeep)
        );
    }
    let many = |count: usize| format!("{{\"notes\":[{}0]}}", "0,".repeat(count - 1));
    assert!(read(many(VALUES_MAX - 2).as_bytes()).is_ok());
    assert_eq!(
        read(many(VALUES_MAX - 1).as_bytes()),
        Err(SidecarFault::TooManyValues)
    );
    let passed_over = format!(
        "{{\"notes\":\"n\",\"meta\":[{}0]}}",
        "0,".repeat(VALUES_MAX)
    );
    assert_eq!(findings(&read(passed_over.as_bytes()).unwrap()).len(), 1);
    let long = |bytes: usize| format!("{{\"notes\":\"{}\"}}", "n".repeat(bytes - 12));
    assert!(read_from(&mut long(BYTES_MAX).as_bytes()).is_ok());
    let mut endless = std::io::repeat(b' ');
    assert_eq!(read_from(&mut endless), Err(SidecarFault::TooLarge));
    assert_eq!(
        read(long(BYTES_MAX + 1).as_bytes()),
        Err(SidecarFault::TooLarge)
    );
}

#[test]
fn what_names_the_hash_of_the_file_is_believed_first_then_what_people_typed() {
    let this = sha256_of_file(1);
    let user = sidecar(&json!({"notes": "typed", "negative text": "typed"}));
    let manager = |sha256: &Sha256| {
        sidecar(
            &json!({"file_name": "a", "model_name": "A", "sha256": sha256.as_str(),
            "notes": "managed", "modelDescription": "d"}),
        )
    };
    let sidecars = [user, manager(&this)];
    let notes = |weighed: &Weighed| value(&weighed.findings, Field::Notes);

    let proven = weigh(&sidecars, Some(&this));
    assert_eq!(
        (notes(&proven), &proven.replaced[..]),
        (text("managed"), &[][..])
    );
    assert_eq!(value(&proven.findings, Field::NegativeText), text("typed"));
    assert!(proven.unproven.is_empty());

    let unproven = weigh(&sidecars, None);
    assert_eq!(
        (notes(&unproven), &unproven.unproven[..]),
        (text("typed"), &[1][..])
    );
    assert_eq!(value(&unproven.findings, Field::Description), text("d"));

    let replaced = weigh(&sidecars, Some(&sha256_of_file(2)));
    assert_eq!(
        (notes(&replaced), &replaced.replaced[..]),
        (text("typed"), &[1][..])
    );
    assert_eq!(value(&replaced.findings, Field::Description), None);
}

#[test]
fn of_a_model_with_several_versions_the_hash_tells_which() {
    let version = |id: u64| {
        json!({"id": id, "name": format!("v{id}"), "files": [{"type": "Model", "primary": true,
            "sizeKB": 1.6, "hashes": {"SHA256": sha256_of_file(id).as_str().to_uppercase()}}]})
    };
    let model = sidecar(
        &json!({"id": 5, "name": "M", "type": "LoCon", "description": "<p>d</p>",
        "modelVersions": [version(1), version(2), 3]}),
    );
    assert_eq!(model.kind, Kind::CivitaiModel);
    assert_eq!(model.claimed().count(), 2);
    let sidecars = [model];
    let second = weigh(&sidecars, Some(&sha256_of_file(2)));
    assert_eq!(
        value(&second.findings, Field::CivitaiVersionName),
        text("v2")
    );
    assert_eq!(value(&second.findings, Field::CivitaiModelId), text("5"));
    assert_eq!(
        value(&second.findings, Field::Description),
        text("<p>d</p>")
    );
    assert_eq!(
        value(&second.findings, Field::CivitaiFileSizeKib),
        Some(Value::Integer(2))
    );
    assert_eq!(second.stated, Some(Stated::Lora));
    let unknown = weigh(&sidecars, None);
    assert_eq!((unknown.findings, unknown.unproven), (vec![], vec![0]));
    assert_eq!(weigh(&sidecars, Some(&sha256_of_file(3))).replaced, [0]);
}

#[test]
fn a_text_beside_a_model_is_its_description_unless_it_tells_of_a_picture() {
    let said = read_text("\u{feff} oil-paint harbours \n".as_bytes()).unwrap();
    assert_eq!(
        (said.field(), said.value().clone()),
        (Field::Description, text("oil-paint harbours").unwrap())
    );
    assert_eq!(read_text(b"a\nSteps: 20, Seed: 1, Model: m"), None);
    assert_eq!(read_text(b"caf\xe9"), None);
    assert_eq!(read_text(b" \n"), None);
    assert_eq!(read_text(&vec![b'a'; TEXT_BYTES_MAX + 1]), None);
}

/// The samples of the research, which lie beside the repository, by name.
fn samples(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let entries = std::fs::read_dir(shared.join("civitai/samples").join(folder)).unwrap();
    let files = entries.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    });
    files.collect()
}
