use std::fs;
use std::path::Path;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/forge");
    fs::read(folder.join(name)).unwrap()
}

const RECORDED: &str = "a cat <lora:tiny-a:0.8> <lora:tiny-b:1>\nSteps: 1, Sampler: Euler, \
    Schedule type: Automatic, CFG scale: 7.0, Seed: 9, Size: 64x64, Model hash: E3A7FE4D8C, \
    Model: sd15-random-mini, Lora hashes: \"tiny-a: 8ff3648af2cc, tiny-b: c93751cba86b\", \
    Version: f2.0.1v1.10.1-previous-669-gdfdcbab6";

#[test]
fn a_recorded_text_is_read() {
    let found = parse(RECORDED).unwrap();
    assert_eq!(found.steps, Some(1));
    assert_eq!(found.seed, Some(9));
    assert_eq!(found.sampler.as_deref(), Some("Euler"));
    assert_eq!(found.schedule_type.as_deref(), Some("Automatic"));
    assert_eq!(found.model.as_deref(), Some("sd15-random-mini"));
    assert_eq!(found.model_hash.as_deref(), Some("e3a7fe4d8c"));
    let hash = |name: &str, hash: &str| (name.to_owned(), hash.to_owned());
    assert_eq!(
        found.lora_hashes,
        [
            hash("tiny-a", "8ff3648af2cc"),
            hash("tiny-b", "c93751cba86b")
        ]
    );
}

#[test]
fn a_text_without_parameters_is_none() {
    for text in [
        "",
        "a cat",
        "title: a, style: b",
        "Steps: 1, Seed: 2\na note",
    ] {
        assert_eq!(parse(text), None, "{text:?}");
    }
}

#[test]
fn quoted_values_keep_their_commas() {
    let found = parse("Steps: 2, Model: \"a, b: \\\"c\\\"\", Seed: 5").unwrap();
    assert_eq!(found.model.as_deref(), Some("a, b: \"c\""));
    let broken = parse("Steps: 2, Model: \"a, Seed: 5").unwrap();
    assert_eq!(broken.seed, Some(5));
}

#[test]
fn the_text_of_a_saved_picture_is_found() {
    let png = fixture("14-dispatcher-restart-recovery/03-fetched-job-5f3a9c-1.png");
    let text = parameters_of_png(&png).unwrap();
    assert!(text.starts_with("recover me\nSteps: 40, "), "{text}");
    assert_eq!(
        parse(&text).unwrap().model_hash.as_deref(),
        Some("e3a7fe4d8c")
    );
}

/// A PNG of chunks; checksums do not matter for reading texts.
fn png_of(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut png = PNG_SIGNATURE.to_vec();
    for (name, data) in chunks {
        png.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        png.extend(*name);
        png.extend(*data);
        png.extend([0; 4]);
    }
    png
}

#[test]
fn texts_in_every_uncompressed_form_are_read() {
    let cases: [(&[u8; 4], &[u8], Option<&str>); 6] = [
        (b"tEXt", b"parameters\0caf\xe9", Some("café")),
        (b"tEXt", "parameters\0café".as_bytes(), Some("café")),
        (b"iTXt", "parameters\0\0\0\0\0猫".as_bytes(), Some("猫")),
        (b"iTXt", b"parameters\0\x01\0\0\0packed", None),
        (b"zTXt", b"parameters\0\0packed", None),
        (b"tEXt", b"Parameters\0x", None),
    ];
    for (name, data, expected) in cases {
        let png = png_of(&[(b"IHDR", &[0; 13]), (name, data)]);
        assert_eq!(parameters_of_png(&png).as_deref(), expected, "{data:?}");
    }
}

#[test]
fn a_cut_png_ends_the_search() {
    let png = png_of(&[(b"tEXt", b"parameters\0x")]);
    for length in 0..png.len() {
        assert_eq!(parameters_of_png(&png[..length]), None);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in "[ -~\n\"\\\\:,ü]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn written_pairs_are_read_back(seed in 0_i64..=4_294_967_295, model in "[a-z][a-z0-9 ()._-]{0,30}[a-z]") {
        let text = format!("p\nSteps: 3, Seed: {seed}, Model: {model}");
        let found = parse(&text).unwrap();
        proptest::prop_assert_eq!(found.seed, Some(seed));
        proptest::prop_assert_eq!(found.model, Some(model));
    }
}

#[test]
fn a_line_of_nothing_but_colons_has_no_keys() {
    let colons = ":".repeat(1_000_000);
    assert_eq!(pairs(&colons), []);
    let line = format!("{colons}Steps: 20");
    assert_eq!(pairs(&line), [("Steps", "20".to_owned())]);
}
