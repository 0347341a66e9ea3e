//! Texts of pictures, and any bytes at all.

use super::*;

/// Inputs that a plain test run tries; `BOLERO_RANDOM_ITERATIONS` sets another number.
const INPUTS: usize = 20_000;

const TEXT: &str = "a harbour, lantern <lora:harbour_v1:0.8>\nNegative prompt: blurry\nSteps: 20, \
    Sampler: Euler a, Seed: 1, Model hash: 6CE0161689, Model: harbourLight_v2, \
    Lora hashes: \"harbour_v1: B6F8A0A27FBF, kettle: 20cd4732ae60\", Version: f2.0";

fn mentioned() -> Mentioned {
    let lora = |name: &str, hash: &str| (name.to_owned(), hash.to_owned());
    Mentioned {
        model: Some("harbourLight_v2".to_owned()),
        model_hash: Some("6ce0161689".to_owned()),
        loras: vec![
            lora("harbour_v1", "b6f8a0a27fbf"),
            lora("kettle", "20cd4732ae60"),
        ],
    }
}

fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = PNG_SIGNATURE.to_vec();
    for (kind, data) in chunks {
        bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
        bytes.extend_from_slice(*kind);
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"sum!");
    }
    bytes
}

#[test]
fn the_models_of_a_text_are_told() {
    assert_eq!(read(TEXT), Some(mentioned()));
    assert_eq!(read(&format!("{TEXT}\n\n")), Some(mentioned()));
}

#[test]
fn a_text_without_settings_mentions_nothing() {
    for text in [
        "",
        "a harbour: with lanterns",
        "Steps: 20, Seed: 1",
        ":::::",
        "a: b, c: d, e: f",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
    let long = format!("{}\n{TEXT}", "a".repeat(TEXT_BYTES_MAX));
    assert_eq!(read(&long), None);
}

#[test]
fn what_is_no_hash_and_no_name_is_left_out() {
    let said = read(
        "Steps: 1, Seed: 1, Size: 1x1, Model hash: none, Lora hashes: \"a: xyz, : 0123456789\"",
    );
    assert_eq!(said, Some(Mentioned::default()));
}

#[test]
fn of_many_loras_only_so_many_are_told_and_long_lines_end() {
    let many: Vec<String> = (0..1_000).map(|n| format!("l{n}: 0123456789ab")).collect();
    let text = format!("Steps: 1, Seed: 1, Lora hashes: \"{}\"", many.join(", "));
    assert_eq!(read(&text).unwrap().loras.len(), LORAS_MAX);
    assert_eq!(read(&":".repeat(TEXT_BYTES_MAX)), None);
    assert!(read(&"ab: c,".repeat(100_000)).is_some());
    assert!(read(&"ab: \"c,".repeat(1_000)).is_some());
}

#[test]
fn the_last_text_of_a_png_is_found_in_either_kind_of_chunk() {
    let plain = [KEYWORD, TEXT.as_bytes()].concat();
    let international = [KEYWORD, b"\0\0en\0\0", "ハ".as_bytes()].concat();
    let latin = [KEYWORD, b"caf\xe9"].concat();
    let text = |chunks: &[(&[u8; 4], &[u8])]| text_of_png(&png(chunks));
    assert_eq!(
        text(&[(b"IHDR", b""), (b"tEXt", &plain)]).as_deref(),
        Some(TEXT)
    );
    assert_eq!(
        text(&[(b"tEXt", &plain), (b"iTXt", &international)]).as_deref(),
        Some("ハ")
    );
    assert_eq!(text(&[(b"tEXt", &latin)]).as_deref(), Some("café"));
    assert_eq!(text(&[(b"tEXt", b"Comment\0a"), (b"zTXt", &plain)]), None);
    assert_eq!(
        text(&[(b"iTXt", &[KEYWORD, b"\x01\0\0\0z"].concat())]),
        None,
        "compressed"
    );
    let whole = png(&[(b"tEXt", &plain)]);
    assert_eq!(text_of_png(&whole[..whole.len() - 5]), None, "cut");
    assert_eq!(text_of_png(b"<html>"), None);
}

fn try_out(text: &str) {
    let Some(found) = read(text) else {
        return;
    };
    let names = found.loras.iter().map(|(name, _)| name).chain(&found.model);
    for name in names {
        assert!(
            text.contains(name.as_str()) || text.contains('\\'),
            "{name}"
        );
    }
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!()
        .with_iterations(INPUTS)
        .for_each(|bytes: &[u8]| {
            try_out(&String::from_utf8_lossy(bytes));
            if let Some(text) = text_of_png(&[PNG_SIGNATURE, bytes].concat()) {
                try_out(&text);
            }
        });
}

#[test]
fn a_text_with_bytes_changed_is_read_or_refused() {
    let whole = png(&[(b"tEXt", &[KEYWORD, TEXT.as_bytes()].concat())]);
    bolero::check!()
        .with_iterations(INPUTS)
        .with_type::<Vec<(u16, u8, u8)>>()
        .for_each(|edits: &Vec<(u16, u8, u8)>| {
            let mut bytes = whole.clone();
            crate::file_header::tests::edit(&mut bytes, edits);
            if let Some(text) = text_of_png(&bytes) {
                try_out(&text);
            }
        });
}
